"""The default predictor: a Gaussian process, trees and a line, weighed by how they err on what they have not seen."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from sklearn.ensemble import ExtraTreesRegressor
from sklearn.linear_model import BayesianRidge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from archscout.core.registry import register
from archscout.core.seeds import derive, stream
from archscout.core.space import Space
from archscout.estimators.predictors.base import Predictor, block_widths
from archscout.estimators.predictors.forest import forest
from archscout.estimators.predictors.gaussian_process import MOST, Process, on_the_values, sample
from archscout.estimators.predictors.learned import Learned
from archscout.estimators.predictors.stacked import Stacked, weights
from archscout.estimators.predictors.targets import Scale

TREES, FEATURES = 150, 0.3
"""Extra trees, and the share of the features that a split chooses from."""

FOLDS, TREES_A_FOLD = 5, 50
"""For the error of trees and line on what they have not seen."""

PATIENCE = 5
"""So many samples' worth of belief that the deviations of the Gaussian process are right as they are."""

PRIOR = np.array([0.7, 0.2, 0.1])
"""Weights of process, trees and line on all features, before anything is known of their errors."""

BELIEF = 10.0
"""So many samples' worth of belief in these weights; a sample counts by the error of the best member, so that one which
errs hardly at all is soon believed."""

LEAST_WEIGHT = 0.02
"""A member with a smaller weight is not asked."""

Make = Callable[[int], Any]
"""Makes a regressor, of so many trees where it has any, which has learned nothing yet."""


@register("estimator", "scout")
def scout(encoding: str = "default", scores: str = "", curve: str = "", seed: int = 0) -> Learned:
    """The default predictor: Gaussian process, trees and a line, weighed by left-out error, with scores if any."""
    if not scores and not curve:
        return Learned("scout", Scout(seed=seed), encoding)
    if not curve:
        return Learned("scout", Stacked(Scout(), seed=seed), encoding, scores)
    from archscout.estimators.curves.learned import LearnedFromCurves

    return LearnedFromCurves("scout", Stacked(Scout(), seed=seed), encoding, scores, curve)


class Smooth:
    """A Gaussian process on the scale, over the blocks of columns from `start` on."""

    def __init__(self, start: int, widths: tuple[int, ...], seed: int) -> None:
        self.start, self.widths, self.seed = start, widths, seed

    def unseen(self, matrix: np.ndarray, scale: Scale, y: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """Learn; what is said of each of these rows without it, on the scale."""
        z = scale.up(y[rows])
        self.process = Process(matrix[rows, self.start :], z, self.widths, self.seed)
        left_out, self.deviation = self.process.left_out(z)
        return left_out

    def predict(self, matrix: np.ndarray, scale: Scale) -> np.ndarray:
        return self.spread(matrix)[0]

    def spread(self, matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Mean and standard deviation on the scale."""
        return self.process.predict(matrix[:, self.start :])


class Plain:
    """Any regressor of the values themselves, on the columns from `start` on."""

    def __init__(self, start: int, make: Make, fold: np.ndarray) -> None:
        self.start, self.make, self.fold = start, make, fold

    def unseen(self, matrix: np.ndarray, scale: Scale, y: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """Learn from a fifth less; what is said of each of these rows without its fold, on the scale."""
        seen, said = matrix[:, self.start :], np.empty(len(y))
        for number in range(self.fold.max() + 1):
            held = self.fold == number
            said[held] = self.make(TREES_A_FOLD).fit(seen[~held], y[~held]).predict(seen[held])
        self.known = seen, y
        return scale.up(said[rows])

    def predict(self, matrix: np.ndarray, scale: Scale) -> np.ndarray:
        if not hasattr(self, "whole"):  # only members with weight are asked
            self.whole = self.make(TREES).fit(*self.known)
        return scale.up(self.whole.predict(matrix[:, self.start :]))


class Scout(Predictor):
    """A Gaussian process, extremely randomised trees (Geurts, Ernst, Wehenkel 2006) and a line, weighed by error.

    The three err differently. The process is smooth in the features, with a length scale for each kind of them chosen
    by marginal likelihood, and learns on a scale of ranks and values. The trees see thresholds (no path of convolutions
    alone: no accuracy). The line (Bayesian ridge, MacKay 1992) is right where values are sums over layers, as latencies
    are. What all features say does not matter everywhere: the accuracy of inherited weights, for one, depends on where
    in the cell an operation stands. So a second process, a random forest and a second line see the plain choices only.

    All are brought to one scale and summed there, with weights of zero or more that minimise the squared error on
    training samples that were left out (each by itself for the processes, a fifth of them for the others), pulled
    towards `PRIOR`: stacking (Wolpert 1992; Breiman 1996). So the sum is no worse than its best member but for chance.

    The standard deviation is that of the process on all features times a factor: how much larger the errors of the sum
    are than that says.

    After learning, `left_out_` holds the rows that the weights rest on, and what is said of each without it, on the
    scale.

    Args:
        space, encoding, seed: see `Predictor`.
        widths: of the blocks of features; those of the encoding, or one block, if None. The last block of more than
            one column is what the members of the plain choices see (in `live+choices`: the choices), with all after it
            (scores).
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
        members = self._members(matrix, block_widths(self, matrix), len(y))
        said = np.stack([member.unseen(matrix, self.scale_, y, rows) for member in members], axis=1)
        prior = np.concatenate([PRIOR, np.zeros(len(members) - len(PRIOR))])
        noise = float(((said - z[:, None]) ** 2).mean(axis=0).min())
        shares = weights(said, z, prior, BELIEF * noise)
        shares = np.where(shares < LEAST_WEIGHT, 0.0, shares)
        self.members_ = [(float(weight), member) for weight, member in zip(shares, members, strict=True) if weight]
        self.process_ = members[0]
        errors = said @ shares - z
        self.left_out_ = rows, z + errors
        ratios = np.minimum((errors / self.process_.deviation) ** 2, 25)  # one freak must not decide
        self.factor_ = float(np.sqrt((ratios.sum() + PATIENCE) / (len(ratios) + PATIENCE)))

    def _members(self, matrix: np.ndarray, blocks: tuple[int, ...], count: int) -> list[Any]:
        """On all columns a process, trees and a line; on the plain choices a process, a forest and a line."""
        fold = stream(self.seed, "scout", "folds").permutation(count) % min(FOLDS, count)
        members = [Smooth(0, blocks, self.seed), Plain(0, self._extra_trees, fold), Plain(0, _line, fold)]
        place = max((i for i, width in enumerate(blocks) if width > 1), default=0)
        start = sum(blocks[:place])
        if place and np.ptp(matrix[:, start:], axis=0).any():
            kinds = (self._random_forest, _line)
            members += [Smooth(start, blocks[place:], self.seed), *(Plain(start, make, fold) for make in kinds)]
        return members

    def _predict(self, matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        smooth, deviation = self.process_.spread(matrix)
        mean = np.zeros(len(matrix))
        for weight, member in self.members_:
            mean += weight * (smooth if member is self.process_ else member.predict(matrix, self.scale_))
        return on_the_values(self.scale_, mean, self.factor_ * deviation)

    def _extra_trees(self, count: int) -> Any:
        state = derive(self.seed, "scout", "trees") % 2**32
        return ExtraTreesRegressor(count, max_features=FEATURES, random_state=state, n_jobs=1)

    def _random_forest(self, count: int) -> Any:
        return forest(count, derive(self.seed, "scout", "forest") % 2**32)


def _line(count: int) -> Any:
    return make_pipeline(StandardScaler(), BayesianRidge())
