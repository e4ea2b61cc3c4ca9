"""Support vector regression on the beginning of learning curves."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.preprocessing import StandardScaler
from sklearn.svm import NuSVR

from archscout.core.registry import register
from archscout.core.space import Space
from archscout.estimators.curves.learned import LearnedFromCurves
from archscout.estimators.predictors.base import Predictor

DRAWS = 100


@register("estimator", "lcsvr")
def lcsvr(encoding: str = "none", scores: str = "", curve: str = "summary", seed: int = 0) -> LearnedFromCurves:
    """Support vector regression on how a learning curve begins (Baker et al. 2017, arXiv 1705.10823)."""
    return LearnedFromCurves("lcsvr", CurveSVR(seed=seed), encoding, scores, curve, tune=DRAWS)


class CurveSVR(Predictor):
    """A nu-SVR with a squared exponential kernel on standardised features and values.

    The study of White et al. (2021, arXiv 2104.01177) tries 1,000 random settings; 100 are as good here. Says no
    standard deviation (NaN).

    Args:
        space, encoding, seed: see `Predictor`.
        penalty: of errors (C).
        nu: a lower bound of the share of support vectors.
        gamma: the inverse width of the kernel.
    """

    def __init__(
        self,
        space: Space | None = None,
        encoding: str | None = None,
        seed: int = 0,
        *,
        penalty: float = 1.0,
        nu: float = 0.5,
        gamma: float = 0.1,
    ) -> None:
        super().__init__(space, encoding, seed)
        self.penalty, self.nu, self.gamma = penalty, nu, gamma

    def drawn(self, rng: np.random.Generator) -> dict[str, Any]:
        low, high = np.log([1e-5, 10])
        return {
            "penalty": float(np.exp(rng.uniform(low, high))), "nu": float(rng.uniform(1e-3, 1)),
            "gamma": float(np.exp(rng.uniform(low, high))),
        }  # fmt: skip

    def _fit(self, matrix: np.ndarray, y: np.ndarray) -> None:
        self.scaler_ = StandardScaler().fit(matrix)
        self.centre_, self.unit_ = y.mean(), y.std()
        machine = NuSVR(C=self.penalty, nu=self.nu, gamma=self.gamma, max_iter=20_000)
        machine.random_state = 0  # no parameter of it, but without it numpy's global state is drawn from
        with warnings.catch_warnings():  # a setting that does not come to an end is one that is not chosen
            warnings.simplefilter("ignore", ConvergenceWarning)
            self.machine_ = machine.fit(self.scaler_.transform(matrix), (y - self.centre_) / self.unit_)

    def _predict(self, matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        mean = self.machine_.predict(self.scaler_.transform(matrix)) * self.unit_ + self.centre_
        return mean, np.full(len(mean), np.nan)
