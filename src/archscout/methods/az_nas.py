"""The searches of AZ-NAS: four views of a network at initialisation, by their joint rank among the candidates."""

from __future__ import annotations

import numpy as np

from archscout.core.architecture import Architecture
from archscout.core.method import Run
from archscout.core.registry import register
from archscout.methods.training_free import BestOf, Scored, evolve, log_ranks, whole


@register("method", "az_nas")
class AZNAS(BestOf):
    """AZ-NAS: the best of 3,000 random architectures by four log-ranks is trained (Lee, Ham 2024, arXiv 2403.19232).

    The four are expressivity, progressivity, trainability and multiply-adds; ranks are those among all that the search
    has scored, as published (the estimator `az_nas` ranks against a fixed sample instead). 3,000 random architectures
    are the published search of NAS-Bench-201; that of mobile networks is the evolution of `zen_nas` with this rule.

    Args:
        samples: architectures that are scored.
        batch: random inputs of the three views that look at features.
        population: 0 draws all architectures at random; more lets them evolve, from so many best (published: 512).
        finalists: see `archscout.methods.training_free.TrainingFree`.
    """

    def __init__(self, samples: int = 3000, batch: int = 64, population: int = 0, finalists: int = 1) -> None:
        views = [
            f"az_{view}:batch={whole(batch, 'batch', 2)}" for view in ("expressivity", "progressivity", "trainability")
        ]
        super().__init__([*views, "macs"], samples, finalists=finalists)
        self.name = "az_nas"
        self.population = population if population == 0 else whole(population, "population")

    def rule(self, values: np.ndarray) -> np.ndarray:
        return log_ranks(values)

    def find(self, run: Run) -> list[Architecture]:
        if not self.population:
            return super().find(run)
        scored = Scored(run, self.scores)
        evolve(scored, self.rule, self.samples, self.population)
        return scored.best_first(self.rule(scored.values))
