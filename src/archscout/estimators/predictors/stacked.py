"""Several opinions as one: a predictor on everything, one on the architecture alone, and each score by itself."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.optimize import nnls
from sklearn.base import clone

from archscout.core.space import Space
from archscout.estimators.predictors.base import Predictor, block_widths
from archscout.estimators.predictors.gaussian_process import on_the_values
from archscout.estimators.predictors.targets import Scale

BELIEF = 10.0
"""So many samples' worth of belief that the predictor on everything is right as it is."""


class Stacked(Predictor):
    """A weighted sum of opinions, with weights of zero or more that are learned on samples that were left out.

    Opinions are a learner (such as `Scout`) on all columns, the same on the encoding alone, and each column after the
    encoding (a score, what a reader of curves says, the value in a supernet) as it is. Values and opinions are brought
    to the scale of `Scale`, where the weights minimise the squared error of what each would have said of samples that
    it had not seen, with a pull towards the first opinion alone, which is what remains where nothing else is known to
    help.
    So an opinion that needs no samples is not drowned, where there are few, by those that learn. Stacking is Wolpert's
    (1992) and Breiman's (1996). The pull was chosen on CIFAR-10 of NAS-Bench-201.

    The standard deviation is that of the errors on what was left out, the same for all.

    Args:
        learner: a predictor with a parameter `widths`, which says in `left_out_` what `Scout` says there.
        space, encoding, seed: see `Predictor`.
        widths: of the blocks of features; blocks of one column at the end are opinions by themselves.
    """

    def __init__(
        self,
        learner: Predictor,
        space: Space | None = None,
        encoding: str | None = None,
        widths: tuple[int, ...] | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__(space, encoding, seed)
        self.learner, self.widths = learner, widths

    def _fit(self, matrix: np.ndarray, y: np.ndarray) -> None:
        blocks = block_widths(self, matrix)
        alone = next((place for place, width in enumerate(reversed(blocks)) if width > 1), len(blocks))
        self.plain_ = matrix.shape[1] - alone
        self.scale_ = Scale(y)
        self.learners_ = [self._fresh(blocks)]
        if alone and self.plain_:
            self.learners_.append(self._fresh(blocks[: len(blocks) - alone]))
        for learner in self.learners_:
            learner.fit(self._columns(learner, matrix), y)
        self.opinions_ = [
            Scale(column) if np.ptp(column) > 0 else None for column in matrix[:, self.plain_ :].T
        ]  # a column that is the same everywhere is no opinion
        rows = self.learners_[0].left_out_[0]
        unseen = [learner.left_out_[1] for learner in self.learners_]
        said, z = np.column_stack([*unseen, self._by_themselves(matrix[rows])]), self.scale_.up(y[rows])
        self.weights_ = weights(said, z, np.eye(said.shape[1])[0], BELIEF)
        self.error_ = float(np.sqrt(((said @ self.weights_ - z) ** 2).mean()))

    def _fresh(self, blocks: tuple[int, ...]) -> Any:
        return clone(self.learner).set_params(widths=blocks, seed=self.seed)

    def _columns(self, learner: Predictor, matrix: np.ndarray) -> np.ndarray:
        return matrix if learner is self.learners_[0] else matrix[:, : self.plain_]

    def _by_themselves(self, matrix: np.ndarray) -> np.ndarray:
        columns = [
            np.zeros(len(matrix)) if scale is None else scale.up(column)
            for scale, column in zip(self.opinions_, matrix[:, self.plain_ :].T, strict=True)
        ]
        return np.stack(columns, axis=1) if columns else np.empty((len(matrix), 0))

    def _predict(self, matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        learned = [self.scale_.up(np.asarray(one.predict(self._columns(one, matrix)))) for one in self.learners_]
        z = np.column_stack([*learned, self._by_themselves(matrix)]) @ self.weights_
        return on_the_values(self.scale_, z, np.full(len(z), self.error_))


def weights(said: np.ndarray, z: np.ndarray, prior: np.ndarray, belief: float) -> np.ndarray:
    """Of opinions (n, K) about z (n,): least squares with weights of zero or more, pulled towards a prior (K,)."""
    pull = np.sqrt(belief)
    solution, _ = nnls(np.concatenate([said, pull * np.eye(len(prior))]), np.concatenate([z, pull * prior]))
    return np.asarray(solution)
