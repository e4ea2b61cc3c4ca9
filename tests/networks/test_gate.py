"""Gates against the options that they stand for: modules, widths, kernels and depths."""

import numpy as np
import pytest
import torch
from torch import nn

from archscout.core.choice import Choice
from archscout.core.registry import create
from archscout.core.seeds import stream
from archscout.networks.elastic import Elastic, Selection, batch_norm, compute, conv2d, linear
from archscout.networks.gate import Gate
from archscout.networks.pick import ElasticDepth
from archscout.supernets.supernet import Supernet
from archscout.testing import tiny_task

SPACES = ("nasbench201:width=4,cells=1", "mobile:stages=2,depth=2")


def one_hot(space, values):
    gates = {}
    for choice in space.choices:
        position = choice.index(values.get(choice.name, choice.options[0]))
        weights = torch.zeros(len(choice.options))
        weights[position] = 1.0
        gates[choice.name] = weights, position
    return gates


@pytest.mark.parametrize("name", SPACES)
@pytest.mark.parametrize("everything", [True, False])
def test_a_one_hot_gate_is_the_chosen_option(name, everything):
    """With all options running under a one-hot vector, and with the chosen one running alone, for every choice."""
    space, task = create("space", name), tiny_task()
    supernet = Supernet(space, task)
    x, _ = task.tensors(task.valid)
    for seed in range(4):
        architecture = space.simplify(space.sample(stream(seed)))
        with torch.no_grad():
            expected = supernet.select(architecture)(x)
            gates = {
                choice: Gate(tuple(range(len(weights))) if everything else (position,), weights)
                for choice, (weights, position) in one_hot(space, architecture).items()
            }
            assert torch.allclose(supernet.gate(gates)(x), expected, atol=1e-5)


def test_a_mixture_is_the_weighted_sum_and_its_gradient_is_the_options_output():
    options = [nn.Linear(3, 2) for _ in range(3)]
    weights = torch.tensor([0.2, 0.5, 0.3], requires_grad=True)
    x = torch.randn(4, 3, generator=torch.Generator().manual_seed(0))
    y = Gate((0, 1, 2), weights).mix(options, x)
    assert torch.allclose(y, 0.2 * options[0](x) + 0.5 * options[1](x) + 0.3 * options[2](x))
    y.sum().backward()
    assert torch.allclose(weights.grad, torch.stack([option(x).sum() for option in options]))


def test_the_gradient_of_a_mixture_agrees_with_finite_differences():
    generator = torch.Generator().manual_seed(1)
    weights, *terms = (
        torch.randn(shape, generator=generator, dtype=torch.float64, requires_grad=True)
        for shape in (3, (2, 4), (2, 4), (2, 4))
    )

    def mixed(weights, *terms):
        options = [lambda _, term=term: term.t() for term in terms]
        return Gate((2, 0, 1), weights).mix(options, None)

    assert torch.autograd.gradcheck(mixed, (weights, *terms))


def test_frozen_options_tell_but_do_not_learn_and_idle_ones_get_the_outputs_gradient():
    options = [nn.Linear(3, 2) for _ in range(3)]
    weights = torch.tensor([1.0, 0.0, 0.0], requires_grad=True)
    x = torch.ones(4, 3)
    Gate((0, 1), weights, frozen=frozenset({1})).mix(options, x).sum().backward()
    assert options[0].weight.grad is not None
    assert options[1].weight.grad is None
    assert torch.allclose(weights.grad, torch.tensor([options[0](x).sum().item(), options[1](x).sum().item(), 0.0]))
    weights.grad = None
    y = Gate((0,), weights, idle=True).mix(options, x)
    assert torch.equal(y, options[0](x))
    y.sum().backward()
    assert torch.allclose(weights.grad, torch.tensor([options[0](x).sum().item(), 8.0, 8.0]))


def test_operations_that_yield_nothing_are_left_out():
    from archscout.networks.operations import Zero

    options, x = [Zero(), nn.Identity()], torch.ones(2, 3)
    assert Gate((0,)).mix(options, x) is None
    assert torch.equal(Gate((0, 1), torch.tensor([0.6, 0.4])).mix(options, x), 0.4 * x)


def test_soft_kernels_are_the_mixture_of_convolutions():
    """A convolution is linear in its kernel, so that mixing kernels is mixing outputs."""
    selection = Selection()
    kernel = Elastic.of_choice(Choice("kernel", (3, 5, 7), ordinal=True), selection)
    layer = conv2d(2, 3, kernel)
    x = torch.randn(2, 2, 9, 9, generator=torch.Generator().manual_seed(1))
    weights = torch.tensor([0.5, 0.2, 0.3])
    selection.gates = {"kernel": Gate((0, 1, 2), weights)}
    mixed = layer(x)
    selection.gates = {}
    total = 0
    for size, weight in zip((3, 5, 7), weights, strict=True):
        selection.values = {"kernel": size}
        total = total + weight * layer(x)
    assert torch.allclose(mixed, total, atol=1e-6)


def test_a_soft_width_counts_each_channel_by_the_widths_that_reach_it():
    selection = Selection()
    width = Elastic.of_choice(Choice("width", (1, 2, 4), ordinal=True), selection)
    twice = compute(lambda number, factor: number * factor, width, Elastic.of_choice(Choice("by", (1, 2)), selection))
    selection.gates = {
        "width": Gate((0, 1, 2), torch.tensor([0.5, 0.3, 0.2])),
        "by": Gate((0, 1), torch.tensor([0.9, 0.1])),
    }
    assert torch.allclose(width.profile(), torch.tensor([1.0, 0.5, 0.2, 0.2]))
    # 1 x 1 .45, 1 x 2 .05, 2 x 1 .27, 2 x 2 .03, 4 x 1 .18, 4 x 2 .02
    assert torch.allclose(twice.profile(), torch.tensor([1.0, 0.55, 0.23, 0.23, 0.02, 0.02, 0.02, 0.02]), atol=1e-6)
    layer = linear(3, width, bias=True)
    assert torch.allclose(layer(torch.ones(1, 3)), layer.weight.sum(1) * width.profile() + layer.bias * width.profile())
    norm = batch_norm(width)
    x = torch.randn(8, 4, 2, 2, generator=torch.Generator().manual_seed(2))
    plain = nn.BatchNorm2d(4)
    assert torch.allclose(norm(x), plain(x) * width.profile().view(-1, 1, 1), atol=1e-6)


def test_a_soft_depth_is_the_mixture_of_prefixes():
    selection = Selection()
    blocks = [nn.Linear(3, 3) for _ in range(3)]
    depth = ElasticDepth("depth", blocks, (0, 2, 3), selection)
    x = torch.randn(2, 3, generator=torch.Generator().manual_seed(3))
    weights = torch.tensor([0.2, 0.5, 0.3], requires_grad=True)
    selection.gates = {"depth": Gate((0, 1, 2), weights)}
    two = blocks[1](blocks[0](x))
    assert torch.allclose(depth(x), 0.2 * x + 0.5 * two + 0.3 * blocks[2](two), atol=1e-6)
    selection.gates = {"depth": Gate((1,))}
    assert torch.equal(depth(x), two)


def test_a_gate_that_runs_one_option_runs_no_other():
    calls = np.zeros(3, dtype=int)

    class Counting(nn.Module):
        def __init__(self, place):
            super().__init__()
            self.place = place

        def forward(self, x):
            calls[self.place] += 1
            return x

    Gate((1,), torch.tensor([0.0, 1.0, 0.0])).mix([Counting(i) for i in range(3)], torch.ones(1))
    assert calls.tolist() == [0, 1, 0]
