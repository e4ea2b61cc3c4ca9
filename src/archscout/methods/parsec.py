"""Probabilistic search with a fixed number of samples."""

from __future__ import annotations

from archscout.core.method import Run
from archscout.core.registry import register
from archscout.methods.weight_sharing import WeightSharing, adam_rate, check
from archscout.supernets.importance import Importance
from archscout.supernets.phases import Phase
from archscout.supernets.plans import Samples
from archscout.supernets.supernet import Supernet
from archscout.supernets.terms import PosteriorMean


@register("method", "parsec")
class PARSEC(WeightSharing):
    """PARSEC: samples weighted by how well they explain the batch teach weights and prior (Casale et al. 2019).

    arXiv 1902.05116.

    Args:
        steps, batch, finalists: see `archscout.methods.weight_sharing.WeightSharing`.
        samples: architectures a step.
        reach: how far a logit can go in the whole search.
        temperature: of the likelihood: 1, as published, is that of the whole batch, which a single sample mostly
            explains alone; the size of the batch is that of one example. Another one than 1 is this package's own.
    """

    learns = "samples"

    def __init__(
        self,
        steps: int = 800,
        batch: int = 64,
        finalists: int = 3,
        samples: int = 16,
        reach: float = 12.0,
        temperature: float = 4.0,
    ) -> None:
        super().__init__(steps, batch, finalists)
        check("parsec", samples=samples, reach=reach, temperature=temperature)
        self.name = "parsec"
        self.samples, self.reach, self.temperature = samples, reach, temperature

    def phases(self, run: Run, supernet: Supernet, steps: int) -> list[Phase]:
        update = Importance(adam_rate(self.reach, steps), temperature=self.temperature)
        return [Phase(plan=Samples(self.samples), objective=PosteriorMean(self.temperature), update=update)]
