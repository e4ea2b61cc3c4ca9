"""Channel groups and cuts on a zoo of networks: a cut network is the masked one, and nothing else is offered."""

import copy
import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from archscout.core.errors import UsageError
from archscout.core.registry import create
from archscout.core.seeds import stream
from archscout.networks.channels import Channels, Group, channels
from archscout.networks.cutting import Cut, croppable, cut, masked, put_back, usable
from archscout.networks.pick import build
from archscout.testing.tasks import tiny_task

_spec = importlib.util.spec_from_file_location("zoo", Path(__file__).with_name("zoo.py"))
zoo = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(zoo)
BLOCKS, ZOO, zoo_network = zoo.BLOCKS, zoo.ZOO, zoo.zoo_network

FOUND: dict[str, tuple[nn.Module, Channels]] = {}


def images(count: int = 2, seed: int = 0) -> Tensor:
    return torch.randn(count, 3, 16, 16, generator=torch.Generator().manual_seed(seed))


def found(name: str) -> tuple[nn.Module, Channels]:
    if name not in FOUND:
        network = zoo_network(name)
        FOUND[name] = network, usable(network, channels(network, images(1)), images())
    return FOUND[name]


def hidden(network: nn.Module, groups: Sequence[Group], units: dict[str, list[int]]) -> nn.Module:
    """The mask by another way than the module under test: inputs of layers are set to zero while the network runs."""
    network = copy.deepcopy(network)
    for group in groups:
        for unit in units.get(group.name, ()):
            for name, _ in group.consumers:
                layer: Any = network.get_submodule(name.rpartition(".")[0])
                (axis,) = [axis for axis in group.consumers if axis[0] == name]
                dead = list(group.units[unit][axis])
                if isinstance(layer, nn.Conv2d) and layer.groups > 1:  # of each group
                    width = layer.in_channels // layer.groups
                    dead = [index + start for start in range(0, layer.in_channels, width) for index in dead]

                def hide(module: nn.Module, inputs: tuple[Tensor], dead: list[int] = dead) -> Tensor:
                    x = inputs[0].clone()
                    x.index_fill_(-1 if isinstance(module, (nn.Linear, nn.RNNBase)) else 1, torch.tensor(dead), 0.0)
                    return x

                layer.register_forward_pre_hook(hide)
    return network


def alike(a: nn.Module, b: nn.Module, x: Tensor) -> None:
    with torch.no_grad():
        first, second = a(x), b(x)
    assert (first - second).abs().max() <= 1e-5 * max(1.0, float(second.abs().max()))


@pytest.mark.parametrize("name", ZOO)
def test_what_can_be_cut(name: str) -> None:
    network, of = found(name)
    assert {group.name for group in of.groups} == ZOO[name][1]
    assert set(of.blocks) == BLOCKS.get(name, set())
    layers = {key for key, module in network.named_modules() if isinstance(module, (nn.Conv2d, nn.Linear))}
    tied = {key.rpartition(".")[0] for group in of.groups for unit in group.units[:1] for key, _ in unit}
    inside = {key for key in layers if "self_attn" in key}  # it runs by function, not by its layers
    assert layers - tied - inside <= set(of.whole), "a layer that stays whole is not named"


@pytest.mark.parametrize("name", ZOO)
def test_a_cut_network_is_the_masked_one(name: str) -> None:
    """Random cuts of several groups at once, blocks left out with them; the weights are those of the original."""
    network, of = found(name)
    x, before = images(3, seed=1), {key: tensor.clone() for key, tensor in network.state_dict().items()}
    alike(cut(network, of.groups, Cut()), network, x)
    rng = np.random.default_rng(0)
    for _ in range(6):
        units = {group.name: rng.permutation(len(group))[: rng.integers(0, len(group))].tolist() for group in of.groups}
        what = Cut(units, [block for block in of.blocks if rng.random() < 0.3])
        smaller = cut(network, of.groups, what)
        alike(smaller, masked(network, of.groups, what), x)
        if not what.blocks and name != "both ways":  # which reads channels by no layer
            alike(smaller, hidden(network, of.groups, units), x)
        if any(units.values()):
            assert sum(p.numel() for p in smaller.parameters()) < sum(p.numel() for p in network.parameters())
    assert all(torch.equal(before[key], tensor) for key, tensor in network.state_dict().items()), "it was changed"


