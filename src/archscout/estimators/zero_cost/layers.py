"""What passes through the weighted layers of a network, and the gradients of single examples that follow from it.

The gradient of a convolution's weights for one example is D U^T, with U the patches of the input that the kernel saw
and D the gradient at the output. So one backward pass that stops at the layers' outputs, and needs no gradient of any
weight, gives the gradients of all examples.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.overrides import TorchFunctionMode

from archscout.core.errors import UndefinedScore

WEIGHTED = (nn.Conv1d, nn.Conv2d, nn.Linear)


def familiar(network: nn.Module) -> bool:
    """Whether all its modules are of PyTorch or of this package, whose numbers come from layers that are known.

    The code of any other module may use parameters, normalise, or add numbers, where no layer is seen to.
    """
    return all(map(is_familiar, network.modules()))


def is_familiar(module: nn.Module) -> bool:
    """Whether the module itself is of PyTorch or of this package."""
    return type(module).__module__.partition(".")[0] in ("torch", "archscout")


def check_weights_are_parameters(network: nn.Module) -> None:
    """Raises `UndefinedScore` where a layer makes its weights of others, as `weight_norm` and `spectral_norm` do."""
    for module in network.modules():
        if isinstance(module, (*WEIGHTED, nn.Conv3d)) and "weight" not in dict(module.named_parameters(recurse=False)):
            raise UndefinedScore("a layer makes its weights of other ones (as weight_norm does)")


def check_layers_are_all(network: nn.Module, x: Tensor, *, norms: bool = False) -> None:
    """Raises `UndefinedScore` where a user's own code uses parameters outside of the layers that `following` follows.

    Args:
        network: it runs once, unless all its modules are familiar.
        x: examples.
        norms: whether batch normalisation there is refused even without parameters, as its mode cannot be set.
    """
    check_weights_are_parameters(network)
    if familiar(network):
        return
    layers = [
        module for module in network.modules() if is_familiar(module) and not any(True for _ in module.children())
    ]
    uses = _Uses(network, norms=norms)
    handles = [layer.register_forward_pre_hook(uses.enter) for layer in layers]
    handles += [layer.register_forward_hook(uses.leave) for layer in layers]
    try:
        with torch.no_grad(), uses:
            network(x)
    finally:
        for handle in handles:
            handle.remove()
    if uses.outside:
        raise UndefinedScore(
            "its code uses weights or batch normalisation outside of layers, whose gradients are not followed here"
        )


_NORMALISING = (F.batch_norm, torch.batch_norm)


class _Uses(TorchFunctionMode):
    """Sees whether a parameter is used, or a batch normalised, while no layer runs."""

    def __init__(self, network: nn.Module, *, norms: bool) -> None:
        super().__init__()
        self.refused = _NORMALISING if norms else ()
        self.parameters = {id(parameter) for parameter in network.parameters()}
        self.running, self.outside = 0, False

    def enter(self, *_: Any) -> None:
        self.running += 1

    def leave(self, *_: Any) -> None:
        self.running -= 1

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **(kwargs or {}))
        if not self.running and isinstance(made, Tensor):
            given = itertools.chain(args, (kwargs or {}).values())
            own = func in self.refused or any(id(each) in self.parameters for each in given)
            self.outside = self.outside or own
        return made


class Calls:
    """Each call of a layer during a forward pass: the layer, its input and its output."""

    def __init__(self) -> None:
        self.made: list[tuple[nn.Module, Tensor, Tensor]] = []

    def __iter__(self) -> Iterator[tuple[nn.Module, Tensor, Tensor]]:
        return iter(self.made)


@contextmanager
def following(network: nn.Module, *, norms: bool = False) -> Iterator[Calls]:
    """Keep the inputs and outputs of weighted layers, and of batch normalisation with `norms`, within the block.

    What works in place would change what is kept: layers that do so by themselves (`ReLU(inplace=True)`) are told not
    to, and code of a user's own gets copies.

    Raises `UndefinedScore` for a network with three-dimensional convolutions, whose patches are not taken here.
    """
    if any(isinstance(module, nn.Conv3d) for module in network.modules()):
        raise UndefinedScore("gradients of single examples are not made for three-dimensional convolutions")
    calls = Calls()
    kinds = (*WEIGHTED, _BatchNorm) if norms else WEIGHTED
    safe = familiar(network)

    def hook(module: nn.Module, inputs: tuple[Any, ...], y: Tensor) -> Tensor | None:
        calls.made.append((module, inputs[0] if safe else inputs[0].clone(), y))
        return None if safe else y.clone()

    handles = [m.register_forward_hook(hook) for m in network.modules() if isinstance(m, kinds)]
    in_place: list[Any] = [m for m in network.modules() if getattr(m, "inplace", False) is True]
    for module in in_place:
        module.inplace = False
    try:
        yield calls
    finally:
        for module in in_place:
            module.inplace = True
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
    kernel, padding = two(layer.kernel_size, 1), two(numeric_padding(layer), 0)
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
    if isinstance(layer, nn.Linear) or set(layer.kernel_size) == {1}:  # type: ignore[arg-type]
        rows: Tensor = (at_places(layer, gradient) @ patches(layer, x).transpose(2, 3)).flatten(1)
        return rows
    assert isinstance(layer, nn.Conv1d | nn.Conv2d)
    # One example whose channels are those of all, in groups: each has weights, and so a gradient, of its own.
    shape = (len(x) * layer.out_channels, *layer.weight.shape[1:])
    beside, slope = (t.reshape(1, -1, *t.shape[2:]) for t in (x, gradient))
    return convolution_gradient(layer, beside, slope, shape, groups=len(x) * layer.groups).reshape(len(x), -1)


def convolution_gradient(
    layer: nn.Conv1d | nn.Conv2d, x: Tensor, gradient: Tensor, shape: tuple[int, ...], *, groups: int
) -> Tensor:
    """The gradient of weights of a shape, of a convolution like the layer but for its channels."""
    padding = numeric_padding(layer)
    made: Tensor = torch.ops.aten.convolution_backward(
        gradient, x, x.new_empty(shape), None, layer.stride, padding, layer.dilation, False, [0] * len(padding), groups,
        [False, True, False],
    )[1]  # fmt: skip
    return made


def numeric_padding(layer: nn.Conv1d | nn.Conv2d) -> tuple[int, ...]:
    """The zeros on either side, in each direction. Raises `UndefinedScore` for other kinds of padding."""
    if layer.padding_mode != "zeros":
        raise UndefinedScore(f"padding of mode '{layer.padding_mode}' is not known here")
    if not isinstance(layer.padding, str):
        return tuple(layer.padding)
    wholes = [
        d * (k - 1) if layer.padding == "same" else 0 for d, k in zip(layer.dilation, layer.kernel_size, strict=True)
    ]
    if any(whole % 2 for whole in wholes):
        raise UndefinedScore("padding that differs between the sides is not known here")
    return tuple(whole // 2 for whole in wholes)


def normalised(layer: _BatchNorm, x: Tensor) -> Tensor:
    """The input of a batch normalisation, normalised by the statistics of the batch, before scale and shift."""
    return F.batch_norm(x, None, None, training=True, eps=layer.eps)
