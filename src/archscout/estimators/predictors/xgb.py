"""Gradient boosting by XGBoost, with the settings of the study of 31 predictors."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from archscout.core.errors import UsageError
from archscout.core.registry import register
from archscout.core.seeds import derive
from archscout.core.space import Space
from archscout.estimators.predictors.base import Predictor, log_uniform
from archscout.estimators.predictors.learned import Learned


@register("estimator", "xgb")
def xgb(encoding: str = "default", scores: str = "", tune: int = 0, seed: int = 0) -> Learned:
    """XGBoost (Chen, Guestrin 2016), 500 rounds on the one-hot graph, of the study of 31 predictors."""
    return Learned("xgb", XGBoost(seed=seed), encoding, scores, tune=tune)


class XGBoost(Predictor):
    """Boosted trees of depth 6, rate 0.3, 500 rounds, as in the study of White et al. (2021, arXiv 2104.01177).

    Says no standard deviation (NaN). Raises `UsageError` where XGBoost is not installed.

    Args:
        space, encoding, seed: see `Predictor`.
        depth: of a tree.
        rate: the weight of a tree.
        child: the least weight of the samples in a leaf.
        columns: the share of the features that a tree sees.
    """

    usual: ClassVar[str] = "adjacency"
    library: ClassVar[str] = "xgboost"

    def __init__(
        self,
        space: Space | None = None,
        encoding: str | None = None,
        seed: int = 0,
        *,
        depth: int = 6,
        rate: float = 0.3,
        child: float = 1.0,
        columns: float = 1.0,
    ) -> None:
        super().__init__(space, encoding, seed)
        self.depth, self.rate, self.child, self.columns = depth, rate, child, columns

    def drawn(self, rng: np.random.Generator) -> dict[str, Any]:
        return {
            "depth": int(rng.integers(1, 15)), "rate": log_uniform(rng, 0.001, 0.5),
            "child": float(rng.integers(1, 10)), "columns": float(rng.uniform(0.1, 1)),
        }  # fmt: skip

    def _fit(self, matrix: np.ndarray, y: np.ndarray) -> None:
        try:
            import xgboost
        except ImportError as error:
            raise UsageError(
                "XGBoost is not installed: install it with pip install 'archscout[predictors]'."
            ) from error
        self.centre_, self.unit_ = y.mean(), y.std()
        self.trees_ = xgboost.XGBRegressor(
            n_estimators=500, max_depth=self.depth, learning_rate=self.rate, min_child_weight=self.child,
            colsample_bytree=self.columns, n_jobs=1, tree_method="exact", random_state=derive(self.seed, "xgb") % 2**31,
        ).fit(matrix, (y - self.centre_) / self.unit_)  # fmt: skip

    def _predict(self, matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        mean = self.trees_.predict(matrix).astype(np.float64) * self.unit_ + self.centre_
        return mean, np.full(len(mean), np.nan)
