"""FR-NAS: two graph networks, one on the graph and one on the graph with its edges turned round, made to agree."""

from __future__ import annotations

from archscout.core.registry import register
from archscout.estimators.predictors.gin import GIN
from archscout.estimators.predictors.learned import Learned

AGREEMENT = 0.8


@register("estimator", "fr_nas")
def fr_nas(encoding: str = "default", scores: str = "", seed: int = 0) -> Learned:
    """Forward and reverse graph networks whose features agree (FR-NAS, Zhang, Cheng 2024, arXiv 2404.15622)."""
    return Learned("fr_nas", GIN(seed=seed, reverse=(False, True), agreement=AGREEMENT), encoding, scores)
