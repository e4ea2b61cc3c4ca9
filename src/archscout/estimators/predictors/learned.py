"""A predictor as an estimator: it learns from finished trials and says what others will come to."""

from __future__ import annotations

import math
from collections.abc import Sequence
from time import perf_counter
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from archscout.core.architecture import Architecture
from archscout.core.errors import UsageError
from archscout.core.estimator import Estimator, Setting
from archscout.core.registry import full_name
from archscout.core.seeds import stream
from archscout.core.space import Space
from archscout.core.trial import Estimate, Trial
from archscout.estimators.encodings.encode import encode, widths

if TYPE_CHECKING:
    from archscout.estimators.predictors.base import Predictor


class Learned(Estimator):
    """A predictor over an encoding, and zero-cost scores beside it if any are named.

    Args:
        name: of the method.
        predictor: what learns; a copy of it does.
        encoding: a name of `archscout.estimators.encodings.encode`, several joined by `+`, or `default`: what the
            predictor is meant for.
        scores: zero-cost scores as further features, joined by `+`: `naswot+synflow`.
        tune: random settings of the predictor that are tried before it learns.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"history"})

    def __init__(
        self, name: str, predictor: Predictor, encoding: str = "default", scores: str = "", *, tune: int = 0
    ) -> None:
        given = {"encoding": encoding} if encoding != "default" else {}
        self.name = full_name(name, given | ({"scores": scores} if scores else {}))
        self.predictor, self.encoding, self.tune = predictor, encoding, tune
        self.scores = tuple(scores.split("+")) if scores else ()

    def fit(self, trials: Sequence[Trial], setting: Setting) -> None:
        from sklearn.base import clone

        known = [trial for trial in trials if trial.defined]
        self.predictor = clone(self.predictor)
        scored = self._scores([trial.architecture for trial in known], setting)
        self._known_scores = np.sort(scored, axis=0)
        if "widths" in self.predictor.get_params():
            self.predictor.set_params(widths=self.widths(setting.space))
        matrix = self._matrix([trial.architecture for trial in known], scored, setting)
        values = [trial.value for trial in known]
        if self.tune:
            from archscout.estimators.predictors.tune import tune

            tune(self.predictor, matrix, values, self.tune)
        rng = stream(setting.seed, "unlabelled")
        others = [setting.space.sample(rng) for _ in range(self.predictor.unlabelled)]
        pool = self._matrix(others, self._scores(others, setting), setting) if others else None
        self.predictor.fit(matrix, values, pool)

    def estimate(
        self, architectures: Sequence[Architecture], setting: Setting, *, fidelity: int | None = None
    ) -> list[Estimate]:
        if not hasattr(self, "_known_scores"):
            raise UsageError(f"estimator '{self.name}' has learned nothing yet: fit it on finished trials first.")
        if not architectures:
            return []
        start = perf_counter()
        matrix = self._matrix(architectures, self._scores(architectures, setting), setting)
        mean, std = self.predictor.predict(matrix, return_std=True)
        each = (perf_counter() - start) / len(architectures)
        return [
            Estimate(float(m), seconds=each, std=float(s) if math.isfinite(s) else None)
            for m, s in zip(mean, std, strict=True)
        ]

    def encoded_by(self, space: Space) -> str:
        """The name of the encoding, a default made explicit."""
        from archscout.estimators.predictors.base import encoding_of

        return encoding_of(self.predictor, space, None if self.encoding == "default" else self.encoding)

    def widths(self, space: Space) -> tuple[int, ...]:
        """How many columns belong together, scores at the end."""
        return widths(self.encoded_by(space), space) + (1,) * len(self.scores)

    def _matrix(self, architectures: Sequence[Architecture], scored: np.ndarray, setting: Setting) -> np.ndarray:
        encoded = encode(self.encoded_by(setting.space), setting.space, architectures)
        places = [
            np.searchsorted(known, column) / len(known)
            for known, column in zip(self._known_scores.T, scored.T, strict=True)
        ]
        return np.column_stack([encoded, *places]) if places else encoded

    def _scores(self, architectures: Sequence[Architecture], setting: Setting) -> np.ndarray:
        """One column a score; undefined ones are below all others."""
        from archscout.estimators.zero_cost.harness import score

        if not self.scores:
            return np.empty((len(architectures), 0))
        estimates = score(architectures, self.scores, setting)
        columns = [[estimate.value for estimate in estimates[name]] for name in self.scores]
        return np.nan_to_num(np.asarray(columns, dtype=np.float64).T, nan=-np.inf)
