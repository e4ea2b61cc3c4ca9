"""NSGA-III as a steady-state strategy (Deb, Jain 2014, doi 10.1109/TEVC.2013.2281535)."""

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


@register("strategy", "nsga3")
class NSGA3(Strategy):
    """NSGA-III, for three objectives and more: parents survive by front and reference direction (by pymoo).

    Args:
        population: survivors among all trials so far, and about as many reference directions.
        objectives: keys of the costs to trade against the value; the search passes its own.
    """

    def __init__(self, population: int = 20, objectives: Sequence[str] = ()) -> None:
        if population < 2:
            raise UsageError(f"strategy 'nsga3' needs a population of 2 or more, not {population}.")
        self.name = "nsga3"
        self.population, self.objectives = population, tuple(objectives)

    def propose(self, space: Space, history: History, rng: np.random.Generator) -> Architecture:
        defined = [trial for trial in history if trial.defined]
        if len(defined) < self.population:
            return unseen(lambda: space.sample(rng), space, history)
        alive = survivors(points(defined, self.objectives), self.population, rng)
        first, second = (defined[int(place)].architecture for place in rng.choice(alive, size=2, replace=False))
        child = space.crossover(first, second, rng)

        return unseen(lambda: space.mutate(child, rng), space, history, walk=lambda a: space.mutate(a, rng))


def survivors(rows: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """Positions of the rows that survive: whole fronts, then those that fill the emptiest reference directions."""
    from pymoo.algorithms.moo.nsga3 import ReferenceDirectionSurvival
    from pymoo.core.population import Population
    from pymoo.core.problem import Problem

    reached = within_reach(rows)
    if reached.shape[1] == 1:
        return np.argsort(reached[:, 0], kind="stable")[:count]
    population = Population.new(F=reached, number=np.arange(len(rows)))
    survival = ReferenceDirectionSurvival(directions(reached.shape[1], count))
    alive = survival.do(Problem(n_obj=reached.shape[1]), population, n_survive=count, random_state=rng)
    return np.sort(alive.get("number").astype(int))
