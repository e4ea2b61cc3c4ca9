"""How much signal flows along the paths of a network at initialisation."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.func import functional_call

from archscout.core.errors import UndefinedScore
from archscout.core.registry import register
from archscout.estimators.zero_cost.expression import read
from archscout.estimators.zero_cost.harness import Score, Subject
from archscout.estimators.zero_cost.layers import familiar
from archscout.estimators.zero_cost.normalising import normalised_by, unchanged
from archscout.estimators.zero_cost.one_channel import expected_flow, fits
from archscout.estimators.zero_cost.operators import operators
from archscout.estimators.zero_cost.skeleton import skeleton

_LINEAR = frozenset(
    [
        "convolution",
        "native_batch_norm",
        "relu",
        "add",
        "mean",
        "avg_pool2d",
        "adaptive_avg_pool2d",
        "linear",
        "addmm",
        "mm",
        "clone",
        "cat",
        "constant_pad_nd",
        "copy",
        "zeros_like",
        "zero",
        "slice",
        "select",
        "split",
    ]
)
"""Operators that are linear and grow with their inputs where these are not negative."""


@register("estimator", "synflow")
class Synflow(Score):
    """Synaptic flow: logarithm of the sum over weights of |weight x gradient| (1 forward pass, no data).

    score = log sum |theta dR/dtheta|, over the weights of convolutions and linear layers (all parameters of two or more
    dimensions), where R is the sum of the outputs for one input of ones, each parameter is replaced by its absolute
    value, and batch normalisation is removed. In float64. Higher is better.

    Source: Tanaka, Kunin, Yamins, Ganguli 2020, "Pruning neural networks without any data by iteratively conserving
    synaptic flow", arXiv 2006.05467 (for pruning); Abdelfattah, Mehrotra, Dudziak, Lane 2021, "Zero-Cost Proxies for
    Lightweight NAS", arXiv 2101.08134 (as a score of architectures).

    The original code returns the sum itself, which spans dozens of decades over a space; the logarithm orders
    alike and can be averaged. Where the sum is 0 (no path from input to output) or overflows, the score is
    undefined.

    Where all that a network does grows with its inputs, no gradient is negative, and the sum is the derivative of R
    when all weights grow together, which goes beside R through one forward pass. Elsewhere, and in networks with
    modules of a user's own, it takes a backward pass.

    Args:
        expected: the logarithm of the *expected* sum over PyTorch's initialisation of convolutions and linear layers,
            by a
            network of one channel with the mean of |theta| for each weight: no seed, no noise, milliseconds.
    """

    needs = frozenset({"gradients"})

    def __init__(self, expected: bool = False) -> None:
        self.name = "synflow"
        self.expected = expected

    def score(self, subject: Subject) -> float:
        shape, run = subject.setting.task.input_shape, operators(subject)
        grows = run <= _LINEAR
        if self.expected:
            bones = skeleton(subject.setting.space, subject.architecture, subject.setting.task)
            if not grows or not (fits(bones, run) or read(bones, shape)):
                raise UndefinedScore("the expected flow is known only for convolutions, ReLUs, pools and sums")
            flow = expected_flow(bones, shape)[1] * subject.setting.task.outputs
        elif grows and familiar(subject.network):
            flow = flow_by_growth(subject.network, shape)
        else:
            flow = synaptic_flow(subject.network, shape)
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
    with normalised_by(network, unchanged):
        total = functional_call(network, (parameters, buffers), (ones,)).sum()
    if not total.requires_grad:
        return 0.0
    gradients = torch.autograd.grad(total, weights, allow_unused=True)
    return sum(_flow(weight, gradient) for weight, gradient in zip(weights, gradients, strict=True))


def flow_by_growth(network: nn.Module, input_shape: tuple[int, ...]) -> float:
    """The same for a network that grows with its inputs and weights: dR(a theta)/da at a = 1, without a backward pass.

    The derivative goes beside the value as a second example through what is linear, and a layer adds its value to it.
    """
    handles = []

    def layer(module: nn.Module, inputs: tuple[Tensor, ...], y: Tensor) -> Tensor:
        bias = module.bias
        assert bias is None or isinstance(bias, Tensor)
        value, slope = y[:1], y[1:]
        if bias is not None:  # the bias is in both, and is no part of what grows
            shape = [1, -1] + [1] * (y.ndim - 2) if not isinstance(module, nn.Linear) else [-1]
            slope = slope - 2 * bias.reshape(shape)
        return torch.cat([value, slope + value])

    parameters = {name: p.detach().double().abs_() for name, p in network.named_parameters()}
    buffers = {name: b.double() if b.is_floating_point() else b for name, b in network.named_buffers()}
    if not any(parameter.ndim > 1 for parameter in parameters.values()):
        return 0.0
    some = next(iter(parameters.values()))
    x = torch.cat([some.new_ones((1, *input_shape)), some.new_zeros((1, *input_shape))])
    kinds = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.Linear)
    handles = [module.register_forward_hook(layer) for module in network.modules() if isinstance(module, kinds)]
    try:
        with torch.no_grad(), normalised_by(network, unchanged):
            return float(functional_call(network, (parameters, buffers), (x,))[1].sum())
    finally:
        for handle in handles:
            handle.remove()


def _flow(weight: Tensor, gradient: Tensor | None) -> float:
    return 0.0 if gradient is None else float((weight.detach() * gradient).abs_().sum())
