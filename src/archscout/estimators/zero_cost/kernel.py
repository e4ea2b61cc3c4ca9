"""The neural tangent kernel of a network, shared by the scores that look at its eigenvalues.

Theta_ij = <grad z_i, grad z_j>, z_i the sum of the outputs of example i, the gradient with respect to the weights of
convolutions, linear layers and batch normalisations. Through batch normalisation z_i depends on all examples, so its
gradient takes a backward pass of its own; a number of them run as one, only down to the outputs of layers, and the
weights' part is one matrix product a layer. The kernel adds up layer by layer: the matrix of all gradients is never
held.
"""

from __future__ import annotations

from collections.abc import Hashable

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from archscout.core.errors import UndefinedScore
from archscout.estimators.zero_cost.harness import Subject, prepared
from archscout.estimators.zero_cost.layers import at_places, following, frozen, normalised, patches
from archscout.networks.pick import build
from archscout.spaces.thin import thin

WIDTH, CELLS = 3, 1
"""Of the thin network that TE-NAS and those after it measure, in spaces that have these parameters."""

_CHUNK = 24
"""Backward passes that run as one."""


def thin_network(subject: Subject, number: int = 0, *, width: int = WIDTH, cells: int = CELLS) -> nn.Module:
    """The network at small size (spaces without `width` and `cells`: at its own), freshly initialised."""

    def make() -> nn.Module:
        setting = subject.setting
        space = thin(setting.space, width=width, cells=cells)
        seed = subject.generator("thin", space.canonical(subject.architecture), number).initial_seed()
        return prepared(build(space, subject.architecture, setting.task, seed=seed, device=setting.device))

    return subject.once(("thin", width, cells, number), make)


def tangent_kernel(subject: Subject, batch: int, number: int = 0, *, inner: bool = False) -> Tensor:
    """Theta of the thin network for `inputs(batch, number)` (N x N, float64); made once for all who ask.

    Raises `UndefinedScore` where the outputs depend on no weight.
    """
    key: Hashable = ("tangent kernel", batch, number, inner)
    network = thin_network(subject, number)
    x, _ = subject.inputs(batch, number)
    return subject.once(key, lambda: gram(network, x, inner=inner))


def gram(network: nn.Module, x: Tensor, *, inner: bool = False) -> Tensor:
    """Theta of a network for the examples x (N x N, float64).

    Args:
        network: it is left as it was.
        x: examples.
        inner: leave out the first and the last weighted layer, as scores do that look at the cells alone.
    """
    with frozen(network), following(network, norms=True) as calls:
        outputs = network(x.clone(memory_format=torch.preserve_format).requires_grad_())
        kept = [call for call in calls if call[2].requires_grad and _has_weight(call[0])]
        if inner:
            weighted = [place for place, (layer, _, _) in enumerate(kept) if not isinstance(layer, _BatchNorm)]
            kept = [call for place, call in enumerate(kept) if place not in (weighted[:1] + weighted[-1:])]
        if not kept or not outputs.requires_grad:
            raise UndefinedScore("the outputs depend on no weight")
        sums = outputs.reshape(len(x), -1).sum(1)
        rows = _gradients(sums, kept, len(x))
    total = torch.zeros((len(x), len(x)), dtype=torch.float64)
    for gradient in rows:
        gradient = gradient.double() if gradient.numel() < 1 << 22 else gradient
        total += gradient @ gradient.T
    return total


def _has_weight(layer: nn.Module) -> bool:
    return getattr(layer, "weight", None) is not None


def _gradients(sums: Tensor, kept: list[tuple[nn.Module, Tensor, Tensor]], count: int) -> list[Tensor]:
    """For each layer the gradient of each example's sum with respect to its weights (N x numbers)."""
    seen = [_seen(layer, x.detach()) for layer, x, _ in kept]
    outputs = [y for _, _, y in kept]
    parts: list[list[Tensor]] = [[] for _ in kept]
    eye = torch.eye(count, dtype=sums.dtype, device=sums.device)
    for chunk in eye.split(_CHUNK):  # type: ignore[no-untyped-call]
        found = torch.autograd.grad(
            sums, outputs, chunk, retain_graph=True, allow_unused=True, materialize_grads=True, is_grads_batched=True
        )
        for place, ((layer, _, _), gradient) in enumerate(zip(kept, found, strict=True)):
            parts[place].append(_weigh(layer, seen[place], gradient))
    by_layer: dict[int, Tensor] = {}
    for (layer, _, _), part in zip(kept, parts, strict=True):
        rows = torch.cat(part)
        by_layer[id(layer)] = by_layer[id(layer)] + rows if id(layer) in by_layer else rows
    return list(by_layer.values())


def _seen(layer: nn.Module, x: Tensor) -> Tensor:
    """What the weights are multiplied with: groups x (examples and places) x numbers; N x ... for a normalisation."""
    if isinstance(layer, _BatchNorm):
        return normalised(layer, x)
    return patches(layer, x).permute(1, 0, 3, 2).flatten(1, 2)


def _weigh(layer: nn.Module, seen: Tensor, gradient: Tensor) -> Tensor:
    """The gradients of the weights (passes x numbers), given those of the output (passes x N x ...)."""
    passes, count = gradient.shape[:2]
    if isinstance(layer, _BatchNorm):
        weighed: Tensor = (gradient * seen).movedim(2, 1).flatten(2).sum(2)
        return weighed
    flat = at_places(layer, gradient.flatten(0, 1))
    # passes x N x groups x channels x places, to groups x (passes x channels) x (N x places)
    flat = flat.reshape(passes, count, *flat.shape[1:]).permute(2, 0, 3, 1, 4).flatten(3).flatten(1, 2)
    product: Tensor = flat @ seen
    rows: Tensor = product.reshape(len(product), passes, -1).movedim(0, 1).reshape(passes, -1)
    return rows


def eigenvalues(kernel: Tensor) -> Tensor:
    """Ascending. Raises `UndefinedScore` where the least is lost in the rounding of float32 or the kernel is 0."""
    values = torch.linalg.eigvalsh(kernel)
    if not float(values[-1]) > 0 or float(values[0]) <= 1e-6 * float(values[-1]):
        raise UndefinedScore("the tangent kernel is singular to rounding: its least eigenvalue is not known")
    return values
