"""A linear model of latency on counts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Self

import numpy as np

from archscout.core.architecture import Architecture
from archscout.core.space import Space
from archscout.costs.models.base import LatencyModel, checked
from archscout.costs.models.features import Counts, columns


class LinearLatency(LatencyModel):
    """Bayesian ridge regression of milliseconds on counts, from nothing but the device's own measurements.

    The penalty is chosen by the evidence (MacKay 1992), as `sklearn.linear_model.BayesianRidge` does.

    Args:
        counts: columns (n, counts) of what predicts latency, such as multiply-adds and bytes moved. Default: the last
            group of `features` of the space.
    """

    def __init__(self, counts: Counts | None = None) -> None:
        self.counts = counts

    def fit(self, space: Space, architectures: Sequence[Architecture], ms: Sequence[float] | np.ndarray) -> Self:
        from sklearn.linear_model import BayesianRidge
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import StandardScaler

        times = checked(space, architectures, ms)
        self._space, self._mean = space, times.mean()
        self._regression = make_pipeline(StandardScaler(), BayesianRidge())
        self._regression.fit(columns(space, architectures, self.counts), times / self._mean)
        self._least = times.min() / self._mean / 4
        return self

    def predict(self, architectures: Sequence[Architecture]) -> tuple[np.ndarray, np.ndarray]:
        asked = columns(self._space, architectures, self.counts)
        share, deviation = self._regression.predict(asked, return_std=True)
        share = np.maximum(share, self._least)
        return share * self._mean, np.sqrt(np.log1p((deviation / share) ** 2))
