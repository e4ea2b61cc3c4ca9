"""A predictor that also sees the beginning of a training: it learns from finished curves and reads new ones."""

from __future__ import annotations

import math
from collections.abc import Sequence
from time import perf_counter
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from sklearn.base import clone

from archscout.core.architecture import Architecture
from archscout.core.errors import UsageError
from archscout.core.estimator import Setting
from archscout.core.registry import full_name
from archscout.core.space import Space
from archscout.core.trial import Estimate, Trial
from archscout.estimators.curves.base import begun, from_rows, full
from archscout.estimators.curves.features import curve_widths, features_of, finite
from archscout.estimators.predictors.learned import Learned
from archscout.estimators.predictors.tune import tune

if TYPE_CHECKING:
    from archscout.estimators.predictors.base import Predictor


class LearnedFromCurves(Learned):
    """A predictor over an encoding, scores, and what the beginning of a curve says.

    In a search it begins a full training of each architecture that it is asked about (`epochs`, or the fidelity), and
    learns from as much of the curves of finished trials.

    Args:
        name, predictor, encoding, scores, tune: see `Learned`.
        curve: readers of curves, and `summary`, joined by `+`; none where empty.
        epochs: after how many the curve is read; a third of full training if None.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"history", "inputs", "targets", "gradients", "training"})

    def __init__(
        self,
        name: str,
        predictor: Predictor,
        encoding: str = "default",
        scores: str = "",
        curve: str = "",
        *,
        tune: int = 0,
        epochs: int | None = None,
    ) -> None:
        super().__init__(name, predictor, encoding, scores, tune=tune)
        self.name = full_name(name, {"curve": curve} if curve else {})
        self.curve = tuple(curve.split("+")) if curve else ()
        self.epochs = epochs

    def widths(self, space: Space) -> tuple[int, ...]:
        return super().widths(space) + curve_widths(self.curve)

    def fit(self, trials: Sequence[Trial], setting: Setting) -> None:
        self.known_ = [trial for trial in trials if trial.defined and (trial.curve or not self.curve)]

    def estimate(
        self, architectures: Sequence[Architecture], setting: Setting, *, fidelity: int | None = None
    ) -> list[Estimate]:
        if not hasattr(self, "known_"):
            raise UsageError(f"estimator '{self.name}' has learned nothing yet: fit it on finished trials first.")
        if not architectures:
            return []
        final = full(setting)
        epochs = (self.epochs or max(1, final // 3)) if fidelity is None else fidelity
        # How much of the finished curves is looked at follows from the question, so it is learned now.
        known = [trial.architecture for trial in self.known_]
        scored = self._scores(known, setting)
        self._known_scores = np.sort(scored, axis=0)
        readings = self._read([trial.curve[:epochs] for trial in self.known_], setting, final)
        matrix = np.column_stack([self._matrix(known, scored, setting), finite(readings, readings)])
        values = [trial.value for trial in self.known_]
        self.predictor = clone(self.predictor)
        if "widths" in self.predictor.get_params():
            self.predictor.set_params(widths=self.widths(setting.space))
        if self.tune:
            tune(self.predictor, matrix, values, self.tune)
        self.predictor.fit(matrix, values)
        begins = begun(architectures, setting, epochs) if self.curve else [Estimate(math.nan)] * len(architectures)
        start = perf_counter()
        said = finite(self._read([begin.curve for begin in begins], setting, final), readings)
        asked = np.column_stack([self._matrix(architectures, self._scores(architectures, setting), setting), said])
        mean, std = self.predictor.predict(asked, return_std=True)
        each = (perf_counter() - start) / len(architectures)
        return [
            Estimate(
                float(m), seconds=begin.seconds + each, std=float(s) if math.isfinite(s) else None, curve=begin.curve
            )
            for m, s, begin in zip(mean, std, begins, strict=True)
        ]

    def _read(self, curves: Sequence[Sequence[object]], setting: Setting, final: int) -> np.ndarray:
        if not self.curve:
            return np.empty((len(curves), 0))
        return features_of(self.curve, from_rows(curves, setting.task.metric), final)  # type: ignore[arg-type]
