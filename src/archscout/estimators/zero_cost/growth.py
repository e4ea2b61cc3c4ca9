"""The second derivatives of a loss along the weights themselves, without a backward pass through a backward pass.

When all weights grow together, theta -> a theta, the loss changes by dL/da = theta . g at a = 1, and the gradient of
that is H theta + g. The derivative with respect to a goes beside the value, as the second half of the batch: what is
linear treats both alike, a layer adds its value to it, and batch normalisation, rectifiers and maxima have rules here.
So one forward and one backward pass of twice the batch give H theta, through plain kernels.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from archscout.core.errors import UndefinedScore
from archscout.estimators.zero_cost.recomputing import recomputing

_aten: Any = torch.ops.aten

_SHARE = 0.4
"""Of the memory that a pass may hold otherwise, for rules hold as much again beside it."""


class NoRule(UndefinedScore):
    """The network does something that has no rule here."""


def grown(
    network: nn.Module, x: Tensor, loss: Callable[[Tensor], Tensor], weights: list[Tensor]
) -> tuple[Tensor | None, ...]:
    """H theta + g by weight, theta all parameters of two or more dimensions and H and g those of the loss.

    Args:
        network: whose batch normalisation takes the statistics of the batch.
        x: examples.
        loss: of the outputs.
        weights: the parameters of two or more dimensions.

    Raises:
        NoRule: the network has operators without a rule, or uses weights otherwise than in layers.
    """
    count = len(x)
    growing = partial(_Growing, count)
    with torch.enable_grad():
        with recomputing(network, growing, share=_SHARE), growing():
            outputs = network(torch.cat([x, torch.zeros_like(x)]))
        values, slopes = outputs[:count], outputs[count:]
        (slope,) = torch.autograd.grad(loss(values), values, create_graph=True)
        return torch.autograd.grad((slope * slopes).sum(), weights, allow_unused=True)


class _Growing(TorchFunctionMode):
    """Every function of a batch, with the derivatives of so many examples behind their values."""

    def __init__(self, count: int) -> None:
        super().__init__()
        self.count = count

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if not any(self._is_batch(each) for each in [*args, *kwargs.values()]):
            return func(*args, **kwargs)
        name = func.__name__
        if name in _RULES:
            return _RULES[name](self.count, func, *args, **kwargs)
        made = func(*args, **kwargs)
        if name in _ASKING and not isinstance(made, Tensor):
            return made
        # Where no gradient is kept, the parts of the network that run again later are cut apart.
        cut = name == "detach" and not torch.is_grad_enabled()
        if self._is_batch(made) and (cut or (name in _LINEAR and _LINEAR[name](*args, **kwargs))):
            return made
        raise NoRule(f"there is no rule for '{name}' as it is called here")

    def _is_batch(self, x: Any) -> bool:
        if isinstance(x, list | tuple):
            return any(self._is_batch(each) for each in x)
        return isinstance(x, Tensor) and not isinstance(x, nn.Parameter) and x.shape[:1] == (2 * self.count,)


_ASKING = frozenset(["__get__", "size", "dim", "__len__", "is_floating_point", "is_contiguous", "untyped_storage"])
"""What a tensor is asked about itself."""


def _of_one_shape(x: Any, y: Any, **named: Any) -> bool:
    """Or with the zero that sums of Python begin with."""
    return bool(x.shape == y.shape if isinstance(y, Tensor) else y == 0)


def _always(*args: Any, **named: Any) -> bool:
    return True


def _of_places(x: Tensor, dim: Any = None, *args: Any, **named: Any) -> bool:
    return dim is not None and 0 not in {each % x.ndim for each in ([dim] if isinstance(dim, int) else dim)}


def _with_zeros(x: Tensor, pad: Any, mode: str = "constant", value: float | None = None) -> bool:
    return mode == "constant" and not value


def _of_all_examples(x: Tensor, place: Any) -> bool:
    return isinstance(place, tuple) and place[0] == slice(None)


_LINEAR: dict[str, Callable[..., bool]] = {
    **dict.fromkeys(("avg_pool2d", "adaptive_avg_pool2d", "flatten", "view", "view_as", "reshape"), _always),
    **dict.fromkeys(("contiguous", "clone", "zeros_like", "cat"), _always),
    **dict.fromkeys(("add", "__add__", "__radd__", "add_", "__iadd__"), _of_one_shape),
    "mean": _of_places,
    "pad": _with_zeros,
    "__getitem__": _of_all_examples,
}
"""What is linear in its inputs and leaves as many examples apart as there are; where it asks for that with what."""


# -- rules ------------------------------------------------------------------------------------------------------------


def _layer(
    count: int, func: Any, x: Tensor, weight: Tensor, bias: Tensor | None = None, *args: Any, **named: Any
) -> Any:
    if not (isinstance(weight, nn.Parameter) and weight.ndim > 1):
        raise NoRule("a layer's weights are not parameters")
    return _Layer.apply(func(x, weight, None, *args, **named), count, _spread(bias, func.__name__))  # type: ignore[no-untyped-call]


def _spread(bias: Tensor | None, name: str) -> Tensor | None:
    """A bias as it is added to an output."""
    if bias is None or name == "linear":
        return bias
    return bias.reshape(-1, *(1,) * int(name[4]))  # conv1d, conv2d, conv3d


class _Layer(torch.autograd.Function):
    """Weights grow: the derivative grows by the value. The bias is part of the value alone."""

    @staticmethod
    def forward(ctx: Any, y: Tensor, count: int, bias: Tensor | None) -> Tensor:
        ctx.count = count
        ctx.mark_dirty(y)
        y[count:] += y[:count]
        if bias is not None:
            y[:count] += bias
        return y

    @staticmethod
    def backward(ctx: Any, slope: Tensor) -> Any:
        made = slope.clone()
        made[: ctx.count] += made[ctx.count :]
        return made, None, None


def _relu(count: int, func: Any, x: Tensor, inplace: bool = False) -> Any:
    return _Relu.apply(x, count)  # type: ignore[no-untyped-call]


class _Relu(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, count: int) -> Tensor:
        y = torch.empty_like(x)
        torch.clamp_min(x[:count], 0, out=y[:count])
        _aten.threshold_backward.grad_input(x[count:], y[:count], 0, grad_input=y[count:])
        ctx.count = count
        ctx.save_for_backward(y)
        return y

    @staticmethod
    def backward(ctx: Any, slope: Tensor) -> Any:
        (y,) = ctx.saved_tensors
        made = torch.empty_like(y)
        for half in (slice(None, ctx.count), slice(ctx.count, None)):
            _aten.threshold_backward.grad_input(slope[half], y[: ctx.count], 0, grad_input=made[half])
        return made, None


def _maximum(count: int, func: Any, x: Tensor, *args: Any, **named: Any) -> Any:
    values, places = F.max_pool2d(x[:count], *args, **(named | {"return_indices": True}))
    return torch.cat([values, x[count:].flatten(2).gather(2, places.flatten(2)).view_as(values)])


def _norm(
    count: int, func: Any, x: Tensor, mean: Any, variance: Any, weight: Tensor | None = None,
    bias: Tensor | None = None, training: bool = False, momentum: float = 0.1, eps: float = 1e-5,
) -> Any:  # fmt: skip
    if not training:
        raise NoRule("batch normalisation does not take the statistics of the batch")
    return _Norm.apply(x, weight, bias, count, eps)  # type: ignore[no-untyped-call]


class _Norm(torch.autograd.Function):
    """y = w n + b with n = (x - m) / s, and its derivative w P x' / s, with P v = v - mean(v) - n mean(n v).

    P is symmetric, so that the derivative is what a backward pass gives for x'.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor | None, bias: Tensor | None, count: int, eps: float) -> Tensor:
        made, mean, inverse = _aten.native_batch_norm(x[:count], weight, bias, None, None, True, 0.0, eps)
        ctx.count, ctx.eps = count, eps
        along, with_n, sums = _backward(ctx, x[:count], weight, mean, inverse, x[count:])
        ctx.save_for_backward(x, weight, mean, inverse, with_n, sums)
        return torch.cat([made, along])

    @staticmethod
    def backward(ctx: Any, slope: Tensor) -> Any:
        """Of slope . y + slope' . y', where the second hangs on x through s, n and the means as well."""
        both, weight, mean, inverse, along_n, along_sum = ctx.saved_tensors
        (x, along), (value, change) = torch.split(both, ctx.count), torch.split(slope, ctx.count)
        made = torch.empty_like(both)
        of_along, change_n, change_sum = _backward(ctx, x, weight, mean, inverse, change)
        made[ctx.count :] = of_along
        shape = (1, -1, *(1,) * (x.ndim - 2))
        places = x.numel() // x.shape[1]
        # slope' . y' = w / s (slope' . x' - sums / places - products with n / places), by channel
        product = (change * along).sum([d for d in range(x.ndim) if d != 1])
        whole = (product - (change_sum * along_sum + change_n * along_n) / places) * inverse**2
        whole = whole if weight is None else whole * weight
        given = torch.addcmul(value, along, (-inverse * change_n / places).view(shape))
        of_value = _backward(ctx, x, weight, mean, inverse, given)[0]
        of_value.addcmul_(of_along, (-inverse * along_n / places).view(shape))
        of_value.addcmul_(x - mean.view(shape), (-whole * inverse / places).view(shape))
        made[: ctx.count] = of_value
        return made, None, None, None, None


def _backward(ctx: Any, x: Tensor, weight: Tensor | None, mean: Tensor, inverse: Tensor, gradient: Tensor) -> Any:
    """The gradients of x, of a weight (its product with n) and of a bias (its sum)."""
    scale = torch.ones_like(mean) if weight is None else weight
    return _aten.native_batch_norm_backward(
        gradient, x, scale, None, None, mean, inverse, True, ctx.eps, [True, True, True]
    )


_RULES: dict[str, Callable[..., Any]] = {
    **dict.fromkeys(("conv1d", "conv2d", "conv3d", "linear"), _layer),
    **dict.fromkeys(("relu", "relu_"), _relu),
    "max_pool2d": _maximum,
    "batch_norm": _norm,
}  # fmt: skip
