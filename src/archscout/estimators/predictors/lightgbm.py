"""Gradient boosting: small trees, each learning what those before it got wrong."""

from __future__ import annotations

from typing import Any

import numpy as np

from archscout.core.errors import UsageError
from archscout.core.registry import register
from archscout.core.seeds import derive
from archscout.estimators.predictors.base import Predictor
from archscout.estimators.predictors.learned import Learned

ROUNDS = 200


@register("estimator", "lightgbm")
def lightgbm(encoding: str = "default", scores: str = "", seed: int = 0) -> Learned:
    """Gradient boosting (LightGBM, Ke et al. 2017) with squared error."""
    return Learned("lightgbm", LightGBM(seed=seed), encoding, scores)


class LightGBM(Predictor):
    """Boosted trees of 31 leaves, rate 0.05, as in the study of White et al. (2021, arXiv 2104.01177), 200 rounds.

    Says no standard deviation (NaN). Parameters: see `Predictor`. Raises `UsageError` where LightGBM is not installed.
    """

    def _fit(self, matrix: np.ndarray, y: np.ndarray) -> None:
        self.centre_, self.unit_ = y.mean(), y.std()
        self.model_ = boosted({"objective": "regression"}, matrix, (y - self.centre_) / self.unit_, None, self.seed)

    def _predict(self, matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        mean = np.asarray(self.model_.predict(matrix, num_threads=1)) * self.unit_ + self.centre_
        return mean, np.full(len(mean), np.nan)


def boosted(
    objective: dict[str, Any], matrix: np.ndarray, labels: np.ndarray, groups: list[int] | None, seed: int
) -> Any:
    """A trained LightGBM model: one thread, the same for the same seed."""
    try:
        import lightgbm as library
    except ImportError as error:
        raise UsageError("LightGBM is not installed: install it with pip install 'archscout[predictors]'.") from error
    parameters = {
        "num_leaves": 31, "learning_rate": 0.05, "feature_fraction": 0.9, "bagging_fraction": 0.8, "bagging_freq": 5,
        "min_data_in_leaf": min(5, max(1, len(labels) // 5)), "num_threads": 1, "verbosity": -1, "deterministic": True,
        "force_row_wise": True, "seed": derive(seed, "lightgbm") % 2**31,
    }  # fmt: skip
    data = library.Dataset(matrix, labels, group=groups, free_raw_data=True)
    return library.train(parameters | objective, data, num_boost_round=ROUNDS)
