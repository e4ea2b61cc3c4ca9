"""Which channels of a map an operator of PyTorch takes: slices, parts, and the order that a shuffle gives them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from archscout.networks.memory import tensors_in

TAKING = frozenset(
    {"slice", "split", "split_with_sizes", "select", "transpose", "permute", "index_select", "index", "unbind"}
    | {"native_channel_shuffle", "channel_shuffle"}
)
"""Operators that give numbers of their input as they are, in another order or a part of them."""


def taken(func: Any, args: Sequence[Any], kwargs: Mapping[str, Any], shape: Sequence[int]) -> list[list[int] | None]:
    """For each output of an operator the channels of its first input, in order; None for what is no list of channels.

    The operator is asked itself: it takes places instead of numbers.

    Args:
        func: of `TAKING`.
        args, kwargs: of its call; the first is a view of a whole map of one example.
        shape: of that map, (C, H, W) or (C,).

    >>> taken(torch.ops.aten.slice.Tensor, (torch.zeros(1, 4, 2, 2), 1, 0, 4, 2), {}, (4, 2, 2))
    [[0, 2]]
    """
    pixels = math.prod(shape[1:])
    places = torch.arange(shape[0] * pixels).view(args[0].shape)
    others = [_here(argument) for argument in args[1:]]
    outputs = func(places, *others, **{name: _here(value) for name, value in kwargs.items()})
    return [_channels(output.reshape(-1), pixels) for output in tensors_in([outputs])]


def _here(argument: Any) -> Any:
    """Indices on the processor; of those without numbers (the meta device), as many zeros."""
    if isinstance(argument, Tensor):
        return torch.zeros(argument.shape, dtype=argument.dtype) if argument.is_meta else argument.cpu()
    return [_here(each) for each in argument] if isinstance(argument, list | tuple) else argument


def _channels(places: Tensor, pixels: int) -> list[int] | None:
    if not len(places) or len(places) % pixels:
        return None
    rows = places.view(-1, pixels)
    first = rows[:, :1]
    whole = bool((rows == first + torch.arange(pixels)).all()) and bool((first % pixels == 0).all())
    return (first[:, 0] // pixels).tolist() if whole else None
