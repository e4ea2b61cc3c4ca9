"""What of an architecture a latency is a sum over: numbers of operators, work and traffic, choices.

A runtime executes operators one after the other, so that milliseconds, not their logarithms, are nearly a sum over
operators. A space says what these are (`Space.operator_counts`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from archscout.core.architecture import Architecture
from archscout.core.space import Space

Counts = Callable[[Sequence[Architecture]], np.ndarray]
"""Gives columns (n, counts) of costs of n architectures, such as multiply-adds and bytes moved."""

ALIKE = {"needed": "operators"}
"""Groups whose columns mean the same as those of another group, so that a device's weights serve for both."""


def columns(space: Space, architectures: Sequence[Architecture], counts: Counts | None) -> np.ndarray:
    """What a model of a single device is fitted to: `counts` of the architectures, or the finest group of the space."""
    if counts is not None:
        return np.asarray(counts(architectures), dtype=float).reshape(len(architectures), -1)
    return list(space.operator_counts(architectures).values())[-1]
