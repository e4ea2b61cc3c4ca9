"""Choice layers: what turns a module of your own into a search space (`archscout.space(module)`).

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            width = Width(8, 16, 32)
            self.stem = Conv2d(3, width, Kernel(3, 5))
            self.norm = BatchNorm2d(width)
            self.act = OneOf({"relu": nn.ReLU(), "gelu": nn.GELU()})
            self.head = Linear(width, 10)

The module is an ordinary one: it runs, trains and copies as it stands, with the first option of each `OneOf`, all
blocks of each `Depth` and the largest of all numbers. How its other forms are made: `choice_layer.py`.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from torch import Tensor, nn

from archscout.core.choice import Option
from archscout.core.errors import UsageError
from archscout.networks.choice_layer import ChoiceLayer, NumberLayer, Resolver, name_of
from archscout.networks.elastic import batch_norm, conv2d, linear
from archscout.networks.elastic_layer import elastic_layer
from archscout.networks.numbers import Computed as Computed
from archscout.networks.numbers import Kernel as Kernel
from archscout.networks.numbers import Plain, Undecided, same_number
from archscout.networks.numbers import Value as Value
from archscout.networks.numbers import Width as Width


class OneOf(ChoiceLayer):
    """One of several modules: `OneOf({"relu": nn.ReLU(), "gelu": nn.GELU()})`, or `OneOf([nn.ReLU(), nn.GELU()])`.

    Args:
        options: a module for each option; an option is a text, number or truth value. Those of a list are called after
            their class, with their place where two are of one class. None is a layer that returns what it is given.
        name: of the choice; where None, the path of this layer in the whole module.
    """

    def __init__(
        self, options: Mapping[Any, nn.Module | None] | Sequence[nn.Module | None], name: str | None = None
    ) -> None:
        super().__init__()
        if isinstance(options, Sequence) and not isinstance(options, str):
            kinds = ["none" if module is None else type(module).__name__ for module in options]
            names = [kind if kinds.count(kind) == 1 else f"{kind}{place}" for place, kind in enumerate(kinds)]
            options = dict(zip(names, options, strict=True))
        if not isinstance(options, Mapping) or not options:
            raise UsageError(f"OneOf was given no option ({options!r}): give it a dictionary or a list of modules.")
        modules = {option: nn.Identity() if module is None else module for option, module in options.items()}
        for option, module in modules.items():
            if not isinstance(option, str | int | float) or not isinstance(module, nn.Module):
                raise UsageError(
                    f"OneOf was given {module!r} as option {option!r}: give it texts or numbers, each with its module."
                )
        self.name = name
        self.options: tuple[Option, ...] = tuple(modules)
        self.candidates = nn.ModuleList(modules.values())

    def build(self, resolver: Resolver, memo: dict[Any, Any]) -> nn.Module:
        builders = {o: partial(copy.deepcopy, m, memo) for o, m in zip(self.options, self.candidates, strict=True)}
        picked: nn.Module = resolver.pick(name_of(self), builders)
        return picked

    def forward(self, *inputs: Any, **named: Any) -> Any:
        return self.candidates[0](*inputs, **named)


class Depth(ChoiceLayer):
    """The first so many of several blocks, one after the other: `Depth([block() for _ in range(4)])`.

    Args:
        blocks: modules that each take what the one before returns.
        minimum: how many run at least; 0 where all may be left out.
        name: of the choice; where None, the path of this layer in the whole module.
    """

    def __init__(self, blocks: Sequence[nn.Module], minimum: int = 1, name: str | None = None) -> None:
        super().__init__()
        if not 0 <= minimum <= len(blocks) or not blocks:
            raise UsageError(f"Depth of {len(blocks)} blocks cannot run at least {minimum}: give a number of them.")
        self.name = name
        self.options: tuple[Option, ...] = tuple(range(minimum, len(blocks) + 1))
        self.blocks = nn.ModuleList(blocks)

    def build(self, resolver: Resolver, memo: dict[Any, Any]) -> nn.Module:
        builders = [partial(copy.deepcopy, block, memo) for block in self.blocks]
        built: nn.Module = resolver.pick.depth(name_of(self), builders)
        return built

    def forward(self, x: Tensor) -> Tensor:
        for block in self.blocks:
            x = block(x)
        return x


class Conv2d(NumberLayer):
    """A convolution whose channels and kernel may be choices; padding keeps the image's size at stride 1.

    Args:
        inputs: channels that come in.
        outputs: channels that go out.
        kernel: its size, in pixels a side.
        stride: in pixels.
        padding: pixels on each side; what keeps the image's size where None.
        dilation: pixels from one place of the kernel to the next.
        groups: parts of the channels that are filtered by themselves.
        depthwise: whether each channel is filtered by itself; `outputs` is then the same number as `inputs`.
        bias: whether a bias is added; also a `Value` of truth values.
        padding_mode: what padding consists of, as torch calls it (`zeros`, `reflect`, ...); also a `Value`.
    """

    def __init__(
        self,
        inputs: int | Undecided,
        outputs: int | Undecided,
        kernel: int | Undecided,
        stride: int | Undecided = 1,
        *,
        padding: int | Undecided | None = None,
        dilation: int | Undecided = 1,
        groups: int | Undecided = 1,
        depthwise: bool = False,
        bias: bool = True,
        padding_mode: str = "zeros",
    ) -> None:
        if depthwise and not same_number(inputs, outputs):
            raise UsageError(f"a depthwise Conv2d has as many outputs as inputs, not {inputs} and {outputs}.")
        numbers = {"inputs": inputs, "outputs": outputs, "kernel": kernel}
        values, fixed = _parted({"stride": stride, "bias": bias, "padding_mode": padding_mode})
        plain = padding is None and type(dilation) is int and type(groups) is int and dilation == groups == 1
        if plain and not values and padding_mode == "zeros":
            super().__init__(partial(conv2d, stride=fixed["stride"], depthwise=depthwise, bias=bias), numbers)
            return
        numbers |= {"dilation": dilation, "groups": inputs if depthwise else groups}
        numbers |= {} if padding is None else {"padding": padding}
        super().__init__(partial(_layer, partial(_convolution, nn.Conv2d, **fixed)), numbers, values)


class BatchNorm2d(NumberLayer):
    """Batch normalisation of a feature map whose channels may be a choice."""

    def __init__(self, channels: int | Undecided) -> None:
        super().__init__(batch_norm, {"channels": channels})


class Linear(NumberLayer):
    """A fully connected layer whose features may be choices."""

    def __init__(self, inputs: int | Undecided, outputs: int | Undecided, *, bias: bool = True) -> None:
        super().__init__(partial(linear, bias=bias), {"inputs": inputs, "outputs": outputs})


class Conv1d(NumberLayer):
    """A convolution along one dimension (N x channels x length); numbers as for `Conv2d`."""

    def __init__(
        self,
        inputs: int | Undecided,
        outputs: int | Undecided,
        kernel: int | Undecided,
        stride: int | Undecided = 1,
        *,
        padding: int | Undecided | None = None,
        dilation: int | Undecided = 1,
        groups: int | Undecided = 1,
        bias: bool = True,
        padding_mode: str = "zeros",
    ) -> None:
        values, fixed = _parted({"stride": stride, "bias": bias, "padding_mode": padding_mode})
        numbers = {"inputs": inputs, "outputs": outputs, "kernel": kernel, "dilation": dilation, "groups": groups}
        numbers |= {} if padding is None else {"padding": padding}
        super().__init__(partial(_layer, partial(_convolution, nn.Conv1d, **fixed)), numbers, values)


class ConvTranspose2d(NumberLayer):
    """A transposed convolution whose channels and kernel may be choices.

    Args:
        inputs: channels that come in.
        outputs: channels that go out.
        kernel: its size, in pixels a side; equal to `stride`, or odd where padding is None.
        stride: how many times larger the image becomes.
        padding: what is taken off each side; so much that the image is exactly `stride` times as large where None.
        groups: parts of the channels that are filtered by themselves.
        bias: whether a bias is added.
    """

    def __init__(
        self,
        inputs: int | Undecided,
        outputs: int | Undecided,
        kernel: int | Undecided,
        stride: int = 1,
        *,
        padding: int | Undecided | None = None,
        groups: int | Undecided = 1,
        bias: bool = True,
    ) -> None:
        numbers = {"inputs": inputs, "outputs": outputs, "kernel": kernel, "groups": groups}
        numbers |= {} if padding is None else {"padding": padding}
        super().__init__(partial(_layer, partial(_transposed, stride=stride, bias=bias)), numbers)


class GroupNorm(NumberLayer):
    """Normalisation over groups of the channels."""

    def __init__(self, groups: int | Undecided, channels: int | Undecided) -> None:
        super().__init__(partial(_layer, _group_norm), {"groups": groups, "channels": channels})


class LayerNorm(NumberLayer):
    """Normalisation over the last dimensions, of these sizes: `LayerNorm(width)`, `LayerNorm([width, 8, 8])`."""

    def __init__(self, sizes: int | Undecided | Sequence[int | Undecided]) -> None:
        several = list(sizes) if isinstance(sizes, Sequence) else [sizes]
        super().__init__(partial(_layer, _layer_norm), {f"size{place}": size for place, size in enumerate(several)})


class Embedding(NumberLayer):
    """A vector for each of several words."""

    def __init__(self, words: int | Undecided, features: int | Undecided) -> None:
        super().__init__(partial(_layer, _embedding), {"words": words, "features": features})


def _parted(options: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Options of a layer: those that are choices, and the others."""
    values = {role: option for role, option in options.items() if isinstance(option, Undecided | Plain)}
    return values, {role: option for role, option in options.items() if role not in values}


