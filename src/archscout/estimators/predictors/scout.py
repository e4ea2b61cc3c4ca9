"""The default predictor: a Gaussian process and trees on the pruned graph, and a second opinion on plain choices."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from scipy.special import ndtr
from sklearn.ensemble import ExtraTreesRegressor

from archscout.core.registry import register
from archscout.core.seeds import derive, stream
from archscout.core.space import Space
from archscout.estimators.predictors.base import Predictor, block_widths
from archscout.estimators.predictors.forest import forest
from archscout.estimators.predictors.gaussian_process import MOST, Process, on_the_values, sample
from archscout.estimators.predictors.learned import Learned
from archscout.estimators.predictors.stacked import Stacked
from archscout.estimators.predictors.targets import Scale

TREES, FEATURES = 150, 0.3
"""Extra trees, and the share of the features that a split chooses from."""

FOLDS, TREES_A_FOLD = 5, 50
"""For the error of the trees on what they have not seen."""

PATIENCE = 5
"""So many samples' worth of belief that the deviations of the Gaussian process are right as they are."""

LEAST_SHARE = 0.02
"""An opinion with a smaller share is not asked."""

Grow = Callable[[int], Any]
"""Makes a forest of so many trees, which has not been grown yet."""


@dataclass
class _Opinion:
    """A process and trees on the columns from `start` on; how far both err on samples that were left out."""

    start: int
    makes: tuple[Grow, ...]
    process: Process
    errors: np.ndarray
    deviation: np.ndarray
    trees: list[Any] = field(default_factory=list)


@register("estimator", "scout")
def scout(encoding: str = "default", scores: str = "", curve: str = "", seed: int = 0) -> Learned:
    """The default predictor: Gaussian process and trees on the pruned graph, weighed with scores and curves if any."""
    if not scores and not curve:
        return Learned("scout", Scout(seed=seed), encoding)
    if not curve:
        return Learned("scout", Stacked(Scout(), seed=seed), encoding, scores)
    from archscout.estimators.curves.learned import LearnedFromCurves

    return LearnedFromCurves("scout", Stacked(Scout(), seed=seed), encoding, scores, curve)


class Scout(Predictor):
    """A Gaussian process and extremely randomised trees (Geurts, Ernst, Wehenkel 2006), averaged.

    The two err differently: the process is smooth in the counts and path statistics of the pruned graph, with a length
    scale for each kind of them chosen by marginal likelihood, and learns on a scale of ranks and values; the trees see
    thresholds (no path of convolutions alone: no accuracy) and learn the values themselves. Both are brought to the
    same scale and averaged there.

    What the pruned graph says does not matter everywhere: the accuracy of inherited weights, for one, depends on where
    in the cell an operation stands. So there is a second opinion of the same kind, with a random forest beside, that
    sees the plain choices only. The first counts as far as it is surely the better one: its share is the probability
    that its squared errors, on training samples that were left out, are more than one standard error smaller (the
    rule of one standard error, Breiman, Friedman, Olshen, Stone 1984). Each sample is left out for the processes, a
    fifth of them for the trees.

    The standard deviation is that of the processes times a factor: how much larger those errors are than they say.

    After learning, `left_out_` holds the rows that the processes rest on, and what is said of each without it, on the
    scale.

    Args:
        space, encoding, seed: see `Predictor`.
        widths: of the blocks of features; those of the encoding, or one block, if None. The last block of more than
            one column is what the second opinion sees (in `live+choices`: the choices), with all after it (scores).
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
        blocks = block_widths(self, matrix)
        opinions = [self._opinion(matrix, y, z, rows, blocks, 0)]
        shares = np.ones(1)
        place = max((i for i, width in enumerate(blocks) if width > 1), default=0)
        if place and np.ptp(matrix[:, sum(blocks[:place]) :], axis=0).any():
            opinions.append(self._opinion(matrix, y, z, rows, blocks, place))
            share = _surely_better(*(one.errors for one in opinions))
            shares = np.array([share, 1 - share])
            shares = np.where(shares < LEAST_SHARE, 0.0, shares) / shares[shares >= LEAST_SHARE].sum()
        self.opinions_ = [(float(s), one) for s, one in zip(shares, opinions, strict=True) if s]
        for _, one in self.opinions_:
            one.trees = [make(TREES).fit(matrix[:, one.start :], y) for make in one.makes]
        errors = np.sum([s * one.errors for s, one in self.opinions_], axis=0)
        self.left_out_ = rows, z + errors
        deviation = np.sum([s * one.deviation for s, one in self.opinions_], axis=0)
        ratios = np.minimum((errors / deviation) ** 2, 25)  # one freak must not decide
        self.factor_ = float(np.sqrt((ratios.sum() + PATIENCE) / (len(ratios) + PATIENCE)))

    def _predict(self, matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        mean, deviation = np.zeros(len(matrix)), np.zeros(len(matrix))
        for share, one in self.opinions_:
            seen = matrix[:, one.start :]
            smooth, spread = one.process.predict(seen)
            said = [smooth, *(self.scale_.up(trees.predict(seen)) for trees in one.trees)]
            mean += share * np.mean(said, axis=0)
            deviation += share * spread
        return on_the_values(self.scale_, mean, self.factor_ * deviation)

    def _opinion(
        self, matrix: np.ndarray, y: np.ndarray, z: np.ndarray, rows: np.ndarray, blocks: tuple[int, ...], place: int
    ) -> _Opinion:
        """What the blocks from `place` on say; all of them for the first opinion, with extra trees alone."""
        start = sum(blocks[:place])
        seen = matrix[:, start:]
        makes = (self._extra_trees, self._random_forest) if place else (self._extra_trees,)
        process = Process(seen[rows], z, blocks[place:], self.seed)
        expected, deviation = process.left_out(z)
        said = [expected, *(self.scale_.up(self._unseen(make, seen, y)[rows]) for make in makes)]
        return _Opinion(start, makes, process, np.mean(said, axis=0) - z, deviation)

    def _extra_trees(self, count: int) -> Any:
        state = derive(self.seed, "scout", "trees") % 2**32
        return ExtraTreesRegressor(count, max_features=FEATURES, random_state=state, n_jobs=1)

    def _random_forest(self, count: int) -> Any:
        return forest(count, derive(self.seed, "scout", "forest") % 2**32)

    def _unseen(self, make: Grow, matrix: np.ndarray, y: np.ndarray) -> np.ndarray:
        """What trees say of each sample that were grown without its fold."""
        fold = stream(self.seed, "scout", "folds").permutation(len(y)) % min(FOLDS, len(y))
        said = np.empty(len(y))
        for number in range(fold.max() + 1):
            held = fold == number
            said[held] = make(TREES_A_FOLD).fit(matrix[~held], y[~held]).predict(matrix[held])
        return said


def _surely_better(first: np.ndarray, second: np.ndarray) -> float:
    """The probability that the squared errors of the first are smaller, by more than one standard error."""
    gain = second**2 - first**2
    error = gain.std(ddof=1) / np.sqrt(len(gain))
    return float(ndtr(gain.mean() / error - 1)) if error > 0 else 0.5
