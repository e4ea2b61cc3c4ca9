"""The layers of FBNet, what may stand in each, and the work and traffic of it.

The time of a network is nearly a sum over these.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

import numpy as np

STAGES = ((16, 1, 1), (24, 4, 2), (32, 4, 2), (64, 4, 2), (112, 4, 1), (184, 4, 2), (352, 1, 1))
"""Channels, layers and first stride of each stage."""

STEM = 16


@dataclass(frozen=True)
class Kind:
    """An inverted residual: kernel of the depthwise convolution, expansion, groups of the 1 x 1 convolutions."""

    kernel: int
    expansion: int
    groups: int = 1


KINDS: Mapping[str, Kind] = {
    "k3_e1": Kind(3, 1),
    "k3_e1_g2": Kind(3, 1, 2),
    "k3_e3": Kind(3, 3),
    "k3_e6": Kind(3, 6),
    "k5_e1": Kind(5, 1),
    "k5_e1_g2": Kind(5, 1, 2),
    "k5_e3": Kind(5, 3),
    "k5_e6": Kind(5, 6),
}
OPTIONS = (*KINDS, "skip")


@dataclass(frozen=True)
class Layer:
    """Where a layer stands: channels in and out, and its stride."""

    inputs: int
    outputs: int
    stride: int

    @property
    def keeps_shape(self) -> bool:
        return self.inputs == self.outputs and self.stride == 1


def layers() -> list[Layer]:
    """The 22 layers in order."""
    rows, inputs = [], STEM
    for outputs, depth, stride in STAGES:
        for position in range(depth):
            rows.append(Layer(inputs, outputs, stride if position == 0 else 1))
            inputs = outputs
    return rows


LAYERS = tuple(layers())


def operator_counts(choices: np.ndarray) -> dict[str, np.ndarray]:
    """Sums over the network, `totals`, by stage as well, `stages`, and the one-hot `choices` (n, layers * options)."""
    choices = choices.astype(float)
    work = choices.reshape(len(choices), len(LAYERS), len(OPTIONS), 1) * _block_work()
    by_stage = np.stack([work[:, _stage_of == stage].sum((1, 2)) for stage in range(len(STAGES))], axis=1)
    totals, stages = by_stage.sum(1) / _typical().sum(0), (by_stage / _typical()).reshape(len(choices), -1) / 10
    return {"totals": totals, "stages": np.hstack([totals, stages]), "choices": choices}


_stage_of = np.repeat(np.arange(len(STAGES)), [depth for _, depth, _ in STAGES])
_SIDE = 112
"""Pixels a side where the first layer starts, as published."""


@cache
def _block_work() -> np.ndarray:
    """What each option of each layer of FBNet costs: (layers, options, 8).

    Multiply-adds of 1 x 1 convolutions, of depthwise ones, of depthwise ones with kernel 5; numbers read and written by
    all operators; parameters; blocks; blocks with grouped convolutions; numbers in the expanded input.
    """
    work = np.zeros((len(LAYERS), len(OPTIONS), 8))
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
            costs[OPTIONS.index(name)] = [
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
            costs[OPTIONS.index("skip")] = [after * weights, 0.0, 0.0, traffic, weights, 1.0, 0.0, 0.0]
    return work


@cache
def _typical() -> np.ndarray:
    """The mean of each cost of a random FBNet, by stage: (stages, 8)."""
    return np.stack([_block_work()[_stage_of == stage].mean(1).sum(0) for stage in range(len(STAGES))])
