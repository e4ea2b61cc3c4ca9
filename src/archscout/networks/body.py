"""A network without its head: layers in a row, whose stages end after some of them.

A space builds a body; the head comes from the task. Most heads read the last feature map, and the network then is the
layers and the head in a row. A head for pixels reads the maps at the ends of all stages (the taps).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from archscout.core.task import Task
from archscout.networks.elastic import Number
from archscout.networks.padding import in_row, read


@dataclass(frozen=True)
class Body:
    """Layers, and where their stages end.

    Args:
        layers: each takes what the one before it gives.
        stages: after which layer (counted from 0) each stage ends; the last stage ends with the last layer.
        channels: of the map at the end of each stage.
        strides: pixels of the input for each of that map, along one side.
    """

    layers: Sequence[nn.Module]
    stages: Sequence[int]
    channels: Sequence[Number]
    strides: Sequence[int]

    def __post_init__(self) -> None:
        if not len(self.stages) == len(self.channels) == len(self.strides):
            raise ValueError("a body has as many stages as channels and strides.")
        if list(self.stages) != sorted(set(self.stages)) or self.stages[-1] != len(self.layers) - 1:
            raise ValueError("stages end after layers in order, the last one after the last layer.")

    def with_head(self, task: Task) -> nn.Module:
        """The whole network for a task; modules are named by their place, whether the head taps stages or not."""
        head = task.tapped_head(self.channels, self.strides)
        if head is None:
            return in_row(*self.layers, task.head(self.channels[-1]))
        return Tapped(self.layers, head, self.stages)


class Tapped(nn.Sequential):
    """Layers in a row, and a head that reads the maps at the ends of stages, the finest first."""

    def __init__(self, layers: Sequence[nn.Module], head: nn.Module, stages: Sequence[int]) -> None:
        super().__init__(*layers, head)
        self.stages = tuple(stages)

    def forward(self, x: Tensor) -> Tensor:
        *layers, head = self
        features, maps = x, []
        for place, layer in enumerate(layers):
            features = layer(features)
            if place in self.stages:
                maps.append(features)
        return read(head, maps, x)


class Staged(nn.Module):
    """A module of the user's own as a body, under a head that reads the maps at the ends of its stages.

    Args:
        body: gives the map of its last stage.
        stages: the parts of it, by path, whose outputs are the maps, the finest first.
        head: of the task.
    """

    def __init__(self, body: nn.Module, stages: Sequence[str], head: nn.Module) -> None:
        super().__init__()
        self.body, self.head, self.stages = body, head, tuple(stages)
        self._kept = [KeepMap(body, stage) for stage in self.stages[:-1]]

    def forward(self, x: Tensor) -> Tensor:
        last = self.body(x)
        return read(self.head, [*(kept.take() for kept in self._kept), last], x)


class KeepMap:
    """A hook that keeps what a part of a module gives; a class, so that it is copied and sent along with the module."""

    def __init__(self, module: nn.Module, part: str) -> None:
        self._map: Any = None
        self.handle = module.get_submodule(part).register_forward_hook(self)

    def __call__(self, module: nn.Module, inputs: Any, output: Any) -> None:
        self._map = output

    def take(self) -> Any:
        """What the last pass gave, which is then forgotten: no map outlives its pass."""
        taken, self._map = self._map, None
        return taken
