"""The search of Eigen-NAS: the random architecture whose tangent kernel has the largest least eigenvalue."""

from __future__ import annotations

from archscout.core.registry import register
from archscout.methods.training_free import BestOf


@register("method", "eigen_nas")
class EigenNAS(BestOf):
    """Eigen-NAS: of 100 random architectures the best by `eigen_nas` is trained (Zhu et al. 2022, arXiv 2209.07238).

    The paper's bound on the error falls with the least eigenvalue of the tangent kernel, and its search keeps the
    largest. How many it samples was not at hand. With `keep` the best are ordered by a short training, as in `knas`.

    Args:
        samples: architectures that are scored.
        keep: how many of them are trained briefly; 1: none.
        finalists: see `archscout.methods.training_free.TrainingFree`.
        score: the estimator, perhaps with parameters.
    """

    def __init__(self, samples: int = 100, keep: int = 1, finalists: int = 1, score: str = "eigen_nas") -> None:
        super().__init__([score], samples, keep, finalists)
        self.name = "eigen_nas"
