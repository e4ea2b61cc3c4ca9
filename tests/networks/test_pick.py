"""Picking: the chosen module alone, or all of them behind a selection."""

import pytest
import torch
from torch import nn

from archscout.core.choice import Choice, Condition
from archscout.core.space import Space
from archscout.networks.elastic import conv2d
from archscout.networks.pick import ArchitecturePick, ElasticDepth, MixedOp, SupernetPick, build
from archscout.testing import tiny_task

CHOICES = (
    Choice("width", (2, 4), ordinal=True),
    Choice("act", ("relu", "tanh", 1)),
    Choice("depth", (1, 2, 3), ordinal=True),
    Choice("kernel 2", (1, 3), ordinal=True, condition=Condition("depth", (2, 3))),
)


def make(built, name, module):
    built.append(name)
    return module


def network(pick, built):
    width = pick.number("width")
    act = pick(
        "act",
        {
            "relu": lambda: make(built, "relu", nn.ReLU()),
            "tanh": lambda: make(built, "tanh", nn.Tanh()),
            1: lambda: make(built, "one", nn.Identity()),
        },
    )
    blocks = [
        lambda: make(built, "block 1", conv2d(width, width, 1)),
        lambda: make(built, "block 2", conv2d(width, width, pick.number("kernel 2"))),
        lambda: make(built, "block 3", conv2d(width, width, 1)),
    ]
    return nn.ModuleDict({"stem": conv2d(1, width, 3), "act": act, "body": pick.depth("depth", blocks)})


def test_an_architecture_builds_what_it_takes_and_nothing_else():
    built = []
    made = network(ArchitecturePick({"width": 4, "act": "tanh", "depth": 1}), built)
    assert built == ["tanh", "block 1"]
    assert type(made["act"]) is nn.Tanh
    assert made["act"].picked == "act=tanh"
    assert type(made["body"]) is nn.Sequential
    assert len(made["body"]) == 1
    assert {type(module) for module in made.modules()} == {nn.ModuleDict, nn.Conv2d, nn.Tanh, nn.Sequential}


def test_a_supernet_builds_everything_once():
    built = []
    made = network(SupernetPick(CHOICES), built)
    assert sorted(built) == ["block 1", "block 2", "block 3", "one", "relu", "tanh"]
    assert isinstance(made["act"], MixedOp)
    assert isinstance(made["body"], ElasticDepth)


def test_the_selection_says_what_runs():
    pick = SupernetPick(CHOICES)
    made = network(pick, [])
    x = torch.tensor([-2.0, 0.5])
    for option, expected in (("relu", torch.relu(x)), ("tanh", torch.tanh(x)), (1, x)):
        pick.selection.values = {"act": option}
        assert torch.equal(made["act"](x), expected)
        assert isinstance(made["act"].chosen(), nn.Module)
    for depth in (1, 2, 3):
        pick.selection.values = {"depth": depth, "width": 2, "kernel 2": 3}
        y = torch.randn(1, 2, 4, 4)
        expected = y
        for block in list(made["body"])[:depth]:
            expected = block(expected)
        assert torch.equal(made["body"](y), expected)


def test_options_need_not_be_names_that_torch_allows():
    pick = SupernetPick((Choice("op", ("a.b", "", 0.5, True)),))
    mixed = pick("op", dict.fromkeys(("a.b", "", 0.5, True), nn.Identity))
    pick.selection.values = {"op": "a.b"}
    assert int(mixed(torch.ones(()))) == 1


class Plain(Space):
    name = "plain"
    choices = (Choice("act", ("relu", "tanh")),)

    def network(self, task, pick):
        act = pick("act", {"relu": nn.ReLU, "tanh": nn.Tanh})
        return nn.Sequential(nn.Flatten(), nn.Linear(64, 5), nn.BatchNorm1d(5), act, nn.Linear(5, task.outputs))


@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_building_leaves_the_global_generator_alone(device):
    space = Plain()
    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    build(space, space.parse("act=relu"), tiny_task(), seed=3, device=device)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_the_weights_are_those_of_torch_with_that_seed():
    space = Plain()
    network = build(space, space.parse("act=relu"), tiny_task(), seed=3)
    torch.manual_seed(3)
    expected = [nn.Linear(64, 5), nn.Linear(5, 3)]
    assert torch.equal(network[1].weight, expected[0].weight)
    assert torch.equal(network[4].bias, expected[1].bias)


def test_nothing_is_allocated_on_the_meta_device():
    space = Plain()
    network = build(space, space.parse("act=tanh"), tiny_task(), device="meta")
    assert {tensor.device.type for tensor in (*network.parameters(), *network.buffers())} == {"meta"}
    assert sum(parameter.numel() for parameter in network.parameters()) == 65 * 5 + 10 + 18
