"""What of an architecture a latency is a sum over: numbers of operators, work and traffic, choices.

A runtime executes operators one after the other, so that milliseconds, not their logarithms, are nearly a sum over
operators. A space with published latencies has its own columns here; every other has one column an option.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import numpy as np

from archscout.core.architecture import Architecture
from archscout.core.errors import UsageError
from archscout.core.space import Space
from archscout.spaces.nasbench201 import EDGES, OPERATIONS, NASBench201

OPERATORS = OPERATIONS[1:]
"""The operations of NAS-Bench-201 that can take time."""


ALIKE = {"needed": "operators"}
"""Groups whose columns mean the same as those of another group, so that a device's weights serve for both."""


def features(
    space: Space, architectures: Sequence[Architecture], *, dead_operations: bool = False
) -> dict[str, np.ndarray]:
    """Groups of columns (n, columns), each of them enough for a model of latency.

    NAS-Bench-201 has the numbers of each operation in the cell: `operators`, and, for networks with dead operations,
    `needed`, without those whose output reaches nothing, as some runtimes leave them out (TensorFlow Lite on pixel3).

    Args:
        space: what the architectures belong to.
        architectures: n of them.
        dead_operations: whether the networks have operations that no input reaches or whose output reaches nothing: so
            in published tables, not in what this package builds.

    Raises:
        UsageError: an architecture belongs to another space.
    """
    if isinstance(space, NASBench201):
        numbers = _numbers(space, architectures)
        if not dead_operations:
            return {"operators": _counts(reached=True, needed=True)[numbers]}
        return {"operators": _counts()[numbers], "needed": _counts(needed=True)[numbers]}
    return {"choices": space.encode(architectures).astype(float)}


def constant(space: Space, architectures: Sequence[Architecture]) -> np.ndarray:
    """Whether the output of each network does not depend on its input, so that a compiler may leave nothing of it."""
    if isinstance(space, NASBench201):
        live = _counts(reached=True, needed=True)[_numbers(space, architectures)]
        return np.asarray(live.max(axis=1) == 0)
    return np.zeros(len(architectures), dtype=bool)


def _numbers(space: Space, architectures: Sequence[Architecture]) -> np.ndarray:
    """Each cell as the number whose base-5 digits are its operations' positions in OPERATIONS: (n,)."""
    position = {operation: i for i, operation in enumerate(OPERATIONS)}
    try:
        digits = [[position[option] for _, option in a.values_by_name] for a in architectures]  # type: ignore[index]
        cells = np.array(digits, dtype=int).reshape(len(digits), len(EDGES))
        return cells @ 5 ** np.arange(5, -1, -1)
    except (KeyError, ValueError):
        raise UsageError(f"one of the architectures is none of space '{space.name}'.") from None


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
