"""How good architectures are with inherited weights: one by one with recalibrated batch normalisation, or many at once.

Running averages that were collected while paths changed from step to step belong to no architecture. Either they are
estimated anew for the one that is looked at (`accuracy`), or the statistics of the batch itself are used (`losses`,
`scores`). The latter can be had for many architectures in one pass (`archscout.supernets.crowd`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from archscout.core.architecture import Architecture
from archscout.core.errors import ArchscoutError
from archscout.core.seeds import stream
from archscout.networks.gate import Gate
from archscout.networks.operations import Noise
from archscout.supernets.crowd import Crowd, NotOneMap
from archscout.supernets.supernet import Supernet

AT_ONCE = 64
"""Architectures in one pass: more do not run faster on a processor and take more memory."""

SMALL_BATCH = 32
"""Examples up to which a shared pass is faster: the feature maps of larger batches leave the processor's cache."""

_RANDOM = (Noise, nn.modules.dropout._DropoutNd)
"""Layers whose answers differ from time to time in training."""

Data = tuple[Tensor, Tensor]


def accuracy(
    supernet: Supernet, architecture: Architecture, calibration: Sequence[Data], data: Data, *, batch_size: int = 512
) -> float:
    """The merit of one architecture by the task's metric, with inherited weights, batch normalisation recalibrated.

    Running statistics are estimated anew as the plain mean over the calibration batches; they stay with the supernet,
    so that `extract` then gives a network that is ready for use. Every module is left in the mode it was in.
    """
    recalibrate(supernet, architecture, calibration)
    x, y = data
    with mode(supernet, training=False), torch.inference_mode():
        outputs = torch.cat([supernet(part) for part in torch.split(x, batch_size)])
        return float(supernet.task.merit(outputs, y))


def recalibrate(supernet: Supernet, architecture: Architecture, calibration: Sequence[Data]) -> None:
    """Select an architecture and give its batch normalisation the mean statistics of some batches."""
    supernet.select(architecture)
    norms = [module for module in supernet.modules() if isinstance(module, _BatchNorm)]
    momenta = [norm.momentum for norm in norms]
    try:
        with mode(supernet, training=True), torch.no_grad():
            for number, (x, _) in enumerate(calibration, start=1):
                for norm in norms:
                    norm.momentum = 1 / number  # the mean of all batches so far
                supernet(x)
    finally:
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum


def losses(
    supernet: Supernet, architectures: Sequence[Architecture], data: Data, *, many: bool | None = None
) -> Tensor:
    """The mean loss of each architecture on one batch (A,), with the batch's own statistics; no gradient.

    Args:
        supernet: whose weights.
        architectures: which.
        data: inputs and targets.
        many: whether they run in shared passes where they can; by default where that is faster. The results are the
            same to 1e-5.
    """
    x, y = data
    return torch.stack(
        [supernet.task.loss(outputs, y) for outputs in predictions(supernet, architectures, x, many=many)]
    )


def scores(
    supernet: Supernet, architectures: Sequence[Architecture], batches: Sequence[Data], *, many: bool | None = None
) -> list[float]:
    """The merit of each by the task's metric over all examples of some batches, each with its own statistics."""
    outputs = [predictions(supernet, architectures, x, many=many) for x, _ in batches]
    targets = torch.cat([y for _, y in batches])
    return [
        float(supernet.task.merit(torch.cat([each[place] for each in outputs]), targets))
        for place in range(len(architectures))
    ]


def predictions(
    supernet: Supernet, architectures: Sequence[Architecture], x: Tensor, *, many: bool | None = None
) -> list[Tensor]:
    """The outputs of each architecture for one batch, with the batch's own statistics; no gradient.

    What runs the same options runs once.
    """
    simple = [supernet.space.simplify(architecture) for architecture in architectures]
    once = list(dict.fromkeys(simple))
    many = len(x) <= SMALL_BATCH if many is None else many
    with mode(supernet, training=True), kept_statistics(supernet), torch.no_grad():
        if many and len(once) > 1 and batchable(supernet):
            parts = (once[start : start + AT_ONCE] for start in range(0, len(once), AT_ONCE))
            outputs = [each for part in parts for each in _together(supernet, part, x)]
        else:
            outputs = [supernet.select(architecture)(x) for architecture in once]
    by_input = dict(zip(once, outputs, strict=True))
    return [by_input[architecture] for architecture in simple]


