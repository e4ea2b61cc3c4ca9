"""Extrapolation by an ensemble of parametric curves."""

from __future__ import annotations

import numpy as np

from archscout.core.registry import register
from archscout.core.seeds import stream
from archscout.estimators.curves.base import Curve, CurveReader
from archscout.estimators.curves.families import FAMILIES, Family, fitted

STEPS, VARIANCE = 300, 1e-4
"""Of the Markov chain: how many, and the variance of a proposal."""


@register("estimator", "lce")
class LCE(CurveReader):
    """Parametric curves fitted to the beginning and followed to the end (after Domhan et al. 2015), averaged.

    Each of eleven families is fitted by least squares, then a Metropolis chain of 300 steps around the fit (variance
    1e-4) is averaged; families whose end is below their beginning are left out. As in the study of White et al. (2021,
    arXiv 2104.01177), all others have the same weight. All curves are fitted side by side. Where less than three values
    are known, the last one.

    Args:
        epochs: see `CurveReader`.
        steps: of the chain.
    """

    name = "lce"

    def __init__(self, epochs: int | None = None, steps: int = STEPS) -> None:
        super().__init__(epochs)
        self.steps = steps

    def read(self, curve: Curve, final: int) -> np.ndarray:
        x, y = curve.epochs.astype(np.float64), curve.values
        if len(x) < 3:
            return np.asarray(y[:, -1])
        there = np.isfinite(y).all(axis=1)
        low, unit = scale(y[there])
        z = (y[there] - low[:, None]) / unit[:, None]
        with np.errstate(over="ignore", invalid="ignore"):  # a bad proposal is only unlikely
            ends = np.stack([self._end(family, start, x, z, final) for family, start in FAMILIES.values()], axis=1)
        known = np.isfinite(ends)
        total = np.where(known, ends, 0).sum(axis=1)
        mean = np.where(known.any(axis=1), total / np.maximum(known.sum(axis=1), 1), z[:, -1])
        out = np.full(len(y), np.nan)
        out[there] = mean * unit + low
        return out

    def _end(self, family: Family, start: tuple[float, ...], x: np.ndarray, z: np.ndarray, final: int) -> np.ndarray:
        """What a family says of the end of each curve; NaN where it falls."""
        theta, errors = fitted(family, start, x, z)
        noise = np.maximum(errors / max(1, len(x) - 1), 1e-5)
        last, first = np.array([float(final)]), x[:1]
        rng = stream(0, "lce", len(x), len(start))
        total, energy = np.zeros(len(z)), errors / (2 * noise)
        for _ in range(self.steps):
            proposal = theta + np.sqrt(VARIANCE) * rng.standard_normal(theta.shape[1])
            there = np.nan_to_num(((family(x, proposal) - z) ** 2).sum(axis=1), nan=np.inf) / (2 * noise)
            taken = np.log(rng.random()) < energy - there
            theta, energy = np.where(taken[:, None], proposal, theta), np.where(taken, there, energy)
            total += family(last, theta)[:, 0]
        mean = total / self.steps
        return np.where((mean > family(first, theta)[:, 0]) & np.isfinite(mean) & (np.abs(mean) < 2), mean, np.nan)


def scale(y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """What to take off each curve and divide it by, so that it lies about between 0 and 1; accuracies stay."""
    low, high = y.min(axis=1), y.max(axis=1)
    stays = (low >= 0) & (high <= 1)
    return np.where(stays, 0.0, low), np.where(stays, 1.0, np.maximum(high - low, 1e-9))
