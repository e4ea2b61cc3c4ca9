"""What of an architecture a latency is a sum over: numbers of operators, work and traffic, choices.

A runtime executes operators one after the other, so that milliseconds, not their logarithms, are nearly a sum over
operators. A space with published latencies has its own columns here; every other has one column an option.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache, lru_cache

import numpy as np

from archscout.core.architecture import Architecture
from archscout.core.errors import UsageError
from archscout.core.space import Space
from archscout.spaces.fbnet import KINDS, LAYERS, STAGES, FBNet
from archscout.spaces.fbnet import OPTIONS as BLOCKS
from archscout.spaces.nasbench201 import EDGES, OPERATIONS, NASBench201

OPERATORS = OPERATIONS[1:]
"""The operations of NAS-Bench-201 that can take time."""


Counts = Callable[[Sequence[Architecture]], np.ndarray]
"""Gives columns (n, counts) of costs of n architectures, such as multiply-adds and bytes moved."""

ALIKE = {"needed": "operators"}
"""Groups whose columns mean the same as those of another group, so that a device's weights serve for both."""


def features(
    space: Space, architectures: Sequence[Architecture], *, dead_operations: bool = False
) -> dict[str, np.ndarray]:
    """Groups of columns (n, columns), each of them enough for a model of latency.

    NAS-Bench-201 has the numbers of each operation in the cell: `operators`, and, for networks with dead operations,
    `needed`, without those whose output reaches nothing, as some runtimes leave them out (TensorFlow Lite on pixel3).
    FBNet has sums of work and traffic over the network, `totals`, and by stage as well, `stages`, and its `choices`.
    Any other space has its `choices`.

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
    choices = space.encode(architectures).astype(float)
    if isinstance(space, FBNet):
        work = choices.reshape(len(choices), len(LAYERS), len(BLOCKS), 1) * _block_work()
        by_stage = np.stack([work[:, _stage_of == stage].sum((1, 2)) for stage in range(len(STAGES))], axis=1)
        totals, stages = by_stage.sum(1) / _typical().sum(0), (by_stage / _typical()).reshape(len(choices), -1) / 10
        return {"totals": totals, "stages": np.hstack([totals, stages]), "choices": choices}
    return {"choices": choices}


def columns(space: Space, architectures: Sequence[Architecture], counts: Counts | None) -> np.ndarray:
    """What a model of a single device is fitted to: `counts` of the architectures, or the finest group of features."""
    if counts is not None:
        return np.asarray(counts(architectures), dtype=float).reshape(len(architectures), -1)
    return list(features(space, architectures).values())[-1]


def constant(space: Space, architectures: Sequence[Architecture]) -> np.ndarray:
    """Whether the output of each network does not depend on its input, so that a compiler may leave nothing of it."""
    if isinstance(space, NASBench201):
        live = _counts(reached=True, needed=True)[_numbers(space, architectures)]
        return np.asarray(live.max(axis=1) == 0)
    return np.zeros(len(architectures), dtype=bool)


def _numbers(space: Space, architectures: Sequence[Architecture]) -> np.ndarray:
    """Each cell as the number whose base-5 digits are its operations' positions in OPERATIONS: (n,)."""
    try:
        return np.fromiter(map(_number, architectures), dtype=int, count=len(architectures))
    except (KeyError, ValueError):
        raise UsageError(f"one of the architectures is none of space '{space.name}'.") from None


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


_stage_of = np.repeat(np.arange(len(STAGES)), [depth for _, depth, _ in STAGES])
_SIDE = 112
"""Pixels a side where the first layer starts, as published."""


@cache
def _block_work() -> np.ndarray:
    """What each option of each layer of FBNet costs: (layers, options, 8).

    Multiply-adds of 1 x 1 convolutions, of depthwise ones, of depthwise ones with kernel 5; numbers read and written by
    all operators; parameters; blocks; blocks with grouped convolutions; numbers in the expanded input.
    """
    work = np.zeros((len(LAYERS), len(BLOCKS), 8))
    side = _SIDE
    for layer, costs in zip(LAYERS, work, strict=True):
        before, side = side**2, side // layer.stride
        after = side**2
        for name, kind in KINDS.items():
            hidden, area = layer.inputs * kind.expansion, kind.kernel**2
            pointwise = (before * layer.inputs + after * layer.outputs) * hidden / kind.groups
            depthwise = after * hidden * area
            traffic = before * (layer.inputs + 2 * hidden) + after * 2 * (hidden + layer.outputs)
            weights = (layer.inputs + layer.outputs) * hidden / kind.groups + hidden * area
            large, grouped = float(kind.kernel == 5), float(kind.groups > 1)
            costs[BLOCKS.index(name)] = [
                pointwise,
                depthwise,
                large * depthwise,
                traffic,
                weights,
                1.0,
                grouped,
                before * hidden,
            ]
        if not layer.keeps_shape:
            weights = layer.inputs * layer.outputs
            traffic = before * layer.inputs + after * layer.outputs
            costs[BLOCKS.index("skip")] = [after * weights, 0.0, 0.0, traffic, weights, 1.0, 0.0, 0.0]
    return work


@cache
def _typical() -> np.ndarray:
    """The mean of each cost of a random FBNet, by stage: (stages, 8)."""
    return np.stack([_block_work()[_stage_of == stage].mean(1).sum(0) for stage in range(len(STAGES))])
