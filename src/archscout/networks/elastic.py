"""Layers whose width and kernel are choices: slices of one tensor in a supernet, plain torch layers elsewhere.

`conv2d`, `batch_norm` and `linear` take plain integers or `Elastic` numbers. With integers they return the torch
layer, so that a stand-alone network has no trace of the search. The first so many channels and the centre of a kernel
are what a narrower layer uses (Yu et al. 2019, arXiv 1812.08928; Cai et al. 2020, arXiv 1908.09791).
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from archscout.core.choice import Choice, Option


class Selection:
    """Which option of each choice runs now; one object is shared by all the modules of a supernet."""

    def __init__(self) -> None:
        self.values: Mapping[str, Option] = {}

    def __getitem__(self, choice: str) -> Option:
        return self.values[choice]


class Elastic:
    """A number that follows the selection: a choice, or a function of choices (see `compute`).

    It keeps what it is computed from as data, not in a closure, so that a copy of a supernet follows its own selection.
    """

    def __init__(self, function: Callable[..., Any], sources: tuple[Any, ...], possible: tuple[int, ...]) -> None:
        self.function = function
        self.sources = sources
        self.possible = possible
        self.maximum = max(possible)

    @classmethod
    def of_choice(cls, choice: Choice, selection: Selection) -> Elastic:
        return cls(Selection.__getitem__, (selection, choice.name), choice.options)  # type: ignore[arg-type]

    @property
    def now(self) -> Any:
        return self.function(*(now(source) for source in self.sources))

    def __index__(self) -> int:
        return int(self.now)


Number = int | Elastic


def now(number: Any) -> Any:
    """The value that a number has now."""
    return number.now if isinstance(number, Elastic) else number


def maximum(number: Number) -> int:
    """The largest value that a number can have."""
    return number.maximum if isinstance(number, Elastic) else number


def compute(function: Callable[..., int], *numbers: Any) -> Any:
    """A function of numbers, elastic where one of them is.

    >>> compute(lambda width, expansion: width * expansion, 16, 4)
    64
    """
    if not any(isinstance(number, Elastic) for number in numbers):
        return function(*numbers)
    grids = [number.possible if isinstance(number, Elastic) else (number,) for number in numbers]
    possible = tuple(sorted({function(*point) for point in itertools.product(*grids)}))
    return Elastic(function, numbers, possible)


def conv2d(
    inputs: Number, outputs: Number, kernel: Number, *, stride: int = 1, depthwise: bool = False, bias: bool = False
) -> nn.Module:
    """A convolution with padding `kernel // 2`; depthwise ones have `outputs` equal to `inputs`."""
    if not any(isinstance(number, Elastic) for number in (inputs, outputs, kernel)):
        size = now(kernel)
        groups = now(inputs) if depthwise else 1
        return nn.Conv2d(now(inputs), now(outputs), size, stride, size // 2, groups=groups, bias=bias)
    return ElasticConv2d(inputs, outputs, kernel, stride=stride, depthwise=depthwise, bias=bias)


def batch_norm(channels: Number) -> nn.Module:
    """Batch normalisation over the channels of a feature map."""
    return ElasticBatchNorm2d(channels) if isinstance(channels, Elastic) else nn.BatchNorm2d(channels)


def linear(inputs: Number, outputs: Number, *, bias: bool = True) -> nn.Module:
    """A fully connected layer."""
    if isinstance(inputs, Elastic) or isinstance(outputs, Elastic):
        return ElasticLinear(inputs, outputs, bias=bias)
    return nn.Linear(inputs, outputs, bias)


class ElasticConv2d(nn.Conv2d):
    """A convolution of which the first channels and the centre of the kernel run."""

    def __init__(
        self, inputs: Number, outputs: Number, kernel: Number, *, stride: int, depthwise: bool, bias: bool
    ) -> None:
        size = maximum(kernel)
        groups = maximum(inputs) if depthwise else 1
        super().__init__(maximum(inputs), maximum(outputs), size, stride, size // 2, groups=groups, bias=bias)
        self.numbers = (inputs, outputs, kernel)
        self.depthwise = depthwise

    def active_state(self) -> dict[str, Tensor]:
        """The slices that run now, as the state of a plain layer."""
        inputs, outputs, kernel = (now(number) for number in self.numbers)
        start = (self.kernel_size[0] - kernel) // 2
        weight = self.weight[:outputs, : 1 if self.depthwise else inputs]
        state = {"weight": weight[:, :, start : start + kernel, start : start + kernel]}
        return state | ({"bias": self.bias[:outputs]} if self.bias is not None else {})

    def forward(self, x: Tensor) -> Tensor:
        state = self.active_state()
        padding = state["weight"].shape[-1] // 2
        groups = x.shape[1] if self.depthwise else 1
        return F.conv2d(x, state["weight"], state.get("bias"), self.stride, padding, 1, groups)


class ElasticBatchNorm2d(nn.BatchNorm2d):
    """Batch normalisation of the first channels."""

    def __init__(self, channels: Elastic) -> None:
        super().__init__(channels.maximum)
        self.channels = channels

    def active_state(self) -> dict[str, Tensor]:
        count = self.channels.now
        buffers = {name: getattr(self, name)[:count] for name in ("weight", "bias", "running_mean", "running_var")}
        assert self.num_batches_tracked is not None
        return buffers | {"num_batches_tracked": self.num_batches_tracked}

    def forward(self, x: Tensor) -> Tensor:
        state = self.active_state()
        if self.training:
            state["num_batches_tracked"].add_(1)
        return F.batch_norm(
            x, state["running_mean"], state["running_var"], state["weight"], state["bias"],
            self.training, self.momentum or 0.0, self.eps,
        )  # fmt: skip


class ElasticLinear(nn.Linear):
    """A fully connected layer from the first inputs to the first outputs."""

    def __init__(self, inputs: Number, outputs: Number, *, bias: bool) -> None:
        super().__init__(maximum(inputs), maximum(outputs), bias)
        self.numbers = (inputs, outputs)

    def active_state(self) -> dict[str, Tensor]:
        """The slices that run now, as the state of a plain layer."""
        inputs, outputs = (now(number) for number in self.numbers)
        state = {"weight": self.weight[:outputs, :inputs]}
        return state | ({"bias": self.bias[:outputs]} if self.bias is not None else {})

    def forward(self, x: Tensor) -> Tensor:
        state = self.active_state()
        return F.linear(x, state["weight"], state.get("bias"))
