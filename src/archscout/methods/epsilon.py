"""Search by how differently two constant initialisations order the examples of a batch."""

from __future__ import annotations

from archscout.core.registry import register
from archscout.methods.training_free import BestOf


@register("method", "epsilon")
class Epsilon(BestOf):
    """Epsilon: of 100 random architectures the best by `epsilon` is trained (Gracheva 2023, arXiv 2302.04406).

    The paper proposes the score for use within any search; the best of a random sample is the plainest one. Networks
    where the score is undefined (on NAS-Bench-201 those without a path free of convolutions, 41 %) are never picked, as
    in its code; `score=epsilon_log` is defined for all that are connected.

    Args:
        samples: architectures that are scored.
        finalists: see `archscout.methods.training_free.TrainingFree`.
        score: the estimator, perhaps with parameters (`epsilon:batch=64`).
    """

    def __init__(self, samples: int = 100, finalists: int = 1, score: str = "epsilon") -> None:
        super().__init__([score], samples, finalists=finalists)
        self.name = "epsilon"
