"""Networks in which all channels of a tensor are equal, run with one channel.

Where every weight of a layer is the same number w, all output channels of the layer are equal, and so are those of
whatever follows. A convolution over C_in equal channels is then w C_in times the sum of one channel over the kernel's
window, and a network of 16, 32 and 64 channels runs at the price of one. The modules' own code runs, on tensors of one
channel, with layers replaced; what is computed twice of the same tensor (ReLUs, equal operations on several edges of a
cell) is computed once.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from archscout.estimators.zero_cost.layers import familiar, is_familiar
from archscout.estimators.zero_cost.skeleton import KINDS, Skeleton

_SAFE = frozenset(
    [
        "convolution",
        "native_batch_norm",
        "relu",
        "hardtanh",
        "clamp",
        "clamp_min",
        "hardswish",
        "hardsigmoid",
        "sigmoid",
        "silu",
        "leaky_relu",
        "elu",
        "mish",
        "gelu",
        "tanh",
        "add",
        "mul",
        "div",
        "mean",
        "avg_pool2d",
        "max_pool2d_with_indices",
        "adaptive_avg_pool2d",
        "adaptive_max_pool2d",
        "linear",
        "clone",
        "constant_pad_nd",
        "copy",
        "addmm",
        "mm",
        "zeros_like",
        "ones_like",
        "empty_like",
        "zero",
        "fill",
    ]
)
"""Operators that do to each channel the same, besides convolutions."""

_MEMORY = 24
"""Results that are remembered: those of the cell that is running."""


def fits(skeleton: Skeleton, operators: frozenset[str]) -> bool:
    """Whether a network keeps equal channels equal: only modules, layers and operators that are known to do so."""
    return operators <= _SAFE and layers_fit(skeleton) and familiar(skeleton.network)


def layers_fit(skeleton: Skeleton) -> bool:
    """Whether all its layers keep equal channels equal."""
    if skeleton.equal_channels is None:
        skeleton.equal_channels = _layers_fit(skeleton.network)
    return skeleton.equal_channels


def _layers_fit(network: nn.Module) -> bool:
    layers = all(
        isinstance(module, nn.Conv2d | nn.Linear | _BatchNorm)
        for module in network.modules()
        if any(True for _ in module.parameters(recurse=False))
    )
    own = any(isinstance(module, KINDS) and not is_familiar(module) for module in network.modules())
    plain = all(
        module.padding_mode == "zeros"
        and module.groups in (1, module.in_channels)
        and not isinstance(module.padding, str)
        for module in network.modules()
        if isinstance(module, nn.Conv2d)
    )
    return layers and plain and not own


class Memory:
    """Remembers what functions made of the last tensors, so that the same on the same is made once."""

    def __init__(self) -> None:
        self._kept: OrderedDict[Hashable, tuple[Tensor, Tensor]] = OrderedDict()

    def of(self, x: Tensor, what: Hashable, make: Callable[[Tensor], Tensor]) -> Tensor:
        key = (id(x), what)
        known = self._kept.get(key)
        if known is not None:  # it holds x, so no other tensor has its identity
            return known[1]
        made = make(x)
        self._kept[key] = (x, made)
        if len(self._kept) > _MEMORY:
            self._kept.popitem(last=False)
        return made


def window_sum(layer: nn.Conv2d, x: Tensor) -> Tensor:
    """The sum over a convolution's window, of the mean over channels (N x 1 x H x W): what a kernel of ones makes."""
    x = x if x.shape[1] == 1 else x.mean(1, keepdim=True)
    assert not isinstance(layer.padding, str)
    (height, width), (top, left) = layer.kernel_size, layer.padding
    if top or left:
        x = F.pad(x, (left, left, top, top))
    x = _run(x, 3, width, layer.dilation[1], layer.stride[1])
    return _run(x, 2, height, layer.dilation[0], layer.stride[0])


def _run(x: Tensor, dimension: int, kernel: int, dilation: int, stride: int) -> Tensor:
    """Sums of `kernel` numbers along a dimension."""
    count = (x.shape[dimension] - dilation * (kernel - 1) - 1) // stride + 1
    total: Tensor | None = None
    for tap in range(kernel):
        begin = tap * dilation
        part = x.narrow(dimension, begin, (count - 1) * stride + 1)
        if stride > 1:
            part = part[..., ::stride] if dimension == 3 else part[..., ::stride, :]
        total = part if total is None else total.add_(part) if tap > 1 else total + part
    assert total is not None
    return total


def average(layer: nn.AvgPool2d, x: Tensor) -> Tensor:
    """Average pooling; windows of stride 1 by running sums, which PyTorch's own takes ten times as long for."""
    sizes = layer.kernel_size if isinstance(layer.kernel_size, tuple) else (layer.kernel_size,) * 2
    stride = layer.stride if isinstance(layer.stride, tuple) else (layer.stride,) * 2
    pad = layer.padding if isinstance(layer.padding, tuple) else (layer.padding,) * 2
    if stride != (1, 1) or layer.ceil_mode or layer.divisor_override or layer.count_include_pad:
        return F.avg_pool2d(
            x, layer.kernel_size, layer.stride, layer.padding, layer.ceil_mode, layer.count_include_pad,
            layer.divisor_override,
        )  # fmt: skip
    padded = F.pad(x, (pad[1], pad[1], pad[0], pad[0]))
    total = _run(_run(padded, 3, sizes[1], 1, 1), 2, sizes[0], 1, 1)
    return total.mul_(_shares(x.shape[2], x.shape[3], sizes, pad, x.dtype))


_known_shares: dict[Hashable, Tensor] = {}


