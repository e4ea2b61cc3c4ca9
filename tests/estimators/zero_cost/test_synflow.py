"""Synaptic flow against the literal form (modules replaced, backward called) and against a forward-mode derivative."""

import copy
import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call, jvp

from archscout.core.estimator import Estimator, Setting
from archscout.core.registry import create
from archscout.core.seeds import derive, stream
from archscout.core.space import Space
from archscout.estimators.zero_cost.synflow import Synflow, synaptic_flow
from archscout.networks.choices import OneOf
from archscout.networks.pick import build
from archscout.spaces.model import ModelSpace
from archscout.testing import EstimatorConformance
from archscout.testing.tasks import tiny_task


class TestSynflow(EstimatorConformance):
    def estimator(self) -> Estimator:
        return create("estimator", "synflow")


class TestOnMobile(EstimatorConformance):
    count = 3

    def estimator(self) -> Estimator:
        return Synflow()

    def space(self) -> Space:
        return create("space", "mobile")


def linearised(network: nn.Module) -> nn.Module:
    """A copy in float64 with absolute parameters and identities for batch normalisation."""
    network = copy.deepcopy(network).double()
    for module in list(network.modules()):
        for name, child in module.named_children():
            if isinstance(child, nn.BatchNorm2d):
                setattr(module, name, nn.Identity())
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.abs_()
    return network


def literal(network: nn.Module, shape: tuple[int, ...]) -> float:
    network = linearised(network)
    network.zero_grad()
    network(torch.ones(1, *shape, dtype=torch.float64)).sum().backward()
    total = 0.0
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.Linear) and module.weight.grad is not None:
            total += float((module.weight.detach() * module.weight.grad).abs().sum())
    return total


@pytest.mark.parametrize("name", ["nasbench201", "nasbench201:width=16,cells=5", "mobile"])
def test_it_is_the_literal_form(name: str) -> None:
    space = create("space", name)
    setting = Setting(space, tiny_task().sealed(), seed=2)
    for number in range(6):
        architecture = space.sample(stream(number, "synflow"))
        seed = derive(setting.seed, "weights", space.canonical(architecture))
        network = build(space, architecture, setting.task, seed=seed)
        expected = literal(network, setting.task.input_shape)
        estimate = Synflow().estimate([architecture], setting)[0]
        assert math.exp(estimate.value) == pytest.approx(expected, rel=1e-9)


def test_it_is_one_directional_derivative() -> None:
    """All paths are positive, so the sum over weights is the derivative of R along the weights themselves."""
    space, task = create("space", "nasbench201"), tiny_task()
    network = build(space, space.sample(stream(4)), task)
    twin = linearised(network)
    parameters = {name: p.detach() for name, p in twin.named_parameters()}
    ones = torch.ones(1, *task.input_shape, dtype=torch.float64)
    along = {name: p if p.ndim > 1 else torch.zeros_like(p) for name, p in parameters.items()}
    _, derivative = jvp(lambda p: functional_call(twin, p, (ones,)).sum(), (parameters,), (along,))
    assert synaptic_flow(network, task.input_shape) == pytest.approx(float(derivative), rel=1e-12)


def test_two_layers_by_hand() -> None:
    """R = sum |W2| (|W1| 1 + |b1|) + |b2|: each weight of W1 lies on paths of |W1| |W2|; W2 also carries |b1|."""
    network = nn.Sequential(nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 1))
    with torch.no_grad():
        network[0].weight.copy_(torch.tensor([[1.0, -2.0], [3.0, 0.5]]))
        network[0].bias.copy_(torch.tensor([-1.0, 1.0]))
        network[2].weight.copy_(torch.tensor([[-2.0, 1.0]]))
        network[2].bias.copy_(torch.tensor([100.0]))
    through_first = 2 * (1 + 2) + 1 * (3 + 0.5)
    through_second = 2 * (1 + 2 + 1) + 1 * (3 + 0.5 + 1)
    assert synaptic_flow(network, (2,)) == pytest.approx(through_first + through_second)


def test_negative_gradients_count_by_their_size() -> None:
    class Falling(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(1, 1, bias=False)
            nn.init.constant_(self.layer.weight, 3.0)

        def forward(self, x: Tensor) -> Tensor:
            return -F.relu(self.layer(x))

    assert synaptic_flow(Falling(), (1,)) == pytest.approx(3.0)


def test_the_network_is_left_as_it_was() -> None:
    network = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(72, 1))
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    x = torch.randn(4, 1, 8, 8)
    expected = network.eval()(x)
    synaptic_flow(network, (1, 8, 8))
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())
    assert torch.equal(network(x), expected)
    assert all(p.grad is None and p.dtype == torch.float32 for p in network.parameters())


def test_no_path_is_no_number() -> None:
    space = create("space", "nasbench201")
    nothing = space.parse("|none~0|+|none~0|none~1|+|none~0|none~1|none~2|")
    estimate = Synflow().estimate([nothing], Setting(space, tiny_task()))[0]
    assert math.isnan(estimate.value)
    assert "no path" in estimate.reason


@pytest.mark.parametrize("network", [nn.Flatten(), nn.BatchNorm1d(4)])
def test_no_weight_is_no_flow(network: nn.Module) -> None:
    assert synaptic_flow(network, (4,)) == 0.0


class Beside(nn.Module):
    """Weights that no layer holds, a layer that is used twice, the second time not as a layer, and a number added."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(12, 6)
        self.activation = OneOf({"relu": nn.ReLU(), "none": nn.Identity()})
        self.mixing = nn.Parameter(torch.linspace(-1, 1, 36).reshape(6, 6))
        self.offset = nn.Parameter(torch.linspace(-1, 1, 6))
        self.last = nn.Linear(12, 2)

    def forward(self, x: Tensor) -> Tensor:
        y = self.activation(self.first(x.flatten(1)))
        y = F.linear(y, self.mixing) + self.offset + 1
        return self.last(F.linear(y, self.first.weight.t()))


def test_weights_outside_layers_count() -> None:
    """In a module of a user's own, whose code is seen by autograd alone."""
    space = ModelSpace(Beside())
    setting = Setting(space, tiny_task((3, 2, 2), classes=2).sealed(), seed=1)
    architecture = space.architecture({"activation": "relu"})
    network = build(space, architecture, setting.task, seed=derive(1, "weights", space.canonical(architecture)))
    weights = {name: p.detach().abs().double() for name, p in network.named_parameters()}
    first, mixing, last = weights["first.weight"], weights["mixing"], weights["last.weight"]
    y = first.sum(1) + weights["first.bias"]
    mixed = y @ mixing.T
    seen = mixed + weights["offset"] + 1
    out = last.sum(0)
    through_last = float(seen @ first @ out)
    through_mixing = float(mixed @ first @ out)
    through_first = float(first.sum(1) @ mixing.T @ first @ out) + float(seen @ first @ out)
    estimate = Synflow().estimate([architecture], setting)[0]
    assert math.exp(estimate.value) == pytest.approx(through_last + through_mixing + through_first, rel=1e-6)


def test_the_expected_flow_of_such_a_module_is_not_known() -> None:
    space = ModelSpace(Beside())
    setting = Setting(space, tiny_task((3, 2, 2), classes=2).sealed(), seed=1)
    estimate = Synflow(expected=True).estimate([space.architecture({"activation": "relu"})], setting)[0]
    assert math.isnan(estimate.value)
    assert "only for" in estimate.reason
