"""Boosted trees on counts as a model of latency."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Self

import numpy as np

from archscout.core.architecture import Architecture
from archscout.core.space import Space
from archscout.costs.models.base import LatencyModel, checked
from archscout.costs.models.features import Counts, columns


class BoostedLatency(LatencyModel):
    """Gradient-boosted trees on the logarithm of milliseconds, from the device's own measurements.

    Needs hundreds of them: with ten, trees cannot split. The deviation is that of the errors on left-out fifths.

    Args:
        counts: as in `LinearLatency`.
        seed: of the folds.
    """

    def __init__(self, counts: Counts | None = None, *, seed: int = 0) -> None:
        self.counts, self.seed = counts, seed

    def fit(self, space: Space, architectures: Sequence[Architecture], ms: Sequence[float] | np.ndarray) -> Self:
        from sklearn.ensemble import HistGradientBoostingRegressor
        from sklearn.model_selection import KFold, cross_val_predict

        times = np.log(checked(space, architectures, ms))
        self._space = space
        least = max(1, min(20, len(times) // 10))
        self._trees = HistGradientBoostingRegressor(
            min_samples_leaf=least, early_stopping=False, random_state=self.seed
        )
        asked = columns(space, architectures, self.counts)
        folds = KFold(min(5, len(times)), shuffle=True, random_state=self.seed % 2**32)
        self._deviation = float(np.std(cross_val_predict(self._trees, asked, times, cv=folds) - times))
        self._trees.fit(asked, times)
        return self

    def predict(self, architectures: Sequence[Architecture]) -> tuple[np.ndarray, np.ndarray]:
        logs = self._trees.predict(columns(self._space, architectures, self.counts))
        return np.exp(logs), np.full(len(logs), self._deviation)
