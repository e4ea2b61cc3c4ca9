"""The cells of NAS-Bench-201 as numbers: edges, operations, and how often each occurs in every cell.

The time of a network is nearly a sum over these numbers.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache, lru_cache

import numpy as np

from archscout.core.architecture import Architecture
from archscout.core.errors import UsageError

EDGES = ((0, 1), (0, 2), (1, 2), (0, 3), (1, 3), (2, 3))
OPERATIONS = ("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3")
OPERATORS = OPERATIONS[1:]
"""The operations that can take time."""


def operator_counts(name: str, architectures: Sequence[Architecture], *, dead: bool) -> dict[str, np.ndarray]:
    """Numbers of each of OPERATORS: (n, 4) each.

    `operators`; and, for networks with dead operations, `needed`, without those whose output reaches nothing, as some
    runtimes leave them out (TensorFlow Lite on pixel3).

    Raises `UsageError` for an architecture of another space than the one of that name.
    """
    numbers = _numbers(name, architectures)
    if not dead:
        return {"operators": _counts(reached=True, needed=True)[numbers]}
    return {"operators": _counts()[numbers], "needed": _counts(needed=True)[numbers]}


def constant(name: str, architectures: Sequence[Architecture]) -> np.ndarray:
    """Whether no operation lies between input and output: (n,)."""
    live = _counts(reached=True, needed=True)[_numbers(name, architectures)]
    return np.asarray(live.max(axis=1) == 0)


def _numbers(name: str, architectures: Sequence[Architecture]) -> np.ndarray:
    """Each cell as the number whose base-5 digits are its operations' positions in OPERATIONS: (n,)."""
    try:
        return np.fromiter(map(_number, architectures), dtype=int, count=len(architectures))
    except (KeyError, ValueError):
        raise UsageError(f"one of the architectures is none of space '{name}'.") from None


@lru_cache(maxsize=5**6)
def _number(architecture: Architecture) -> int:
    """Remembered, since the same cells are asked for again and again while a device is measured."""
    digits = [OPERATIONS.index(str(option)) for _, option in architecture.values_by_name]
    if len(digits) != len(EDGES):
        raise ValueError
    return sum(digit * 5**place for place, digit in enumerate(reversed(digits)))


@cache
def _counts(*, reached: bool = False, needed: bool = False) -> np.ndarray:
    """How often each of OPERATORS occurs in each of the 15,625 cells, in the order of their numbers.

    Perhaps without those that no input reaches, or without those whose output reaches nothing.
    """
    cells = np.stack(np.unravel_index(np.arange(5**6), (5,) * 6), axis=1)
    used = cells > 0
    forward, backward = np.zeros((5**6, 4), dtype=bool), np.zeros((5**6, 4), dtype=bool)
    forward[:, 0] = backward[:, 3] = True
    for edge, (source, target) in enumerate(EDGES):  # sorted by target
        forward[:, target] |= used[:, edge] & forward[:, source]
    for edge, (source, target) in sorted(enumerate(EDGES), key=lambda item: -item[1][1]):
        backward[:, source] |= used[:, edge] & backward[:, target]
    for edge, (source, target) in enumerate(EDGES):
        if reached:
            used[:, edge] &= forward[:, source]
        if needed:
            used[:, edge] &= backward[:, target]
    return np.stack([((cells == code) & used).sum(1) for code in range(1, len(OPERATIONS))], axis=1).astype(float)
