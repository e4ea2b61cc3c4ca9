"""DARTS with partial channels and weights of edges."""

from __future__ import annotations

from archscout.core.method import Run
from archscout.core.registry import register
from archscout.methods.weight_sharing import WeightSharing, adam_rate, check
from archscout.supernets import plans
from archscout.supernets.distributions import EdgeDistribution
from archscout.supernets.partial import use_part
from archscout.supernets.phases import Phase
from archscout.supernets.supernet import Supernet
from archscout.supernets.updates import Pathwise
from archscout.supernets.weights import norms_and_classifier, unscaled


@register("method", "pc_darts")
class PCDARTS(WeightSharing):
    """PC-DARTS: one channel in four goes through the mixture, edges are weighted too (Xu et al. 2020, 1907.05737).

    Args:
        steps, batch, finalists: see `archscout.methods.weight_sharing.WeightSharing`.
        share: one channel in so many goes through the mixture.
        reach: how far a logit can go in the whole search.
        warm_up: the share of the steps in which weights alone are trained.
        random_features: train batch normalisation and the classifier alone (RF-PCDARTS: Zhang et al. 2023, arXiv
            2208.08835).
    """

    learns = "mixture"

    def __init__(
        self,
        steps: int = 1000,
        batch: int = 64,
        finalists: int = 3,
        share: int = 4,
        reach: float = 6.0,
        warm_up: float = 0.3,
        random_features: bool = False,
    ) -> None:
        super().__init__(steps, batch, finalists)
        check("pc_darts", share=share, reach=reach, warm_up=warm_up)
        self.name = "pc_darts:random_features=true" if random_features else "pc_darts"
        self.share, self.reach, self.warm_up, self.random_features = share, reach, warm_up, random_features

    def supernet(self, run: Run, seed: int) -> Supernet:
        return use_part(super().supernet(run, seed), self.share)

    def phases(self, run: Run, supernet: Supernet, steps: int) -> list[Phase]:
        weights = norms_and_classifier if self.random_features else unscaled
        update = Pathwise(plans.dense, adam_rate(self.reach, round(steps * (1 - self.warm_up))))
        return [
            Phase(
                self.warm_up,
                plans.dense,
                weights=weights,
                rate=(0.1, 0.07),
                convert=lambda distribution: EdgeDistribution(distribution.space).to(distribution.logits[0].device),
                name="warm-up",
            ),
            Phase(1 - self.warm_up, plans.dense, weights=weights, update=update, rate=(0.07, 0.0)),
        ]
