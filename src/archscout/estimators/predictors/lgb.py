"""Gradient boosting on the one-hot graph, by the name and with the settings of the study of 31 predictors."""

from __future__ import annotations

from archscout.core.registry import register
from archscout.estimators.predictors.learned import Learned
from archscout.estimators.predictors.lightgbm import LightGBM


@register("estimator", "lgb")
def lgb(encoding: str = "adjacency", scores: str = "", tune: int = 0, seed: int = 0) -> Learned:
    """LightGBM, 500 rounds on the one-hot graph, of the study of 31 predictors (White et al. 2021)."""
    return Learned("lgb", LightGBM(seed=seed, rounds=500), encoding, scores, tune=tune)
