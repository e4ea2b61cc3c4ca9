"""How much harm few bits do to each layer alone: by the curvature of the loss (HAWQ)."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from archscout.core.seeds import derive
from archscout.deploy.observers import observer
from archscout.deploy.program import Operator, Program
from archscout.deploy.quantise import Quantisation

BITS = (2, 3, 4, 5, 6, 8)
PROBES = 16
"""Random signs of outputs in the trace's estimate."""

Loss = Callable[[Tensor], Tensor]
"""Of outputs, the loss of the examples that they are of: a scalar."""


def weighted(program: Program) -> list[Operator]:
    """The operators with weights, in order."""
    return [operator for operator in program.operators if operator.weight is not None]


def traces(
    program: Program,
    examples: Tensor,
    loss: Loss,
    *,
    values: Sequence[int] = (),
    probes: int = PROBES,
    seed: int = 0,
) -> list[float]:
    """The trace of the curvature of the loss with respect to the weights of each layer: its Gauss-Newton matrix.

    With J the derivative of outputs by weights and H the Hessian of the loss by outputs, the trace of J'HJ is the mean
    of (J'z)(J'Hz) over random signs z of outputs (Hutchinson 1990), and the product is taken layer by layer. Signs of
    weights, all layers at once, would have the mean of the whole Hessian, but what layers have in common is noise
    there: with 16 probes most traces of a trained residual network came out below zero.

    Args:
        program: as read, in floating point.
        examples: stored inputs.
        loss: of their outputs.
        values: of the program, whose traces over all examples follow those of the layers.
        probes: how many z.
        seed: of the signs.
    """
    generator = torch.Generator().manual_seed(derive(seed, "Hessian trace"))
    layers = weighted(program)
    weights = [operator.weighted()[0].detach().clone().requires_grad_() for operator in layers]
    by_output = {operator.output: weight for operator, weight in zip(layers, weights, strict=True)}
    operators = (replace(o, weight=by_output.get(o.output)) for o in program.operators)
    seen: dict[int, Tensor] = {}
    with torch.enable_grad():
        outputs = replace(program, operators=tuple(operators)).run(examples, seen.__setitem__)
        parts = [*weights, *(seen[value] for value in values)]
        of_outputs = outputs.detach().requires_grad_()
        (slope,) = torch.autograd.grad(loss(of_outputs), of_outputs, create_graph=True)
    del seen
    totals = np.zeros(len(parts))
    for _ in range(probes if slope.requires_grad else 0):  # a loss without curvature has none to give
        z = torch.randint(0, 2, outputs.shape, generator=generator).mul_(2).sub_(1).to(outputs)
        (bent,) = torch.autograd.grad(slope, of_outputs, grad_outputs=z, retain_graph=True)
        pairs = (torch.autograd.grad(outputs, parts, grad_outputs=each, retain_graph=True, allow_unused=True)
                 for each in (z, bent))  # fmt: skip
        for place, (plain, by_loss) in enumerate(zip(*pairs, strict=True)):
            totals[place] += 0.0 if plain is None or by_loss is None else float((plain * by_loss).sum())
    return list(totals / probes)


def hawq(
    program: Program,
    examples: Tensor,
    loss: Loss,
    how: Quantisation,
    bits: Sequence[int] = BITS,
    *,
    probes: int = PROBES,
    seed: int = 0,
) -> list[np.ndarray]:
    """Of each layer the harm that each number of bits does: half the mean curvature times the squared error.

    HAWQ-V2 (Dong et al. 2020, arXiv 1911.03852). The error is a sum over weights, so that the trace is divided by their
    number; a trace below zero, which sampling can give, counts as none.
    """
    harms = []
    curvatures = traces(program, examples, loss, probes=probes, seed=seed)
    for operator, trace in zip(weighted(program), curvatures, strict=True):
        weight = operator.weighted()[0]
        errors = [_squared_error(weight, how, count) for count in bits]
        harms.append(np.array(errors) * max(trace, 0.0) / (2 * weight.numel()))
    return harms


def layer_bytes(operator: Operator, bits: int) -> int:
    """What a layer takes, as `Quantised.weight_bytes` counts it."""
    weight, bias = operator.weighted()
    return math.ceil(weight.numel() * bits / 8) + 8 * len(bias)


def values_of(program: Program, examples: Tensor, values: Sequence[int]) -> dict[int, Tensor]:
    """Some values of a program, in floating point."""
    seen: dict[int, Tensor] = {}

    def keep(value: int, x: Tensor) -> None:
        if value in values:
            seen[value] = x

    with torch.no_grad():
        program.run(examples, keep)
    return seen


def _squared_error(weight: Tensor, how: Quantisation, bits: int) -> float:
    """The sum over weights of the squared distance to their grid."""
    scheme = replace(how.preset.weights, bits=bits)
    rows = weight.flatten(1) if scheme.per_channel else weight.reshape(1, -1)
    seen = observer("min_max" if bits == 8 else "mse")(scheme)
    seen.update(rows)
    return float((scheme.grid(*seen.range()).rounded(weight) - weight).double().pow(2).sum())
