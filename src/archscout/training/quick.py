"""Layers whose training steps are quicker on a processor than those of PyTorch, and equal to them up to rounding.

Found by timing (PyTorch 2.13, oneDNN, AVX-512 and AMX); with a trained EfficientNet-Lite a step takes half the time:

- The gradient of a depthwise kernel wider than 3 has no fast routine, but its columns can be had from two or more
  kernels 3 wide, which have one. That of its input is a depthwise convolution of the gradient (put two or more apart
  where there is a stride), which bfloat16 has a fast routine for as well.
- The gradient of a dense kernel in bfloat16 is slow on narrow maps, whose rows do not fill the matrix units: several
  maps side by side, with the padding between them, make wide ones with the same gradient.
- Pointwise convolutions of small maps are matrix products, whose gradients cost a quarter as such.
- ReLU6 in place keeps a copy of its input for the gradient, where its output would do.
- Padding is a copy into zeros, whose gradient is a part of the other, not a chain of views.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

FAST = 3
"""The widest depthwise kernel whose gradient has a fast routine."""

NARROW, PIXELS = {5: 64 * 64, 8: 128 * 128}, 32
"""Columns up to which maps are narrow, from how many weights of a place in the kernel on; and how many columns of maps
side by side are about as many as pay (`benchmarks/training/narrow.py`)."""

LARGEST_MAP = 64 * 64
"""Pixels of a map up to which a pointwise convolution is quicker as a matrix product."""

_LAST = torch.channels_last
_backward = torch.ops.aten.convolution_backward
_Pair = tuple[int, int]
_Gradient = Callable[[Tensor, Tensor, Tensor], Tensor]


def _gradients(
    ctx: Any, gradient: Tensor, of_input: _Gradient, of_kernel: _Gradient
) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
    """Of a convolution's input, weight and bias, as far as they are wanted.

    Both functions get the gradient of the outputs in the format of the arithmetic, the input and the kernel.
    """
    x, kernel = ctx.saved_tensors
    gradient = gradient.to(x.dtype).contiguous(memory_format=_LAST)
    wanted, (weight_dtype, bias_dtype) = ctx.needs_input_grad, ctx.dtypes
    return (
        of_input(gradient, x, kernel) if wanted[0] else None,
        of_kernel(gradient, x, kernel).to(weight_dtype) if wanted[1] else None,
        _summed(gradient).to(bias_dtype) if wanted[2] else None,
    )


class _Depthwise(torch.autograd.Function):
    """A depthwise convolution whose kernel's gradient is put together from windows 3 wide."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, stride: _Pair, padding: _Pair, dtype: torch.dtype
    ) -> Tensor:
        x, kernel = x.to(dtype), weight.to(dtype)
        ctx.save_for_backward(x, kernel)
        ctx.stride, ctx.padding, ctx.dtypes = stride, padding, (weight.dtype, None if bias is None else bias.dtype)
        return F.conv2d(x, kernel, None if bias is None else bias.to(dtype), stride, padding, 1, len(weight))

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        def of_input(gradient: Tensor, x: Tensor, weight: Tensor) -> Tensor:
            return depthwise_input_gradient(gradient, weight, ctx.stride, ctx.padding, x.shape[2:])

        def of_kernel(gradient: Tensor, x: Tensor, weight: Tensor) -> Tensor:
            return depthwise_kernel_gradient(x, gradient, weight, ctx.stride, ctx.padding)

        return *_gradients(ctx, gradients[0], of_input, of_kernel), None, None, None


def depthwise_input_gradient(
    gradient: Tensor, weight: Tensor, stride: _Pair, padding: _Pair, size: Sequence[int]
) -> Tensor:
    """The gradient of a depthwise convolution's input: the gradient of its outputs under the kernel turned round.

    Args:
        gradient: of the outputs, N x C x H x W.
        weight: the kernel, C x 1 x ...
        stride, padding: of the convolution.
        size: height and width of the input.
    """
    kernel = weight.shape[2:]
    first = [kernel[axis] - 1 - padding[axis] for axis in (0, 1)]
    last = [first[axis] + stride[axis] * (gradient.shape[2 + axis] - 1) + 1 for axis in (0, 1)]
    sides = [size[axis] + kernel[axis] - 1 for axis in (0, 1)]
    if min(first) < 0 or (gradient.dtype == torch.float32 and stride != (1, 1)):
        exact = torch.float32
        shape = (*gradient.shape[:2], *size)
        x = gradient.new_empty(shape, dtype=exact).to(memory_format=_LAST)
        return _backward(  # type: ignore[no-any-return]
            gradient.to(exact), x, weight.to(exact), None, stride, padding, [1, 1], False, [0, 0], len(weight),
            [True, False, False],
        )[0].to(gradient.dtype)  # fmt: skip
    turned = weight.flip(2, 3)
    if stride == (1, 1) and all(last[axis] + first[axis] == sides[axis] for axis in (0, 1)):
        return F.conv2d(gradient, turned, None, 1, (first[0], first[1]), 1, len(weight))
    # Outputs lie where their windows begin, with zeros between them and around.
    spread = torch.empty((*gradient.shape[:2], *sides), dtype=gradient.dtype, memory_format=_LAST).zero_()
    spread[:, :, first[0] : last[0] : stride[0], first[1] : last[1] : stride[1]] = gradient
    return F.conv2d(spread, turned, None, 1, 0, 1, len(weight))


