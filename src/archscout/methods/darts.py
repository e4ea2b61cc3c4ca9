"""Differentiable architecture search, of first and of second order."""

from __future__ import annotations

from archscout.core.errors import UsageError
from archscout.core.method import Run
from archscout.core.registry import register
from archscout.methods.weight_sharing import WeightSharing, adam_rate, check
from archscout.supernets import plans
from archscout.supernets.phases import Phase
from archscout.supernets.supernet import Supernet
from archscout.supernets.updates import Pathwise, Unrolled
from archscout.supernets.weights import unscaled


@register("method", "darts")
class DARTS(WeightSharing):
    """DARTS: all options at once, weighted by probabilities that follow the gradient (Liu et al. 2019, 1806.09055).

    It is known to prefer plain connections in the end; the search says so when it sees it.

    Args:
        steps, batch, finalists: see `archscout.methods.weight_sharing.WeightSharing`.
        order: 1 takes the weights as they are, 2 looks one step of theirs ahead.
        reach: how far a logit can go in the whole search (the published rate times the published steps).
    """

    learns = "mixture"

    def __init__(
        self, steps: int = 1000, batch: int = 64, finalists: int = 3, order: int = 1, reach: float = 6.0
    ) -> None:
        super().__init__(steps, batch, finalists)
        check("darts", reach=reach)
        if order not in (1, 2):
            raise UsageError(f"DARTS is of order 1 or 2, not {order!r}.")
        self.name = "darts" if order == 1 else "darts:order=2"
        self.order, self.reach = order, reach

    def phases(self, run: Run, supernet: Supernet, steps: int) -> list[Phase]:
        update = (Pathwise if self.order == 1 else Unrolled)(plans.dense, adam_rate(self.reach, steps))
        return [Phase(plan=plans.dense, update=update, weights=unscaled, rate=(0.025, 1e-3))]
