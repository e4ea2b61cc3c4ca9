"""Bayesian linear regression on the one-hot graph, by the name and with the encoding of the study of 31 predictors."""

from __future__ import annotations

from archscout.core.registry import register
from archscout.estimators.predictors.bayesian_ridge import BayesianRidge
from archscout.estimators.predictors.learned import Learned


@register("estimator", "bayes_lin_reg")
def bayes_lin_reg(encoding: str = "adjacency", scores: str = "", seed: int = 0) -> Learned:
    """Bayesian linear regression on the one-hot graph, of the study of 31 predictors (White et al. 2021)."""
    return Learned("bayes_lin_reg", BayesianRidge(seed=seed), encoding, scores)
