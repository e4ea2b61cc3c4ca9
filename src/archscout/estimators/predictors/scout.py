"""The default predictor: a Gaussian process and extra trees on features of the pruned graph, averaged."""

from __future__ import annotations

import numpy as np
from sklearn.ensemble import ExtraTreesRegressor

from archscout.core.registry import register
from archscout.core.seeds import derive, stream
from archscout.core.space import Space
from archscout.estimators.predictors.base import Predictor, block_widths
from archscout.estimators.predictors.gaussian_process import MOST, Process, on_the_values, sample
from archscout.estimators.predictors.learned import Learned
from archscout.estimators.predictors.targets import Scale

TREES, FEATURES = 150, 0.3
"""Trees, and the share of the features that a split chooses from."""

FOLDS, TREES_A_FOLD = 5, 50
"""For the error of the trees on what they have not seen."""

PATIENCE = 5
"""So many samples' worth of belief that the deviations of the Gaussian process are right as they are."""


@register("estimator", "scout")
def scout(encoding: str = "default", scores: str = "", seed: int = 0) -> Learned:
    """The default predictor: Gaussian process and extra trees on the pruned graph, with calibrated uncertainty."""
    return Learned("scout", Scout(seed=seed), encoding, scores)


class Scout(Predictor):
    """A Gaussian process and extremely randomised trees (Geurts, Ernst, Wehenkel 2006), averaged.

    The two err differently: the process is smooth in the counts and path statistics of the pruned graph, with a length
    scale for each kind of them chosen by marginal likelihood, and learns on a scale of ranks and values; the trees see
    thresholds (no path of convolutions alone: no accuracy) and learn the values themselves. Both are brought to the
    same scale and averaged there.

    The standard deviation is that of the process times a factor: how much larger the errors of the average are, on
    training samples that were left out, than the process says (each sample left out for the process, a fifth of them
    for the trees).

    Args:
        space, encoding, seed: see `Predictor`.
        widths: of the blocks of features; those of the encoding, or one block, if None.
    """

    def __init__(
        self,
        space: Space | None = None,
        encoding: str | None = None,
        widths: tuple[int, ...] | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__(space, encoding, seed)
        self.widths = widths

    def _fit(self, matrix: np.ndarray, y: np.ndarray) -> None:
        self.scale_ = Scale(y)
        rows = sample(len(y), MOST, self.seed)
        z = self.scale_.up(y[rows])
        self.process_ = Process(matrix[rows], z, block_widths(self, matrix), self.seed)
        self.trees_ = self._trees(TREES).fit(matrix, y)
        expected, deviation = self.process_.left_out(z)
        errors = (expected + self.scale_.up(self._unseen(matrix, y)[rows])) / 2 - z
        ratios = np.minimum((errors / deviation) ** 2, 25)  # one freak must not decide
        self.factor_ = float(np.sqrt((ratios.sum() + PATIENCE) / (len(ratios) + PATIENCE)))

    def _predict(self, matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        smooth, deviation = self.process_.predict(matrix)
        mean = (smooth + self.scale_.up(self.trees_.predict(matrix))) / 2
        return on_the_values(self.scale_, mean, self.factor_ * deviation)

    def _trees(self, count: int) -> ExtraTreesRegressor:
        state = derive(self.seed, "scout", "trees") % 2**32
        return ExtraTreesRegressor(count, max_features=FEATURES, random_state=state, n_jobs=1)

    def _unseen(self, matrix: np.ndarray, y: np.ndarray) -> np.ndarray:
        """What trees say of each sample that were grown without its fold."""
        fold = stream(self.seed, "scout", "folds").permutation(len(y)) % min(FOLDS, len(y))
        said = np.empty(len(y))
        for number in range(fold.max() + 1):
            held = fold == number
            said[held] = self._trees(TREES_A_FOLD).fit(matrix[~held], y[~held]).predict(matrix[held])
        return said
