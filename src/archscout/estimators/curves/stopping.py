"""Early stopping by prediction: a training that will probably not become the best is left."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import inf, sqrt
from typing import Any, ClassVar

import numpy as np
from scipy.stats import norm
from sklearn.base import clone
from sklearn.linear_model import RidgeCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from archscout.core.architecture import Architecture
from archscout.core.errors import UsageError
from archscout.core.estimator import Estimator, Setting
from archscout.core.registry import register
from archscout.core.seeds import stream
from archscout.core.trial import Estimate, Trial
from archscout.estimators.curves.base import begun, from_rows, full
from archscout.estimators.curves.lcsvr import CurveSVR
from archscout.estimators.predictors.tune import tune

FOLDS = 5
FEWEST = 10
"""Finished curves below which nothing is stopped."""

PENALTIES = (0.03, 0.3, 3.0, 30.0)
"""Of the linear regression, of which the best is taken."""


class StoppingRule:
    """Baker, Gupta, Raskar, Naik (2017, arXiv 1705.10823): leave a training if P(its end > best - margin) is small.

    For each of some epochs a nu-SVR on the values so far, their differences and the differences of these predicts the
    final value; its error is normal, with the deviation that it has on curves that were left out of its fit. A training
    is left where the final value is at most the best one, minus a margin, with a probability of `sure` or more.

    `linear` is ours: a ridge regression on the last value, the mean of the last three, the best so far and the change
    over the last three, with the deviation of its leave-one-out errors. A support vector regression falls back to the
    mean where samples are few, which are just the best trainings; a line does not (`benchmarks/predictors/claims.py`).

    Args:
        sure: .99 is safe, .95 quicker.
        margin: how much worse than the best counts as good enough to go on.
        first: the first epoch after which a training may be left.
        top: a training goes on if it may become one of so many best, not only the best.
        linear: whether a line predicts, and not the published regression.
        draws: settings of the published regression that are tried for each epoch.
        seed: of these.
    """

    def __init__(
        self,
        sure: float = 0.99,
        margin: float = 0.0,
        first: int = 2,
        top: int = 1,
        linear: bool = False,
        draws: int = 20,
        seed: int = 0,
    ) -> None:
        if not 0.5 < sure < 1 or first < 1 or top < 1:
            raise UsageError(
                f"a stopping rule is sure with a probability between 0.5 and 1, after one epoch or more, not {sure} "
                f"after {first} (and keeps the best {top})."
            )
        if not 0 <= margin < inf:
            raise UsageError(f"the margin of a stopping rule must be a number of 0 or more, not {margin}.")
        self.sure, self.margin, self.first, self.top = sure, margin, first, top
        self.linear, self.draws, self.seed = linear, draws, seed

    def fit(self, curves: np.ndarray, finals: np.ndarray) -> StoppingRule:
        """Learn from finished trainings: curves (n, E), higher is better, and what each came to (n,).

        Fitted for at most eight epochs, geometrically spaced, of all but the last.
        """
        self.models_: dict[int, tuple[Any, float]] = {}
        last = curves.shape[1] - 1
        if len(curves) < FEWEST or last < self.first or np.ptp(finals) == 0:
            return self
        for epoch in sorted({round(e) for e in np.geomspace(self.first, last, 8)}):
            features = self._features(curves[:, :epoch])
            if self.linear:
                line = make_pipeline(StandardScaler(), RidgeCV(PENALTIES)).fit(features, finals)
                self.models_[epoch] = line, sqrt(-line[-1].best_score_)
                continue
            model = tune(CurveSVR(seed=self.seed), features, finals, self.draws)
            errors = left_out(model, features, finals, self.seed) - finals
            self.models_[epoch] = model.fit(features, finals), float(np.sqrt((errors**2).mean()))
        return self

    def _features(self, curves: np.ndarray) -> np.ndarray:
        return course(curves) if self.linear else differences(curves)

    def stops(self, curve: Sequence[float] | np.ndarray, known: Sequence[float] | np.ndarray) -> bool:
        """Whether a training with this curve so far is to be left, where these final values have been reached."""
        if len(curve) not in self.models_ or len(known) < self.top:
            return False
        model, deviation = self.models_[len(curve)]
        expected = float(np.asarray(model.predict(self._features(np.asarray(curve, dtype=np.float64)[None])))[0])
        best = np.sort(np.asarray(known))[-self.top] - self.margin
        return bool(norm.cdf(best, expected, max(deviation, 1e-9)) >= self.sure)


def differences(curves: np.ndarray) -> np.ndarray:
    """The values, their differences, and the differences of these, side by side."""
    return np.concatenate([np.diff(curves, n, axis=1) for n in range(3) if curves.shape[1] > n], axis=1)


def course(curves: np.ndarray) -> np.ndarray:
    """The last value, the mean of the last three, the highest, and the change over the last three: (N, 4)."""
    last, recent = curves[:, -1], curves[:, -3:]
    return np.stack([last, recent.mean(axis=1), curves.max(axis=1), last - recent[:, 0]], axis=1)


def left_out(model: CurveSVR, features: np.ndarray, finals: np.ndarray, seed: int) -> np.ndarray:
    """What is said of each by a model that was fitted without its fold."""
    fold = stream(seed, "stopping").permutation(len(finals)) % FOLDS
    said = np.empty(len(finals))
    for number in range(FOLDS):
        held = fold == number
        rest = finals[~held]
        said[held] = (
            clone(model).fit(features[~held], rest).predict(features[held]) if np.ptp(rest) > 0 else rest.mean()
        )
    return said


@register("estimator", "stopped")
class Stopped(Estimator):
    """Real training that is left early where it will probably not become the best (Baker et al. 2017, 1705.10823).

    Fitted on finished full trainings; the value of a training that was left is the best so far, and
    `extra["epochs"]` says after how many. A history of less than ten stops nothing.

    Args:
        sure, margin, first, top, linear: see `StoppingRule`.
        epochs: what full training means; the default of the task if None.
    """

    name = "stopped"
    needs: ClassVar[frozenset[str]] = frozenset({"inputs", "targets", "gradients", "training", "history"})

    def __init__(
        self,
        sure: float = 0.99,
        margin: float = 0.0,
        first: int = 2,
        top: int = 1,
        epochs: int | None = None,
        linear: bool = False,
    ) -> None:
        self.rule, self.epochs = StoppingRule(sure, margin, first, top, linear), epochs

    def fit(self, trials: Sequence[Trial], setting: Setting) -> None:
        final = self.epochs or full(setting)
        whole = [trial for trial in trials if trial.defined and len(trial.curve) == final]
        curves = from_rows([trial.curve for trial in whole], setting.task.metric)["valid"].values
        self.known_ = [trial.value for trial in whole]
        self.rule.fit(curves, np.asarray(self.known_))

    def estimate(
        self, architectures: Sequence[Architecture], setting: Setting, *, fidelity: int | None = None
    ) -> list[Estimate]:
        if not hasattr(self, "known_"):
            raise UsageError("estimator 'stopped' has learned nothing yet: fit it on finished trials first.")

        def stop(rows: Sequence[Mapping[str, Any]]) -> bool:
            metric = setting.task.metric
            return self.rule.stops([metric.oriented(row[f"valid_{metric}"]) for row in rows], self.known_)

        final = self.epochs or full(setting)
        return begun(architectures, setting, final if fidelity is None else fidelity, stop, final)
