"""`archscout list`: everything that has a name."""

from __future__ import annotations

from typing import Annotated

import typer

from archscout.cli import output
from archscout.cli.options import Debug, Json, Load
from archscout.core import registry
from archscout.costs import devices

DEVICES = "devices"


def list_names(
    kind: Annotated[
        str | None,
        typer.Argument(
            metavar="[" + "|".join([*registry.ROOMS.values(), DEVICES]) + "]",
            help="Only this kind.",
            show_default=False,
        ),
    ] = None,
    as_json: Json = False,
    load: Load = None,
    debug: Debug = False,
) -> None:
    """List spaces, tasks, estimators, strategies, costs, tables, methods, backbones (plug-ins included) and devices."""
    entries: list[registry.Entry] = []
    if kind not in (DEVICES, "device"):
        kinds = [registry.singular(kind)] if kind else list(registry.ROOMS)
        entries += [entry for each in kinds for entry in registry.entries(each)]
    if kind in (None, DEVICES, "device"):
        entries += [_device(name) for name in devices.names()]
    if as_json:
        output.print_json([{"kind": e.kind, "name": e.name, "summary": e.summary, "source": e.source} for e in entries])
    else:
        output.print_table(
            ("kind", "name", "summary", "from"), [(e.kind, e.name, e.summary, e.source) for e in entries]
        )


def _device(name: str) -> registry.Entry:
    profile = devices.find(name)
    summary = f"{profile.title}: {profile.knows()}"
    return registry.Entry("device", name, "", summary, "yours" if profile.own else "archscout")
