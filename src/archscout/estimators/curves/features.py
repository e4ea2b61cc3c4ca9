"""Columns that say of each training how its curve begins, for predictors that learn from curves."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from archscout.core.errors import UsageError, nearest
from archscout.core.registry import create, names, parse_name
from archscout.estimators.curves.base import Curve, CurveReader, Curves

Summary = Callable[[Curve], np.ndarray]


def summary(curve: Curve) -> np.ndarray:
    """The mean and deviation of the values, of their differences and of the differences of these: (N, 6).

    What the code of the study of White et al. (2021, arXiv 2104.01177) gives to the support vector regression of Baker
    et al. (2017, arXiv 1705.10823), which takes all values themselves. Zero where there are too few.
    """
    features, row = [], curve.values
    for _ in range(3):
        features += [row.mean(axis=1), row.std(axis=1)] if row.shape[1] else [np.zeros(len(row))] * 2
        row = np.diff(row, axis=1)
    return np.stack(features, axis=1)


SUMMARIES: dict[str, tuple[Summary, int]] = {"summary": (summary, 6)}


def curve_widths(features: Sequence[str]) -> tuple[int, ...]:
    """How many columns each has."""
    return tuple(SUMMARIES[name][1] if name in SUMMARIES else 1 for name in features)


def reader(name: str) -> CurveReader | None:
    """The reader of curves that is called so; None where the name is that of something else."""
    if parse_name(name)[0] not in names("estimator"):
        return None
    estimator = create("estimator", name)
    return estimator if isinstance(estimator, CurveReader) else None


def features_of(features: Sequence[str], curves: Curves, final: int) -> np.ndarray:
    """The columns of the named features, from the curves so far: float64, (N, D); NaN where a curve ended early.

    Raises `UsageError` for an unknown name.
    """
    columns = []
    for name in features:
        if name in SUMMARIES:
            columns.append(SUMMARIES[name][0](curves["valid"]))
            continue
        curve_reader = reader(name)
        if curve_reader is None:
            raise UsageError(f"nothing called '{name}' reads curves: {nearest(name, [*SUMMARIES, 'sotl_e', 'valacc'])}")
        columns.append(curve_reader.read(curves[curve_reader.measure], final)[:, None])
    return np.concatenate(columns, axis=1)


def finite(columns: np.ndarray, known: np.ndarray) -> np.ndarray:
    """With what is undefined worse than all of `known` (the same columns of the training samples)."""
    lowest = np.where(np.isfinite(known), known, np.inf).min(axis=0)
    highest = np.where(np.isfinite(known), known, -np.inf).max(axis=0)
    bottom = np.where(np.isfinite(lowest), lowest - 0.1 * (highest - lowest), 0.0)
    return np.asarray(np.where(np.isfinite(columns), columns, bottom))
