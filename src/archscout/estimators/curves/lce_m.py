"""Extrapolation by a weighted combination of parametric curves, drawn from its posterior."""

from __future__ import annotations

import numpy as np

from archscout.core.registry import register
from archscout.core.seeds import stream
from archscout.estimators.curves.base import Curve, CurveReader
from archscout.estimators.curves.families import FAMILIES, fitted
from archscout.estimators.curves.lce import scale

STEP = 0.05
"""The deviation of a proposal, of parameters and of weights."""


@register("estimator", "lce_m")
class LCEM(CurveReader):
    """A weighted sum of eleven parametric curves, averaged over its posterior (Domhan, Springenberg, Hutter 2015).

    Weights are positive, noise is normal with an unknown deviation, and a combination whose end is below its beginning
    is impossible. Chains start at the best fit of each family, weighted by its likelihood, and change one family and
    its weight at a time; those of all curves are drawn side by side. Published: 50 chains of 800 steps for each curve;
    here 8 of 30 rounds through the families. Where less than three values are known, the last one.

    Args:
        epochs: see `CurveReader`.
        walkers: chains a curve.
        sweeps: how often a chain goes through all families; the first third is dropped.
    """

    name = "lce_m"

    def __init__(self, epochs: int | None = None, walkers: int = 8, sweeps: int = 30) -> None:
        super().__init__(epochs)
        self.walkers, self.sweeps = walkers, sweeps

    def read(self, curve: Curve, final: int) -> np.ndarray:
        x, y = curve.epochs.astype(np.float64), curve.values
        if len(x) < 3:
            return np.asarray(y[:, -1])
        there = np.isfinite(y).all(axis=1)
        low, unit = scale(y[there])
        z = (y[there] - low[:, None]) / unit[:, None]
        out = np.full(len(y), np.nan)
        with np.errstate(over="ignore", invalid="ignore"):  # a bad proposal is only unlikely
            out[there] = self._mean_end(x, z, final) * unit + low
        return out

    def _mean_end(self, x: np.ndarray, z: np.ndarray, final: int) -> np.ndarray:
        # All chains use the same random numbers for every curve, so that a curve's answer is its own.
        rng = stream(0, "lce_m", len(x))
        points = np.concatenate([x, [float(final)]])
        thetas, errors = [], []
        for family, start in FAMILIES.values():
            theta, error = fitted(family, start, x, z)
            thetas.append(np.repeat(theta[:, None], self.walkers, axis=1))
            errors.append(error)
        off = np.stack(errors, axis=1)
        noise = np.maximum(off.min(axis=1, keepdims=True) / len(x), 1e-5)
        likely = np.exp(-np.clip((off - off.min(axis=1, keepdims=True)) / (2 * noise), 0, 30)) + 1e-3
        weights = np.repeat((likely / likely.sum(axis=1, keepdims=True))[:, None], self.walkers, axis=1)
        curves = [
            np.nan_to_num(family(points, theta), nan=0.0, posinf=2.0, neginf=-2.0)
            for (family, _), theta in zip(FAMILIES.values(), thetas, strict=True)
        ]
        total = sum((weights[:, :, k, None] * each for k, each in enumerate(curves)), np.zeros_like(curves[0]))
        log_noise = np.log(np.repeat(noise, self.walkers, axis=1))
        energy = _energy(total, z, log_noise)
        ends, count = np.zeros(len(z)), 0
        for sweep in range(self.sweeps):
            for k, (family, _) in enumerate(FAMILIES.values()):
                shape = (self.walkers, thetas[k].shape[2])
                proposal = thetas[k] + STEP * rng.standard_normal(shape)
                weight = weights[:, :, k] * np.exp(STEP * rng.standard_normal(self.walkers))
                each = np.nan_to_num(family(points, proposal), nan=9.0, posinf=9.0, neginf=-9.0)
                whole = total + weight[:, :, None] * each - weights[:, :, k, None] * curves[k]
                there = _energy(whole, z, log_noise)
                # A step in the logarithm of a weight: the change of measure is the ratio of the weights.
                ratio = energy - there + np.log(weight) - np.log(weights[:, :, k])
                taken = np.log(rng.random(self.walkers)) < ratio
                thetas[k] = np.where(taken[:, :, None], proposal, thetas[k])
                weights[:, :, k] = np.where(taken, weight, weights[:, :, k])
                curves[k] = np.where(taken[:, :, None], each, curves[k])
                total = np.where(taken[:, :, None], whole, total)
                energy = np.where(taken, there, energy)
            other = log_noise + 0.3 * rng.standard_normal(self.walkers)
            there = _energy(total, z, other)
            taken = np.log(rng.random(self.walkers)) < energy - there
            log_noise, energy = np.where(taken, other, log_noise), np.where(taken, there, energy)
            if 3 * sweep >= self.sweeps:
                ends += total[:, :, -1].mean(axis=1)
                count += 1
        return np.asarray(ends / count)


def _energy(total: np.ndarray, z: np.ndarray, log_noise: np.ndarray) -> np.ndarray:
    """Minus the logarithm of the posterior of combinations (N, walkers, E + 1); the last column is the end."""
    squares = ((total[:, :, :-1] - z[:, None]) ** 2).sum(axis=2)
    value = 0.5 * squares * np.exp(-log_noise) + 0.5 * z.shape[1] * log_noise + 0.05 * (log_noise + 7) ** 2
    return np.asarray(np.where(total[:, :, -1] < total[:, :, 0], value + 1e3, value))
