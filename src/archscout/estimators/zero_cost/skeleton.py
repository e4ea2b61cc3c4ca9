"""The network of an architecture without numbers in it, whose layers can be told what to do.

Scores that do not depend on drawn weights run the modules' own code with layers replaced, on tensors of one channel or
on no tensors at all. Building thousands of networks for that would take longer than running them. Where the
choices of a space are between operations, one supernet without memory is every network: a selection says which.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from archscout.core.architecture import Architecture
from archscout.core.cache import Cache
from archscout.core.errors import ArchscoutError
from archscout.core.space import Space
from archscout.core.task import Task
from archscout.networks import elastic
from archscout.networks.pick import MixedOp, SupernetPick
from archscout.networks.tracing import blueprint

Layer = Callable[[Any, Any], Any]

KINDS = (nn.Conv2d, nn.Linear, _BatchNorm, nn.ReLU, nn.AvgPool2d, nn.Identity)
"""The layers that can be told what to do."""


class Skeleton:
    """A network and what its layers do: `run` takes one function a kind of layer, called with (layer, input)."""

    def __init__(self, network: nn.Module) -> None:
        self.network = network.eval()
        self._functions: Mapping[type, Layer] = {}
        self.equal_channels: bool | None = None
        """Whether all its layers keep equal channels equal, once that was asked."""
        for module in network.modules():
            kind = next((kind for kind in KINDS if isinstance(module, kind)), None)
            if kind is not None:
                module.__dict__["forward"] = _Told(self, kind, module)

    def run(self, functions: Mapping[type, Layer], x: Any) -> Any:
        """What the network makes of x. Kinds that are not named give back their input."""
        self._functions = functions
        try:
            return self.network(x)
        finally:
            self._functions = {}


def places(
    size: Sequence[int],
    kernel: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    *,
    up: bool = False,
) -> tuple[int, ...]:
    """The size of what windows over a map make; rounded up, the last one hangs over but begins on the map."""
    positions = []
    for n, k, step, pad, apart in zip(size, kernel, stride, padding, dilation, strict=True):
        room = n + 2 * pad - apart * (k - 1) - 1
        count = (-(-room // step) if up else room // step) + 1
        positions.append(count - 1 if up and (count - 1) * step >= n + pad else count)
    return tuple(positions)


def pair(value: int | tuple[int, ...]) -> tuple[int, int]:
    """A setting of a layer in two dimensions."""
    height, width = value if isinstance(value, tuple) else (value, value)
    return height, width


class _Told:
    def __init__(self, skeleton: Skeleton, kind: type, module: nn.Module) -> None:
        self.skeleton, self.kind, self.module = skeleton, kind, module

    def __call__(self, x: Any) -> Any:
        function = self.skeleton._functions.get(self.kind)
        return x if function is None else function(self.module, x)


_supernets = Cache[tuple["Skeleton", Any] | None](size=16)


def skeleton(space: Space, architecture: Architecture, task: Task) -> Skeleton:
    """The skeleton of an architecture; of a space of operations it is one and the same object, told another choice."""
    known = _supernets.get((space.digest, task.digest), lambda: _supernet(space, task))
    if known is None:
        return Skeleton(blueprint(space, architecture, task))
    supernet, selection = known
    selection.values = space.simplify(architecture)
    return supernet


def _supernet(space: Space, task: Task) -> tuple[Skeleton, Any] | None:
    """All networks of the space in one, where its choices are between operations; None where some are of sizes."""
    pick = SupernetPick(space.choices)
    try:
        with torch.device("meta"):
            network: nn.Module = space.network(task, pick)
    except (ArchscoutError, RuntimeError, NotImplementedError, TypeError, ValueError):
        return None
    modules = list(network.modules())
    sizes = any(type(module).__module__ == elastic.__name__ for module in modules)
    choices = {module.choice for module in modules if isinstance(module, MixedOp)}
    if sizes or choices != {choice.name for choice in space.choices}:
        return None
    return Skeleton(network), pick.selection