def batchable(supernet: Supernet) -> bool:
    """Whether many architectures can share a pass: found out once, by comparing with one by one.

    They can where every choice is between modules that take one feature map. Widths, kernels and depths that change
    from one architecture to the next are slices of their own.
    """
    known: bool | None = getattr(supernet, "_batchable", None)
    if known is None:
        known = _agrees(supernet)
        supernet._batchable = known  # type: ignore[assignment]
    return known


def _agrees(supernet: Supernet) -> bool:
    choices = supernet.space.choices
    ends = list(supernet.space.extremes())
    if any(choice.condition is not None for choice in choices) or set(supernet.mixed()) != {c.name for c in choices}:
        return False
    x = examples(supernet)
    with mode(supernet, training=True), kept_statistics(supernet), torch.no_grad():
        try:
            together = _together(supernet, ends, x)
        except _CANNOT:
            return False
        return all(torch.allclose(a, supernet.select(end)(x), atol=1e-3) for a, end in zip(together, ends, strict=True))


def mixable(supernet: Supernet) -> bool:
    """Whether gates can stand for every choice: found out by comparing one-hot gates over all options with the
    architecture that they name.

    Choices of wiring, which decide in Python what is connected, cannot be weighted.
    """
    x = examples(supernet)
    space = supernet.space
    for seed in range(3):
        architecture = space.simplify(space.sample(stream(seed, "mixable")))
        gates = {}
        for choice in space.choices:
            weights = torch.zeros(len(choice.options), device=x.device)
            weights[choice.index(architecture.get(choice.name, choice.options[0]))] = 1.0
            gates[choice.name] = Gate(tuple(range(len(choice.options))), weights)
        with mode(supernet, training=True), kept_statistics(supernet), torch.no_grad():
            for part in supernet.modules():
                if isinstance(part, _RANDOM):
                    part.eval()
            expected = supernet.select(architecture)(x)
            try:
                mixed = supernet.gate(gates)(x)
            except _CANNOT:
                return False
        if mixed.shape != expected.shape or not torch.allclose(mixed, expected, atol=1e-3, rtol=1e-3):
            return False
    return True


def examples(supernet: Supernet, count: int = 4) -> Tensor:
    """The first few inputs of the task, where the supernet is."""
    x: Tensor = supernet.task.tensors(supernet.task.train.head(count), next(supernet.parameters()).device)[0]
    return x


_CANNOT = (NotOneMap, ArchscoutError, RuntimeError, TypeError, ValueError, AttributeError)
"""What a network raises that was not written for feature maps of many architectures, or for gates."""


def _together(supernet: Supernet, architectures: Sequence[Architecture], x: Tensor) -> list[Tensor]:
    """The outputs of several architectures for the same inputs, in one pass."""
    wide = x[:, None].expand(-1, len(architectures), *x.shape[1:]).flatten(0, 1)
    outputs = Crowd(supernet.space, architectures).run(supernet, wide)
    return list(torch.unflatten(outputs, 0, (-1, len(architectures))).unbind(1))


@contextmanager
def mode(module: nn.Module, *, training: bool) -> Iterator[None]:
    """Every module in one mode; each goes back to the mode it was in."""
    before = [(part, part.training) for part in module.modules()]
    module.train(training)
    try:
        yield
    finally:
        for part, was in before:
            part.training = was


@contextmanager
def kept_statistics(module: nn.Module) -> Iterator[None]:
    """Running statistics are as before afterwards."""
    before = [(buffer, buffer.clone()) for buffer in module.buffers()]
    try:
        yield
    finally:
        with torch.no_grad():
            for buffer, was in before:
                buffer.copy_(was)
