"""Zero-cost vector: what training-free scores say of architectures, as ranks."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.stats import rankdata

from archscout.core.architecture import Architecture
from archscout.core.estimator import Setting
from archscout.estimators.zero_cost.harness import score


def zero_cost(architectures: Sequence[Architecture], names: Sequence[str], setting: Setting) -> np.ndarray:
    """One column a score, ranks among these architectures: float32, (N, number of names); see `ranked`."""
    estimates = score(architectures, names, setting)
    return ranked(np.asarray([[estimate.value for estimate in estimates[name]] for name in names]).T)


def ranked(values: np.ndarray) -> np.ndarray:
    """Each column as ranks between 0 and 1, ties in the middle: float32, of the same shape.

    Scores are of any scale and many are heavy-tailed; their order is what tells. What is undefined (NaN) shares the
    lowest ranks.
    """
    values = np.asarray(values, dtype=np.float64)
    if not len(values):
        return values.astype(np.float32)
    filled = np.where(np.isnan(values), -np.inf, values)
    return np.asarray((rankdata(filled, axis=0) - 0.5) / len(values), dtype=np.float32)
