"""The search of NASGraph: the random architecture whose graph of channels has the highest average degree."""

from __future__ import annotations

from archscout.core.registry import register
from archscout.methods.training_free import BestOf


@register("method", "nasgraph")
class NASGraph(BestOf):
    """NASGraph: of 200 random architectures the best by `nasgraph` is trained (Huang et al. 2024, arXiv 2405.01306).

    The paper reports 217 seconds on a processor for the 200 of NAS-Bench-201. Here the average degree is by default the
    expected one, without drawing weights (`score=nasgraph` draws them, as published).

    Args:
        samples: architectures that are scored.
        finalists: see `archscout.methods.training_free.TrainingFree`.
        score: the estimator, perhaps with parameters.
    """

    def __init__(self, samples: int = 200, finalists: int = 1, score: str = "nasgraph:expected=true") -> None:
        super().__init__([score], samples, finalists=finalists)
        self.name = "nasgraph"
