"""Bayesian ridge regression: linear in the features, with the strength of its prior chosen by evidence."""

from __future__ import annotations

import numpy as np
from sklearn.linear_model import BayesianRidge as Ridge
from sklearn.preprocessing import StandardScaler

from archscout.core.registry import register
from archscout.estimators.predictors.base import Predictor
from archscout.estimators.predictors.learned import Learned


@register("estimator", "bayesian_ridge")
def bayesian_ridge(encoding: str = "default", scores: str = "", seed: int = 0) -> Learned:
    """Bayesian linear regression (MacKay 1992); both precisions by maximum evidence."""
    return Learned("bayesian_ridge", BayesianRidge(seed=seed), encoding, scores)


class BayesianRidge(Predictor):
    """Bayesian linear regression on standardised features (MacKay 1992). Parameters: see `Predictor`."""

    def _fit(self, matrix: np.ndarray, y: np.ndarray) -> None:
        self.scaler_ = StandardScaler().fit(matrix)
        self.centre_, self.unit_ = y.mean(), y.std()
        self.model_ = Ridge().fit(self.scaler_.transform(matrix), (y - self.centre_) / self.unit_)

    def _predict(self, matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        mean, std = self.model_.predict(self.scaler_.transform(matrix), return_std=True)
        return mean * self.unit_ + self.centre_, std * self.unit_
