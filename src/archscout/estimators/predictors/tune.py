"""Tuning by the protocol of the study of 31 predictors (White et al. 2021, arXiv 2104.01177)."""

from __future__ import annotations

from collections.abc import Sequence
from time import perf_counter
from typing import Any, TypeVar

import numpy as np
from scipy.stats import kendalltau
from sklearn.base import clone

from archscout.core.seeds import stream
from archscout.estimators.predictors.base import LEAST, Predictor

FOLDS = 3

P = TypeVar("P", bound=Predictor)


def tune(
    predictor: P,
    X: np.ndarray | Sequence[Any],  # noqa: N803
    y: Sequence[float] | np.ndarray,
    draws: int,
    seconds: float | None = None,
) -> P:
    """Set the parameters of a predictor that `best_parameters` finds; the predictor itself is returned."""
    predictor.set_params(
        **best_parameters(predictor, predictor.matrix(X), np.asarray(y, dtype=np.float64), draws, seconds)
    )
    return predictor


def best_parameters(
    predictor: Predictor, matrix: np.ndarray, y: np.ndarray, draws: int, seconds: float | None = None
) -> dict[str, Any]:
    """The parameters with the highest Kendall's tau in 3-fold cross-validation: the present ones, or a random draw.

    The study allows 900 seconds times the share of 1,000 samples, and 20 more, and at most 5,000 draws; what the clock
    decides differs from run to run, so here the number of draws is what counts.

    Args:
        predictor: says by `drawn` what may be tried.
        matrix, y: what is known; nothing is tried where a fold would leave too few to learn from.
        draws: how many random settings are tried.
        seconds: no further one is tried after so long, if given.
    """
    rng = stream(predictor.seed, "tune")
    fold = rng.permutation(len(y)) % FOLDS
    tries = [predictor.drawn(rng) for _ in range(draws)]
    if len(y) < FOLDS * LEAST or not any(tries):
        return {}
    started = perf_counter()
    best: dict[str, Any] = {}
    highest = cross_validated(predictor, matrix, y, fold)
    for drawn in tries:
        if seconds is not None and perf_counter() - started > seconds:
            break
        tau = cross_validated(clone(predictor).set_params(**drawn), matrix, y, fold)
        if tau > highest:
            best, highest = drawn, tau
    return best


def cross_validated(predictor: Predictor, matrix: np.ndarray, y: np.ndarray, fold: np.ndarray) -> float:
    """The mean over folds of Kendall's tau of what was left out; 0 for a fold that teaches or asks nothing."""
    taus = []
    for number in range(FOLDS):
        held = fold == number
        if np.ptp(y[~held]) == 0 or np.ptp(y[held]) == 0:
            taus.append(0.0)
            continue
        said = np.asarray(clone(predictor).fit(matrix[~held], y[~held]).predict(matrix[held]))
        taus.append(float(np.nan_to_num(kendalltau(said, y[held]).statistic)) if np.ptp(said) > 0 else 0.0)
    return float(np.mean(taus))
