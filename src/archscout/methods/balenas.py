"""DARTS with random logits that follow the natural gradient of variational inference."""

from __future__ import annotations

from archscout.core.method import Run
from archscout.core.registry import register
from archscout.methods.weight_sharing import Learns, WeightSharing, adam_rate, check
from archscout.supernets import plans
from archscout.supernets.natural_gradient import NaturalGaussian
from archscout.supernets.phases import Phase
from archscout.supernets.supernet import Supernet
from archscout.supernets.weights import unscaled


@register("method", "balenas")
class BaLeNAS(WeightSharing):
    """BaLeNAS: normally distributed logits, moved by the Bayesian learning rule (Zhang et al. 2022, arXiv 2111.13204).

    Args:
        steps, batch, finalists: see `archscout.methods.weight_sharing.WeightSharing`.
        reach: how far the mean of a logit can go in the whole search.
    """

    learns: Learns = "mixture"

    def __init__(self, steps: int = 1000, batch: int = 64, finalists: int = 3, reach: float = 6.0) -> None:
        super().__init__(steps, batch, finalists)
        check("balenas", reach=reach)
        self.name = "balenas"
        self.reach = reach

    def phases(self, run: Run, supernet: Supernet, steps: int) -> list[Phase]:
        update = NaturalGaussian(plans.dense, adam_rate(self.reach, steps), count=float(len(run.task.valid)))
        return [Phase(plan=plans.dense, update=update, weights=unscaled, rate=(0.025, 1e-3))]
