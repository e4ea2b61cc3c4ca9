"""`archscout measure`: what one architecture costs, before any training."""

from __future__ import annotations

from typing import Annotated

import typer

from archscout.cli import output
from archscout.cli.options import ArchitectureText, Data, Debug, Device, Json, Seed, SpaceName, split_names


def measure(
    space: SpaceName,
    arch: ArchitectureText,
    data: Data,
    cost: Annotated[
        list[str],
        typer.Option("--cost", metavar="COST,...", help="Costs ('archscout list costs')."),
    ],
    device: Device = "cpu",
    seed: Seed = 0,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Measure what an architecture costs: parameters, multiply-adds, peak memory, latency."""
    names = split_names(cost)
    with output.only_the_answer():
        from archscout import api
        from archscout.core.estimator import Setting

        costs = [api.cost(name) for name in names]
        searched = api.space(space)
        architecture = searched.parse(arch)
        task = api.task(data).sealed()
        searched.check_task(task)
        setting = Setting(searched, task, seed=seed, device=device)
        from archscout.search.finish import conditions  # brings much that a wrong name can do without

        measured = {each.key: each.measure(architecture, setting) for each in costs}
    if as_json:
        output.print_json(
            {
                "architecture": architecture.text,
                "costs": {each.key: _exact(measured[each.key].value, each.exact) for each in costs},
                "spread": {key: found.spread for key, found in measured.items()},
                "conditions": conditions(1, device),
            }
        )
    else:
        rows = [
            (key, found.value, f"± {100 * found.spread:.1f} %" if found.spread else "exact" if each.exact else "")
            for each, (key, found) in zip(costs, measured.items(), strict=True)
        ]
        output.print_table(("cost", "value", "spread"), rows)


def _exact(value: float, exact: bool) -> float | int:
    """Counts are whole numbers."""
    return int(value) if exact and value.is_integer() else value