@pytest.mark.parametrize("name", ["resnet", "mobilenet", "vit", "unet"])
def test_what_a_cut_has_learned_goes_back_where_it_was_cut_from(name: str) -> None:
    """Cut again, the network is what was put back; of what had been cut no number has changed."""
    network, of = found(name)
    before = {key: tensor.clone() for key, tensor in network.state_dict().items()}
    units = {group.name: list(range(len(group) // 3)) for group in of.groups}
    kernels = {key: 3 for key, module in network.named_modules() if croppable(module)}
    what = Cut(units, list(of.blocks)[:1], kernels)
    smaller = cut(network, of.groups, what)
    with torch.no_grad():
        for parameter in smaller.parameters():
            parameter.add_(1.0)
    put_back(network, smaller, of.groups, what)
    again = cut(network, of.groups, what).state_dict()
    assert all(torch.equal(again[key], tensor) for key, tensor in smaller.state_dict().items())
    changed = sum(int((before[key] != tensor).sum()) for key, tensor in network.state_dict().items())
    assert changed == sum(parameter.numel() for parameter in smaller.parameters())


def test_settings_of_layers_follow() -> None:
    network, of = found("resnext")
    (group,) = [group for group in of.groups if group.name == "reduce"]
    smaller = cut(network, of.groups, Cut({group.name: [0, 2]}))
    assert (smaller.grouped.groups, smaller.grouped.in_channels, smaller.norm.num_groups) == (2, 8, 2)
    network, of = found("vit")
    smaller = cut(network, of.groups, Cut({"blocks.0.attention.qkv": [1]}))
    assert (smaller.blocks[0].attention.num_heads, smaller.blocks[0].attention.head_dim) == (3, 4)


def test_kernels_are_cropped_as_rings_are_masked() -> None:
    network, of = found("mobilenet")
    names = [name for name, module in network.named_modules() if croppable(module)]
    assert names == ["blocks.0.depthwise.0", "blocks.1.depthwise.0"]
    what = Cut({"blocks.0.expand.0": [1, 5]}, kernels={names[0]: 3})
    smaller = cut(network, of.groups, what)
    assert smaller.get_submodule(names[0]).weight.shape[2:] == (3, 3)
    alike(smaller, masked(network, of.groups, what), images(3))


def test_tied_and_frozen_weights_stay_tied_and_frozen() -> None:
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b, self.c = nn.Linear(4, 8), nn.Linear(8, 8), nn.Linear(8, 8)
            self.c.weight = self.b.weight
            self.a.weight.requires_grad_(False)
            self.head = nn.Linear(8, 3)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(torch.relu(self.c(torch.relu(self.b(torch.relu(self.a(x)))))))

    network = Tied()
    of = channels(network, torch.randn(1, 4))
    assert [len(group) for group in of.groups] == [8]
    what = Cut({of.groups[0].name: [2, 3]})
    smaller = cut(network, of.groups, what)
    assert smaller.c.weight is smaller.b.weight and not smaller.a.weight.requires_grad
    alike(smaller, masked(network, of.groups, what), torch.randn(3, 4))


def test_a_network_that_does_not_run() -> None:
    with pytest.raises(
        UsageError, match=r"does not run on an input of shape \(1, 4, 16, 16\) \(RuntimeError: Given.*: give it data"
    ):
        channels(zoo_network("plain"), torch.zeros(1, 4, 16, 16))


SHUFFLED = {("grouped shuffle", "first.0"), ("gated head", "first.0")}
WAYS = {("both ways", name) for name in ("a", "network")}
WRONG = {("padded short cut", "stem.0"), ("resnext", "reduce"), ("scaled", "a"), ("mixer", "patches"), *SHUFFLED, *WAYS}
"""Where torch-pruning 1.6 leaves out where padding moves channels, outputs of groups, or ties a gate and places with
them, follows no shuffle and no columns, or knows no weights without a layer; that ours are right, masks show."""


@pytest.mark.parametrize(
    "name", [*ZOO, "nasbench201:width=8,cells=1", "mobile", "darts:width=4,layers=3", "efficientnet_lite0"]
)
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_groups_agree_with_torch_pruning(name: str) -> None:
    pruning = pytest.importorskip("torch_pruning")
    if name in ZOO:
        network, of = found(name)
        example = images(1)
    else:
        if name in ("efficientnet_lite0",):
            network, example = create("backbone", name).structure().eval(), torch.randn(1, 3, 32, 32)
        else:
            space = create("space", name)
            network = build(space, space.sample(stream(1)), tiny_task((3, 32, 32))).eval()
            example = torch.randn(1, 3, 32, 32)
        of = channels(network, example)
    graph = pruning.DependencyGraph().build_dependency(network, example_inputs=example)
    names = {module: key for key, module in network.named_modules()}
    for group in of.groups:
        if (name, group.name) in WRONG or "#" in group.name:
            continue
        layer = network.get_submodule(group.name)
        made = (f"{group.name}.weight", 1 if isinstance(layer, nn.ConvTranspose2d) else 0)
        prune = pruning.prune_linear_out_channels if isinstance(layer, nn.Linear) else pruning.prune_conv_out_channels
        for unit in (group.units[0], group.units[-1]):
            theirs = {
                (names[dependency.target.module], "in_" in dependency.handler.__name__, tuple(sorted(indices)))
                for dependency, indices in graph.get_pruning_group(layer, prune, idxs=list(unit[made]))
                if dependency.target.module in names
            }
            ours = set()
            for (key, axis), indices in unit.items():
                owner, _, kind = key.rpartition(".")
                if kind.startswith("weight"):
                    module: Any = network.get_submodule(owner)
                    first = isinstance(module, nn.ConvTranspose2d)
                    if axis == 1 and getattr(module, "groups", 1) > 1:  # of each group
                        width = module.in_channels // module.groups
                        starts = range(0, module.in_channels, width)
                        indices = tuple(sorted(start + index for start in starts for index in indices))
                    ours.add((owner, axis == (0 if first else 1), indices))
            # Depthwise layers are counted as outputs by both; torch-pruning counts their inputs once more.
            theirs = {each for each in theirs if not (each[1] and (each[0], False, each[2]) in ours)}
            assert theirs == ours
