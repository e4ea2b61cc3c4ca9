"""OMNI: what the encoding, a zero-cost score and the beginning of a curve say, joined in one predictor."""

from __future__ import annotations

from archscout.core.registry import register
from archscout.estimators.curves.learned import LearnedFromCurves
from archscout.estimators.predictors.ngb import NGBoost

DRAWS = 35


@register("estimator", "omni")
def omni(
    encoding: str = "adjacency", scores: str = "jacob_cov", curve: str = "sotl_e", tune: int = DRAWS, seed: int = 0
) -> LearnedFromCurves:
    """Natural gradient boosting on encoding, jacob_cov and SoTL-E (OMNI, White et al. 2021, arXiv 2104.01177)."""
    return LearnedFromCurves("omni", NGBoost(seed=seed), encoding, scores, curve, tune=tune)
