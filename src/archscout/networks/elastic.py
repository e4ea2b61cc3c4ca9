"""Layers whose width and kernel are choices: slices of one tensor in a supernet, plain torch layers elsewhere.

`conv2d`, `batch_norm` and `linear` take plain integers or `Elastic` numbers. With integers they return the torch
layer, so that a stand-alone network has no trace of the search. The first so many channels and the centre of a kernel
are what a narrower layer uses (Yu et al. 2019, arXiv 1812.08928; Cai et al. 2020, arXiv 1908.09791).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from archscout.core.choice import Choice, Option
from archscout.networks.gate import Gate

Kind = Literal["kernel", "depth", "width", "operation"]
"""What a choice changes; an operation is whatever has no size that grows from one option to the next."""

MOST_COMBINATIONS = 4096
"""Of the options of the choices that a number depends on: with more, it is wiring, and no width or kernel."""


class Selection:
    """Which option of each choice runs now; one object is shared by all the modules of a supernet.

    `values` has the option of each choice that is decided, `gates` how the others act; a gate comes first.
    """

    def __init__(self) -> None:
        self.values: Mapping[str, Option] = {}
        self.gates: Mapping[str, Gate] = {}

    def __getitem__(self, choice: str) -> Option:
        return self.values[choice]


class Elastic:
    """A number that follows the selection: a choice, or a function of choices (see `compute`).

    It keeps what it is computed from as data, not in a closure, so that a copy of a supernet follows its own selection.
    Under gates it is several numbers at once, each with a multiplier: the largest of them runs, and `profile` says how
    much of each place counts.
    """

    def __init__(self, function: Callable[..., Any], sources: tuple[Any, ...], possible: tuple[int, ...]) -> None:
        self.function = function
        self.sources = sources
        self.possible = possible
        self.maximum = max(possible)

    @classmethod
    def of_choice(cls, choice: Choice, selection: Selection) -> Elastic:
        return ElasticChoice(choice, selection)

    def leaves(self) -> dict[str, ElasticChoice]:
        """The choices that it is computed from, by name."""
        choices: dict[str, ElasticChoice] = {}
        for source in self.sources:
            if isinstance(source, Elastic):
                choices |= source.leaves()
        return choices

    def at(self, values: Mapping[str, Option]) -> Any:
        """Its value where the choices have these values."""
        return self.function(*(s.at(values) if isinstance(s, Elastic) else s for s in self.sources))

    def mixture(self) -> list[tuple[Any, Tensor | None]]:
        """The values that it has now, each with its multiplier (None: 1)."""
        decided: dict[str, Option] = {}
        gated: dict[str, list[tuple[Option, Tensor | None]]] = {}
        for name, leaf in self.leaves().items():
            gate = leaf.selection.gates.get(name)
            if gate is None:
                decided[name] = leaf.selection.values.get(name, leaf.first)
            else:
                gated[name] = [(leaf.choice.options[position], gate.weight(position)) for position in gate.run]
        if not gated:
            return [(self.at(decided), None)]
        if math.prod(map(len, gated.values())) > MOST_COMBINATIONS:
            raise ValueError(f"a number that depends on {len(gated)} undecided choices cannot be mixed.")
        parts = []
        for combination in itertools.product(*gated.values()):
            options, weights = zip(*combination, strict=True)
            known = [weight for weight in weights if weight is not None]
            value = self.at(decided | dict(zip(gated, options, strict=True)))
            parts.append((value, torch.stack(known).prod() if known else None))
        return parts

    @property
    def now(self) -> Any:
        parts = self.mixture()
        return parts[0][0] if len(parts) == 1 else max(value for value, _ in parts)

    def profile(self) -> Tensor | None:
        """By what each of the first `now` places is multiplied: the weight of all values that reach it."""
        parts = self.mixture()
        if all(weight is None for _, weight in parts):
            return None
        places = torch.arange(max(value for value, _ in parts), device=parts[0][1].device)  # type: ignore[union-attr]
        weighted = [(1.0 if weight is None else weight) * (places < value) for value, weight in parts]
        return torch.stack(weighted).sum(0)

    def __index__(self) -> int:
        return int(self.now)

    # In the forward pass of a user's own code: `x.view(len(x), self.width // 2, -1)`.
    def __add__(self, other: int) -> int:
        return int(self.now) + other

    def __sub__(self, other: int) -> int:
        return int(self.now) - other

    def __mul__(self, other: int) -> int:
        return int(self.now) * other

    def __floordiv__(self, other: int) -> int:
        return int(self.now) // other

    def __radd__(self, other: int) -> int:
        return other + int(self.now)

    def __rsub__(self, other: int) -> int:
        return other - int(self.now)

    def __rmul__(self, other: int) -> int:
        return other * int(self.now)

    def __rfloordiv__(self, other: int) -> int:
        return other // int(self.now)


class ElasticChoice(Elastic):
    """A number that is itself a choice; its first option where the choice is not active, and nothing depends on it."""

    def __init__(self, choice: Choice, selection: Selection) -> None:
        super().__init__(int, (), choice.options)  # type: ignore[arg-type]
        self.choice, self.selection = choice, selection
        self.first = choice.options[0]

    def leaves(self) -> dict[str, ElasticChoice]:
        return {self.choice.name: self}

    def at(self, values: Mapping[str, Option]) -> Any:
        return values.get(self.choice.name, self.first)


Number = int | Elastic


def now(number: Any) -> Any:
    """The value that a number has now."""
    return number.now if isinstance(number, Elastic) else number


def profile(number: Any) -> Tensor | None:
    """By what each place is multiplied under gates; None where all count in full."""
    return number.profile() if isinstance(number, Elastic) else None


def is_mixed(number: Any) -> bool:
    """Whether a number is several at once, under gates."""
    return isinstance(number, Elastic) and any(weight is not None for _, weight in number.mixture())


def leaves(number: Any) -> dict[str, ElasticChoice]:
    """The choices that a number is computed from, by name."""
    return number.leaves() if isinstance(number, Elastic) else {}


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
    inputs: Number,
    outputs: Number,
    kernel: Number,
    *,
    stride: int = 1,
    depthwise: bool = False,
    bias: bool = False,
    dilation: int = 1,
) -> nn.Module:
    """A convolution with padding `dilation * (kernel // 2)`; depthwise ones have `outputs` equal to `inputs`."""
    if not any(isinstance(number, Elastic) for number in (inputs, outputs, kernel)):
        size = now(kernel)
        groups = now(inputs) if depthwise else 1
        padding = dilation * (size // 2)
        return nn.Conv2d(now(inputs), now(outputs), size, stride, padding, dilation, groups=groups, bias=bias)
    return ElasticConv2d(inputs, outputs, kernel, stride=stride, depthwise=depthwise, bias=bias, dilation=dilation)


def batch_norm(channels: Number) -> nn.Module:
    """Batch normalisation over the channels of a feature map."""
    return ElasticBatchNorm2d(channels) if isinstance(channels, Elastic) else nn.BatchNorm2d(channels)


def linear(inputs: Number, outputs: Number, *, bias: bool = True) -> nn.Module:
    """A fully connected layer."""
    if isinstance(inputs, Elastic) or isinstance(outputs, Elastic):
        return ElasticLinear(inputs, outputs, bias=bias)
    return nn.Linear(inputs, outputs, bias)


class ElasticConv2d(nn.Conv2d):
    """A convolution of which the first channels and the centre of the kernel run.

    After `learn_kernels`, a smaller kernel is the centre of the next larger one times a matrix that is trained with the
    weights, shared by the channels of the layer and the identity at first (Cai et al. 2020, arXiv 1908.09791). Kernels
    that are mixed by gates are centres as they are.
    """

    def __init__(
        self,
        inputs: Number,
        outputs: Number,
        kernel: Number,
        *,
        stride: int,
        depthwise: bool,
        bias: bool,
        dilation: int = 1,
    ) -> None:
        size = maximum(kernel)
        groups = maximum(inputs) if depthwise else 1
        padding = dilation * (size // 2)
        super().__init__(maximum(inputs), maximum(outputs), size, stride, padding, dilation, groups=groups, bias=bias)
        self.numbers = (inputs, outputs, kernel)
        self.depthwise = depthwise
        self.transforms: nn.ParameterDict | dict[str, nn.Parameter] = {}

    def learn_kernels(self) -> None:
        """Have smaller kernels made of larger ones by matrices (K*K x K*K for a kernel of K x K)."""
        kernel = self.numbers[2]
        smaller = kernel.possible[:-1] if isinstance(kernel, Elastic) else ()
        self.transforms = nn.ParameterDict({str(size): nn.Parameter(torch.eye(size * size)) for size in smaller})

    def active_state(self) -> dict[str, Tensor]:
        """The slices that run now, as the state of a plain layer."""
        inputs, outputs, kernel = (now(number) for number in self.numbers)
        weight = self.weight[:outputs, : 1 if self.depthwise else inputs]
        for size in sorted(map(int, self.transforms), reverse=True):
            if size >= kernel:
                weight = _centre(weight, size)
                weight = (weight.flatten(2) @ self.transforms[str(size)]).reshape(weight.shape)
        return {"weight": _centre(weight, kernel)} | ({"bias": self.bias[:outputs]} if self.bias is not None else {})

    def forward(self, x: Tensor) -> Tensor:
        state = self.active_state()
        weight = state["weight"]
        half = weight.shape[-1] // 2
        groups = x.shape[1] if self.depthwise else 1
        kernel = profile(self.numbers[2])
        if kernel is not None:
            # From the middle outwards: a kernel that is smaller by two does not reach the next ring.
            place = (torch.arange(2 * half + 1, device=x.device) - half).abs()
            weight = weight * kernel[2 * torch.maximum(place[:, None], place)]
        return _masked(
            F.conv2d(x, weight, state.get("bias"), self.stride, self.dilation[0] * half, self.dilation, groups),
            self.numbers[1],
        )


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
        y = F.batch_norm(
            x, state["running_mean"], state["running_var"], state["weight"], state["bias"],
            self.training, self.momentum or 0.0, self.eps,
        )  # fmt: skip
        return _masked(y, self.channels)


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
        return _masked(F.linear(x, state["weight"], state.get("bias")), self.numbers[1])


def _centre(weight: Tensor, size: int) -> Tensor:
    """The middle of a square kernel (O, I, K, K)."""
    start = (weight.shape[-1] - size) // 2
    return weight[:, :, start : start + size, start : start + size]


def _masked(x: Tensor, channels: Number) -> Tensor:
    """Each channel (dimension 1) by how much it counts."""
    mask = profile(channels)
    return x if mask is None else x * mask.view(-1, *[1] * (x.ndim - 2))
