"""The search of NASWOT: the random architecture whose rectifiers tell examples apart best."""

from __future__ import annotations

from archscout.core.registry import register
from archscout.methods.training_free import BestOf


@register("method", "naswot")
class NASWOT(BestOf):
    """NASWOT: of 100 random architectures the best by `naswot` is trained (Mellor et al. 2021, arXiv 2006.04647).

    Published results are of 10 and of 100 samples. Here no network is scored twice.

    Args:
        samples: architectures that are scored.
        finalists: see `archscout.methods.training_free.TrainingFree`.
        score: the estimator, perhaps with parameters (`naswot:batch=64`).
    """

    def __init__(self, samples: int = 100, finalists: int = 1, score: str = "naswot") -> None:
        super().__init__([score], samples, finalists=finalists)
        self.name = "naswot"
