"""What passes through the weighted layers of a network, and the gradients of single examples that follow from it.

The gradient of a convolution's weights for one example is D U^T, with U the patches of the input that the kernel saw
and D the gradient at the output. So one backward pass that stops at the layers' outputs, and needs no gradient of any
weight, gives the gradients of all examples.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from archscout.core.errors import UndefinedScore

WEIGHTED = (nn.Conv1d, nn.Conv2d, nn.Linear)


class Calls:
    """Each call of a layer during a forward pass: the layer, its input and its output."""

    def __init__(self) -> None:
        self.made: list[tuple[nn.Module, Tensor, Tensor]] = []

    def __iter__(self) -> Iterator[tuple[nn.Module, Tensor, Tensor]]:
        return iter(self.made)


@contextmanager
def following(network: nn.Module, *, norms: bool = False) -> Iterator[Calls]:
    """Keep the inputs and outputs of weighted layers, and of batch normalisation with `norms`, within the block.

    Raises `UndefinedScore` for a network with three-dimensional convolutions, whose patches are not taken here.
    """
    if any(isinstance(module, nn.Conv3d) for module in network.modules()):
        raise UndefinedScore("gradients of single examples are not made for three-dimensional convolutions")
    calls = Calls()
    kinds = (*WEIGHTED, _BatchNorm) if norms else WEIGHTED

    def hook(module: nn.Module, inputs: tuple[Any, ...], y: Tensor) -> None:
        calls.made.append((module, inputs[0], y))

    handles = [m.register_forward_hook(hook) for m in network.modules() if isinstance(m, kinds)]
    try:
        yield calls
    finally:
        for handle in handles:
            handle.remove()


def patches(layer: nn.Module, x: Tensor) -> Tensor:
    """What a layer's kernel sees: N x groups x (numbers of a kernel) x places; of a linear layer its input."""
    if isinstance(layer, nn.Linear):
        return x.reshape(len(x), -1, layer.in_features).transpose(1, 2)[:, None]
    assert isinstance(layer, nn.Conv1d | nn.Conv2d)
    one = isinstance(layer, nn.Conv1d)

    def two(value: Any, other: int) -> tuple[int, int]:
        return (other, value[0]) if one else (value[0], value[1])

    x = x[:, :, None] if one else x
    if layer.padding_mode != "zeros":
        raise UndefinedScore(f"padding of mode '{layer.padding_mode}' is not known here")
    padding = layer.padding
    if isinstance(padding, str):
        sizes = [
            d * (k - 1) // 2 if padding == "same" else 0 for d, k in zip(layer.dilation, layer.kernel_size, strict=True)
        ]
        padding = tuple(sizes)
    kernel, padding = two(layer.kernel_size, 1), two(padding, 0)
    if kernel == (1, 1) and padding == (0, 0):
        x = x[:, :, :: two(layer.stride, 1)[0], :: two(layer.stride, 1)[1]]
        unfolded = x.flatten(2)
    else:
        unfolded = F.unfold(x, kernel, two(layer.dilation, 1), padding, two(layer.stride, 1))
    return unfolded.reshape(len(x), layer.groups, -1, unfolded.shape[-1])


def at_places(layer: nn.Module, y: Tensor) -> Tensor:
    """Something of the shape of a layer's output as N x groups x (channels of a group) x places."""
    if isinstance(layer, nn.Linear):
        return y.reshape(len(y), -1, layer.out_features).transpose(1, 2)[:, None]
    assert isinstance(layer, nn.Conv1d | nn.Conv2d)
    return y.reshape(len(y), layer.groups, layer.out_channels // layer.groups, -1)


def weight_gradients(layer: nn.Module, x: Tensor, gradient: Tensor) -> Tensor:
    """The gradient of the weights for each example (N x numbers of the weight tensor)."""
    if isinstance(layer, nn.Conv2d) and _is_plain(layer):
        return _shifted_products(layer, x, gradient)
    rows: Tensor = (at_places(layer, gradient) @ patches(layer, x).transpose(2, 3)).flatten(1)
    return rows


def _is_plain(layer: nn.Conv2d) -> bool:
    """Whether its places are those of the input, by padding; and few channels, for which patches cost most."""
    same = all(k == 2 * p + 1 > 1 for k, p in zip(layer.kernel_size, _numbers(layer.padding), strict=True))
    steps = (*layer.stride, *layer.dilation, layer.groups)
    return same and steps == (1,) * 5 and layer.in_channels <= 32 and layer.padding_mode == "zeros"


def _numbers(padding: str | tuple[int, ...]) -> tuple[int, ...]:
    return (-1, -1) if isinstance(padding, str) else padding


def _shifted_products(layer: nn.Conv2d, x: Tensor, gradient: Tensor) -> Tensor:
    """The same without patches of every place: channels last and rows padded, a shift of the image is an offset."""
    assert not isinstance(layer.padding, str)
    (height, width), (top, left) = layer.kernel_size, layer.padding
    count, channels, rows, columns = x.shape
    wide = columns + 2 * left
    padded = F.pad(x, (left, left, top, top + 1)).permute(0, 2, 3, 1).reshape(count, -1, channels)
    out = F.pad(gradient, (0, 2 * left)).permute(0, 2, 3, 1).reshape(count, rows * wide, -1).transpose(1, 2)
    # The places that the columns of the kernel see, side by side; its rows are offsets of whole rows.
    span = (rows + height - 1) * wide
    beside = torch.cat([padded[:, tap : tap + span] for tap in range(width)], 2)
    products = [out @ beside[:, tap * wide : tap * wide + rows * wide] for tap in range(height)]
    stacked = torch.stack(products, 2).reshape(count, -1, height, width, channels)
    return stacked.permute(0, 1, 4, 2, 3).reshape(count, -1)


def normalised(layer: _BatchNorm, x: Tensor) -> Tensor:
    """The input of a batch normalisation, normalised by the statistics of the batch, before scale and shift."""
    return F.batch_norm(x, None, None, training=True, eps=layer.eps)


def without_weight_gradients(network: nn.Module) -> list[nn.Parameter]:
    """Switch off gradients of parameters, and return those that had them."""
    switched = [parameter for parameter in network.parameters() if parameter.requires_grad]
    for parameter in switched:
        parameter.requires_grad_(False)
    return switched


@contextmanager
def frozen(network: nn.Module) -> Iterator[None]:
    """No gradients of parameters within the block; they flow from the inputs, which must require them."""
    switched = without_weight_gradients(network)
    try:
        with torch.enable_grad():
            yield
    finally:
        for parameter in switched:
            parameter.requires_grad_(True)
