"""What every predictor is: a scikit-learn regressor that takes a matrix, or architectures of a space."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar, Self

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
    `sklearn.base.clone` work; the same seed gives the same predictions. One that has something to choose says in
    `drawn` what `archscout.estimators.predictors.tune` may try.

    >>> forest = Forest(seed=1).fit(X_train, y_train)                          # doctest: +SKIP
    >>> mean, std = forest.predict(X_test, return_std=True)                    # doctest: +SKIP

    Args:
        space: of the architectures, where they are not given as a matrix.
        encoding: what they are encoded by (`archscout.estimators.encodings.encode`); the default for the space if None.
        seed: of every random decision.
    """

    usual: ClassVar[str] = "default"
    """The encoding that it is meant for; `default` is that of the space."""

    unlabelled: ClassVar[int] = 0
    """How many architectures without a value it can make use of."""

    library: ClassVar[str] = ""
    """A package beyond the usual ones that it needs."""

    def __init__(self, space: Space | None = None, encoding: str | None = None, seed: int = 0) -> None:
        self.space, self.encoding, self.seed = space, encoding, seed

    @abstractmethod
    def _fit(self, matrix: np.ndarray, y: np.ndarray) -> None:
        """Learn: matrix float64 (n, D), finite; y float64 (n,), finite and not constant."""

    @abstractmethod
    def _predict(self, matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The expected value of each row and its standard deviation."""

    def drawn(self, rng: np.random.Generator) -> dict[str, Any]:
        """Random values of the parameters that `tune` chooses; none where there is nothing to choose."""
        return {}

    def fit(
        self,
        X: np.ndarray | Sequence[Any],  # noqa: N803
        y: Sequence[float] | np.ndarray,
        unlabelled: np.ndarray | Sequence[Any] | None = None,
    ) -> Self:
        """Learn from known architectures; some predictors also from further ones, `unlabelled`, without a value.

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
        self.pool_ = matrix[:0] if unlabelled is None or not self.unlabelled else self.matrix(unlabelled)
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
        mean, std = self._predict(matrix) if len(matrix) else (np.empty(0), np.empty(0))
        return (mean, std) if return_std else mean

    def matrix(self, X: np.ndarray | Sequence[Any]) -> np.ndarray:  # noqa: N803
        """The matrix itself, or the encoding of architectures: float64, (N, D)."""
        if len(X) and isinstance(X[0], str | Architecture):
            from archscout.estimators.encodings.encode import encode

            if self.space is None:
                raise UsageError(f"{type(self).__name__} needs a matrix, or its parameter 'space' to encode by.")
            matrix = encode(encoding_of(self, self.space), self.space, list(X)).astype(np.float64)
        else:
            matrix = np.asarray(X, dtype=np.float64)
        if matrix.ndim != 2:
            raise UsageError(f"features must be a matrix with one row an architecture, not of shape {matrix.shape}.")
        if not np.isfinite(matrix).all():
            row, column = np.argwhere(~np.isfinite(matrix))[0]
            raise DataError(f"feature {column} of row {row} is {matrix[row, column]}: features must be finite numbers.")
        return matrix


_FLAT = ("adjacency", "path", "wl")
"""Encodings without a form that a model could count on: it may as well have the columns of another."""


def encoding_of(predictor: Predictor, space: Space, encoding: str | None = None) -> str:
    """The name of the encoding that a predictor gets in a space: as given, as its own, or as it is meant for.

    Where nobody named one, and the space has none of what the predictor was published with, it gets the default one.
    """
    from archscout.estimators.encodings.encode import default_encoding, has

    named = encoding or predictor.encoding or predictor.usual
    if named == predictor.usual and named in _FLAT and not has(named, space):
        named = "default"
    return default_encoding(space) if named == "default" else named


def log_uniform(rng: np.random.Generator, low: float, high: float) -> float:
    """A draw whose logarithm is uniform."""
    return float(np.exp(rng.uniform(np.log(low), np.log(high))))


def block_widths(predictor: Predictor, matrix: np.ndarray) -> tuple[int, ...]:
    """The blocks of a matrix, for a predictor with a parameter `widths`: as given, or by its encoding, or one."""
    from archscout.estimators.encodings.encode import widths

    given: tuple[int, ...] | None = predictor.get_params()["widths"]
    if given is None and predictor.space is not None:
        given = widths(encoding_of(predictor, predictor.space), predictor.space)
    rest = matrix.shape[1] - sum(given or ())
    return (*(given or ()), rest) if rest > 0 or not given else tuple(given)
