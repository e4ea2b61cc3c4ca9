"""What every predictor is: a scikit-learn regressor that takes a matrix, or architectures of a space."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, Self

import numpy as np
from sklearn.base import BaseEstimator, RegressorMixin

from archscout.core.architecture import Architecture
from archscout.core.errors import DataError, UsageError
from archscout.core.space import Space

LEAST = 3
"""Training samples that a predictor needs."""


class Predictor(RegressorMixin, BaseEstimator):  # type: ignore[misc]
    """Learns the value of architectures (higher is better) from some that are known.

    `fit` and `predict` take a matrix (one row an architecture), or architectures (or their texts) where `space` is
    given. A subclass writes `_fit` and `_predict`. Parameters are set in `__init__` only, so that `get_params` and
    `sklearn.base.clone` work; the same seed gives the same predictions.

    >>> forest = Forest(seed=1).fit(X_train, y_train)                          # doctest: +SKIP
    >>> mean, std = forest.predict(X_test, return_std=True)                    # doctest: +SKIP

    Args:
        space: of the architectures, where they are not given as a matrix.
        encoding: what they are encoded by (`archscout.estimators.encodings.encode`); the default for the space if None.
        seed: of every random decision.
    """

    def __init__(self, space: Space | None = None, encoding: str | None = None, seed: int = 0) -> None:
        self.space, self.encoding, self.seed = space, encoding, seed

    @abstractmethod
    def _fit(self, matrix: np.ndarray, y: np.ndarray) -> None:
        """Learn: matrix float64 (n, D), finite; y float64 (n,), finite and not constant."""

    @abstractmethod
    def _predict(self, matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The expected value of each row and its standard deviation."""

    def fit(self, X: np.ndarray | Sequence[Any], y: Sequence[float] | np.ndarray) -> Self:  # noqa: N803
        """Learn from known architectures.

        Raises `UsageError` for fewer than 3 of them, `DataError` for values that are missing, or all the same.
        """
        values = np.asarray(y, dtype=np.float64).ravel()
        matrix = self.matrix(X)
        if len(matrix) != len(values):
            raise UsageError(f"there are {len(matrix)} architectures but {len(values)} values: give one value each.")
        if len(values) < LEAST:
            raise UsageError(
                f"a predictor cannot learn from {len(values)} trained architectures: give {LEAST} or more."
            )
        if not np.isfinite(values).all():
            row = int(np.flatnonzero(~np.isfinite(values))[0])
            raise DataError(f"the value in row {row} is {values[row]}: leave out architectures without a finite value.")
        if values.min() == values.max():
            raise DataError(
                f"all {len(values)} trained architectures have the value {values[0]:g}: there is nothing to learn from."
            )
        self.n_features_in_ = matrix.shape[1]
        self._fit(matrix, values)
        return self

    def predict(
        self,
        X: np.ndarray | Sequence[Any],  # noqa: N803
        return_std: bool = False,
    ) -> np.ndarray | tuple[np.ndarray, np.ndarray]:
        """The expected value of each architecture; with `return_std` also its standard deviation."""
        if not hasattr(self, "n_features_in_"):
            raise UsageError(f"{type(self).__name__} has learned nothing yet: call fit before predict.")
        matrix = self.matrix(X)
        if matrix.shape[1] != self.n_features_in_:
            raise UsageError(
                f"{type(self).__name__} has learned from {self.n_features_in_} features, not {matrix.shape[1]}: encode "
                "alike for fit and predict."
            )
        mean, std = self._predict(matrix)
        return (mean, std) if return_std else mean

    def matrix(self, X: np.ndarray | Sequence[Any]) -> np.ndarray:  # noqa: N803
        """The matrix itself, or the encoding of architectures: float64, (N, D)."""
        if len(X) and isinstance(X[0], str | Architecture):
            from archscout.estimators.encodings.encode import default_encoding, encode

            if self.space is None:
                raise UsageError(f"{type(self).__name__} needs a matrix, or its parameter 'space' to encode by.")
            matrix = encode(self.encoding or default_encoding(self.space), self.space, list(X)).astype(np.float64)
        else:
            matrix = np.asarray(X, dtype=np.float64)
        if matrix.ndim != 2:
            raise UsageError(f"features must be a matrix with one row an architecture, not of shape {matrix.shape}.")
        if not np.isfinite(matrix).all():
            row, column = np.argwhere(~np.isfinite(matrix))[0]
            raise DataError(f"feature {column} of row {row} is {matrix[row, column]}: features must be finite numbers.")
        return matrix
