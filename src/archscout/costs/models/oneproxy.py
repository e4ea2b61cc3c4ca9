"""OneProxy: one known device stands in for a new one, as it is or adapted (Lu et al. 2022, arXiv 2111.01203)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Self

import numpy as np
from scipy.optimize import brentq
from scipy.stats import spearmanr

from archscout.core.architecture import Architecture
from archscout.core.seeds import stream
from archscout.core.space import Space
from archscout.costs.models.base import LatencyModel, Measured, checked

MONOTONE = 0.9
"""A device whose latencies rank like the proxy's with at least this Spearman correlation re-uses the proxy."""

PENALTIES = (1e-3, 1e-2, 1e-1, 1.0, 10.0)


def monotonicity(first: np.ndarray, second: np.ndarray) -> float:
    """How alike two devices rank the same architectures: Spearman's rank correlation of their latencies."""
    return float(spearmanr(first, second).statistic)


def adapt(
    columns: np.ndarray, weights: np.ndarray, target: np.ndarray, penalty: float
) -> tuple[float, np.ndarray, float]:
    """Scale `a`, change `b` of each weight and constant `c` that fit a linear proxy to a target.

    Minimises |X (w * (a + b)) + c - y|^2 / n + penalty * |b|. The norm is not squared, as in the published code; the
    solution is that of a ridge problem whose penalty is found by root search.

    Args:
        columns: X, (n, columns). weights: w, (columns,), of the proxy. target: y, (n,).
    """
    count = len(target)
    part = columns * weights
    common = np.column_stack([part.sum(axis=1), np.ones(count)])
    # a and c are free: what they explain is projected out, so that b alone is left.
    basis, _ = np.linalg.qr(common) if np.ptp(common[:, 0]) > 0 else np.linalg.qr(np.ones((count, 1)))
    apart, error = part - basis @ (basis.T @ part), target - basis @ (basis.T @ target)
    left, sizes, right = np.linalg.svd(apart, full_matrices=False)
    keep = sizes > 1e-10 * max(1.0, sizes.max(initial=0.0))
    along, sizes, right = (left.T @ error)[keep], sizes[keep], right[keep]

    def change(ridge: float) -> np.ndarray:
        return np.asarray(right.T @ (sizes * along / (sizes**2 + count * ridge)))

    # At b = 0 the loss falls by at most |gradient| per unit of b: below the penalty, nothing changes.
    if 2 * np.linalg.norm(sizes * along) / count <= penalty:
        b = np.zeros(len(weights))
    else:
        high = 1.0
        while 2 * high * np.linalg.norm(change(high)) < penalty:
            high *= 10
        low = 1e-16 * high
        shortfall = 2 * low * np.linalg.norm(change(low)) - penalty
        b = change(
            low
            if shortfall >= 0
            else brentq(
                lambda ridge: 2 * ridge * np.linalg.norm(change(ridge)) - penalty, low, high, xtol=1e-15, rtol=1e-12
            )
        )
    (a, c), *_ = np.linalg.lstsq(common, target - part @ b, rcond=None)
    return float(a), b, float(c)


class OneProxyLatency(LatencyModel):
    """One proxy device: re-used where it ranks the measured architectures like the new one, adapted where not.

    The proxy is a linear model on one-hot choices. Re-using it scales and shifts its latencies, which keeps their
    order. Adapting it changes each of its weights as well (`adapt`); the penalty is the one of `PENALTIES` that
    predicts a seventh of the measured architectures best, or 0.01 with fewer than 14 of them. Latencies are divided by
    their mean first: in seconds, as the published code has them, a penalty of 1 forbids any change.

    Args:
        proxy: the known device; many architectures.
        threshold: the Spearman correlation from which the proxy is re-used.
        seed: of the split that chooses the penalty.
    """

    def __init__(self, proxy: Measured, *, threshold: float = MONOTONE, seed: int = 0) -> None:
        self.proxy, self.threshold, self.seed = proxy, threshold, seed

    def fit(self, space: Space, architectures: Sequence[Architecture], ms: Sequence[float] | np.ndarray) -> Self:
        times = checked(space, architectures, ms)
        known = checked(space, self.proxy.architectures, self.proxy.ms)
        self._space, self._mean = space, times.mean()
        design = _one_hot(space, self.proxy.architectures)
        weights, *_ = np.linalg.lstsq(design, known / known.mean(), rcond=None)
        asked, target = _one_hot(space, architectures), times / self._mean
        self.monotonicity_ = monotonicity(asked @ weights, target)
        self.reused_ = self.monotonicity_ >= self.threshold
        penalty = np.inf if self.reused_ else self._penalty(asked, weights, target)
        a, b, self._constant = adapt(asked, weights, target, penalty)
        self._weights = weights * (a + b)
        self._least = target.min() / 4
        share = self._share(asked)
        self._deviation = float(np.sqrt(np.mean(np.log(share / target) ** 2) * len(target) / max(1, len(target) - 2)))
        return self

    def predict(self, architectures: Sequence[Architecture]) -> tuple[np.ndarray, np.ndarray]:
        share = self._share(_one_hot(self._space, architectures))
        return share * self._mean, np.full(len(share), self._deviation)

    def _share(self, columns: np.ndarray) -> np.ndarray:
        share: np.ndarray = np.maximum(columns @ self._weights + self._constant, self._least)
        return share

    def _penalty(self, columns: np.ndarray, weights: np.ndarray, target: np.ndarray) -> float:
        if len(target) < 14:
            return 1e-2
        order = stream(self.seed, "oneproxy").permutation(len(target))
        held, used = order[: len(target) // 7], order[len(target) // 7 :]
        errors = []
        for penalty in PENALTIES:
            a, b, c = adapt(columns[used], weights, target[used], penalty)
            predicted = columns[held] @ (weights * (a + b)) + c
            errors.append(float(np.mean((predicted - target[held]) ** 2)))
        return PENALTIES[int(np.argmin(errors))]


def _one_hot(space: Space, architectures: Sequence[Architecture]) -> np.ndarray:
    """The choices and a constant: (n, options + 1); 31 columns for NAS-Bench-201."""
    return np.hstack([space.encode(architectures).astype(float), np.ones((len(architectures), 1))])
