"""What predicts the latency of an architecture on one device, from times that were measured there."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np

from archscout.core.architecture import Architecture
from archscout.core.errors import DataError
from archscout.core.space import Space

LEAST = 3
"""Fewer measured architectures than this tell nothing about a device that one number would not."""


@dataclass(frozen=True)
class Measured:
    """Times, in milliseconds, of architectures on one device."""

    device: str
    architectures: Sequence[Architecture]
    ms: np.ndarray


class LatencyModel(ABC):
    """Predicts milliseconds on one device: fitted to measured times, with an uncertainty where it has one.

    `fit` may be called again and forgets what it learned before. A model that learns from other devices as well takes
    them when it is made.
    """

    @abstractmethod
    def fit(self, space: Space, architectures: Sequence[Architecture], ms: Sequence[float] | np.ndarray) -> Self:
        """Learn from the times of some architectures on the device. Raises `DataError` for times of no use."""

    @abstractmethod
    def predict(self, architectures: Sequence[Architecture]) -> tuple[np.ndarray, np.ndarray]:
        """Milliseconds, and the standard deviation of their natural logarithm (NaN where the model knows none)."""


def checked(space: Space, architectures: Sequence[Architecture], ms: Sequence[float] | np.ndarray) -> np.ndarray:
    """The times as an array (n,), in milliseconds.

    Raises:
        DataError: there are too few times, as many as architectures they are not, one is not a number above zero, all
            are the same, or an architecture belongs to another space.
    """
    times = np.asarray(ms, dtype=float)
    if times.shape != (len(architectures),):
        raise DataError(f"there are {len(architectures)} architectures and {times.size} latencies: give one for each.")
    if len({str(architecture) for architecture in architectures}) < LEAST:
        raise DataError(
            f"a device needs the latencies of {LEAST} different architectures and more (10 serve well), not of "
            f"{len(architectures)}: measure others on it too."
        )
    wrong = np.flatnonzero(~(np.isfinite(times) & (times > 0)))
    if wrong.size:
        raise DataError(
            f"{wrong.size} of {times.size} latencies are not numbers above zero (the first is {times[wrong[0]]:g} ms, "
            f"for '{architectures[wrong[0]]}'): measure them again, or leave them out."
        )
    if np.ptp(times) == 0:
        raise DataError(
            f"all {times.size} latencies are {times[0]:g} ms: measure with a finer clock, or architectures that differ "
            "more."
        )
    for architecture in architectures:
        if architecture not in space:
            raise DataError(
                f"'{architecture}' is no architecture of space '{space.name}': give latencies of architectures of this "
                "space."
            )
    return times
