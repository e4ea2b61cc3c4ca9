"""Acquisitions: which of several candidates is worth trying, by what a predictor expects and how sure it is.

Each takes means and standard deviations (N,), the best value so far, the number of lessons that the predictor has had
and a random stream, and gives one number a candidate (N,): the highest is tried.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from scipy.special import log_ndtr, ndtr

from archscout.core.errors import UsageError, nearest


@dataclass(frozen=True)
class Beliefs:
    """What is known when an acquisition is asked."""

    mean: np.ndarray
    deviation: np.ndarray
    best: float
    lessons: int


Acquisition = Callable[[Beliefs, np.random.Generator], np.ndarray]


def greedy(beliefs: Beliefs, rng: np.random.Generator) -> np.ndarray:
    """The expected value itself."""
    return beliefs.mean


def thompson(beliefs: Beliefs, rng: np.random.Generator) -> np.ndarray:
    """A draw for each candidate by itself: independent Thompson sampling, the best of five rules in BANANAS' study."""
    return np.asarray(beliefs.mean + beliefs.deviation * rng.standard_normal(len(beliefs.mean)))


def upper_bound(beliefs: Beliefs, rng: np.random.Generator) -> np.ndarray:
    """The upper confidence bound, half a standard deviation above the mean (as in the released code of WeakNAS)."""
    return np.asarray(beliefs.mean + 0.5 * beliefs.deviation)


def improvement(beliefs: Beliefs, rng: np.random.Generator) -> np.ndarray:
    """Expected improvement over the best so far (Jones, Schonlau, Welch 1998)."""
    z = (beliefs.mean - beliefs.best) / np.maximum(beliefs.deviation, 1e-12)
    return np.asarray(beliefs.deviation * (z * ndtr(z) + np.exp(-(z**2) / 2) / np.sqrt(2 * np.pi)))


def log_improvement(beliefs: Beliefs, rng: np.random.Generator) -> np.ndarray:
    """The logarithm of expected improvement, exact where that itself vanishes (Ament et al. 2023, arXiv 2310.20708)."""
    deviation = np.maximum(beliefs.deviation, 1e-12)
    z = (beliefs.mean - beliefs.best) / deviation
    low = np.minimum(z, -1.0)
    log_density = -(low**2) / 2 - np.log(2 * np.pi) / 2
    # phi(z) + z Phi(z) = phi(z) (1 - |z| Phi(z) / phi(z)); for z far below, the bracket tends to 1 / z^2.
    ratio = np.exp(log_ndtr(low) - log_density) * -low
    bracket = np.where(low < -1e4, 1 / low**2, np.maximum(1 - ratio, 1e-300))
    far = log_density + np.log(bracket)
    high = np.maximum(z, -1.0)
    near = np.log(high * ndtr(high) + np.exp(-(high**2) / 2) / np.sqrt(2 * np.pi))
    return np.asarray(np.where(z < -1, far, near) + np.log(deviation))


def among_the_best(most: int) -> Acquisition:
    """One of so many with the highest means, each with one chance: what WeakNAS samples from."""

    def acquisition(beliefs: Beliefs, rng: np.random.Generator) -> np.ndarray:
        draws = rng.random(len(beliefs.mean))
        return np.where(_places(beliefs.mean) < most, draws, -1.0)

    return acquisition


def mostly_greedy(beliefs: Beliefs, rng: np.random.Generator) -> np.ndarray:
    """Four times in five the highest mean, else one of the hundred that follow."""
    if rng.random() < 0.8:
        return beliefs.mean
    return among_the_best(101)(beliefs, rng)


def narrowing(beliefs: Beliefs, rng: np.random.Generator) -> np.ndarray:
    """Half the time the highest mean, else any of the better 1 / 2^i in round i (BRP-NAS, arXiv 2007.08668)."""
    if rng.random() < 0.5:
        return beliefs.mean
    return among_the_best(max(1, len(beliefs.mean) // 2**beliefs.lessons))(beliefs, rng)


def half_random(beliefs: Beliefs, rng: np.random.Generator) -> np.ndarray:
    """Half the time the highest mean, else any (AceNAS, arXiv 2108.03001)."""
    return beliefs.mean if rng.random() < 0.5 else rng.random(len(beliefs.mean))


ACQUISITIONS: Mapping[str, Acquisition] = {
    "greedy": greedy, "thompson": thompson, "ucb": upper_bound, "ei": improvement, "log_ei": log_improvement,
    "top100": among_the_best(100), "mostly_greedy": mostly_greedy, "narrowing": narrowing, "half_random": half_random,
}  # fmt: skip


def acquisition_named(name: str) -> Acquisition:
    """An acquisition by its name. Raises `UsageError`."""
    if name not in ACQUISITIONS:
        raise UsageError(f"there is no acquisition '{name}': {nearest(name, ACQUISITIONS)}")
    return ACQUISITIONS[name]


def _places(values: np.ndarray) -> np.ndarray:
    """The place of each by falling value, from 0."""
    places = np.empty(len(values), dtype=np.int64)
    places[np.argsort(-values, kind="stable")] = np.arange(len(values))
    return places
