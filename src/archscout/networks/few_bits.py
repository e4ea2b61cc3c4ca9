"""Weights of few bits, N of every M of them not zero: what a layer computes with instead of its weights."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from archscout.networks.elastic import Number, now

M = 4
"""Weights in a group, of which N stay."""

INDEX_BITS = 2
"""Bits that say where each weight of a group that is not whole stands."""


def mask(weight: Tensor, n: int, m: int, axis: str = "channels") -> Tensor:
    """Which weights stay (1) and which do not (0): the N of largest magnitude in each group of M; of equals the first.

    Args:
        weight: O x I, or O x I x kernel.
        n, m: how many of how many.
        axis: groups are M consecutive input channels at one place of the kernel (`channels`, as hardware has it), or M
            consecutive numbers of the filter as it lies (`flat`).

    What is left over where M does not divide the number of inputs stays whole.
    """
    rows = weight.movedim(1, -1) if axis == "channels" else weight.flatten(1)
    whole = rows.shape[-1] // m * m
    kept = torch.ones_like(rows)
    if whole:
        groups = rows[..., :whole].reshape(-1, m)
        order = groups.abs().argsort(dim=1, descending=True, stable=True)
        chosen = torch.zeros_like(groups).scatter_(1, order[:, :n], 1)
        kept[..., :whole] = chosen.view(*rows.shape[:-1], whole)
    return kept.movedim(-1, 1) if axis == "channels" else kept.view_as(weight)


class FewBits(nn.Module):
    """A parametrization: the weights that stay, on a symmetric grid of so many bits with a scale for each channel.

    The scale follows the weights: the largest one at 8 bits, and where bits are fewer 2 E|w| / sqrt(largest integer),
    as LSQ begins (Esser et al. 2020, arXiv 1902.08153). Gradients pass as if nothing were rounded or left out.

    Args:
        bits: 2 to 8.
        kept: N of N:4; 4 for all.
    """

    def __init__(self, bits: Number, kept: Number = M) -> None:
        super().__init__()
        self.bits, self.kept = bits, kept

    def forward(self, weight: Tensor) -> Tensor:
        bits, kept = now(self.bits), now(self.kept)
        with torch.no_grad():
            there = mask(weight, kept, M) if kept < M else torch.ones_like(weight)
            rows = (weight * there).flatten(1).abs()
            most = (1 << (bits - 1)) - 1
            mean = rows.sum(1) / there.flatten(1).sum(1)
            scale = rows.amax(1) / most if bits == 8 else 2 * mean / math.sqrt(most)
            scale = scale.clamp(min=1e-8).view(-1, *[1] * (weight.dim() - 1))
            rounded = (weight / scale).round().clamp(-most, most) * scale * there
        return weight + (rounded - weight).detach()

    def stored_bits(self, weight: Tensor) -> int:
        """What the weights take: those that stay, and where they stand in groups that are not whole."""
        bits, kept = int(self.bits), int(self.kept)
        if kept == M:
            return weight.numel() * bits
        grouped = weight.shape[1] // M * M * (weight.numel() // weight.shape[1])
        return grouped // M * kept * (bits + INDEX_BITS) + (weight.numel() - grouped) * bits


def attach(layer: nn.Module, few: FewBits) -> None:
    """Have a layer compute with what `few` makes of its weight; unlike other parametrized layers it can be pickled."""
    parametrize.register_parametrization(layer, "weight", few)
    type(layer).__reduce_ex__ = _reduced  # type: ignore[method-assign, assignment]


def _reduced(layer: nn.Module, protocol: Any) -> Any:
    """The layer as it was, and what its weight is computed by."""
    state = dict(vars(layer))
    modules, parameters = dict(state["_modules"]), dict(state["_parameters"])
    weight = modules.pop("parametrizations").weight
    parameters["weight"] = weight.original
    plain: Any = object.__new__(parametrize.type_before_parametrizations(layer))
    vars(plain).update(state | {"_modules": modules, "_parameters": parameters})
    return _restored, (plain, weight[0])


def _restored(layer: nn.Module, few: FewBits) -> nn.Module:
    attach(layer, few)
    return layer
