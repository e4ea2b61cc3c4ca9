"""The neural tangent kernel of a network, shared by the scores that look at its eigenvalues.

Theta_ij = <grad z_i, grad z_j>, z_i the sum of the outputs of example i, the gradient with respect to the weights of
convolutions, linear layers and batch normalisations. Through batch normalisation z_i depends on all examples, so its
gradient takes a backward pass of its own; a number of them run as one, only down to the outputs of layers, and the
weights' part is one convolution a layer. The kernel adds up layer by layer: the matrix of all gradients is never
held.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from archscout.core.architecture import Architecture
from archscout.core.cache import Cache
from archscout.core.errors import UndefinedScore, UsageError
from archscout.core.estimator import Setting
from archscout.core.seeds import derive
from archscout.core.space import Space
from archscout.core.task import Task
from archscout.estimators.zero_cost.harness import Subject, prepared
from archscout.estimators.zero_cost.layers import (
    at_places,
    check_layers_are_all,
    convolution_gradient,
    following,
    normalised,
    patches,
)
from archscout.estimators.zero_cost.passes import Passes, has_scale
from archscout.networks.pick import build
from archscout.spaces.thin import thin
from archscout.supernets.supernet import Supernet
from archscout.training.contexts import frozen

WIDTH, CELLS = 3, 1
"""Of the thin network that TE-NAS and those after it measure, in spaces that have these parameters."""

_BYTES, _MAPS = 4 << 20, 300
"""How large the largest gradient of a layer's output may be in passes that run as one, in bytes and in maps: what stays
in the processor's cache."""


_supernets = Cache[Supernet](size=8)


def thin_network(
    subject: Subject, number: int = 0, *, width: int = WIDTH, cells: int = CELLS, shared: bool = False
) -> nn.Module:
    """The network at small size (spaces without `width` and `cells`: at its own).

    Freshly initialised, or with the weights that it has in a supernet of random weights that all `shared` ones have in
    common.
    """

    def make() -> nn.Module:
        setting = subject.setting
        space = thin(setting.space, width=width, cells=cells)
        if shared:
            network = shared_network(space, subject.architecture, setting.task, setting, "thin", number)
        else:
            seed = subject.generator("thin", space.canonical(subject.architecture), number).initial_seed()
            network = build(space, subject.architecture, setting.task, seed=seed, device=setting.device)
        # With so few channels, channels last is the slower layout.
        return prepared(network).to(memory_format=torch.contiguous_format)  # type: ignore[call-overload, no-any-return]

    return subject.once(("thin", width, cells, number, shared), make)


def shared_network(
    space: Space, architecture: Architecture, task: Task, setting: Setting, purpose: str, number: int
) -> nn.Module:
    """The network of an architecture with the weights that it has in the one random supernet of this number.

    Raises `UndefinedScore` for a space of which no supernet can be made.
    """
    seed = derive(setting.seed, "shared", purpose, number)
    key = (space.digest, task.digest, task.input_shape, seed)
    try:
        supernet = _supernets.get(key, lambda: Supernet(space, task, seed=seed))
    except KeyError as error:
        raise UndefinedScore(f"no supernet can be made of the space ({error})") from error
    return supernet.extract(space.simplify(architecture)).to(setting.device)


def check_shared(shared: bool, name: str) -> bool:
    """Whether weights are shared, as a user may say it. Raises `UsageError` for what is neither true nor false."""
    if not isinstance(shared, bool):
        raise UsageError(f"shared of estimator '{name}' is true or false, not {shared!r}.")
    return shared


def tangent_kernel(
    subject: Subject, batch: int, number: int = 0, *, inner: bool = False, shared: bool = False
) -> Tensor:
    """Theta of the thin network for `inputs(batch, number)` (N x N, float64); made once for all who ask.

    Raises `UndefinedScore` where the outputs depend on no weight.
    """
    key: Hashable = ("tangent kernel", batch, number, inner, shared)
    network = thin_network(subject, number, shared=shared)
    x, _ = subject.inputs(batch, number)
    return subject.once(key, lambda: gram(network, x, inner=inner))


def gram(network: nn.Module, x: Tensor, *, inner: bool = False) -> Tensor:
    """Theta of a network for the examples x (N x N, float64).

    Args:
        network: it is left as it was.
        x: examples.
        inner: leave out the first and the last weighted layer, as scores do that look at the cells alone.

    Raises `UndefinedScore` where the outputs depend on no weight, or a user's own code uses weights outside of layers.
    """
    check_layers_are_all(network, x[:2])
    with torch.enable_grad(), frozen(network), following(network, norms=True) as calls:
        outputs = network(x.clone(memory_format=torch.contiguous_format).requires_grad_())
        layers = [call for call in calls if call[2].requires_grad and _has_weight(call[0])]
        if inner:
            weighted = [place for place, (layer, _, _) in enumerate(layers) if not isinstance(layer, _BatchNorm)]
            layers = [call for place, call in enumerate(layers) if place not in (weighted[:1] + weighted[-1:])]
        if not layers or not outputs.requires_grad:
            raise UndefinedScore("the outputs depend on no weight")
        with torch.no_grad():
            rows = _gradients(outputs, layers)
    total = torch.zeros((len(x), len(x)), dtype=torch.float64)
    for gradient in rows:
        gradient = gradient.double() if gradient.numel() < 1 << 22 else gradient
        total += gradient @ gradient.T
    return total


