"""`archscout measure`: what one architecture costs, before any training."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated

import typer

from archscout.cli import output
from archscout.cli.options import ArchitectureText, Data, Debug, Json, Load, Seed, SpaceName, on_device, split_names

if TYPE_CHECKING:
    from archscout.core.cost import Cost, Measurement

_HERE = re.compile(r"(cpu|cuda|mps|xpu)(:\d+)?")


def measure(
    space: SpaceName,
    arch: ArchitectureText,
    data: Data,
    cost: Annotated[
        list[str],
        typer.Option("--cost", metavar="COST,...", help="Costs ('archscout list costs')."),
    ],
    device: Annotated[
        str,
        typer.Option(
            "--device",
            metavar="NAME",
            help="local (this machine's processor, as cpu), cuda, ..., or a device of 'archscout list devices'.",
        ),
    ] = "local",
    seed: Seed = 0,
    as_json: Json = False,
    load: Load = None,
    debug: Debug = False,
) -> None:
    """Measure what an architecture costs: parameters, multiply-adds, memory, energy, latency here or on a device.

    Latency here is measured; on a named device it is predicted, with the interval in which it lies with 90 %.
    """
    names = split_names(cost)
    with output.only_the_answer():
        from archscout import api
        from archscout.core.estimator import Setting

        home = "cpu" if device == "local" else device
        if not _HERE.fullmatch(home):
            names = _on(names, device)
            home = "cpu"
        costs = [api.cost(name) for name in names]
        searched = api.space(space)
        architecture = searched.named(arch)
        task = api.task(data).sealed()
        searched.check_task(task)
        setting = Setting(searched, task, seed=seed, device=home)
        from archscout.costs.latency import until_trusted
        from archscout.costs.machine import conditions

        measured = {each.key: until_trusted(lambda each=each: each.measure(architecture, setting)) for each in costs}  # type: ignore[misc]
    for each in costs:
        if not measured[each.key].trusted:
            output.say(_doubt(each.key, measured[each.key]))
    if as_json:
        output.print_json(
            {
                "architecture": architecture.text,
                "costs": {each.key: _exact(measured[each.key].value, each.exact) for each in costs},
                "spread": {key: measurement.spread for key, measurement in measured.items()},
                "trusted": {key: measurement.trusted for key, measurement in measured.items()},
                "details": {key: measurement.details for key, measurement in measured.items()},
                "conditions": conditions(1, home),
            }
        )
    else:
        rows = [
            (key, measurement.value, _spread(each, measurement))
            for each, (key, measurement) in zip(costs, measured.items(), strict=True)
        ]
        output.print_table(("cost", "value", "spread"), rows)


def _on(names: list[str], device: str) -> list[str]:
    """The costs on a device. Raises `UsageError` for an unknown device, whatever was asked for."""
    from archscout.costs import devices

    devices.find(device)
    return [on_device(name, device) for name in names]


def _spread(cost: Cost, measurement: Measurement) -> str:
    if "high" in measurement.details:
        low, high = (output.number(measurement.details[end]) for end in ("low", "high"))
        return f"predicted; 90 %: {low} to {high}"
    if measurement.details.get("estimate"):
        return "estimate"
    if cost.exact:
        return "exact"
    return f"± {100 * measurement.spread:.1f} %" + ("" if measurement.trusted else ", not to be trusted")


def _doubt(key: str, measurement: Measurement) -> str:
    details = measurement.details
    return (
        f"Warning: this machine is busy, so {key} is not to be trusted: of {details['attempts']} measurements the best "
        f"has a spread of {100 * measurement.spread:.1f} %, with the machine {details['slowed']:.2f} times as slow as "
        "at its best; repeat on a quieter machine."
    )


def _exact(value: float, exact: bool) -> float | int:
    """Counts are whole numbers."""
    return int(value) if exact and value.is_integer() else value
