"""The space of FBNet (Wu et al. 2019, arXiv 1812.03443): 22 layers, each an inverted residual of one of eight kinds, or
none."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property, partial
from typing import Any

import numpy as np
from torch import Tensor, nn

from archscout.core.architecture import Architecture
from archscout.core.choice import Choice, Option
from archscout.core.errors import UsageError
from archscout.core.graph import Graph, Node
from archscout.core.registry import register
from archscout.core.space import Pick, Space
from archscout.core.task import Task
from archscout.networks.operations import ConvBNActivation
from archscout.networks.padding import in_row
from archscout.spaces.fbnet_layers import KINDS, LAYERS, OPTIONS, STAGES, STEM, Kind, Layer, operator_counts
from archscout.spaces.images import check_images

HEAD = 1504

LARGE = 64
"""The stem and the first layer of the second stage have stride 2 for images of this many pixels a side and more."""


_SECOND_STAGE = STAGES[0][1]


@register("space", "fbnet")
class FBNet(Space):
    """Chains of 22 inverted residuals of eight kinds or none: 9^22 architectures, whose text is 22 digits.

    The digits, between underscores, are positions in OPTIONS; `8` is `skip`: nothing where the layer keeps the shape of
    its input, a 1 x 1 convolution elsewhere. The stem and the first layer of the second stage have stride 2 for images
    of 64 x 64 and more, as published for 224 x 224, and 1 below: so have the networks for CIFAR-100 (32 x 32) whose
    latencies are published (their parameters agree exactly, their multiply-adds to 6 %).
    """

    def __init__(self) -> None:
        self.name = "fbnet"

    @cached_property
    def choices(self) -> Sequence[Choice]:
        return tuple(Choice(f"layer {number}", OPTIONS) for number in range(1, len(LAYERS) + 1))

    # -- text -----------------------------------------------------------------------------------------------------

    def format(self, values: Mapping[str, Option]) -> str:
        return "_".join(str(OPTIONS.index(str(values[choice.name]))) for choice in self.choices)

    def read(self, text: str) -> dict[str, Option]:
        digits = text.strip().split("_")
        if len(digits) != len(LAYERS):
            raise UsageError(f"'{text}' has {len(digits)} layers where FBNet has {len(LAYERS)}: write 7_8_1_...")
        for number, digit in enumerate(digits, start=1):
            if digit not in "012345678" or len(digit) != 1:
                raise UsageError(f"'{digit}', layer {number} of '{text}', must be a digit from 0 to {len(KINDS)}.")
        return {choice.name: OPTIONS[int(digit)] for choice, digit in zip(self.choices, digits, strict=True)}

    # -- forms ----------------------------------------------------------------------------------------------------

    def graph(self, architecture: Architecture) -> Graph:
        """The chain of layers."""
        nodes = [Node("input"), Node("stem"), *(Node(str(o), group=name) for name, o in architecture.items())]
        nodes += [Node("tail"), Node("output")]
        return Graph(tuple(nodes), tuple((i, i + 1) for i in range(len(nodes) - 1)))

    def operator_counts(
        self, architectures: Sequence[Architecture], *, dead_operations: bool = False
    ) -> dict[str, np.ndarray]:
        """Work and traffic, over the network and by stage."""
        return operator_counts(self.encode(architectures))

    # -- network --------------------------------------------------------------------------------------------------

    def check_task(self, task: Task) -> None:
        check_images(self, task, 16)

    def network(self, task: Task, pick: Pick) -> nn.Module:
        large = min(task.input_shape[1:]) >= LARGE
        stride = 2 if large else 1
        stem = ConvBNActivation(task.input_shape[0], STEM, 3, stride, activation=nn.ReLU())
        body: list[nn.Module] = []
        for number, (choice, layer) in enumerate(zip(self.choices, LAYERS, strict=True)):
            if number == _SECOND_STAGE and not large:
                layer = replace(layer, stride=1)
            builders: dict[str, Any] = {name: partial(InvertedResidual, layer, kind) for name, kind in KINDS.items()}
            builders["skip"] = partial(_skip, layer)
            body.append(pick(choice.name, builders))
        tail = ConvBNActivation(LAYERS[-1].outputs, HEAD, 1, activation=nn.ReLU())
        return in_row(stem, *body, tail, task.head(HEAD))


class InvertedResidual(nn.Module):
    """Expand (1 x 1, shuffle where grouped), filter each channel, project (1 x 1); added to its input where it fits."""

    def __init__(self, layer: Layer, kind: Kind) -> None:
        super().__init__()
        hidden = layer.inputs * kind.expansion
        self.expand = nn.Sequential(
            nn.Conv2d(layer.inputs, hidden, 1, groups=kind.groups, bias=False), nn.BatchNorm2d(hidden), nn.ReLU()
        )
        self.shuffle = nn.ChannelShuffle(kind.groups) if kind.groups > 1 else nn.Identity()
        self.filter = ConvBNActivation(hidden, hidden, kind.kernel, layer.stride, depthwise=True, activation=nn.ReLU())
        self.project = nn.Sequential(
            nn.Conv2d(hidden, layer.outputs, 1, groups=kind.groups, bias=False), nn.BatchNorm2d(layer.outputs)
        )
        self.residual = layer.keeps_shape

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.project(self.filter(self.shuffle(self.expand(x))))
        return x + y if self.residual else y


def _skip(layer: Layer) -> nn.Module:
    if layer.keeps_shape:
        return nn.Identity()
    return ConvBNActivation(layer.inputs, layer.outputs, 1, layer.stride, activation=nn.ReLU())