def _has_weight(layer: nn.Module) -> bool:
    return getattr(layer, "weight", None) is not None


def _gradients(outputs: Tensor, kept: list[tuple[nn.Module, Tensor, Tensor]]) -> list[Tensor]:
    """For each layer the gradient of each example's sum with respect to its weights (N x numbers)."""
    count = len(outputs)
    by_layer = {id(layer): outputs.new_zeros((count, _weight(layer).numel())) for layer, _, _ in kept}
    begin = 0

    def shown(layer: nn.Module) -> Callable[[Tensor], None]:
        rows = by_layer[id(layer)]

        def show(made: Tensor) -> None:
            rows[begin : begin + len(made)].add_(made.flatten(1))

        return show

    heard, weighed, scales = {}, {}, {}
    for layer, x, y in kept:
        weigh, show = None if has_scale(y.grad_fn) else weighing(layer, x.detach()), shown(layer)
        if weigh is None:
            scales[y.grad_fn] = show
        elif isinstance(layer, nn.Conv2d) and layer.bias is None:
            weighed[y.grad_fn] = weigh, show
        else:
            heard[y.grad_fn] = lambda gradient, weigh=weigh, show=show: show(weigh(gradient))
    passes = Passes(outputs, heard, weighed, scales)
    largest = max(y.numel() * y.element_size() for _, _, y in kept)
    chunk = max(1, min(_BYTES // largest, _MAPS // count))
    eye = torch.eye(count, dtype=outputs.dtype, device=outputs.device)
    while begin < count:
        ones = eye[:, begin : begin + chunk].reshape(count, -1, *(1,) * (outputs.ndim - 1))
        passes.run(ones.expand(*ones.shape[:2], *outputs.shape[1:]).contiguous())
        begin += chunk
    return list(by_layer.values())


def _weight(layer: nn.Module) -> Tensor:
    assert isinstance(layer.weight, Tensor)
    return layer.weight


def weighing(layer: nn.Module, x: Tensor) -> Callable[[Tensor], Tensor]:
    """What makes the gradients of a layer's weights (passes x channels x ...), given its output's (N x passes x ...).

    It is linear.
    """
    if isinstance(layer, _BatchNorm):
        return partial(_weigh_normalised, normalised(layer, x))
    if isinstance(layer, nn.Conv1d | nn.Conv2d) and layer.groups == 1 and set(layer.kernel_size) != {1}:
        return partial(_weigh_convolved, layer, x)
    return partial(_weigh_seen, layer, patches(layer, x).transpose(2, 3))


def _weigh_normalised(seen: Tensor, gradient: Tensor) -> Tensor:
    product = gradient * seen[:, None]
    return product.sum([place for place in range(product.ndim) if place not in (1, 2)])


def _weigh_convolved(layer: nn.Conv1d | nn.Conv2d, x: Tensor, gradient: Tensor) -> Tensor:
    """As one convolution whose output channels are those of all passes."""
    passes = gradient.shape[1]
    shape = (passes * layer.out_channels, *layer.weight.shape[1:])
    made = convolution_gradient(layer, x, gradient.flatten(1, 2), shape, groups=1)
    return made.reshape(passes, layer.out_channels, -1)


def _weigh_seen(layer: nn.Module, seen: Tensor, gradient: Tensor) -> Tensor:
    """By what the weights are multiplied with (N x groups x places x numbers)."""
    count, passes = gradient.shape[:2]
    flat = at_places(layer, gradient.reshape(-1, *gradient.shape[2:]))
    # N x passes x groups x channels x places, to N x groups x (passes x channels) x places
    flat = flat.reshape(count, passes, *flat.shape[1:]).transpose(1, 2).flatten(2, 3)
    summed: Tensor = (flat @ seen).sum(0)
    # groups x (passes x channels) x numbers
    rows: Tensor = summed.reshape(len(summed), passes, -1, summed.shape[-1]).movedim(0, 1).flatten(1, 2)
    return rows


def eigenvalues(kernel: Tensor) -> Tensor:
    """Ascending. Raises `UndefinedScore` where the least is lost in the rounding of float32 or the kernel is 0."""
    values: Tensor = torch.linalg.eigvalsh(kernel)
    if not float(values[-1]) > 0 or float(values[0]) <= 1e-6 * float(values[-1]):
        raise UndefinedScore("the tangent kernel is singular to rounding: its least eigenvalue is not known")
    return values
