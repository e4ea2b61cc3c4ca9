"""Random forest: the average of deep trees, each seeing a random part of the features at each split."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.ensemble import RandomForestRegressor

from archscout.core.registry import register
from archscout.core.seeds import derive
from archscout.core.space import Space
from archscout.estimators.predictors.base import Predictor, log_uniform
from archscout.estimators.predictors.learned import Learned


@register("estimator", "random_forest")
def random_forest(encoding: str = "default", scores: str = "", seed: int = 0) -> Learned:
    """Random forest (Breiman 2001) as in the study of White et al. (2021, arXiv 2104.01177)."""
    return Learned("random_forest", RandomForest(seed=seed), encoding, scores)


class RandomForest(Predictor):
    """116 trees on all samples, leaves of at least 2, splits among 17 % of the features; deviation between trees.

    The settings of the study of White, Zela, Ru, Liu, Hutter (2021, arXiv 2104.01177).

    Args:
        space, encoding, seed: see `Predictor`.
        trees: how many.
        features: the share of them that a split chooses from.
        leaf: the fewest samples of a leaf.
    """

    def __init__(
        self,
        space: Space | None = None,
        encoding: str | None = None,
        seed: int = 0,
        *,
        trees: int = 116,
        features: float = 0.17,
        leaf: int = 2,
    ) -> None:
        super().__init__(space, encoding, seed)
        self.trees, self.features, self.leaf = trees, features, leaf

    def drawn(self, rng: np.random.Generator) -> dict[str, Any]:
        return {
            "trees": int(log_uniform(rng, 16, 128)), "features": float(rng.uniform(0.1, 0.9)),
            "leaf": int(rng.integers(1, 20)),
        }  # fmt: skip

    def _fit(self, matrix: np.ndarray, y: np.ndarray) -> None:
        state = derive(self.seed, "random forest") % 2**32
        self.trees_ = forest(self.trees, state, self.features, self.leaf).fit(matrix, y)

    def _predict(self, matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return between_trees(self.trees_, matrix)


def forest(trees: int, state: int, features: float = 0.17, leaf: int = 2) -> RandomForestRegressor:
    """A forest with these settings, not grown yet."""
    return RandomForestRegressor(
        trees, max_features=features, min_samples_leaf=leaf, bootstrap=False, random_state=state, n_jobs=1
    )


def between_trees(trees: RandomForestRegressor, matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of what the trees of a forest say."""
    said = np.stack([tree.predict(matrix.astype(np.float32), check_input=False) for tree in trees.estimators_])
    return said.mean(axis=0), said.std(axis=0, ddof=1)
