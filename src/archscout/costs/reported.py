"""The costs that every result says of its network, whatever was asked for."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from archscout.core.cost import Cost, Measurement
from archscout.core.errors import reason_of
from archscout.core.registry import create

REPORTED = ("params", "macs", "latency", "peak_memory")
"""What every result says of its winner, whatever was constrained."""


def measure_each(
    costs: Sequence[Cost], measure: Callable[[Cost], Measurement]
) -> tuple[dict[str, Measurement], dict[str, str]]:
    """What can be measured, by key, and why the others cannot: nobody asked for these, so that they may be missing."""
    measurements: dict[str, Measurement] = {}
    missing: dict[str, str] = {}
    for cost in costs:
        try:
            measurements[cost.key] = measure(cost)
        except Exception as error:  # a user's module fails in any way
            missing[cost.key] = reason_of(error)
    return measurements, missing


def named_cost(name: str) -> Cost:
    """A cost by its registered name."""
    cost: Cost = create("cost", name)
    return cost
