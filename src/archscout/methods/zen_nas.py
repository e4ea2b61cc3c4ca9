"""The search of Zen-NAS: evolution of networks that change much when their inputs change little."""

from __future__ import annotations

from archscout.core.architecture import Architecture
from archscout.core.method import Run
from archscout.core.registry import register
from archscout.methods.training_free import Scored, TrainingFree, evolve, first, whole


@register("method", "zen_nas")
class ZenNAS(TrainingFree):
    """Zen-NAS: evolution on the Zen-score within the limits, whose best is trained (Lin et al. 2021, arXiv 2102.01063).

    A parent is drawn uniformly from the 512 best so far, two of its choices are changed, and what breaks a limit is not
    scored. The published search makes 480,000 such steps with 1 repeat of the score a network, from an architecture
    given by hand; here it begins with random ones, and makes as many steps as `samples` says. The score grows with
    depth and width: without a limit (`--max macs=...`) it leads to the largest networks.

    Args:
        samples: architectures that are scored.
        population: how many of the best may be parents.
        finalists: see `archscout.methods.training_free.TrainingFree`.
        score: the estimator, perhaps with parameters.
    """

    def __init__(
        self, samples: int = 1000, population: int = 512, finalists: int = 1, score: str = "zen:repeats=1"
    ) -> None:
        super().__init__(finalists)
        self.name = "zen_nas"
        self.samples, self.population = whole(samples, "samples"), whole(population, "population")
        self.score = score

    def find(self, run: Run) -> list[Architecture]:
        scored = Scored(run, [self.score])
        evolve(scored, first, self.samples, self.population)
        return scored.best_first(first(scored.values))
