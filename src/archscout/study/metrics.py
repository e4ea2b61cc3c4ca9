"""How well predictions agree with the truth; exact definitions, ties included.

In all of them higher truth is better, and a constant prediction has a correlation of 0. An architecture without a
finite prediction counts as predicted to be the worst, in a tie with all others without one. The truth must be known:
where it has a NaN, correlations are NaN.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal

import numpy as np
from scipy.stats import kendalltau, rankdata

Values = np.ndarray


def filled(predictions: Values) -> Values:
    """The predictions with those that are missing (NaN, or infinite) below all others."""
    predictions = np.asarray(predictions, dtype=np.float64)
    there = np.isfinite(predictions)
    lowest = predictions[there].min() if there.any() else 0.0
    return np.where(there, predictions, lowest - 1 - abs(lowest))


def pearson(truth: Values, predictions: Values) -> float:
    """Pearson's r."""
    a, b = _centred(truth), _centred(filled(predictions))
    spread = math.sqrt(float((a**2).sum()) * float((b**2).sum()))
    return 0.0 if spread == 0 else float((a * b).sum() / spread)


def _centred(values: Values) -> Values:
    """Distances from the mean, in shares of the largest value; exact zeros where all are equal.

    Without the scaling, squares of products of many layers (1e200, 1e-200) would overflow or vanish.
    """
    values = np.asarray(values, dtype=np.float64)
    if len(values) == 0 or (values == values[0]).all():
        return np.zeros(len(values))
    values = values / np.abs(values).max()
    centred = values - values.mean()
    return np.asarray(centred / (np.abs(centred).max() or 1.0))


def spearman(truth: Values, predictions: Values) -> float:
    """Spearman's rho: Pearson's r of the ranks, the mean rank for ties."""
    return pearson(rankdata(truth), rankdata(filled(predictions)))


def partial_spearman(truth: Values, predictions: Values, control: Values) -> float:
    """Spearman's rho of what a control does not tell: the correlation of both ranks' residuals from a least-squares
    line on the ranks of the control (multiply-adds, say)."""
    ranks = [np.asarray(rankdata(filled(row)), dtype=float) for row in (truth, predictions, control)]
    truly, predicted, third = (row - row.mean() for row in ranks)
    spread = float((third * third).sum())

    def residuals(row: Values) -> Values:
        left = row - (float((row * third).sum()) / spread if spread > 0 else 0.0) * third
        # Ranks on the line leave what rounding leaves, which would correlate with anything.
        return np.where(np.abs(left) > 1e-9 * len(left), left, 0.0)

    return pearson(residuals(truly), residuals(predicted))


def kendall(truth: Values, predictions: Values) -> float:
    """Kendall's tau-b."""
    truth, predictions = np.asarray(truth, dtype=np.float64), filled(predictions)
    if np.isnan(truth).any():
        return math.nan
    if len(set(truth.tolist())) < 2 or len(set(predictions.tolist())) < 2:
        return 0.0
    return float(kendalltau(truth, predictions).statistic)


def sparse_kendall(
    truth: Values, predictions: Values, step: float = 0.001, which: Literal["true", "pred", "both"] = "true"
) -> float:
    """Kendall's tau-b after rounding to multiples of `step` (0.001 is 0.1 % of accuracy).

    Args:
        truth, predictions: one number an architecture.
        step: what is rounded to.
        which: what is rounded. The idea (Yu et al. 2020, arXiv 1902.08142) rounds the truth; the code of White et al.
            (2021, arXiv 2104.01177) rounds the predictions.
    """
    if which in ("true", "both"):
        truth = np.round(np.asarray(truth) / step)
    if which in ("pred", "both"):
        predictions = np.round(filled(predictions) / step)
    return kendall(truth, predictions)


def best_first(predictions: Values) -> np.ndarray:
    """Places from the highest prediction to the lowest; ties in the order given."""
    return np.argsort(-filled(predictions), kind="stable")


def precision_at(k: int, truth: Values, predictions: Values) -> float:
    """The share of the `k` highest predictions that are among the `k` highest truths (all tied with the last count)."""
    k = min(k, len(truth))
    threshold = np.sort(truth)[-k]
    return float((np.asarray(truth)[best_first(predictions)[:k]] >= threshold).mean())


