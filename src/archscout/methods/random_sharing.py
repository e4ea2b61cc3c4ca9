"""Random search with weight sharing: the control that every cleverer method must beat."""

from __future__ import annotations

from archscout.core.architecture import Architecture
from archscout.core.method import Run
from archscout.core.registry import register
from archscout.methods.weight_sharing import WeightSharing, best_of, check, inherited
from archscout.supernets.phases import Phase, Trained
from archscout.supernets.supernet import Supernet


@register("method", "random_sharing")
class RandomSharing(WeightSharing):
    """Random search with shared weights: single paths, then the best of random ones (Li, Talwalkar 2019, 1902.07638).

    Args:
        steps, batch, finalists: see `archscout.methods.weight_sharing.WeightSharing`.
        evaluations: random architectures that get an inherited score.
    """

    def __init__(self, steps: int = 4000, batch: int = 64, finalists: int = 3, evaluations: int = 100) -> None:
        super().__init__(steps, batch, finalists)
        check("random_sharing", evaluations=evaluations)
        self.name = "random_sharing"
        self.evaluations = evaluations

    def phases(self, run: Run, supernet: Supernet, steps: int) -> list[Phase]:
        return [Phase(name="single paths")]

    def derive(self, run: Run, supernet: Supernet, trained: Trained) -> list[Architecture]:
        rng = run.rng("random architectures")
        drawn = (run.space.sample(rng) for _ in range(100 * self.evaluations))
        return best_of(run, inherited(run, supernet), drawn, self.finalists, self.evaluations)