def _shares(height: int, width: int, sizes: tuple[int, int], pad: tuple[int, int], dtype: torch.dtype) -> Tensor:
    key = (height, width, sizes, pad, dtype)
    if key not in _known_shares:
        ones = F.pad(torch.ones((1, 1, height, width), dtype=dtype), (pad[1], pad[1], pad[0], pad[0]))
        _known_shares[key] = 1 / _run(_run(ones, 3, sizes[1], 1, 1), 2, sizes[0], 1, 1)
    return _known_shares[key]


def constant_weights(skeleton: Skeleton, x: Tensor, weights: Sequence[float]) -> Tensor:
    """The outputs of a network all of whose weights (scales of batch normalisation too) are one number, biases 0.

    Args:
        skeleton: of a network that `fits`.
        x: examples (N x ...).
        weights: the numbers, each an initialisation of its own; all run in one pass.

    Returns:
        One output an initialisation and example (initialisations x N), as batch normalisation with the statistics of
        the batch gives them.
    """
    count, each = len(weights), torch.tensor(weights, dtype=x.dtype)
    memory = Memory()

    def scaled(x: Tensor, by: float, *, own: bool = False) -> Tensor:
        # The constants of each initialisation, for its examples; in place where the tensor is nobody else's.
        rows, factors = x.reshape(count, -1), (each * by)[:, None]
        return (rows.mul_(factors) if own else rows * factors).reshape(x.shape)

    def convolution(layer: nn.Module, x: Tensor) -> Tensor:
        assert isinstance(layer, nn.Conv2d)
        signature = (
            "conv",
            layer.kernel_size,
            layer.stride,
            layer.padding,
            layer.dilation,
            layer.in_channels,
            layer.groups,
        )

        def make(x: Tensor) -> Tensor:
            made = window_sum(layer, x)
            own = made.untyped_storage().data_ptr() != x.untyped_storage().data_ptr() and made.is_contiguous()
            return scaled(made, layer.in_channels // layer.groups, own=own)

        return memory.of(x, signature, make)

    def linear(layer: nn.Module, x: Tensor) -> Tensor:
        assert isinstance(layer, nn.Linear)
        return scaled(x.mean(-1, keepdim=True), layer.in_features)

    def norm(layer: nn.Module, x: Tensor) -> Tensor:
        assert isinstance(layer, _BatchNorm)

        def make(x: Tensor) -> Tensor:
            rows = x.reshape(count, -1)
            centred = rows - rows.mean(1, keepdim=True)
            # A product of a row with itself: PyTorch's variance of a long row takes ten times as long.
            variances = torch.stack([torch.dot(row, row) for row in centred]) / rows.shape[1]
            factors = (variances + layer.eps).rsqrt()
            return centred.mul_((factors * each if layer.affine else factors)[:, None]).reshape(x.shape)

        return memory.of(x, ("norm", layer.affine, layer.eps), make)

    def relu(layer: nn.Module, x: Tensor) -> Tensor:
        return memory.of(x, "relu", F.relu)

    def pool(layer: nn.Module, x: Tensor) -> Tensor:
        assert isinstance(layer, nn.AvgPool2d)
        signature = ("pool", layer.kernel_size, layer.stride, layer.padding, layer.count_include_pad, layer.ceil_mode)
        return memory.of(x, signature, lambda x: average(layer, x))

    functions = {nn.Conv2d: convolution, nn.Linear: linear, _BatchNorm: norm, nn.ReLU: relu, nn.AvgPool2d: pool}
    with torch.no_grad():
        outputs = skeleton.run(functions, x.contiguous().repeat(count, *(1,) * (x.ndim - 1)))
    return outputs.reshape(count, len(x), -1)[:, :, 0]  # type: ignore[no-any-return]


def expected_flow(skeleton: Skeleton, input_shape: Sequence[int]) -> tuple[float, float]:
    """The expected sum R of one output for an input of ones, and the expected sum of |weight x gradient of R|.

    Over PyTorch's own initialisation of convolutions and linear layers, whose weights are uniform between -+ 1 /
    sqrt(fan-in), so that E|weight| is half of that; parameters are taken by their absolute values and batch
    normalisation is removed. R is linear in the weights of each layer, so both are exact. The derivative goes beside
    the value as a second example: what is linear does the same to both, and a layer adds the value to the derivative.
    """
    memory = Memory()

    def weighted(made: Tensor, fan: int, bias: Any) -> Tensor:
        made = made * (fan * 0.5 / math.sqrt(fan))
        value, slope = made[:1], made[1:]
        slope = slope + value
        return torch.cat([value + (0.5 / math.sqrt(fan) if bias is not None else 0.0), slope])

    def convolution(layer: nn.Module, x: Tensor) -> Tensor:
        assert isinstance(layer, nn.Conv2d)
        inputs = layer.in_channels // layer.groups
        places = layer.kernel_size[0] * layer.kernel_size[1]
        return weighted(window_sum(layer, x) / places, inputs * places, layer.bias)

    def linear(layer: nn.Module, x: Tensor) -> Tensor:
        assert isinstance(layer, nn.Linear)
        return weighted(x.mean(-1, keepdim=True), layer.in_features, layer.bias)

    def pool(layer: nn.Module, x: Tensor) -> Tensor:
        assert isinstance(layer, nn.AvgPool2d)
        return memory.of(x, ("pool", layer.kernel_size, layer.stride), lambda x: average(layer, x))

    x = torch.zeros((2, *input_shape), dtype=torch.float64)
    x[0] = 1
    with torch.no_grad():
        made = skeleton.run({nn.Conv2d: convolution, nn.Linear: linear, nn.AvgPool2d: pool}, x)
    value, slope = made.reshape(2, -1)[:, 0].tolist()
    return value, slope
