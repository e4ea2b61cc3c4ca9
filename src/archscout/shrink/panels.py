"""What the report shows of a network that was shrunk: original and result, each step, what was cut and what was not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from archscout.core.architecture import Architecture
from archscout.core.cost import Measurement
from archscout.core.metric import Metric
from archscout.core.panel import Bars, Panel, Table, Text
from archscout.spaces.reducing import ReducingSpace


def panels(
    space: ReducingSpace,
    architecture: Architecture,
    original: Mapping[str, Measurement],
    result: Mapping[str, Measurement],
    steps: Sequence[Mapping[str, Any]],
    metric: Metric,
) -> list[Panel]:
    """For the report: original and result side by side, accuracy after each step, what was cut, what stayed."""
    costs: list[tuple[str, float, float, str]] = [
        (key, original[key].value, result[key].value, f"{result[key].value / original[key].value:.0%}")
        for key in result
        if key in original and original[key].value
    ]
    shown: list[Panel] = [Table("Original and result", ("cost", "original", "result", "left"), costs)]
    labels, values = [str(step["step"]) for step in steps], [float(step[f"valid_{metric}"]) for step in steps]
    shown.append(Bars("After each step", f"{metric} on validation", labels, values))
    taken = cuts(space, architecture)
    if taken:
        rows = [(cut["choice"], str(cut["before"]), str(cut["after"])) for cut in taken]
        shown.append(Table("What was changed", ("choice", "original", "result"), rows))
    if space.untouched:
        reasons = [f"{layer}: {reason}." for layer, reason in space.untouched.items()]
        shown.append(Text("Layers whose outputs stay whole", reasons))
    return shown


def cuts(space: ReducingSpace, architecture: Architecture) -> list[dict[str, Any]]:
    """What an architecture takes away, choice by choice."""
    return [
        {"choice": choice.name, "before": choice.options[0], "after": architecture[choice.name]}
        for choice in space.choices
        if architecture[choice.name] != choice.options[0]
    ]
