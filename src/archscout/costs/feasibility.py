"""Before anything is spent: can the constraints be met, and by what share of the space?"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from archscout.core.architecture import Architecture
from archscout.core.cost import Constraint, Measurement, meets
from archscout.core.errors import UsageError
from archscout.core.space import Space, take
from archscout.core.written import significant
from archscout.costs.book import CostBook
from archscout.workers.engine import TrialTimeout

_EXACT_SAMPLE, _MEASURED_SAMPLE = 200, 48
_DESCENTS = 12
_BATCH, _MEASURED_BATCH = 8, 2
"""Networks between two looks at the clock: of those that must be run, a large one may take seconds."""

_LOOK = 24
_LOWERED = 24


@dataclass(frozen=True)
class Feasibility:
    """How many of the sampled architectures meet every constraint; `closest` is the one that comes nearest."""

    sampled: int
    meeting: int
    share: float
    closest: str
    closest_costs: Mapping[str, float]

    def as_json(self) -> dict[str, Any]:
        """For the report and the store."""
        return asdict(self)


def check(
    space: Space,
    book: CostBook,
    constraints: Sequence[Constraint],
    margins: Mapping[str, float],
    rng: np.random.Generator,
    going: Callable[[int, int, int], bool] = lambda done, total, meeting: True,
) -> Feasibility:
    """Sample the space and, where nothing fits, walk downhill in cost.

    `going` is told after each batch how many are looked at, of how many, and how many of them meet the constraints, and
    says whether there is time for more; at least one batch is looked at. A look that the book has no time for
    (`CostBook.within`) is the last one.

    Raises:
        UsageError: where nothing is found that meets the constraints, with the closest architecture.
        TrialTimeout: where there was no time for the first look.
    """
    wanted = sample(space, book, rng)
    size = _BATCH if all(cost.exact for cost in book.costs) else _MEASURED_BATCH
    drawn: list[Architecture] = []
    costs: list[dict[str, float]] = []
    meeting = 0
    while len(drawn) < len(wanted) and (not drawn or going(len(drawn), len(wanted), meeting)):
        batch = wanted[len(drawn) : len(drawn) + size]
        try:
            costs += _at_most(book, batch)
        except TrialTimeout:
            if not drawn:
                raise
            break
        drawn += batch
        meeting = sum(meets(row, constraints, margins) for row in costs)
    best = min(range(len(drawn)), key=lambda i: excess(costs[i], constraints))
    closest: Architecture = drawn[best]
    nearest: Mapping[str, float] = costs[best]
    if not meeting:
        closest, nearest = _descend(
            space, book, constraints, closest, nearest, rng, lambda: going(len(drawn), len(wanted), 0)
        )
        if not meets(nearest, constraints, margins):
            limits = ", ".join(str(constraint) for constraint in constraints)
            reached = ", ".join(f"{c.key} = {significant(nearest[c.key], 4)}" for c in constraints)
            slack = " (a measured limit needs 5 % of room)" if min(margins.values()) < 1 else ""
            slack += " (a prediction counts with the upper end of its 90 % interval)" if _predicted(constraints) else ""
            endless = any(np.isinf(value) for value in nearest.values())
            advice = refused(book.best(space.canonical(closest))) if endless else ""
            advice = advice or "raise the limit or take a smaller space"
            raise UsageError(
                f"no architecture of space '{space.name}' was found that meets {limits}{slack}: the closest, "
                f"'{closest}', has {reached}; {advice.rstrip('.')}."
            )
    return Feasibility(len(drawn), meeting, meeting / len(drawn), closest.text, dict(nearest))


def refused(measured: Mapping[str, Measurement]) -> str:
    """Why a network costs infinitely much, where a cost says so; nothing where none does."""
    return next((str(each.details["refused"]) for each in measured.values() if each.details.get("refused")), "")


def sample(space: Space, book: CostBook, rng: np.random.Generator) -> list[Architecture]:
    """The architectures that are looked at: fewer where a cost must be measured."""
    exact = all(cost.exact for cost in book.costs)
    return [space.sample(rng) for _ in range(_EXACT_SAMPLE if exact else _MEASURED_SAMPLE)]


def _at_most(book: CostBook, architectures: Sequence[Architecture]) -> list[dict[str, float]]:
    book.screened(architectures)
    return [book.at_most(architecture) for architecture in architectures]


def _predicted(constraints: Sequence[Constraint]) -> bool:
    return any(constraint.cost.startswith("latency@") for constraint in constraints)


def excess(costs: Mapping[str, float], constraints: Sequence[Constraint]) -> float:
    """By what factor the worst constraint is exceeded (below 1: all are met)."""
    return max((costs.get(c.key, np.inf) / c.limit for c in constraints), default=0.0)


def _descend(
    space: Space,
    book: CostBook,
    constraints: Sequence[Constraint],
    start: Architecture,
    costs: Mapping[str, float],
    rng: np.random.Generator,
    going: Callable[[], bool],
) -> tuple[Architecture, Mapping[str, float]]:
    best, nearest = start, costs
    exact = all(cost.exact for cost in book.costs)
    for step in range(_DESCENTS):
        neighbours = take(space.neighbours(best), 512)
        order = [neighbours[int(i)] for i in rng.permutation(len(neighbours))]
        # Where costs are counted, it ends only where no neighbour is lower; where they are measured, after one look.
        looks = [order[first : first + _LOOK] for first in range(0, max(1, len(order)) if exact else 1, _LOOK)]
        below: tuple[Architecture, Mapping[str, float]] | None = None
        for place, candidates in enumerate(looks):
            if (step or place) and not going():
                break
            candidates = candidates if step or place else [*space.extremes(), *candidates]
            try:
                rows = _at_most(book, candidates)
            except TrialTimeout:
                return best, nearest
            lowest = min(range(len(rows)), key=lambda i: excess(rows[i], constraints))
            if excess(rows[lowest], constraints) < excess(nearest, constraints):
                below = candidates[lowest], rows[lowest]
                break
        if below is None:
            break
        best, nearest = below
    return best, nearest


def brought_within(
    space: Space,
    book: CostBook,
    constraints: Sequence[Constraint],
    margins: Mapping[str, float],
    architecture: Architecture,
    rng: np.random.Generator,
    going: Callable[[], bool] = lambda: True,
) -> Architecture | None:
    """An architecture whose numbers are lowered, option by option and at random, until it meets every constraint.

    A step stays where the worst constraint is exceeded no more than before. None where steps or time are over.

    Args:
        architecture: a design that is worth keeping near: one of `Space.references`.
        going: whether there is time for a step.
    """
    rows = _at_most(book, [architecture])
    for _ in range(_LOWERED):
        if meets(rows[0], constraints, margins):
            return architecture
        lower = _one_lower(space, architecture, rng) if going() else None
        if lower is None:
            return None
        next_rows = _at_most(book, [lower])
        if excess(next_rows[0], constraints) <= excess(rows[0], constraints):
            architecture, rows = lower, next_rows
    return architecture if meets(rows[0], constraints, margins) else None


def _one_lower(space: Space, architecture: Architecture, rng: np.random.Generator) -> Architecture | None:
    """With one ordinal choice at the option before its own; None where all are at their first."""
    options = {
        choice.name: choice.options for choice in space.choices if choice.ordinal and choice.name in architecture
    }
    names = [name for name, known in options.items() if known.index(architecture[name]) > 0]
    if not names:
        return None
    name = names[int(rng.integers(len(names)))]
    defaults = {choice.name: choice.landmarks[0] for choice in space.choices}
    lower = options[name][options[name].index(architecture[name]) - 1]
    return space.architecture({**defaults, **architecture, name: lower})
