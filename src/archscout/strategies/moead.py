"""MOEA/D as a steady-state strategy (Zhang, Li 2007, doi 10.1109/TEVC.2007.892759)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from archscout.core.architecture import Architecture
from archscout.core.errors import UsageError
from archscout.core.registry import register
from archscout.core.space import Space
from archscout.core.strategy import Strategy, unseen
from archscout.core.trial import History
from archscout.strategies.pareto import directions, points, within_reach

LEAST_WEIGHT = 1e-3
"""A direction along one objective alone would not see the others at all."""


@register("strategy", "moead")
class MOEAD(Strategy):
    """MOEA/D: a single objective for each direction, whose parents are those of directions near it (by pymoo).

    Proposal after proposal another direction has its turn. Each is held by the trial with the least Chebyshev norm,
    weighted by the direction, of value and costs (scaled between the best and the worst of all); two parents are drawn
    from the holders of the directions near it, sometimes from all.

    Args:
        population: about as many directions.
        neighbours: of a direction, whose holders may be parents.
        near: share of the proposals whose parents are neighbours.
        objectives: keys of the costs to trade against the value; the search passes its own.
    """

    def __init__(
        self, population: int = 20, neighbours: int = 5, near: float = 0.9, objectives: Sequence[str] = ()
    ) -> None:
        if population < 2 or neighbours < 2 or not 0 <= near <= 1:
            raise UsageError(
                "strategy 'moead' needs a population and neighbours of 2 or more and a share from 0 to 1, not "
                f"population={population}, neighbours={neighbours}, near={near}."
            )
        self.name = "moead"
        self.population, self.neighbours, self.near = population, neighbours, near
        self.objectives = tuple(objectives)

    def propose(self, space: Space, history: History, rng: np.random.Generator) -> Architecture:
        defined = [trial for trial in history if trial.defined]
        if len(defined) < self.population:
            return unseen(lambda: space.sample(rng), space, history)
        rows = within_reach(points(defined, self.objectives))
        weights = directions(rows.shape[1], self.population)
        turn = (len(history) + len(history.pending)) % len(weights)
        apart = np.linalg.norm(weights - weights[turn], axis=1)
        pool = np.argsort(apart, kind="stable")[: self.neighbours] if rng.random() < self.near else range(len(weights))
        held = [defined[place].architecture for place in holders(rows, weights[list(pool)])]
        first, second = (held[int(place)] for place in rng.choice(len(held), size=2, replace=len(held) < 2))
        child = space.crossover(first, second, rng)

        return unseen(lambda: space.mutate(child, rng), space, history, walk=lambda a: space.mutate(a, rng))


def holders(rows: np.ndarray, weights: np.ndarray) -> list[int]:
    """For each direction (W, M) the row of (N, M) with the least weighted Chebyshev norm, the best being 0."""
    from pymoo.decomposition.tchebicheff import Tchebicheff

    softened = np.maximum(weights, LEAST_WEIGHT)
    norms = Tchebicheff().do(rows, softened, _type="many_to_many", utopian_point=np.zeros(rows.shape[1]))
    return [int(place) for place in norms.argmin(axis=0)]
