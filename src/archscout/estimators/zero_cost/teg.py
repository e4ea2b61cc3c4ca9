"""TEG-NAS: trainability, expressivity and generalisation by their joint rank."""

from __future__ import annotations

import numpy as np

from archscout.core.registry import register
from archscout.estimators.zero_cost.harness import Ensemble
from archscout.estimators.zero_cost.ranks import ranks


@register("estimator", "teg")
class Teg(Ensemble):
    """TEG-NAS: sum of the ranks of trainability, expressivity and generalisation of the tangent kernel.

    score = sum over `te_nas_ntk`, `te_nas_regions` and `teg_mse` of the rank among a reference sample of the space: the
    rule by which its searches pick their result at the end.

    Source: Chen, Gong, Wu, et al. 2021, arXiv 2108.11939. They rank among the architectures that a search has visited;
    here the measure is fixed.

    Args:
        reference: architectures drawn to rank against.
    """

    members = ("te_nas_ntk", "te_nas_regions", "teg_mse")

    def __init__(self, reference: int = 64) -> None:
        self.name = "teg"
        self.reference = reference

    def combine(self, values: np.ndarray, reference: np.ndarray) -> np.ndarray:
        return np.asarray(ranks(values, reference).sum(1))