def _layer(make: Callable[..., nn.Module], **numbers: Any) -> nn.Module:
    return elastic_layer(make, numbers)


def _convolution(
    kind: type[nn.Module],
    inputs: int,
    outputs: int,
    kernel: int,
    dilation: int,
    groups: int,
    padding: int | None = None,
    *,
    stride: int,
    bias: bool,
    padding_mode: str,
) -> nn.Module:
    padding = dilation * (kernel // 2) if padding is None else padding
    return kind(inputs, outputs, kernel, stride, padding, dilation, groups, bias, padding_mode)


def _transposed(
    inputs: int, outputs: int, kernel: int, groups: int, padding: int | None = None, *, stride: int, bias: bool
) -> nn.Module:
    spare = max(0, kernel - stride)
    before = (spare + 1) // 2 if padding is None else padding
    after = 2 * before - spare if padding is None else 0
    return nn.ConvTranspose2d(inputs, outputs, kernel, stride, before, after, groups, bias)


def _group_norm(groups: int, channels: int) -> nn.Module:
    return nn.GroupNorm(groups, channels)


def _layer_norm(**sizes: int) -> nn.Module:
    return nn.LayerNorm(list(sizes.values()))


def _embedding(words: int, features: int) -> nn.Module:
    return nn.Embedding(words, features)
