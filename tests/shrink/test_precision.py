"""Curvature against the whole Hessian, and choices of bits against every combination."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from archscout.core.errors import UsageError
from archscout.deploy.program import Program, read
from archscout.deploy.quantise import Quantisation, quantise
from archscout.shrink.precision import BITS, Loss, allocate, hawq, layer_bytes, mixed, one_at_a_time, traces, weighted

SHAPE = (2, 6, 6)


@pytest.fixture(scope="module")
def program() -> Program:
    """Four layers, some of which matter more."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = nn.Sequential(
            nn.Conv2d(2, 6, 3), nn.ReLU(), nn.Conv2d(6, 6, 3, padding=1, groups=6), nn.ReLU(), nn.Conv2d(6, 8, 1),
            nn.ReLU(), nn.Flatten(), nn.Linear(8 * 16, 3),
        )  # fmt: skip
        with torch.no_grad():
            network[7].weight.mul_(6)
        return read(network, SHAPE)


@pytest.fixture(scope="module")
def examples() -> Tensor:
    return torch.randn(16, *SHAPE, generator=torch.Generator().manual_seed(1))


@pytest.fixture(scope="module")
def loss(program: Program, examples: Tensor) -> Loss:
    """The distance to the answers of the network itself, which no rounding makes smaller."""
    answers = program.run(examples)
    return lambda outputs: F.mse_loss(outputs, answers[: len(outputs)])


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


def test_the_choice_is_the_best_of_all_combinations(program: Program) -> None:
    rng = np.random.default_rng(0)
    layers = weighted(program)
    for _ in range(5):
        harms = [np.sort(rng.exponential(1, len(BITS)))[::-1] for _ in layers]
        limit = rng.uniform(0.3, 0.9) * sum(layer_bytes(o, 8) for o in layers)
        chosen = allocate(program, harms, limit)
        options = {
            sum(h[k] for h, k in zip(harms, combination, strict=True))
            for combination in itertools.product(range(len(BITS)), repeat=4)
            if sum(layer_bytes(o, BITS[k]) for o, k in zip(layers, combination, strict=True)) <= limit
        }
        harm = sum(h[BITS.index(chosen[o.output])] for h, o in zip(harms, layers, strict=True))
        assert harm == pytest.approx(min(options))


def test_against_every_combination_that_was_really_quantised(program: Program, examples: Tensor, loss: Loss) -> None:
    """All 3^4 networks of a few numbers of bits: what is chosen loses little to the best, and uniform bits more."""
    layers, bits = weighted(program), (2, 4, 8)
    how = Quantisation(observer="min_max", bias_correction=False)

    def lost(combination: tuple[int, ...]) -> float:
        presets = {o.output: how.preset.with_bits(b, None) for o, b in zip(layers, combination, strict=True)}
        return float(loss(quantise(program, examples, replace(how, layers=presets)).run(examples)))

    def taken(combination: tuple[int, ...]) -> int:
        return sum(layer_bytes(o, b) for o, b in zip(layers, combination, strict=True))

    known = {combination: lost(combination) for combination in itertools.product(bits, repeat=4)}
    limit = taken((4, 4, 4, 4))
    within = sorted(value for combination, value in known.items() if taken(combination) <= limit)
    for harms in (hawq(program, examples, loss, how, bits), one_at_a_time(program, examples, loss, how, bits)):
        chosen = tuple(allocate(program, harms, limit, bits)[o.output] for o in layers)
        assert taken(chosen) <= limit
        rank = sum(value < known[chosen] for value in within) / len(within)
        assert rank <= 0.1, (chosen, known[chosen], within[0])
        assert known[chosen] <= known[(4, 4, 4, 4)] + 1e-9


def test_bytes_are_those_of_the_quantised_network(program: Program, examples: Tensor, loss: Loss) -> None:
    limit = 0.6 * sum(layer_bytes(o, 8) for o in weighted(program))
    how = mixed(program, examples, loss, Quantisation(), limit)
    quantised = quantise(program, examples, how)
    assert quantised.weight_bytes <= limit
    assert len({preset.weights.bits for preset in how.layers.values()}) > 1


def test_too_low_a_limit_is_told(program: Program) -> None:
    with pytest.raises(UsageError, match=r"the weights take [\d,]+ bytes at 2 bits each, above the limit of 100"):
        allocate(program, [np.zeros(len(BITS))] * 4, 100)
