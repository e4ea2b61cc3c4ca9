"""How much signal flows along the paths of a network at initialisation."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.modules.batchnorm import _BatchNorm

from archscout.core.errors import UndefinedScore
from archscout.core.registry import register
from archscout.estimators.zero_cost.harness import Score, Subject


@register("estimator", "synflow")
class Synflow(Score):
    """Synaptic flow: logarithm of the sum over weights of |weight x gradient| (1 forward and backward, no data).

    score = log sum |theta dR/dtheta|, over the weights of convolutions and linear layers (all parameters of two or more
    dimensions), where R is the sum of the outputs for one input of ones, each parameter is replaced by its absolute
    value, and batch normalisation is removed. In float64. Higher is better.

    Source: Tanaka, Kunin, Yamins, Ganguli 2020, "Pruning neural networks without any data by iteratively conserving
    synaptic flow", arXiv 2006.05467 (for pruning); Abdelfattah, Mehrotra, Dudziak, Lane 2021, "Zero-Cost Proxies for
    Lightweight NAS", arXiv 2101.08134 (as a score of architectures).

    The original code returns the sum itself, which spans dozens of decades over a space; the logarithm orders
    alike and can be averaged. Where the sum is 0 (no path from input to output) or overflows, the score is
    undefined.
    """

    needs = frozenset({"gradients"})

    def __init__(self) -> None:
        self.name = "synflow"

    def score(self, subject: Subject) -> float:
        flow = synaptic_flow(subject.network, subject.setting.task.input_shape)
        if flow <= 0:
            raise UndefinedScore("no path with weights leads from the input to the output")
        if not math.isfinite(flow):
            raise UndefinedScore("the flow overflows float64")
        return math.log(flow)


def synaptic_flow(network: nn.Module, input_shape: tuple[int, ...]) -> float:
    """The sum over weights of |weight x gradient|; the network is left as it was."""
    parameters = {name: p.detach().double().abs_().requires_grad_(p.ndim > 1) for name, p in network.named_parameters()}
    buffers = {name: b.double() if b.is_floating_point() else b for name, b in network.named_buffers()}
    weights = [parameter for parameter in parameters.values() if parameter.requires_grad]
    if not weights:
        return 0.0
    ones = torch.ones((1, *input_shape), dtype=torch.float64, device=weights[0].device)
    with _without_batch_norm(network):
        total = functional_call(network, (parameters, buffers), (ones,)).sum()
    if not total.requires_grad:
        return 0.0
    gradients = torch.autograd.grad(total, weights, allow_unused=True)
    return sum(_flow(weight, gradient) for weight, gradient in zip(weights, gradients, strict=True))


def _flow(weight: Tensor, gradient: Tensor | None) -> float:
    return 0.0 if gradient is None else float((weight.detach() * gradient).abs_().sum())


@contextmanager
def _without_batch_norm(network: nn.Module) -> Iterator[None]:
    """Let batch normalisation give back its input, within the block."""
    layers: list[Any] = [module for module in network.modules() if isinstance(module, _BatchNorm)]
    for layer in layers:
        layer.forward = _same
    try:
        yield
    finally:
        for layer in layers:
            del layer.forward


def _same(x: Tensor) -> Tensor:
    return x
