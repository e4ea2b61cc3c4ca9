"""Random forest on the one-hot graph, by the name and with the encoding of the study of 31 predictors."""

from __future__ import annotations

from archscout.core.registry import register
from archscout.estimators.predictors.forest import RandomForest
from archscout.estimators.predictors.learned import Learned


@register("estimator", "rf")
def rf(encoding: str = "adjacency", scores: str = "", tune: int = 0, seed: int = 0) -> Learned:
    """Random forest on the one-hot graph, of the study of 31 predictors (White et al. 2021)."""
    return Learned("rf", RandomForest(seed=seed), encoding, scores, tune=tune)
