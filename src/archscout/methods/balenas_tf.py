"""BaLeNAS whose result is the best of many samples by a score that needs no training."""

from __future__ import annotations

from archscout.core.architecture import Architecture
from archscout.core.method import Run
from archscout.core.registry import register
from archscout.methods.balenas import BaLeNAS
from archscout.methods.weight_sharing import check
from archscout.supernets.phases import Trained
from archscout.supernets.supernet import Supernet


@register("method", "balenas_tf")
class BaLeNASTF(BaLeNAS):
    """BaLeNAS-TF: samples of the learnt distribution, the best by a zero-cost score (Zhang et al. 2022, 2111.13204).

    Args:
        steps, batch, finalists, reach: see `archscout.methods.balenas.BaLeNAS`.
        samples: architectures that are scored.
        score: the estimator that scores them.
    """

    learns = "gates"  # what is sampled must be an architecture

    def __init__(
        self,
        steps: int = 1000,
        batch: int = 64,
        finalists: int = 3,
        reach: float = 6.0,
        samples: int = 60,
        score: str = "naswot",
    ) -> None:
        super().__init__(steps, batch, finalists, reach)
        check("balenas_tf", samples=samples)
        self.name = "balenas_tf"
        self.samples, self.score = samples, score

    def derive(self, run: Run, supernet: Supernet, trained: Trained) -> list[Architecture]:
        drawn = trained.distribution.sample(20 * self.samples, run.rng("samples"))
        different = {run.space.canonical(architecture): architecture for architecture in reversed(drawn)}
        admitted = run.admit(reversed(different.values()), self.samples)
        (trials,) = run.score(admitted, [self.score])
        return [trial.architecture for trial in sorted(trials, key=lambda trial: trial.rank)[: self.finalists]]
