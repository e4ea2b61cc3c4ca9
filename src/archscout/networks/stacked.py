"""Many networks as one, so that each operator runs once for all that use it.

Small networks spend most of their time on calling operators, little on arithmetic. So M networks of one space are laid
side by side along the channels: feature maps are N x (M C) x H x W, and the layers that do this exactly are plain ones
of PyTorch: a convolution becomes a grouped one, batch normalisation keeps its statistics by channel anyway, and what
has no weights (activations, pooling, sums) need not know. Where the networks differ, `StackedChoice` gathers the
channels of those that chose alike, runs their option once, and what comes back are `Terms`: a sum that is yet to be
made, because most choices end in one.

The code of containers (cells, blocks) is run as it stands. It may do with feature maps whatever treats every channel
alike and apart; `stack` compares the answers with those of the single networks and refuses where they differ.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.dropout import _DropoutNd
from torch.nn.utils import skip_init

from archscout.networks.operations import Zero

_TOLERANCE = 1e-4
_OF_EVERY_MODULE = frozenset(nn.Module().__dict__) | {"picked"}


class Unstackable(Exception):  # noqa: N818 - not a fault: they are then trained one by one
    """These networks cannot be laid side by side."""


@dataclass(frozen=True)
class Shared:
    """One tensor of a stack and the tensors of single networks that it holds, one after the other along dimension 0.

    `owners` says which network of the stack each belongs to. A counter, which is the same for all, is held once.
    """

    layer: nn.Module
    name: str
    singles: tuple[Tensor, ...]
    owners: Tensor

    @property
    def whole(self) -> Tensor:
        """The tensor of the stack: a parameter or a buffer."""
        tensor: Tensor = getattr(self.layer, self.name)
        return tensor

    @property
    def parts(self) -> Tensor:
        """The tensor as K x the shape of each."""
        if not self.singles[0].ndim:
            return self.whole.expand(len(self.singles))
        return self.whole.detach().view(len(self.singles), *self.singles[0].shape)


class Stack(nn.Module):
    """M networks in one. Takes N x (M C) x H x W inputs (`inputs` makes them) and gives M x N x K outputs."""

    def __init__(self, networks: Sequence[nn.Module]) -> None:
        super().__init__()
        self.count = len(networks)
        builder = _Builder()
        self.body = builder.stack(list(networks), torch.arange(self.count))
        self.shared = tuple(builder.shared)

    def forward(self, x: Tensor) -> Tensor:
        outputs: Tensor = _made(self.body(x))
        if outputs.ndim != 2:
            raise Unstackable("the outputs are not one vector for each example.")
        return outputs.view(len(outputs), self.count, -1).transpose(0, 1)

    def inputs(self, x: Tensor) -> Tensor:
        """Inputs of this stack, from N x C x H x W for all networks alike or M x N x C x H x W, one set for each."""
        if x.ndim == 4:
            return x.repeat(1, self.count, 1, 1).contiguous(memory_format=torch.channels_last)
        m, n, channels, height, width = x.shape
        return x.permute(1, 3, 4, 0, 2).reshape(n, height, width, m * channels).permute(0, 3, 1, 2)

    def unload(self, contents: Sequence[Tensor]) -> None:
        """Copy into the single networks what `contents` has for the parts of each shared tensor."""
        with torch.no_grad():
            for shared, parts in zip(self.shared, contents, strict=True):
                for single, part in zip(shared.singles, parts, strict=True):
                    single.copy_(part)


def stack(networks: Sequence[nn.Module], example: Tensor) -> Stack:
    """The networks as one, with copies of their weights.

    Args:
        networks: on one device; each takes inputs like `example` and gives one vector for each.
        example: at least two inputs, for which the answers are compared.

    Raises:
        Unstackable: they differ in more than the options that they chose (in widths, for example), they consist of
            layers that cannot be laid side by side, or the answers are not the same.
    """
    try:
        stacked = Stack(networks)
        _compare(stacked, networks, example)
    except Exception as error:  # code of a user's own, run in a way that it was not written for, fails in any way
        raise Unstackable(str(error)) from error
    return stacked


def _compare(stacked: Stack, networks: Sequence[nn.Module], example: Tensor) -> None:
    """Raise where a stack answers differently from its networks in training, or draws random numbers."""
    saved = [[buffer.clone() for buffer in module.buffers()] for module in (stacked, *networks)]
    modes = [module.training for module in networks]
    try:
        with torch.no_grad():
            before = torch.get_rng_state()
            together = stacked.train()(stacked.inputs(example))
            if not torch.equal(before, torch.get_rng_state()):
                raise Unstackable("the networks draw random numbers.")
            for network, outputs in zip(networks, together, strict=True):
                alone = network.train()(example)
                known = alone.isfinite()  # the weights of one that has diverged are no weights
                limit = _TOLERANCE * max(1.0, float(alone[known].abs().max())) if known.any() else math.inf
                if bool(((outputs - alone).abs() > limit)[known].any()):
                    raise Unstackable("the networks do not treat every channel apart.")
    finally:
        for module, buffers in zip((stacked, *networks), saved, strict=True):
            for buffer, content in zip(module.buffers(), buffers, strict=True):
                buffer.copy_(content)
        for network, mode in zip(networks, modes, strict=True):
            network.train(mode)


# -- building ---------------------------------------------------------------------------------------------------------


class _Builder:
    """Lays modules side by side, and keeps account of whose tensors went where."""

    def __init__(self) -> None:
        self.shared: list[Shared] = []
        self._made: dict[tuple[int, ...], nn.Module] = {}

    def stack(self, modules: list[nn.Module], owners: Tensor) -> nn.Module:
        """One module for all. A module that has several places in its network has one place here too."""
        key = tuple(map(id, modules))
        if key not in self._made:
            self._made[key] = self._stack(modules, owners)
        return self._made[key]

    def _stack(self, modules: list[nn.Module], owners: Tensor) -> nn.Module:
        first = modules[0]
        signatures = [_signature(module) for module in modules]
        alike = all(signature == signatures[0] for signature in signatures)
        if alike and type(first) in _LAYERS:
            return self._layer(modules, owners)
        if alike or (not hasattr(first, "picked") and len({_outline(module) for module in modules}) == 1):
            return self._container(modules, owners)
        groups: dict[Any, list[int]] = {}
        for place, signature in enumerate(signatures):
            groups.setdefault(signature, []).append(place)
        options = [self.stack([modules[i] for i in places], owners[places]) for places in groups.values()]
        return StackedChoice(len(modules), [torch.tensor(places) for places in groups.values()], options)

    def _container(self, modules: list[nn.Module], owners: Tensor) -> nn.Module:
        first = modules[0]
        if isinstance(first, _DropoutNd) and first.p:
            raise Unstackable("dropout would draw other random numbers.")
        if type(first).__module__.startswith("torch.nn") and not first._modules and type(first) not in _CHANNELWISE:
            raise Unstackable(f"there is no way to lay layers of the kind {type(first).__name__} side by side.")
        shell = copy.copy(first)
        shell._modules = {}
        for name, child in first._modules.items():
            children = [module._modules[name] for module in modules]
            shell._modules[name] = None if child is None else self.stack(children, owners)  # type: ignore[arg-type]
        return shell

    def _layer(self, modules: list[Any], owners: Tensor) -> nn.Module:
        layer: nn.Module = _LAYERS[type(modules[0])](modules[0], len(modules))
        for name, whole in [*layer.named_parameters(), *layer.named_buffers()]:
            singles = tuple(getattr(module, name).detach() for module in modules)
            with torch.no_grad():
                if not whole.ndim and len({int(single) for single in singles}) > 1:
                    raise Unstackable("batch normalisations have seen different numbers of batches.")
                whole.copy_(singles[0] if not whole.ndim else torch.cat(singles))
            whole.requires_grad_(any(single.requires_grad for single in (getattr(m, name) for m in modules)))
            self.shared.append(Shared(layer, name, singles, owners))
        return layer


def _convolution(like: nn.Conv2d, count: int) -> nn.Module:
    convolution: nn.Module = skip_init(  # type: ignore[no-untyped-call] # which draws no random numbers
        nn.Conv2d, like.in_channels * count, like.out_channels * count, like.kernel_size, like.stride, like.padding,
        like.dilation, like.groups * count, like.bias is not None, like.padding_mode,
        device=like.weight.device, dtype=like.weight.dtype,
    )  # fmt: skip
    return convolution


def _normalisation(like: nn.BatchNorm2d, count: int) -> nn.Module:
    tensor = next((t for t in (like.weight, like.running_mean) if t is not None), torch.empty(0))
    return nn.BatchNorm2d(
        like.num_features * count, like.eps, like.momentum, like.affine, like.track_running_stats,
        device=tensor.device, dtype=tensor.dtype,
    )  # fmt: skip


class StackedLinear(nn.Module):
    """M linear layers on N x (M inputs), one for each block of the inputs."""

    def __init__(self, like: nn.Linear, count: int) -> None:
        super().__init__()
        self.count = count
        self.weight = nn.Parameter(like.weight.new_empty(count * like.out_features, like.in_features))
        self.bias = None if like.bias is None else nn.Parameter(like.bias.new_empty(count * like.out_features))

    def forward(self, x: Tensor) -> Tensor:
        blocks = _made(x).view(len(x), self.count, -1).transpose(0, 1)
        weights = self.weight.view(self.count, -1, self.weight.shape[1]).transpose(1, 2)
        made = torch.bmm(blocks, weights).transpose(0, 1).reshape(len(x), -1)
        return made if self.bias is None else made + self.bias


_LAYERS: dict[type, Any] = {nn.Conv2d: _convolution, nn.BatchNorm2d: _normalisation, nn.Linear: StackedLinear}

_CHANNELWISE: frozenset[type] = frozenset({
    nn.Identity, nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.ELU, nn.GELU, nn.SiLU, nn.Mish, nn.Tanh, nn.Sigmoid,
    nn.Hardswish, nn.Hardsigmoid, nn.Hardtanh, nn.Softplus, nn.AvgPool2d, nn.MaxPool2d, nn.AdaptiveAvgPool2d,
    nn.AdaptiveMaxPool2d, nn.Dropout, nn.Dropout2d, nn.ZeroPad2d, nn.Sequential, nn.ModuleList, nn.ModuleDict,
    nn.Upsample,
})  # fmt: skip
"""Layers of PyTorch without weights that treat every channel alike and apart."""


def _signature(module: nn.Module) -> Any:
    """What a module is, down to its layers, but for the values of its tensors."""
    return (_outline(module), *(None if m is None else _signature(m) for m in module._modules.values()))


def _outline(module: nn.Module) -> Any:
    """What a module is, without its children. Raises `Unstackable` for what cannot be compared."""
    tensors = [*module._parameters.items(), *module._buffers.items()]
    if any(t is not None for _, t in tensors) and type(module) not in _LAYERS:
        raise Unstackable(f"modules of the kind {type(module).__name__} have weights of their own.")
    shapes = tuple((name, None if t is None else tuple(t.shape)) for name, t in tensors)
    attributes = []
    for name, value in module.__dict__.items():
        if name not in _OF_EVERY_MODULE:
            attributes.append((name, _plain(value)))
    return type(module), tuple(module._modules), shapes, tuple(attributes)


def _plain(value: Any) -> Any:
    if value is None or isinstance(value, int | float | str | bool):
        return value
    if isinstance(value, tuple | list):
        return tuple(_plain(item) for item in value)
    raise Unstackable(f"an attribute of the type {type(value).__name__} cannot be compared.")


# -- choices and sums -------------------------------------------------------------------------------------------------


class StackedChoice(nn.Module):
    """A place where the networks differ: each option runs once, on the channels of those that chose it."""

    def __init__(self, count: int, places: Sequence[Tensor], options: Sequence[nn.Module]) -> None:
        super().__init__()
        self.count = count
        used = [i for i, option in enumerate(options) if not isinstance(option, Zero)]
        self.options = nn.ModuleList(options[i] for i in used)
        for number, i in enumerate(used):
            self.register_buffer(f"places{number}", places[i], persistent=False)

    def forward(self, x: Tensor | Terms) -> Terms | None:
        places = [self.get_buffer(f"places{number}") for number in range(len(self.options))]
        if not places:
            return None
        parts = _Gather.apply(_made(x), self.count, *places)  # type: ignore[no-untyped-call]
        results = [option(part) for option, part in zip(self.options, parts, strict=True)]
        terms = [(where, _made(part)) for where, part in zip(places, results, strict=True) if part is not None]
        return Terms(self.count, terms) if terms else None


class Terms:
    """A sum of feature maps each of which belongs to some of the networks; the others add nothing.

    Sums are collected and made when something else is asked of them: then it is a tensor for everyone.
    """

    def __init__(self, count: int, terms: Sequence[tuple[Tensor | None, Tensor]]) -> None:
        self.count, self.terms = count, list(terms)
        self._tensor: Tensor | None = None

    def __add__(self, other: Terms | Tensor) -> Terms:
        more = other.terms if isinstance(other, Terms) else [(None, other)]
        return Terms(self.count, [*self.terms, *more])

    __radd__ = __add__

    @property
    def tensor(self) -> Tensor:
        """The sum."""
        if self._tensor is None:
            places = [where for where, _ in self.terms]
            parts = [part for _, part in self.terms]
            self._tensor = _Sum.apply(self.count, places, *parts)  # type: ignore[no-untyped-call]
        return self._tensor

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Any operator of torch takes the sum."""
        kwargs = {name: _made(value) for name, value in (kwargs or {}).items()}
        return func(*(_made(value) for value in args), **kwargs)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        return getattr(self.tensor, name)


