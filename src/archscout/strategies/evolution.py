"""Regularised evolution (Real, Aggarwal, Huang, Le 2019, arXiv 1802.01548)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from archscout.core.architecture import Architecture
from archscout.core.errors import UsageError
from archscout.core.registry import register
from archscout.core.space import Space
from archscout.core.strategy import Strategy, unseen
from archscout.core.trial import History, Trial


@register("strategy", "evolution")
class RegularisedEvolution(Strategy):
    """Regularised evolution: the oldest die; the best of a random sample of the living is mutated.

    Args:
        population: trials that are alive (the published setting is 100, for thousands of trials; the default suits
            tens to hundreds).
        sample: contestants of each tournament (published: 25 of 100).

    A child whose network has been tried before is mutated again, since it would be answered from the store and teach
    nothing; the published algorithm evaluates it once more.
    """

    def __init__(self, population: int = 20, sample: int = 5) -> None:
        if population < 2 or not 1 <= sample <= population:
            raise UsageError(
                f"strategy 'evolution' needs a population of 2 or more and a sample between 1 and it, "
                f"not population={population}, sample={sample}."
            )
        self.name = "evolution"
        self.population, self.sample = population, sample

    def propose(self, space: Space, history: History, rng: np.random.Generator) -> Architecture:
        alive = []
        for trial in reversed(history):
            if trial.defined:
                alive.append(trial)
                if len(alive) == self.population:
                    break
        if len(alive) < self.population:
            return unseen(lambda: space.sample(rng), space, history)
        parent = tournament(alive, self.sample, rng)
        return unseen(lambda: space.mutate(parent, rng), space, history, walk=lambda a: space.mutate(a, rng))


def tournament(alive: Sequence[Trial], sample: int, rng: np.random.Generator) -> Architecture:
    """The best of a random sample of the living, or of all where they are fewer."""
    contestants = rng.choice(len(alive), size=min(sample, len(alive)), replace=False)
    return min((alive[int(place)] for place in contestants), key=lambda trial: trial.rank).architecture
