"""Scores of the graph of layers: against probes with real layers, and by hand."""

import numpy as np
import pytest
import torch
from scipy.stats import multivariate_normal
from torch import nn

from archscout.core.estimator import Setting
from archscout.core.registry import create
from archscout.core.seeds import stream
from archscout.estimators.zero_cost.layer_graph import Convolution, Layer, layers, trace_layers, wire_layers
from archscout.estimators.zero_cost.nasgraph import (
    channel_layers,
    edge_probability,
    expected_degree,
    parts_seen,
    probed_degree,
)
from archscout.estimators.zero_cost.nn_mass import _mass
from archscout.estimators.zero_cost.skeleton import skeleton
from archscout.networks.tracing import blueprint
from archscout.spaces.thin import thin
from archscout.testing.tasks import tiny_task

TASK = tiny_task((3, 16, 16), 4)
CELL = "|nor_conv_3x3~0|+|skip_connect~0|avg_pool_3x3~1|+|nor_conv_1x1~0|none~1|skip_connect~2|"


def test_layers_on_wires_are_those_of_the_operators() -> None:
    space = create("space", "nasbench201:width=4,cells=2")
    for number in range(12):
        architecture = space.sample(stream(number, "wires"))
        on_wires = wire_layers(skeleton(space, architecture, TASK), TASK.input_shape)
        assert on_wires == trace_layers(blueprint(space, architecture, TASK), TASK.input_shape)
    nothing = space.parse("|nor_conv_3x3~0|+|none~0|none~1|+|none~0|none~1|none~2|")
    on_wires = wire_layers(skeleton(space, nothing, TASK), TASK.input_shape)
    assert on_wires == trace_layers(blueprint(space, nothing, TASK), TASK.input_shape)


def test_layers_by_hand() -> None:
    space = create("space", "nasbench201:width=4,cells=1")
    found = layers(space, space.parse(CELL), TASK)
    form = Convolution((3, 3), (1, 1), (1, 1), (1, 1), 1)
    assert found[0] == Layer("input", (), (3, 16, 16), (3, 16, 16))
    assert found[1] == Layer("convolution", (0,), (3, 16, 16), (4, 16, 16), form)
    kinds = [(layer.kind, layer.parents) for layer in found[2:8]]
    # In the order of execution: edges 0->1, 0->2, 1->2, 0->3, 2->3, then the first layer of the reduction.
    assert kinds[:5] == [
        ("convolution", (1,)),
        ("identity", (1,)),
        ("pool", (2,)),
        ("convolution", (1,)),
        ("identity", (3, 4)),
    ]
    assert kinds[5][1] == (5, 6)
    assert [layer.kind for layer in found[-2:]] == ["pool", "linear"]


def test_other_networks_are_read_off_their_operators() -> None:
    space = create("space", "mobile")
    found = layers(space, space.sample(stream(1)), TASK)
    depthwise = [layer for layer in found if layer.convolution and layer.convolution.groups > 1]
    assert depthwise
    assert all(layer.convolution.groups == layer.shape[0] for layer in depthwise)


@pytest.mark.parametrize(
    ("kernel", "stride", "size"), [(1, 1, 8), (3, 1, 8), (3, 2, 8), (1, 2, 8), (5, 1, 4), (3, 1, 1)]
)
def test_probability_of_an_edge(kernel: int, stride: int, size: int) -> None:
    """Against the share of random kernels that let a one-hot image of ones through convolution and ReLU somewhere."""
    generator = torch.Generator().manual_seed(0)
    convolution = nn.Conv2d(1, 20_000, kernel, stride, kernel // 2, bias=False)
    with torch.no_grad():
        convolution.weight.normal_(generator=generator)
        lit = convolution(torch.ones(1, 1, size, size)).relu().sum((0, 2, 3)) != 0
    form = Convolution((kernel,) * 2, (stride,) * 2, (kernel // 2,) * 2, (1, 1), 1)
    assert edge_probability(form, (size, size)) == pytest.approx(float(lit.float().mean()), abs=0.012)


@pytest.mark.parametrize(("kernel", "stride", "dilation"), [(3, 1, 1), (3, 2, 1), (3, 1, 2)])
def test_probability_of_an_edge_is_that_of_an_orthant(kernel: int, stride: int, dilation: int) -> None:
    """Against the distribution function of a normal vector."""
    form = Convolution((kernel,) * 2, (stride,) * 2, (dilation * (kernel // 2),) * 2, (dilation,) * 2, 1)
    parts = parts_seen(form, (12, 12)).astype(float)
    law = multivariate_normal(cov=parts @ parts.T, allow_singular=True, maxpts=200_000, abseps=1e-5, releps=0, seed=1)
    assert edge_probability(form, (12, 12)) == pytest.approx(1 - law.cdf(np.zeros(len(parts))), abs=3e-4)


def literal_degree(found: list[Layer], seed: int) -> float:
    """Each input channel of each layer probed with an image of ones, as published."""
    edges: set[tuple[tuple[int, int], tuple[int, int]]] = set()
    generator = torch.Generator().manual_seed(seed)
    for number, layer in enumerate(found):
        if not layer.parents:
            continue
        channels = layer.inputs[0]
        x = torch.zeros((channels, channels, *layer.inputs[1:]))
        for channel in range(channels):
            x[channel, channel] = 1
        if layer.convolution:
            form = layer.convolution
            module = nn.Conv2d(channels, layer.shape[0], form.kernel, form.stride, form.padding, bias=False)
            with torch.no_grad():
                module.weight.normal_(generator=generator)
                y = module(x).relu()
        else:
            y = x
        for parent in layer.parents:
            for i, j in (y.flatten(2).sum(2) != 0).nonzero().tolist():
                edges.add(((parent, i), (number, j)))
    return 2 * len(edges) / len({node for edge in edges for node in edge})


def test_average_degree() -> None:
    space = thin(create("space", "nasbench201"), width=8, cells=1)
    for number in range(3):
        found = channel_layers(layers(space, space.sample(stream(number, "degree")), TASK))
        literal = [literal_degree(found, seed) for seed in range(6)]
        probed = [probed_degree(found, np.random.default_rng(seed)) for seed in range(6)]
        assert np.mean(probed) == pytest.approx(np.mean(literal), rel=0.02)
        assert expected_degree(found) == pytest.approx(np.mean(literal), rel=0.03)


def test_the_expected_degree_needs_no_seed() -> None:
    space = create("space", "nasbench201")
    architecture = space.parse(CELL)
    values = [
        create("estimator", "nasgraph:expected=true").estimate([architecture], Setting(space, TASK, seed=seed))[0].value
        for seed in (0, 1)
    ]
    assert values[0] == values[1]


def test_mass_of_short_cuts() -> None:
    """Two layers of four channels, a third fed by the second and the first: 4 of 4 possible channels, 3 x 4 wide."""

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b, self.c = nn.Conv2d(3, 4, 1), nn.Conv2d(4, 4, 1), nn.Conv2d(4, 4, 1)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            a = self.a(x)
            return self.c((self.b(a) + a).relu())

    found = trace_layers(Net(), (3, 8, 8))
    assert [layer.kind for layer in found[1:]] == ["convolution"] * 3
    assert _mass(found, [1, 2, 3]) == 4 / 4 * 12
