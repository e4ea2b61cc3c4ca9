"""NSGA-II as a steady-state strategy (Deb, Pratap, Agarwal, Meyarivan 2002)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from archscout.core.architecture import Architecture
from archscout.core.registry import register
from archscout.core.space import Space
from archscout.core.strategy import Strategy, unseen
from archscout.core.trial import History
from archscout.strategies.pareto import order, points


@register("strategy", "nsga2")
class NSGA2(Strategy):
    """NSGA-II, for several objectives: parents by Pareto front and crowding; crossover, then mutation.

    Args:
        population: survivors among all trials so far.
        objectives: keys of the costs to trade against the value; the search passes its own.
    """

    def __init__(self, population: int = 20, objectives: Sequence[str] = ()) -> None:
        self.name = "nsga2"
        self.population, self.objectives = population, tuple(objectives)

    def propose(self, space: Space, history: History, rng: np.random.Generator) -> Architecture:
        defined = [trial for trial in history if trial.defined]
        if len(defined) < self.population:
            return unseen(lambda: space.sample(rng), space, history)
        ranked = order(points(defined, self.objectives))[: self.population]
        parents = [defined[ranked[int(min(rng.choice(len(ranked), size=2, replace=False)))]] for _ in range(2)]
        child = space.crossover(parents[0].architecture, parents[1].architecture, rng)

        return unseen(lambda: space.mutate(child, rng), space, history, walk=lambda a: space.mutate(a, rng))
