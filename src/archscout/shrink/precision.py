"""Mixed precision: the bits of each layer's weights, so that all take no more than so many bytes and harm least.

How much harm bits do to a layer is said by the curvature of the loss (HAWQ) or found by trying each layer alone; the
exact knapsack then chooses, which is the optimum where harms add up.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from archscout.core.errors import UsageError
from archscout.core.seeds import derive
from archscout.deploy.observers import observer
from archscout.deploy.program import Operator, Program
from archscout.deploy.quantise import Quantisation, quantise
from archscout.shrink import knapsack

BITS = (2, 3, 4, 5, 6, 8)
PROBES = 16
"""Random signs of outputs in the trace's estimate."""

Loss = Callable[[Tensor], Tensor]
"""Of outputs, the loss of the examples that they are of: a scalar."""


def weighted(program: Program) -> list[Operator]:
    """The operators with weights, in order."""
    return [operator for operator in program.operators if operator.weight is not None]


def traces(program: Program, examples: Tensor, loss: Loss, *, probes: int = PROBES, seed: int = 0) -> list[float]:
    """The trace of the curvature of the loss with respect to the weights of each layer: its Gauss-Newton matrix.

    With J the derivative of outputs by weights and H the Hessian of the loss by outputs, the trace of J'HJ is the mean
    of (J'z)(J'Hz) over random signs z of outputs (Hutchinson 1990), and the product is taken layer by layer. Signs of
    weights, all layers at once, would have the mean of the whole Hessian, but what layers have in common is noise
    there: with 16 probes most traces of a trained residual network came out below zero.

    Args:
        program: as read, in floating point.
        examples: stored inputs.
        loss: of their outputs.
        probes: how many z.
        seed: of the signs.
    """
    generator = torch.Generator().manual_seed(derive(seed, "Hessian trace"))
    layers = weighted(program)
    weights = [operator.weighted()[0].detach().clone().requires_grad_() for operator in layers]
    by_output = {operator.output: weight for operator, weight in zip(layers, weights, strict=True)}
    operators = (replace(o, weight=by_output.get(o.output)) for o in program.operators)
    with torch.enable_grad():
        outputs = replace(program, operators=tuple(operators)).run(examples)
        of_outputs = outputs.detach().requires_grad_()
        (slope,) = torch.autograd.grad(loss(of_outputs), of_outputs, create_graph=True)
    totals = np.zeros(len(layers))
    for _ in range(probes if slope.requires_grad else 0):  # a loss without curvature has none to give
        z = torch.randint(0, 2, outputs.shape, generator=generator).mul_(2).sub_(1).to(outputs)
        (bent,) = torch.autograd.grad(slope, of_outputs, grad_outputs=z, retain_graph=True)
        pairs = (torch.autograd.grad(outputs, weights, grad_outputs=each, retain_graph=True, allow_unused=True)
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


def one_at_a_time(
    program: Program, examples: Tensor, loss: Loss, how: Quantisation, bits: Sequence[int] = BITS
) -> list[np.ndarray]:
    """Of each layer the rise of the loss where it alone has so many bits, and all others 8."""
    plain = replace(how, weight_bits=8, bias_correction=False, layers={})

    def lost(layers: Mapping[int, int]) -> float:
        presets = {value: plain.preset.with_bits(count, None) for value, count in layers.items()}
        return float(loss(quantise(program, examples, replace(plain, layers=presets)).run(examples)))

    whole = lost({})
    return [np.array([lost({o.output: count}) - whole for count in bits]) for o in weighted(program)]


def layer_bytes(operator: Operator, bits: int) -> int:
    """What a layer takes, as `Quantised.weight_bytes` counts it."""
    weight, bias = operator.weighted()
    return math.ceil(weight.numel() * bits / 8) + 8 * len(bias)


def allocate(program: Program, harms: Sequence[np.ndarray], limit: float, bits: Sequence[int] = BITS) -> dict[int, int]:
    """The bits of each layer, by the value that it makes, that harm least within so many bytes.

    Raises `UsageError` where the fewest bits take more.
    """
    layers = weighted(program)
    costs = [np.array([float(layer_bytes(o, count)) for count in bits]) for o in layers]
    chosen = knapsack.choose(harms, [costs], [limit])
    if chosen is None:
        least = sum(layer_bytes(o, min(bits)) for o in layers)
        raise UsageError(
            f"the weights take {least:,} bytes at {min(bits)} bits each, above the limit of {limit:,.0f}: give a "
            "higher limit, or a smaller network."
        )
    return {o.output: bits[option] for o, option in zip(layers, chosen, strict=True)}


def mixed(
    program: Program,
    examples: Tensor,
    loss: Loss,
    how: Quantisation,
    limit: float,
    *,
    seed: int = 0,
) -> Quantisation:
    """`how`, with the bits of each layer by HAWQ and the knapsack: `Quantised.weight_bytes` is within the limit."""
    chosen = allocate(program, hawq(program, examples, loss, how, seed=seed), limit)
    return replace(how, layers={value: how.preset.with_bits(count, None) for value, count in chosen.items()})


def _squared_error(weight: Tensor, how: Quantisation, bits: int) -> float:
    """The sum over weights of the squared distance to their grid."""
    scheme = replace(how.preset.weights, bits=bits)
    rows = weight.flatten(1) if scheme.per_channel else weight.reshape(1, -1)
    seen = observer("min_max" if bits == 8 else "mse")(scheme)
    seen.update(rows)
    return float((scheme.grid(*seen.range()).rounded(weight) - weight).double().pow(2).sum())
