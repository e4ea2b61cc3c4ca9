"""The combined predictor: all that can be known of an architecture before its training ends, each with its weight."""

from __future__ import annotations

from archscout.core.registry import register
from archscout.estimators.curves.learned import LearnedFromCurves
from archscout.estimators.predictors.scout import Scout
from archscout.estimators.predictors.stacked import Stacked


@register("estimator", "combined")
def combined(
    encoding: str = "default", scores: str = "", curve: str = "sotl_e+valloss+valacc", seed: int = 0
) -> LearnedFromCurves:
    """Encoding, scores and the beginning of a curve, stacked with weights that left-out samples teach."""
    return LearnedFromCurves("combined", Stacked(Scout(), seed=seed), encoding, scores, curve)
