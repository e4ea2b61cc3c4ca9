"""Convolutions whose gradients are quicker on a processor than those of PyTorch, and equal to them up to rounding.

Two cases, found by timing (PyTorch 2.13, oneDNN, AVX-512): the gradient of a depthwise kernel wider than 3 has no fast
routine, but its columns can be had from two or more kernels 3 wide, which have one; and pointwise convolutions of small
maps are matrix products, whose gradients cost a quarter as such.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

FAST = 3
"""The widest depthwise kernel whose gradient has a fast routine."""

LARGEST_MAP = 24 * 24
"""Pixels of a map up to which a pointwise convolution is quicker as a matrix product."""

_backward = torch.ops.aten.convolution_backward


class _Depthwise(torch.autograd.Function):
    """A depthwise convolution whose kernel's gradient is put together from windows 3 wide."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, stride: tuple[int, int], padding: tuple[int, int]) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.stride, ctx.padding = stride, padding
        return F.conv2d(x, weight, None, stride, padding, 1, len(weight))

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        gradient = gradients[0].contiguous(memory_format=torch.channels_last)
        before = after = None
        if ctx.needs_input_grad[0]:
            # With a stride, half precision has no fast routine.
            exact = x.dtype if ctx.stride == (1, 1) else torch.float32
            before = _backward(
                gradient.to(exact), x.to(exact), weight.to(exact), None, ctx.stride, ctx.padding, [1, 1], False, [0, 0],
                len(weight), [True, False, False],
            )[0].to(x.dtype)  # fmt: skip
        if ctx.needs_input_grad[1]:
            after = depthwise_kernel_gradient(x, gradient, weight, ctx.stride, ctx.padding)
        return before, after, None, None


def depthwise_kernel_gradient(
    x: Tensor, gradient: Tensor, weight: Tensor, stride: tuple[int, int], padding: tuple[int, int]
) -> Tensor:
    """The gradient of a depthwise kernel (C x 1 x H x W), from windows that are 3 columns wide.

    Args:
        x: inputs, N x C x ...
        gradient: of the outputs.
        weight: the kernel.
        stride, padding: of the convolution.
    """
    height, width = weight.shape[2:]
    channels = len(weight)
    if width <= FAST:
        plain: Tensor = _backward(
            gradient, x, weight, None, stride, padding, [1, 1], False, [0, 0], channels, [False, True, False]
        )[1]
        return plain
    window = weight.new_empty(channels, 1, height, FAST)
    result = torch.empty_like(weight)
    for start in dict.fromkeys([*range(0, width - FAST, FAST), width - FAST]):
        # What the window sees: the input from its first column on, as wide as its last position needs.
        rows = stride[0] * (gradient.shape[2] - 1) + height
        columns = stride[1] * (gradient.shape[3] - 1) + FAST
        left = padding[1] - start
        part = F.pad(
            x, (left, columns - left - x.shape[3], padding[0], rows - padding[0] - x.shape[2])
        ).contiguous(memory_format=torch.channels_last)  # fmt: skip
        result[..., start : start + FAST] = _backward(
            gradient, part, window, None, stride, [0, 0], [1, 1], False, [0, 0], channels, [False, True, False]
        )[1]
    return result


class _Quick(TorchFunctionMode):
    """Takes calls of `conv2d` and answers those that it knows a quicker gradient for."""

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if func is torch.conv2d and torch.is_grad_enabled():
            result = _convolve(*args, **(kwargs or {}))
            if result is not None:
                return result
        return func(*args, **(kwargs or {}))


def _convolve(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> Tensor | None:
    if x.device.type != "cpu" or x.ndim != 4 or isinstance(padding, str) or not weight.requires_grad:
        return None
    stride, padding, dilation = _pair(stride), _pair(padding), _pair(dilation)
    if dilation != (1, 1) or not x.is_contiguous(memory_format=torch.channels_last):
        return None
    mixed = torch.is_autocast_enabled("cpu")
    if groups == len(weight) == x.shape[1] and (weight.shape[3] > FAST or (mixed and stride != (1, 1))):
        if mixed:
            dtype = torch.get_autocast_dtype("cpu")
            x, weight, bias = x.to(dtype), weight.to(dtype), None if bias is None else bias.to(dtype)
        y: Tensor = _Depthwise.apply(x, weight, stride, padding)  # type: ignore[no-untyped-call]
        return y if bias is None else y + bias[:, None, None]
    pointwise = groups == 1 and weight.shape[2:] == (1, 1) and stride == (1, 1) and padding == (0, 0)
    if pointwise and x.shape[2] * x.shape[3] <= LARGEST_MAP:
        return F.linear(x.permute(0, 2, 3, 1), weight[:, :, 0, 0], bias).permute(0, 3, 1, 2)
    return None


def _pair(value: Any) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else (value[0], value[-1])


@contextmanager
def quick_convolutions() -> Iterator[None]:
    """Within it, two-dimensional convolutions on a processor have quicker gradients where any are known."""
    with _Quick():
        yield