def _made(value: Any) -> Any:
    if isinstance(value, Terms):
        return value.tensor
    if isinstance(value, list | tuple):
        return type(value)(_made(item) for item in value)
    return value


def _blocks(x: Tensor, count: int) -> Tensor:
    """Feature maps as pixels x networks x channels; a view of maps that lie in memory with the channels last."""
    pixels = x.permute(0, 2, 3, 1) if x.ndim == 4 else x
    return pixels.reshape(-1, count, x.shape[1] // count)


def _maps(blocks: Tensor, like: torch.Size) -> Tensor:
    """The opposite of `_blocks`, for any number of networks."""
    if len(like) == 2:
        return blocks.reshape(like[0], -1)
    return blocks.view(like[0], *like[2:], -1).permute(0, 3, 1, 2)


class _Gather(torch.autograd.Function):
    """The channels of some networks, for several disjoint sets of them."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, count: int, *places: Tensor) -> tuple[Tensor, ...]:
        ctx.save_for_backward(*places)
        ctx.count, ctx.shape = count, x.shape
        blocks = _blocks(x, count)
        return tuple(_maps(blocks.index_select(1, where), x.shape) for where in places)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        whole: Tensor | None = None
        for where, gradient in zip(ctx.saved_tensors, gradients, strict=True):
            blocks = _blocks(gradient, len(where))
            if whole is None:
                whole = blocks.new_zeros(blocks.shape[0], ctx.count, blocks.shape[2])
            whole.index_add_(1, where, blocks)
        return (_maps(whole, ctx.shape), None, *(None for _ in gradients))  # type: ignore[arg-type]


class _Sum(torch.autograd.Function):
    """Parts of some networks, added up in place for all of them."""

    @staticmethod
    def forward(ctx: Any, count: int, places: Sequence[Tensor | None], *parts: Tensor) -> Tensor:
        ctx.count, ctx.places = count, places
        whole: Tensor | None = None
        for where, part in zip(places, parts, strict=True):
            blocks = _blocks(part, count if where is None else len(where))
            if whole is None:
                whole = blocks.new_zeros(blocks.shape[0], count, blocks.shape[2])
            if where is None:
                whole += blocks
            else:
                whole.index_add_(1, where, blocks)
        return _maps(whole, parts[0].shape)  # type: ignore[arg-type]

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Any:
        blocks = _blocks(gradient, ctx.count)
        parts = [
            gradient if where is None else _maps(blocks.index_select(1, where), gradient.shape) for where in ctx.places
        ]
        return (None, None, *parts)