def depthwise_kernel_gradient(x: Tensor, gradient: Tensor, weight: Tensor, stride: _Pair, padding: _Pair) -> Tensor:
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
        part = _among_zeros(x, (left, columns - left - x.shape[3], padding[0], rows - padding[0] - x.shape[2]))
        result[..., start : start + FAST] = _backward(
            gradient, part, window, None, stride, [0, 0], [1, 1], False, [0, 0], channels, [False, True, False]
        )[1]
    return result


class _Narrow(torch.autograd.Function):
    """A dense convolution of stride 1 that leaves narrow maps their size."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, padding: _Pair, dtype: torch.dtype) -> Tensor:
        x, kernel = x.to(dtype), weight.to(dtype)
        ctx.save_for_backward(x, kernel)
        ctx.padding, ctx.dtypes = padding, (weight.dtype, None if bias is None else bias.dtype)
        return F.conv2d(x, kernel, None if bias is None else bias.to(dtype), 1, padding)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        def of_input(gradient: Tensor, x: Tensor, weight: Tensor) -> Tensor:
            return _dense(gradient, x, weight, ctx.padding, [True, False, False])[0]  # type: ignore[no-any-return]

        def of_kernel(gradient: Tensor, x: Tensor, weight: Tensor) -> Tensor:
            return narrow_kernel_gradient(x, gradient, weight, ctx.padding)

        return *_gradients(ctx, gradients[0], of_input, of_kernel), None, None


def narrow_kernel_gradient(x: Tensor, gradient: Tensor, weight: Tensor, padding: _Pair) -> Tensor:
    """The gradient of the kernel of a dense convolution of stride 1 whose outputs are as wide as its inputs.

    Args:
        x: inputs, N x C x H x W.
        gradient: of the outputs.
        weight: the kernel.
        padding: of the convolution, rows and columns.
    """
    count = max(1, min(len(x), round(PIXELS / (x.shape[3] + padding[1]))))
    gradients, inputs = (_side_by_side(maps, count, padding[1]) for maps in (gradient, x))
    kernel: Tensor = _dense(gradients, inputs, weight, padding, [False, True, False])[1]
    return kernel


def _side_by_side(x: Tensor, count: int, gap: int) -> Tensor:
    """So many maps in a row, each followed by columns of zeros: those that pad the next one as well."""
    examples, channels, height, width = x.shape
    full, rest = divmod(examples, count)
    rows = x.new_zeros(full + (rest > 0), height, count, width + gap, channels)
    maps = x.permute(0, 2, 3, 1)
    rows[:full, :, :, :width] = maps[: full * count].view(full, count, height, width, channels).transpose(1, 2)
    if rest:
        rows[full, :, :rest, :width] = maps[full * count :].transpose(0, 1)
    return rows.view(len(rows), height, count * (width + gap), channels).permute(0, 3, 1, 2)


def _dense(gradient: Tensor, x: Tensor, weight: Tensor, padding: _Pair, wanted: list[bool]) -> Any:
    return _backward(gradient, x, weight, None, [1, 1], padding, [1, 1], False, [0, 0], 1, wanted)


class _Pointwise(torch.autograd.Function):
    """A convolution of single pixels as a product of matrices: pixels x channels."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, dtype: torch.dtype) -> Tensor:
        x, matrix = x.to(dtype), weight[:, :, 0, 0].to(dtype)
        ctx.save_for_backward(x, matrix)
        ctx.dtypes = weight.dtype, None if bias is None else bias.dtype
        y = torch.empty((len(x), len(weight), *x.shape[2:]), dtype=dtype, memory_format=_LAST)
        if bias is None:
            torch.mm(_pixels(x), matrix.t(), out=_pixels(y))
        else:
            torch.addmm(bias.to(dtype), _pixels(x), matrix.t(), out=_pixels(y))
        return y

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        def of_input(gradient: Tensor, x: Tensor, matrix: Tensor) -> Tensor:
            before = torch.empty_like(x)
            torch.mm(_pixels(gradient), matrix, out=_pixels(before))
            return before

        def of_kernel(gradient: Tensor, x: Tensor, matrix: Tensor) -> Tensor:
            return (_pixels(gradient).t() @ _pixels(x))[:, :, None, None]

        return *_gradients(ctx, gradients[0], of_input, of_kernel), None


