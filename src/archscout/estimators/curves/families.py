"""Parametric curves that learning curves are extrapolated by, each fitted to many curves at once."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

Family = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""From epochs (E,) and parameters (..., P) to values (..., E)."""

ROUNDS = 40
"""Steps of the least-squares fit."""


def _split(theta: np.ndarray) -> list[np.ndarray]:
    return [theta[..., place, None] for place in range(theta.shape[-1])]


def _power(x: np.ndarray, theta: np.ndarray) -> np.ndarray:
    c, a, log_alpha = _split(theta)
    return np.asarray(c - a * x ** -_exp(log_alpha))


def _pow4(x: np.ndarray, theta: np.ndarray) -> np.ndarray:
    c, log_a, log_b, log_alpha = _split(theta)
    return np.asarray(c - (_exp(log_a) * x + _exp(log_b)) ** -_exp(log_alpha))


def _logpower(x: np.ndarray, theta: np.ndarray) -> np.ndarray:
    a, b, c = _split(theta)
    return np.asarray(a / (1 + _exp(c * (np.log(x) - b))))


def _loglinear(x: np.ndarray, theta: np.ndarray) -> np.ndarray:
    a, b = _split(theta)
    return np.asarray(a * np.log(x) + b)


def _loglog(x: np.ndarray, theta: np.ndarray) -> np.ndarray:
    log_a, b = _split(theta)
    return np.asarray(np.log(np.maximum(_exp(log_a) * np.log(x) + _exp(b), 1e-9)))


def _vapor(x: np.ndarray, theta: np.ndarray) -> np.ndarray:
    a, b, c = _split(theta)
    return np.asarray(_exp(a + b / x + c * np.log(x)))


def _exp3(x: np.ndarray, theta: np.ndarray) -> np.ndarray:
    c, log_a, b = _split(theta)
    return np.asarray(c - _exp(b - _exp(log_a) * x))


def _exp4(x: np.ndarray, theta: np.ndarray) -> np.ndarray:
    c, log_a, b, log_alpha = _split(theta)
    return np.asarray(c - _exp(b - _exp(log_a) * x ** _exp(log_alpha)))


def _janoschek(x: np.ndarray, theta: np.ndarray) -> np.ndarray:
    a, b, log_k, log_d = _split(theta)
    return np.asarray(a - (a - b) * _exp(-_exp(log_k) * x ** _exp(log_d)))


def _weibull(x: np.ndarray, theta: np.ndarray) -> np.ndarray:
    a, b, log_k, log_d = _split(theta)
    return np.asarray(a - (a - b) * _exp(-((_exp(log_k) * x) ** _exp(log_d))))


def _hill(x: np.ndarray, theta: np.ndarray) -> np.ndarray:
    top, log_eta, log_kappa = _split(theta)
    raised = x ** _exp(log_eta)
    return np.asarray(top * raised / (_exp(log_kappa) + raised))


def _exp(x: np.ndarray) -> np.ndarray:
    return np.asarray(np.exp(np.clip(x, -30, 30)))


FAMILIES: dict[str, tuple[Family, tuple[float, ...]]] = {
    "pow3": (_power, (0.9, 0.5, -0.5)),
    "pow4": (_pow4, (0.9, 0.0, 0.5, -0.5)),
    "logpower": (_logpower, (0.9, 0.0, -1.0)),
    "loglinear": (_loglinear, (0.1, 0.5)),
    "loglog": (_loglog, (-1.0, 0.4)),
    "vapor": (_vapor, (-0.3, -0.5, 0.05)),
    "exp3": (_exp3, (0.9, -1.0, -0.5)),
    "exp4": (_exp4, (0.9, -1.0, -0.5, -0.3)),
    "janoschek": (_janoschek, (0.9, 0.1, -1.0, -0.3)),
    "weibull": (_weibull, (0.9, 0.1, -1.0, -0.3)),
    "hill": (_hill, (0.9, 0.0, 0.0)),
}
"""The eleven of Domhan, Springenberg, Hutter (2015), and where their fit begins (values between 0 and 1)."""


def fitted(family: Family, start: tuple[float, ...], x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Least squares by Levenberg and Marquardt, of all curves y (N, E) side by side: parameters (N, P), errors (N,).

    The errors are sums of squares. A weak pull towards the start keeps parameters that the curve says nothing of.
    """
    count, size = len(y), len(start)
    begin = np.tile(np.asarray(start, dtype=np.float64), (count, 1))
    theta, damping = begin.copy(), np.full(count, 1e-2)
    pull = 1e-4

    def residuals(at: np.ndarray) -> np.ndarray:
        off = np.nan_to_num(family(x, at) - y, nan=1e3, posinf=1e3, neginf=-1e3)
        return np.concatenate([np.clip(off, -1e3, 1e3), pull * (at - begin)], axis=1)

    here = residuals(theta)
    for _ in range(ROUNDS):
        slopes = np.stack([(residuals(theta + 1e-5 * unit) - here) / 1e-5 for unit in np.eye(size)], axis=2)
        squares = np.einsum("nep,neq->npq", slopes, slopes)
        gradient = np.einsum("nep,ne->np", slopes, here)
        ridge = damping[:, None, None] * (
            np.eye(size) * squares.diagonal(axis1=1, axis2=2)[:, None] + 1e-9 * np.eye(size)
        )
        step = np.linalg.solve(squares + ridge, gradient[:, :, None])[:, :, 0]
        moved = theta - np.clip(step, -2, 2)
        there = residuals(moved)
        better = (there**2).sum(axis=1) < (here**2).sum(axis=1)
        theta, here = np.where(better[:, None], moved, theta), np.where(better[:, None], there, here)
        damping = np.clip(np.where(better, damping / 3, damping * 4), 1e-9, 1e9)
    return theta, (here[:, : len(x)] ** 2).sum(axis=1)
