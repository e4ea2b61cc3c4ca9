"""Gradient boosting: small trees, each learning what those before it got wrong."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from archscout.core.errors import UsageError
from archscout.core.registry import register
from archscout.core.seeds import derive
from archscout.core.space import Space
from archscout.estimators.predictors.base import Predictor, log_uniform
from archscout.estimators.predictors.learned import Learned

ROUNDS = 200


@register("estimator", "lightgbm")
def lightgbm(encoding: str = "default", scores: str = "", seed: int = 0) -> Learned:
    """Gradient boosting (LightGBM, Ke et al. 2017) with squared error."""
    return Learned("lightgbm", LightGBM(seed=seed), encoding, scores)


class LightGBM(Predictor):
    """Boosted trees of 31 leaves, rate 0.05, as in the study of White et al. (2021, arXiv 2104.01177), 200 rounds.

    Says no standard deviation (NaN). Raises `UsageError` where LightGBM is not installed.

    Args:
        space, encoding, seed: see `Predictor`.
        rounds: of boosting (the study: 500).
        leaves: of a tree.
        rate: the weight of a tree.
        features: the share of them that a tree sees.
    """

    library: ClassVar[str] = "lightgbm"

    def __init__(
        self,
        space: Space | None = None,
        encoding: str | None = None,
        seed: int = 0,
        *,
        rounds: int = ROUNDS,
        leaves: int = 31,
        rate: float = 0.05,
        features: float = 0.9,
    ) -> None:
        super().__init__(space, encoding, seed)
        self.rounds, self.leaves, self.rate, self.features = rounds, leaves, rate, features

    def drawn(self, rng: np.random.Generator) -> dict[str, Any]:
        return {
            "leaves": int(rng.integers(10, 101)), "features": float(rng.uniform(0.1, 1)),
            "rate": log_uniform(rng, 0.001, 0.1),
        }  # fmt: skip

    def _fit(self, matrix: np.ndarray, y: np.ndarray) -> None:
        self.centre_, self.unit_ = y.mean(), y.std()
        how = {
            "objective": "regression", "num_leaves": self.leaves, "learning_rate": self.rate,
            "feature_fraction": self.features,
        }  # fmt: skip
        z = (y - self.centre_) / self.unit_
        self.model_ = boosted(how, matrix, z, None, self.seed, self.rounds)

    def _predict(self, matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        mean = np.asarray(self.model_.predict(matrix, num_threads=1)) * self.unit_ + self.centre_
        return mean, np.full(len(mean), np.nan)


def boosted(
    objective: dict[str, Any],
    matrix: np.ndarray,
    labels: np.ndarray,
    groups: list[int] | None,
    seed: int,
    rounds: int = ROUNDS,
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
    return library.train(parameters | objective, data, num_boost_round=rounds)
