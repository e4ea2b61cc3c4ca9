"""Batch normalisation trained alone, its scales as the score: no validation data is needed to search."""

from __future__ import annotations

from collections.abc import Sequence

from archscout.core.architecture import Architecture
from archscout.core.method import Run
from archscout.core.registry import register
from archscout.methods.weight_sharing import WeightSharing, evolved
from archscout.supernets.derive import norm_score
from archscout.supernets.phases import Phase, Trained
from archscout.supernets.supernet import Supernet
from archscout.supernets.weights import last_norms


@register("method", "bn_nas")
class BNNAS(WeightSharing):
    """BN-NAS: trains the last batch normalisation of each option, and scores by its scales (Chen et al. 2021).

    arXiv 2108.07375. Options without batch normalisation score nothing, which is as published, and a bias.

    Args:
        steps, batch, finalists: see `archscout.methods.weight_sharing.WeightSharing`.
        evaluations: architectures that evolution scores.
    """

    def __init__(self, steps: int = 400, batch: int = 64, finalists: int = 3, evaluations: int = 1000) -> None:
        super().__init__(steps, batch, finalists)
        self.name = "bn_nas"
        self.evaluations = evaluations

    def phases(self, run: Run, supernet: Supernet, steps: int) -> list[Phase]:
        return [Phase(weights=last_norms, rate=(0.25, 1e-3), name="batch normalisation")]

    def derive(self, run: Run, supernet: Supernet, trained: Trained) -> list[Architecture]:
        def score(architectures: Sequence[Architecture]) -> list[float]:
            return norm_score(supernet, architectures)

        return evolved(run, score, self.finalists, self.evaluations)