def regret_at(k: int, truth: Values, predictions: Values) -> float:
    """How far the best truth among the `k` highest predictions is from the best of all."""
    return float(np.max(truth) - np.max(np.asarray(truth)[best_first(predictions)[:k]]))


def rank_at(k: int, truth: Values, predictions: Values) -> float:
    """The rank (1 is best) of the best truth among the `k` highest predictions: N@k of Ning et al. (2020)."""
    best = np.max(np.asarray(truth)[best_first(predictions)[:k]])
    return float((np.asarray(truth) > best).sum() + 1)


def ndcg_at(k: int, truth: Values, predictions: Values) -> float:
    """Discounted gain of the `k` highest predictions, 1 at best.

    With the relevance of AceNAS (2021, arXiv 2108.03001): `20 (y - q) / (max - q)`, cut to 0..20, where q is the 20 %
    quantile; the gain is `2^relevance - 1`, the discount `log2(rank + 1)`.
    """
    truth = np.asarray(truth, dtype=np.float64)
    low, high = np.quantile(truth, 0.2), truth.max()
    relevance = 20 * np.clip((truth - low) / (high - low), 0, 1) if high > low else np.zeros(len(truth))
    gain = 2.0**relevance - 1
    k = min(k, len(truth))
    discount = np.log2(np.arange(k) + 2)
    ideal = float((np.sort(gain)[::-1][:k] / discount).sum())
    return float((gain[best_first(predictions)[:k]] / discount).sum() / ideal) if ideal > 0 else 0.0


def mae(truth: Values, predictions: Values) -> float:
    """Mean absolute error; NaN where a prediction is missing."""
    return float(np.abs(np.asarray(truth) - predictions).mean())


def rmse(truth: Values, predictions: Values) -> float:
    """Root of the mean squared error; NaN where a prediction is missing."""
    return float(np.sqrt(((np.asarray(truth) - predictions) ** 2).mean()))


RANKING: dict[str, Callable[[Values, Values], float]] = {
    "kendall": kendall,
    "spearman": spearman,
    "pearson": pearson,
    "sparse_kendall": sparse_kendall,
    "precision@10": lambda y, s: precision_at(10, y, s),
    "precision@20": lambda y, s: precision_at(20, y, s),
    "ndcg@10": lambda y, s: ndcg_at(10, y, s),
    "regret@1": lambda y, s: regret_at(1, y, s),
    "regret@10": lambda y, s: regret_at(10, y, s),
    "rank@10": lambda y, s: rank_at(10, y, s),
}
"""What is computed for whatever puts architectures in an order; all between arrays of truth and predictions."""

ERRORS: dict[str, Callable[[Values, Values], float]] = {"mae": mae, "rmse": rmse}
"""What is computed besides for predictions on the scale of the truth."""

LOWER = frozenset({"regret@1", "regret@10", "rank@10", "mae", "rmse"})
"""Metrics of which a lower value is better."""


def nondominated(points: np.ndarray) -> np.ndarray:
    """Which rows no other row dominates (at most as high everywhere, lower somewhere); all columns are minimised."""
    points = np.asarray(points, dtype=np.float64)
    below = (points[:, None] <= points[None, :]).all(axis=2) & (points[:, None] < points[None, :]).any(axis=2)
    return np.asarray(~below.any(axis=0))


def hypervolume(points: np.ndarray, reference: np.ndarray) -> float:
    """The volume between the points and a fixed reference point that they dominate; all columns are minimised."""
    from pymoo.indicators.hv import HV

    return float(HV(ref_point=np.asarray(reference, dtype=np.float64))(np.asarray(points, dtype=np.float64)))


def igd_plus(points: np.ndarray, front: np.ndarray) -> float:
    """Mean distance of a reference front to the points, worse coordinates only (IGD+, Ishibuchi et al. 2015)."""
    worse = np.maximum(np.asarray(points)[None, :, :] - np.asarray(front)[:, None, :], 0)
    return float(np.sqrt((worse**2).sum(axis=2)).min(axis=1).mean())
