"""Extra trees: a forest whose splits are drawn at random and only the best of them is taken."""

from __future__ import annotations

import numpy as np
from sklearn.ensemble import ExtraTreesRegressor

from archscout.core.registry import register
from archscout.core.seeds import derive
from archscout.estimators.predictors.base import Predictor
from archscout.estimators.predictors.forest import between_trees
from archscout.estimators.predictors.learned import Learned


@register("estimator", "extra_trees")
def extra_trees(encoding: str = "default", scores: str = "", seed: int = 0) -> Learned:
    """Extremely randomised trees (Geurts, Ernst, Wehenkel 2006)."""
    return Learned("extra_trees", ExtraTrees(seed=seed), encoding, scores)


class ExtraTrees(Predictor):
    """200 extremely randomised trees, splits among 30 % of the features; deviation between trees.

    Parameters: see `Predictor`.
    """

    def _fit(self, matrix: np.ndarray, y: np.ndarray) -> None:
        state = derive(self.seed, "extra trees") % 2**32
        self.trees_ = ExtraTreesRegressor(200, max_features=0.3, random_state=state, n_jobs=1).fit(matrix, y)

    def _predict(self, matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return between_trees(self.trees_, matrix)
