"""LambdaRank: boosted trees that learn the order of architectures, the top of it above all."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from scipy.stats import rankdata

from archscout.core.registry import register
from archscout.estimators.predictors.base import Predictor
from archscout.estimators.predictors.learned import Learned
from archscout.estimators.predictors.lightgbm import boosted

GRADES = 30


@register("estimator", "lambdarank")
def lambdarank(encoding: str = "default", scores: str = "", seed: int = 0) -> Learned:
    """Boosted trees that learn the order (LambdaRank, Burges 2010; for architectures AceNAS, 2021)."""
    return Learned("lambdarank", LambdaRank(seed=seed), encoding, scores)


class LambdaRank(Predictor):
    """LightGBM with the gradient of NDCG (Burges 2010) over 31 grades, of equal size, of the values.

    What it says is an order, brought to the mean and the deviation of the values learned from; it has no standard
    deviation (NaN). Parameters: see `Predictor`. Raises `UsageError` where LightGBM is not installed.
    """

    library: ClassVar[str] = "lightgbm"

    def _fit(self, matrix: np.ndarray, y: np.ndarray) -> None:
        grades = np.floor((rankdata(y) - 1) / max(1, len(y) - 1) * GRADES).astype(int)
        objective = {
            "objective": "lambdarank", "label_gain": list(range(GRADES + 1)), "lambdarank_truncation_level": len(y)
        }  # fmt: skip
        # The gradient is over pairs within a group: at most 10,000 rows make one.
        groups = [len(part) for part in np.array_split(y, -(-len(y) // 10_000))]
        self.model_ = boosted(objective, matrix, grades, groups, self.seed)
        said = np.asarray(self.model_.predict(matrix, num_threads=1))
        self.unit_ = y.std() / (said.std() or 1.0)
        self.centre_ = y.mean() - said.mean() * self.unit_

    def _predict(self, matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        mean = np.asarray(self.model_.predict(matrix, num_threads=1)) * self.unit_ + self.centre_
        return mean, np.full(len(mean), np.nan)