class _Clipped(torch.autograd.Function):
    """Values clipped in place, as ReLU6 does: outputs at an end are those that pass no gradient on."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, low: float, high: float) -> Tensor:
        if x.dtype == torch.bfloat16 and low == 0:
            # From zero on they are in the order of their bits, and whole numbers are clipped many times as fast. What
            # is undefined becomes `high` here; undefined weights still show in layers without ReLU6, such as the last.
            most = int(torch.tensor(high, dtype=x.dtype).view(torch.int16))
            x.view(torch.int16).clamp_(0, most)
        else:
            x.clamp_(low, high)
        ctx.mark_dirty(x)
        ctx.save_for_backward(x)
        ctx.ends = low, high
        return x

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (y,) = ctx.saved_tensors
        return torch.ops.aten.hardtanh_backward(gradients[0], y, *ctx.ends), None, None


class _Padded(torch.autograd.Function):
    """Maps among zeros."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, padding: Sequence[int]) -> Tensor:
        ctx.inner = slice(padding[2], padding[2] + x.shape[2]), slice(padding[0], padding[0] + x.shape[3])
        return _among_zeros(x, padding)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        return gradients[0][:, :, ctx.inner[0], ctx.inner[1]].contiguous(memory_format=_LAST), None


def _among_zeros(x: Tensor, padding: Sequence[int]) -> Tensor:
    """Maps with so many columns of zeros left and right, and rows above and below; fewer than none are cut off."""
    (left, right, top, bottom), (height, width) = padding, x.shape[2:]
    x = x[:, :, max(0, -top) : height + min(0, bottom), max(0, -left) : width + min(0, right)]
    left, right, top, bottom = (max(0, side) for side in padding)
    height, width = x.shape[2:]
    shape = (*x.shape[:2], top + height + bottom, left + width + right)
    y = torch.empty(shape, dtype=x.dtype, memory_format=_LAST)
    for edge in (y[:, :, :top], y[:, :, top + height :], y[..., :left], y[..., left + width :]):
        edge.zero_()
    y[:, :, top : top + height, left : left + width] = x
    return y


def _pixels(x: Tensor) -> Tensor:
    """Maps whose channels lie last as a matrix: pixels x channels."""
    return x.permute(0, 2, 3, 1).view(-1, x.shape[1])


def _summed(gradient: Tensor) -> Tensor:
    """Of each channel, over images and pixels."""
    rows = _pixels(gradient)
    return torch.mv(rows.t(), rows.new_ones(len(rows))) if rows.dtype == torch.float32 else rows.sum(0)


class _Quick(TorchFunctionMode):
    """Takes the calls that it knows a quicker gradient for."""

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        known = _known.get(func)
        if known is not None and torch.is_grad_enabled():
            result = known(*args, **(kwargs or {}))
            if result is not None:
                return result
        return func(*args, **(kwargs or {}))


def _takes(x: Tensor) -> bool:
    return x.device.type == "cpu" and x.ndim == 4 and x.is_contiguous(memory_format=_LAST)


def _convolve(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> Tensor | None:
    if not _takes(x) or isinstance(padding, str) or not weight.requires_grad:
        return None
    stride, padding = _pair(stride), _pair(padding)
    if _pair(dilation) != (1, 1):
        return None
    dtype = torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else x.dtype
    if groups == len(weight) == x.shape[1] and groups > 1:
        return _Depthwise.apply(x, weight, bias, stride, padding, dtype)  # type: ignore[no-any-return, no-untyped-call]
    pointwise = groups == 1 and weight.shape[2:] == (1, 1) and stride == (1, 1) and padding == (0, 0)
    if pointwise and x.shape[2] * x.shape[3] <= LARGEST_MAP:
        return _Pointwise.apply(x, weight, bias, dtype)  # type: ignore[no-any-return, no-untyped-call]
    same = all(side == 2 * pad + 1 for side, pad in zip(weight.shape[2:], padding, strict=True))
    if groups == 1 and stride == (1, 1) and same and dtype == torch.bfloat16 and is_narrow(x, weight):
        return _Narrow.apply(x, weight, bias, padding, dtype)  # type: ignore[no-any-return, no-untyped-call]
    return None


def is_narrow(x: Tensor, weight: Tensor) -> bool:
    """Whether the gradient of a kernel is quicker with maps side by side."""
    return any(
        x.shape[3] <= columns and weight.shape[0] * weight.shape[1] >= fewest for columns, fewest in NARROW.items()
    )


def _clip(x: Tensor, min_val: float = -1.0, max_val: float = 1.0, inplace: bool = False) -> Tensor | None:
    if not inplace or not _takes(x) or x.is_leaf or not x.requires_grad or x._is_view():
        return None
    return _Clipped.apply(x, min_val, max_val)  # type: ignore[no-any-return, no-untyped-call]


def _pad(x: Tensor, pad: Sequence[int], mode: str = "constant", value: float | None = None) -> Tensor | None:
    if mode != "constant" or value or len(pad) != 4 or min(pad) < 0 or not _takes(x) or not x.requires_grad:
        return None
    return _Padded.apply(x, tuple(pad))  # type: ignore[no-any-return, no-untyped-call]


_known: dict[Callable[..., Any], Callable[..., Tensor | None]] = {
    torch.conv2d: _convolve, F.hardtanh: _clip, F.pad: _pad,
}  # fmt: skip


def _pair(value: Any) -> _Pair:
    return (value, value) if isinstance(value, int) else (value[0], value[-1])


@contextmanager
def quick_convolutions() -> Iterator[None]:
    """Within it, two-dimensional convolutions on a processor have quicker gradients where any are known."""
    with _Quick():
        yield
