"""A trained network with fewer channels, fewer blocks or smaller kernels; and the mask that is the same as a cut."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd

from archscout.networks.channels import Channels, Group
from archscout.networks.labels import Axis
from archscout.networks.memory import tensors_in

T = TypeVar("T")


@dataclass(frozen=True)
class Cut:
    """What is taken from a network.

    Args:
        units: of groups, the units that go.
        blocks: the blocks that are left out.
        kernels: of convolutions by name, the new size of the kernel, the centre of the old one.
    """

    units: Mapping[str, Sequence[int]] = field(default_factory=dict)
    blocks: Sequence[str] = ()
    kernels: Mapping[str, int] = field(default_factory=dict)


class LeftOut(nn.Identity):
    """Stands where a block was: its input passes, whatever else it is given."""

    def forward(self, input: Tensor, *_: Any, **__: Any) -> Tensor:
        return input


def cut(network: nn.Module, groups: Sequence[Group], what: Cut) -> nn.Module:
    """A copy of a network without what is cut; the weights that stay are the same numbers.

    Module settings (`out_channels`, `groups`, `num_features`, numbers of heads, ...) follow the weights.
    """
    smaller = copy.deepcopy(network)
    before = {name: tensor.shape for name, tensor in _tensors(smaller)}
    remaining = {
        (name, axis): [i for i in range(before[name][axis]) if i not in gone]
        for (name, axis), gone in sorted(gone_of(groups, what).items())
    }
    for (name, axis), indices in remaining.items():
        _keep(smaller, name, axis, indices)
    _settle(smaller, before, remaining)
    for group in groups:
        if group.heads and what.units.get(group.name):
            _fewer_heads(smaller, group, len(what.units[group.name]))
    for name, size in what.kernels.items():
        crop(smaller.get_submodule(name), size)
    for name in what.blocks:
        _replace(smaller, name, LeftOut())
    return smaller


def put_back(network: nn.Module, smaller: nn.Module, groups: Sequence[Group], what: Cut) -> None:
    """Give a network, in place, the numbers that its cut has by now, where they were cut from."""
    gone, tensors = gone_of(groups, what), dict(_tensors(network))
    with torch.no_grad():
        for name, tensor in _tensors(smaller):
            whole = tensors[name]
            places = [
                torch.tensor([i for i in range(size) if i not in gone.get((name, axis), ())])
                for axis, size in enumerate(whole.shape)
            ]
            if name.endswith(".weight") and name.removesuffix(".weight") in what.kernels:
                edges = [(size - kept) // 2 for size, kept in zip(whole.shape, tensor.shape, strict=True)]
                places[2:] = [edge + torch.arange(kept) for edge, kept in zip(edges[2:], tensor.shape[2:], strict=True)]
            if places:
                whole[torch.meshgrid(*places, indexing="ij")] = tensor
            else:
                whole.copy_(tensor)


def masked(network: nn.Module, groups: Sequence[Group], what: Cut) -> nn.Module:
    """A copy of a network of the same size that answers as the cut one: nothing reads what is cut."""
    same = copy.deepcopy(network)
    consumers = {axis for group in groups for axis in group.consumers}
    tensors = dict(_tensors(same))
    with torch.no_grad():
        for (name, axis), gone in gone_of(groups, what).items():
            if (name, axis) in consumers:
                tensors[name].index_fill_(axis, torch.tensor(sorted(gone), device=tensors[name].device), 0.0)
        for name, size in what.kernels.items():
            weight = tensors[f"{name}.weight"]
            ring = torch.ones(weight.shape[2:], dtype=torch.bool, device=weight.device)
            ring[tuple(slice((n - size) // 2, (n - size) // 2 + size) for n in weight.shape[2:])] = False
            weight[..., ring] = 0.0
    for name in what.blocks:
        _replace(same, name, LeftOut())
    return same


def usable(network: nn.Module, channels: Channels, example: Tensor) -> Channels:
    """What of the channels can be cut in fact: every group and block is tried.

    One unit of each group is cut, and half of its units; the smaller network must run and answer as the masked one
    (1e-5 of the largest output). Where all groups together fail, halves of them are tried, down to single ones: a group
    that fails (its code has a width written into it, say) stays whole.
    """
    rng = np.random.default_rng(0)
    orders = {group.name: rng.permutation(len(group)).tolist() for group in channels.groups}
    whole = dict(channels.whole)

    def fails(groups: Sequence[Group]) -> str:
        trials = [{group.name: orders[group.name][: max(1, len(group) // part)] for group in groups} for part in (2, 8)]
        trials.append({group.name: orders[group.name][:1] for group in groups})
        return next((reason for units in trials if (reason := _difference(network, groups, Cut(units), example))), "")

    def without(blocks: Sequence[str]) -> str:
        return _difference(network, [], Cut(blocks=blocks), example)

    groups, failures = _passing(channels.groups, fails)
    whole |= {group.name: reason for group, reason in failures}
    return Channels(tuple(groups), tuple(_passing(channels.blocks, without)[0]), whole)


def _passing(items: Sequence[T], failure: Callable[[Sequence[T]], str]) -> tuple[list[T], list[tuple[T, str]]]:
    """Those that pass a test, which is made of many at once, and those that fail it alone, with the reason."""
    if not items:
        return [], []
    reason = failure(items)
    if not reason:
        return list(items), []
    if len(items) == 1:
        return [], [(items[0], reason)]
    half = len(items) // 2
    (first, failed), (second, too) = _passing(items[:half], failure), _passing(items[half:], failure)
    return first + second, failed + too


def _difference(network: nn.Module, groups: Sequence[Group], what: Cut, example: Tensor) -> str:
    """Why a cut cannot be made; nothing where it can."""
    try:
        smaller, same = cut(network, groups, what).eval(), masked(network, groups, what).eval()
        with torch.no_grad():
            answers, expected = (list(tensors_in((net(example),))) for net in (smaller, same))
    except Exception as error:  # whatever the user's code raises
        return f"the network does not run when it is cut ({str(error).strip().partition(chr(10))[0].rstrip('.')})"
    for answer, target in zip(answers, expected, strict=True):
        apart = answer.shape != target.shape or float((answer - target).abs().max()) > 1e-5 * max(
            1.0, float(target.abs().max())
        )
        if apart:
            return "the network answers differently when it is cut"
    return ""


def crop(layer: nn.Module, size: int) -> None:
    """The centre of a convolution's kernel, in place; the padding shrinks with it."""
    assert isinstance(layer, _ConvNd)
    edges = [(n - size) // 2 for n in layer.weight.shape[2:]]
    centre: Any = (..., *(slice(edge, edge + size) for edge in edges))
    layer.weight = nn.Parameter(layer.weight.detach()[centre].clone(), layer.weight.requires_grad)
    layer.kernel_size = (size,) * len(edges)
    if not isinstance(layer.padding, str) and any(layer.padding):
        layer.padding = tuple(
            padding - edge * dilation
            for padding, edge, dilation in zip(layer.padding, edges, layer.dilation, strict=True)
        )
        layer._reversed_padding_repeated_twice = [p for p in reversed(layer.padding) for _ in range(2)]


def croppable(layer: nn.Module) -> bool:
    """Whether a convolution has an odd, square kernel of 5 and more whose centre can be taken."""
    if not isinstance(layer, _ConvNd) or isinstance(layer, _ConvTransposeNd) or layer.padding_mode != "zeros":
        return False
    sizes = set(layer.kernel_size)
    if len(sizes) != 1 or min(sizes) < 5 or min(sizes) % 2 == 0 or "weight" not in layer._parameters:
        return False
    if isinstance(layer.padding, str):
        return layer.padding == "same"
    return not any(layer.padding) or all(p >= d for p, d in zip(layer.padding, layer.dilation, strict=True))


def gone_of(groups: Sequence[Group], what: Cut) -> dict[Axis, set[int]]:
    """The indices that a cut takes from each axis of each tensor."""
    gone: dict[Axis, set[int]] = {}
    for group in groups:
        for unit in what.units.get(group.name, ()):
            for axis, indices in group.units[unit].items():
                gone.setdefault(axis, set()).update(indices)
    return gone


def _tensors(network: nn.Module) -> Iterator[tuple[str, Tensor]]:
    yield from network.named_parameters()
    yield from network.named_buffers()


def _keep(network: nn.Module, name: str, axis: int, indices: list[int]) -> None:
    """Some indices of an axis of a parameter or buffer, wherever the network holds it (it may be tied)."""
    tensor = dict(_tensors(network))[name]
    with torch.no_grad():
        smaller: Tensor = tensor.index_select(axis, torch.tensor(indices, device=tensor.device))
    if isinstance(tensor, nn.Parameter):
        smaller = nn.Parameter(smaller, tensor.requires_grad)
    for module in network.modules():
        tables: tuple[dict[str, Any], ...] = (module._parameters, module._buffers)
        for table in tables:
            for key, value in table.items():
                if value is tensor:
                    table[key] = smaller


def _settle(network: nn.Module, before: Mapping[str, torch.Size], kept: Mapping[Axis, Sequence[int]]) -> None:
    """Settings of layers as their weights have become."""
    for name, module in network.named_modules():
        if isinstance(module, nn.RNNBase):
            module.input_size = module._parameters["weight_ih_l0"].shape[1]  # type: ignore[union-attr]
            module._flat_weights = [getattr(module, key) for key in module._flat_weights_names]
        weight = module._parameters.get("weight")
        old = before.get(f"{name}.weight" if name else "weight")
        if isinstance(module, _NormBase):
            shown = weight if weight is not None else module.running_mean
            if shown is not None:
                module.num_features = shown.shape[0]
        if weight is None or old is None or old == weight.shape:
            continue
        new = weight.shape
        if isinstance(module, _ConvNd):
            if module.groups == 1:
                ins, outs = (new[0], new[1]) if isinstance(module, _ConvTransposeNd) else (new[1], new[0])
            else:
                rows = kept.get((f"{name}.weight", 0), range(old[0]))
                module.groups = len({row * module.groups // old[0] for row in rows})
                ins, outs = module.groups * new[1], new[0]
                if isinstance(module, _ConvTransposeNd):
                    ins, outs = outs, ins
            module.in_channels, module.out_channels = ins, outs
        elif isinstance(module, nn.Linear):
            module.out_features, module.in_features = new
        elif isinstance(module, nn.GroupNorm):
            module.num_groups = module.num_groups * new[0] // old[0]
            module.num_channels = new[0]
        elif isinstance(module, nn.Embedding):
            module.embedding_dim = new[1]
        elif isinstance(module, nn.PReLU):
            module.num_parameters = new[0]


def _fewer_heads(network: nn.Module, group: Group, gone: int) -> None:
    """Numbers that the attention module keeps of its heads, and of their channels together, follow."""
    owner = network.get_submodule(group.name.partition("#")[0].rpartition(".")[0])
    inner = {len(group) * len(indices) for unit in group.units[:1] for indices in unit.values()}
    for key, value in list(vars(owner).items()):
        if isinstance(value, int) and not isinstance(value, bool) and "head_dim" not in key:
            if value == len(group):
                setattr(owner, key, value - gone)
            elif value in inner:
                setattr(owner, key, value // len(group) * (len(group) - gone))


def _replace(network: nn.Module, name: str, module: nn.Module) -> None:
    parent, _, child = name.rpartition(".")
    owner = network.get_submodule(parent) if parent else network
    owner._modules[child] = module
