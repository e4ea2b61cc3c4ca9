"""The scaling of restructurable activation networks: the fewest multiply-adds at a given NN-mass."""

from __future__ import annotations

import numpy as np

from archscout.core.architecture import Architecture
from archscout.core.errors import UsageError
from archscout.core.method import Run
from archscout.core.registry import register
from archscout.methods.training_free import Scored, TrainingFree, evolve, whole

QUANTILE = 0.75
"""Of the NN-mass of random architectures: what is asked for where nothing is said."""


@register("method", "ran")
class RAN(TrainingFree):
    """RAN-implicit: the fewest multiply-adds at an NN-mass, which is then trained (Bhardwaj et al. 2022, 2208.08562).

    Networks of equal NN-mass (width x depth x density of short cuts) are said to train equally well, and deeper and
    thinner ones of the same mass cost less. The paper scales given networks by two factors; here every choice of the
    space may change: evolution among architectures of at least the mass that is asked for, towards fewer multiply-adds,
    and, where none has it, towards more mass.

    Args:
        mass: the least NN-mass; 0 takes what three of four random architectures have less of.
        samples: architectures that are looked at.
        population: how many of the best may be parents.
        finalists: see `archscout.methods.training_free.TrainingFree`.
    """

    def __init__(self, mass: float = 0.0, samples: int = 500, population: int = 50, finalists: int = 1) -> None:
        super().__init__(finalists)
        if mass < 0:
            raise UsageError(f"the NN-mass of method 'ran' must be at least 0, not {mass}.")
        self.name = "ran"
        self.mass = mass
        self.samples, self.population = whole(samples, "samples"), whole(population, "population")

    def find(self, run: Run) -> list[Architecture]:
        scored = Scored(run, ["nn_mass", "macs"])
        scored.sample(max(1, self.samples // 5))
        known = scored.values[np.isfinite(scored.values).all(axis=1), 0]
        asked = self.mass or (float(np.quantile(known, QUANTILE)) if len(known) else 0.0)

        def rule(values: np.ndarray) -> np.ndarray:
            mass, macs = values.T
            # All that have the mass come before all that have not.
            return np.asarray(np.where(mass >= asked, 1 / macs, mass - asked))

        evolve(scored, rule, self.samples, self.population)
        run.note("nn_mass", asked)
        return scored.best_first(rule(scored.values))
