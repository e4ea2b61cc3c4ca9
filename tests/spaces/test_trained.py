"""The space of a trained network: the widest is the network, texts name what is cut, nothing wrong is built."""

import sys
import types
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from archscout.backbones.base import Backbone
from archscout.core.errors import UsageError
from archscout.core.registry import create
from archscout.core.seeds import stream
from archscout.finished.network import space_of_run
from archscout.networks.pick import build
from archscout.spaces.trained import BackboneSpace, TrainedSpace
from archscout.testing.tasks import tiny_task

TASK = tiny_task((3, 16, 16))


class Net(nn.Module):
    def __init__(self, outputs: int = 3) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 16, 5, 2, 2, bias=False), nn.BatchNorm2d(16), nn.ReLU())
        self.block = nn.Sequential(nn.Conv2d(16, 24, 3, padding=1), nn.ReLU(), nn.Conv2d(24, 16, 3, padding=1))
        self.residual = Residual(self.block)
        self.block = nn.Identity()
        self.head = nn.Linear(16, outputs)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.residual(self.stem(x)).mean((2, 3)))


class Residual(nn.Module):
    def __init__(self, body: nn.Module) -> None:
        super().__init__()
        self.body = body

    def forward(self, x: Tensor) -> Tensor:
        return x + self.body(x)


class Small(Backbone):
    name = "small"
    package = "a_package_that_nobody_has"
    head, mean, std = "head", (127.0,) * 3, (128.0,) * 3

    def structure(self) -> nn.Module:
        return Net(7)


@pytest.fixture(scope="module")
def space() -> TrainedSpace:
    torch.manual_seed(0)
    return TrainedSpace(Net(), input_shape=(3, 16, 16))


def test_the_widest_answers_as_the_network(space: TrainedSpace) -> None:
    x = torch.randn(4, 3, 16, 16)
    network = build(space, space.widest, TASK).eval()
    with torch.no_grad():
        torch.testing.assert_close(network(x), space.module(x), rtol=1e-5, atol=1e-6)


def test_choices(space: TrainedSpace) -> None:
    assert {c.name: c.options for c in space.choices} == {
        "stem.0.width": (16, 14, 12, 10, 8, 6, 4, 2),
        "residual.body.0.width": (24, 20, 16, 12, 8, 4),
        "residual.block": ("keep", "drop"),
        "stem.0.kernel": (5, 3),
    }
    assert space.channels.whole == {"head": "it is an output of the network"}


def test_texts_name_what_is_cut(space: TrainedSpace) -> None:
    assert space.widest.text == "whole" and space.parse("whole") == space.widest
    cut = space.parse("stem.0.width=8,stem.0.kernel=3")
    assert (cut["stem.0.width"], cut["residual.body.0.width"]) == (8, 24)
    for _ in range(20):
        architecture = space.sample(stream(3))
        assert space.parse(architecture.text) == architecture
    with pytest.raises(UsageError, match="has no option '7'"):
        space.parse("stem.0.width=7")


def test_what_lies_in_a_block_that_is_left_out_counts_as_it_was(space: TrainedSpace) -> None:
    one, other = (space.parse(f"residual.block=drop,residual.body.0.width={n}") for n in (8, 16))
    assert space.canonical(one) == space.canonical(other) == "residual.block=drop"


def test_every_architecture_builds(space: TrainedSpace) -> None:
    rng = stream(1)
    for _ in range(10):
        architecture = space.sample(rng)
        network = build(space, architecture, TASK).eval()
        assert network(torch.randn(2, 3, 16, 16)).shape == (2, 3)
        assert network.stem[0].out_channels == architecture["stem.0.width"]
        on_meta = build(space, architecture, TASK, device="meta")
        assert {n: p.shape for n, p in on_meta.named_parameters()} == {
            n: p.shape for n, p in network.named_parameters()
        }


def test_a_head_of_another_class_count_is_replaced() -> None:
    space = TrainedSpace(Net(9), input_shape=(3, 16, 16))
    assert build(space, space.widest, TASK)(torch.randn(2, 3, 16, 16)).shape == (2, 3)


def test_only_and_keep() -> None:
    assert {c.name for c in TrainedSpace(Net(), input_shape=(3, 16, 16), only=["residual"]).choices} == {
        "residual.body.0.width", "residual.block",
    }  # fmt: skip
    kept = TrainedSpace(Net(), input_shape=(3, 16, 16), keep=["stem"])
    assert "stem.0.width" not in {c.name for c in kept.choices} and kept.channels.whole["stem.0"] == "it is to be kept"
    with pytest.raises(UsageError, match="has no layer 'stemm'"):
        TrainedSpace(Net(), input_shape=(3, 16, 16), keep=["stemm"])


def test_networks_that_cannot_be_used() -> None:
    with pytest.raises(UsageError, match="nothing of network 'trained:Linear' can be cut"):
        TrainedSpace(nn.Linear(4, 3))
    with pytest.raises(UsageError, match="no convolution and no linear layer"):
        TrainedSpace(nn.ReLU())
    unknown = Net()
    unknown.stem[1] = nn.BatchNorm2d(16, track_running_stats=False)
    with pytest.raises(UsageError, match=r"layer 'stem.1' .* without running statistics"):
        TrainedSpace(unknown)
    space = TrainedSpace(Net(), input_shape=(3, 16, 16))
    with pytest.raises(UsageError, match="cannot run on inputs of shape"):
        space.check_task(tiny_task((1, 8, 8)))


def test_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    module = types.ModuleType("networks_of_mine")
    module.make = lambda: Net()  # type: ignore[attr-defined]
    module.wrong = lambda: 3  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "networks_of_mine", module)
    space = create("space", "trained:networks_of_mine:make,input=3x16x16")
    assert space.input_shape == (3, 16, 16) and len(space.choices) == 4
    with pytest.raises(UsageError, match="returns a int, not"):
        create("space", "trained:networks_of_mine:wrong")
    with pytest.raises(UsageError, match="there is no backbone 'resnet'"):
        create("space", "trained:resnet")
    with pytest.raises(UsageError, match="is no shape"):
        create("space", "trained:networks_of_mine:make,input=big")
    with pytest.raises(UsageError, match="give it once more"):
        space_of_run("trained:networks_of_mine:make", (3, 16, 16))


def test_a_backbone_gets_its_own_pixels_and_a_head() -> None:
    space = BackboneSpace(Small(), 32, weights=False)
    assert not any(isinstance(module, nn.BatchNorm2d) for module in space.module.modules())
    for shape in ((3, 16, 16), (1, 8, 8)):
        task = tiny_task(shape)
        network = build(space, space.parse("stem.0.width=8"), task).eval()
        x, _ = task.tensors(task.train.head(4))
        assert network(x).shape == (4, task.outputs)
        stored = torch.from_numpy(task.train.x[:4]).permute(0, 3, 1, 2).float().expand(-1, 3, -1, -1)
        pixels = nn.functional.interpolate((stored - 127) / 128, (32, 32), mode="bilinear")
        torch.testing.assert_close(network.enlarged(x), pixels, rtol=1e-4, atol=1e-4)
    with pytest.raises(UsageError, match="whole number of 32 and more"):
        BackboneSpace(Small(), 16, weights=False)
    with pytest.raises(UsageError, match="'small' are not installed"):
        BackboneSpace(Small(), 32)


def test_the_folder_of_a_run_runs_no_code(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="give it once more"):
        space_of_run("trained:os:abort", (3, 16, 16))
