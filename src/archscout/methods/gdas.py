"""One sampled option of each choice a step, with gradients through the sample."""

from __future__ import annotations

from archscout.core.method import Run
from archscout.core.registry import register
from archscout.methods.weight_sharing import WeightSharing, adam_rate, check
from archscout.supernets import plans
from archscout.supernets.phases import Phase
from archscout.supernets.supernet import Supernet
from archscout.supernets.updates import Pathwise
from archscout.supernets.weights import unscaled


@register("method", "gdas")
class GDAS(WeightSharing):
    """GDAS: a straight-through Gumbel sample a step, its temperature falling (Dong, Yang 2019, 1910.04465).

    Args:
        steps, batch, finalists: see `archscout.methods.weight_sharing.WeightSharing`.
        reach: how far a logit can go in the whole search.
    """

    learns = "mixture"

    def __init__(self, steps: int = 3000, batch: int = 64, finalists: int = 3, reach: float = 12.0) -> None:
        super().__init__(steps, batch, finalists)
        check("gdas", reach=reach)
        self.name = "gdas"
        self.reach = reach

    def phases(self, run: Run, supernet: Supernet, steps: int) -> list[Phase]:
        update = Pathwise(plans.relaxed, adam_rate(self.reach, steps))
        return [Phase(plan=plans.relaxed, update=update, weights=unscaled, rate=(0.025, 1e-3), temperature=(10.0, 0.1))]
