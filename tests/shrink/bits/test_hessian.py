"""Curvature against the whole Hessian."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from archscout.deploy.program import Program, calculate
from archscout.deploy.quantise import Quantisation
from archscout.shrink.bits.hessian import BITS, Loss, hawq, layer_bytes, traces, values_of, weighted


def test_the_trace_is_that_of_the_hessian(program: Program, examples: Tensor, loss: Loss) -> None:
    estimated = traces(program, examples, loss, probes=40)
    for operator, trace in zip(weighted(program), estimated, strict=True):

        def of_weight(w: Tensor, operator=operator) -> Tensor:
            there = tuple(replace(o, weight=w) if o is operator else o for o in program.operators)
            return loss(replace(program, operators=there).run(examples))

        weight = operator.weighted()[0]
        if weight.numel() > 110:
            continue
        hessian = torch.autograd.functional.hessian(of_weight, weight.clone()).view(weight.numel(), -1)
        assert trace == pytest.approx(float(hessian.trace()), rel=0.2)


def test_the_trace_of_a_value_is_that_of_the_hessian(program: Program, examples: Tensor, loss: Loss) -> None:
    value = weighted(program)[2].output
    examples = examples[:2]
    estimated = traces(program, examples, loss, values=[value], probes=200)[-1]
    operators = program.operators[[o.output for o in program.operators].index(value) + 1 :]

    def of_value(x: Tensor) -> Tensor:
        values = {value: x}
        for operator in operators:
            values[operator.output] = calculate(operator, [values[v] for v in operator.inputs])
        return loss(values[program.output])

    x = values_of(program, examples, [value])[value]
    hessian = torch.autograd.functional.hessian(of_value, x).view(x.numel(), -1)
    assert estimated == pytest.approx(float(hessian.trace()), rel=0.2)


def test_what_layers_have_in_common_is_no_noise(program: Program, examples: Tensor, loss: Loss) -> None:
    """Of a loss whose curvature has no negative direction, no estimate is negative, however few signs are drawn."""
    exact = np.array(traces(program, examples, loss, probes=60))
    for seed in range(4):
        few = np.array(traces(program, examples, loss, probes=4, seed=seed))
        assert (few > 0).all()
        assert np.abs(np.log(few / exact)).max() < 1.0
    assert traces(program, examples, lambda outputs: outputs.mean()) == [0.0] * 4, "without curvature"


def test_harm_falls_with_bits_and_bytes_rise(program: Program, examples: Tensor, loss: Loss) -> None:
    for harms in hawq(program, examples, loss, Quantisation()):
        assert (np.diff(harms) < 0).all()
    for operator in weighted(program):
        assert [layer_bytes(operator, b) for b in BITS] == sorted(layer_bytes(operator, b) for b in BITS)
