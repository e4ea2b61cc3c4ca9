"""Natural gradient boosting: trees that learn a mean and a deviation together."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
from sklearn.tree import DecisionTreeRegressor

from archscout.core.registry import register
from archscout.core.seeds import stream
from archscout.core.space import Space
from archscout.estimators.predictors.base import Predictor, log_uniform
from archscout.estimators.predictors.learned import Learned


@register("estimator", "ngb")
def ngb(encoding: str = "default", scores: str = "", tune: int = 0, seed: int = 0) -> Learned:
    """Natural gradient boosting (Duan et al. 2020, arXiv 1910.03225) on the one-hot graph, of the study of 2021."""
    return Learned("ngb", NGBoost(seed=seed), encoding, scores, tune=tune)


class NGBoost(Predictor):
    """Boosting of a normal distribution along the natural gradient of its log-likelihood (arXiv 1910.03225).

    The parameters of the distribution are its mean and the logarithm of its deviation; a tree for each learns the
    natural gradient in every round, and the step along both is halved until the likelihood of the samples does not
    fall. Written here because the library of the authors needs a pandas that is older than others can live with.
    Settings as in the study of White et al. (2021, arXiv 2104.01177): 505 rounds at 0.081 on random halves of the
    samples, trees of depth 6 that choose among 79 % of the features.

    Args:
        space, encoding, seed: see `Predictor`.
        rounds: of boosting.
        rate: the weight of a round.
        depth: of a tree.
        features: the share of them that a split chooses from.
    """

    usual: ClassVar[str] = "adjacency"

    def __init__(
        self,
        space: Space | None = None,
        encoding: str | None = None,
        seed: int = 0,
        *,
        rounds: int = 505,
        rate: float = 0.081,
        depth: int = 6,
        features: float = 0.79,
    ) -> None:
        super().__init__(space, encoding, seed)
        self.rounds, self.rate, self.depth, self.features = rounds, rate, depth, features

    def drawn(self, rng: np.random.Generator) -> dict[str, Any]:
        return {
            "rounds": int(log_uniform(rng, 128, 512)), "depth": int(rng.integers(1, 25)),
            "rate": log_uniform(rng, 0.001, 0.1), "features": float(rng.uniform(0.1, 1)),
        }  # fmt: skip

    def _fit(self, matrix: np.ndarray, y: np.ndarray) -> None:
        rng = stream(self.seed, "ngb")
        self.centre_, self.unit_ = y.mean(), y.std()
        z, x = (y - self.centre_) / self.unit_, matrix.astype(np.float32)
        mean, log_std = np.zeros(len(z)), np.zeros(len(z))
        self.trees_: list[tuple[float, list[DecisionTreeRegressor]]] = []
        for _ in range(self.rounds):
            half = rng.permutation(len(z))[: max(2, len(z) // 2)]
            gradient = natural_gradient(z[half], mean[half], log_std[half])
            trees = [
                DecisionTreeRegressor(
                    max_depth=self.depth, max_features=self.features, random_state=int(rng.integers(2**31))
                ).fit(x[half], column)
                for column in gradient.T
            ]
            step = said_by(trees, x)
            scale, before = 1.0, loss(z[half], mean[half], log_std[half])
            while scale > 1e-3 and loss(z[half], *_moved(mean, log_std, scale * step, half)) > before:
                scale /= 2
            weight = scale * self.rate
            self.trees_.append((weight, trees))
            mean, log_std = mean - weight * step[:, 0], log_std - weight * step[:, 1]

    def _predict(self, matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        x = matrix.astype(np.float32)
        total = np.zeros((len(x), 2))
        for weight, trees in self.trees_:
            total -= weight * said_by(trees, x)
        return total[:, 0] * self.unit_ + self.centre_, np.exp(total[:, 1]) * self.unit_


def said_by(trees: list[DecisionTreeRegressor], x: np.ndarray) -> np.ndarray:
    """One column a tree; x is float32."""
    return np.stack([tree.predict(x, check_input=False) for tree in trees], axis=1)


def loss(z: np.ndarray, mean: np.ndarray, log_std: np.ndarray) -> float:
    """The mean negative log-likelihood, without its constant."""
    return float(np.mean(log_std + 0.5 * ((z - mean) * np.exp(-log_std)) ** 2))


def natural_gradient(z: np.ndarray, mean: np.ndarray, log_std: np.ndarray) -> np.ndarray:
    """Of the negative log-likelihood of each sample by (mean, log std), times the inverse Fisher information: (n, 2).

    The information is diag(1 / std^2, 2), so that the first component is mean - z, whatever the deviation.
    """
    off = (z - mean) * np.exp(-log_std)
    return np.stack([mean - z, (1 - off**2) / 2], axis=1)


def _moved(mean: np.ndarray, log_std: np.ndarray, step: np.ndarray, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return mean[rows] - step[rows, 0], log_std[rows] - step[rows, 1]
