"""DARTS on random features: convolutions are never trained, so that plain connections cannot help them."""

from __future__ import annotations

from archscout.core.method import Run
from archscout.core.registry import register
from archscout.methods.weight_sharing import WeightSharing, adam_rate, check
from archscout.supernets import plans
from archscout.supernets.phases import Phase
from archscout.supernets.supernet import Supernet
from archscout.supernets.updates import Pathwise
from archscout.supernets.weights import norms_and_classifier


@register("method", "rf_darts")
class RFDARTS(WeightSharing):
    """RF-DARTS: as DARTS, with batch normalisation and classifier trained alone (Zhang et al. 2023, 2208.08835).

    Args:
        steps, batch, finalists: see `archscout.methods.weight_sharing.WeightSharing`.
        reach: how far a logit can go in the whole search.
    """

    learns = "mixture"

    def __init__(self, steps: int = 1000, batch: int = 64, finalists: int = 3, reach: float = 6.0) -> None:
        super().__init__(steps, batch, finalists)
        check("rf_darts", reach=reach)
        self.name = "rf_darts"
        self.reach = reach

    def phases(self, run: Run, supernet: Supernet, steps: int) -> list[Phase]:
        update = Pathwise(plans.dense, adam_rate(self.reach, steps))
        return [Phase(plan=plans.dense, update=update, weights=norms_and_classifier, rate=(0.025, 1e-3))]
