"""Weights by single paths, probabilities by the dense mixture, the most probable ones compared by inherited weights."""

from __future__ import annotations

from itertools import islice

from archscout.core.architecture import Architecture
from archscout.core.method import Run
from archscout.core.registry import register
from archscout.methods.weight_sharing import WeightSharing, adam_rate, best_of, check, inherited
from archscout.supernets import plans
from archscout.supernets.phases import Phase, Trained
from archscout.supernets.supernet import Supernet
from archscout.supernets.updates import Pathwise


@register("method", "setn")
class SETN(WeightSharing):
    """SETN: uniform single paths train weights, the dense mixture trains probabilities (Dong, Yang 2019, 1910.05733).

    Args:
        steps, batch, finalists: see `archscout.methods.weight_sharing.WeightSharing`.
        reach: how far a logit can go in the whole search.
        evaluations: of the most probable architectures, how many are compared by inherited weights.
    """

    learns = "gates"

    def __init__(
        self, steps: int = 2000, batch: int = 64, finalists: int = 3, reach: float = 6.0, evaluations: int = 100
    ) -> None:
        super().__init__(steps, batch, finalists)
        check("setn", reach=reach, evaluations=evaluations)
        self.name = "setn"
        self.reach, self.evaluations = reach, evaluations

    def phases(self, run: Run, supernet: Supernet, steps: int) -> list[Phase]:
        return [Phase(update=Pathwise(plans.dense, adam_rate(self.reach, steps)))]

    def derive(self, run: Run, supernet: Supernet, trained: Trained) -> list[Architecture]:
        probable = islice(trained.distribution.best_first(), 20 * self.evaluations)
        return best_of(run, inherited(run, supernet), probable, self.finalists, self.evaluations)
