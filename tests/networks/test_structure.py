"""The digest of a module's space: its structure and kept tensors, never what a build draws anew."""

from __future__ import annotations

import contextlib
import io
import os
import runpy
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from archscout.networks.choices import BatchNorm2d, Conv2d, Depth, OneOf, Width
from archscout.spaces.model import ModelSpace


class Net(nn.Module):
    def __init__(self, outputs: int = 4, kernel: int = 3, slope: float = 0.1) -> None:
        super().__init__()
        width = Width(4, 8)
        self.stem = nn.Sequential(Conv2d(1, width, kernel), BatchNorm2d(width))
        self.act = OneOf({"relu": nn.ReLU(), "leaky": nn.LeakyReLU(slope)})
        self.blocks = Depth([nn.Conv2d(8, 8, 1) for _ in range(2)])
        self.memory = nn.LSTM(2, 3)
        self.scale = nn.Parameter(torch.ones(1))
        self.register_buffer("mean", torch.zeros(1))
        self.head = nn.Linear(8, outputs)
        self.temperature = 1.0

    def forward(self, x: Tensor) -> Tensor:
        x = self.act(self.stem(x - self.mean) * self.scale)
        return self.head(x.mean((2, 3)))  # type: ignore[no-any-return]


def of(module: nn.Module, name: str | None = None) -> str:
    return ModelSpace(module, name).digest


def _edit(change: Callable[[Any], Any]) -> nn.Module:
    net = Net()
    change(net)
    return net


def _four_layers() -> nn.Module:
    """Another module under the same class name: the one that a user's edit makes."""

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.act = OneOf({"relu": nn.ReLU(), "leaky": nn.LeakyReLU(0.1)})
            self.layers = nn.Sequential(*(nn.Linear(4, 4) for _ in range(4)))

        def forward(self, x: Tensor) -> Tensor:
            return self.layers(self.act(x))  # type: ignore[no-any-return]

    return Net()


def _same_layers_other_forward(double: bool) -> nn.Module:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.act = OneOf({"relu": nn.ReLU(), "tanh": nn.Tanh()})

        if double:

            def forward(self, x: Tensor) -> Tensor:
                return 2 * self.act(x)  # type: ignore[no-any-return]
        else:

            def forward(self, x: Tensor) -> Tensor:
                return 3 * self.act(x)  # type: ignore[no-any-return]

    return Net()


def test_the_same_module_made_twice_has_one_digest() -> None:
    assert of(Net()) == of(Net())
    net = Net().train()
    net(torch.zeros(2, 1, 8, 8))  # moves the statistics of layers that are initialised anew
    assert of(net) == of(Net())


CHANGES: dict[str, Callable[[], nn.Module]] = {
    "another number of outputs": lambda: Net(outputs=5),
    "another kernel": lambda: Net(kernel=5),
    "another constant in an option": lambda: Net(slope=0.2),
    "another attribute": lambda: _edit(lambda net: setattr(net, "temperature", 2.0)),
    "a kept parameter": lambda: _edit(lambda net: net.scale.data.fill_(2.0)),
    "a kept buffer": lambda: _edit(lambda net: net.mean.fill_(1.0)),
    "a frozen layer": lambda: _edit(lambda net: net.head.requires_grad_(False)),
    "another type of number": lambda: _edit(lambda net: net.head.double()),
    "tied weights": lambda: _edit(lambda net: setattr(net.blocks.blocks[1], "weight", net.blocks.blocks[0].weight)),
    "one layer under two names": lambda: _edit(lambda net: setattr(net, "again", net.head)),
    "a hook": lambda: _edit(lambda net: net.head.register_forward_hook(lambda module, given, out: out + 1)),
    "a layer more": lambda: _edit(lambda net: net.stem.append(nn.ReLU())),
    "a layer less": lambda: _edit(lambda net: delattr(net, "memory")),
    "a block more": lambda: _edit(lambda net: net.blocks.blocks.append(nn.Conv2d(8, 8, 1))),
    "another class of one name": _four_layers,
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
def test_each_change_of_a_module_is_another_space(change: Callable[[], nn.Module]) -> None:
    changed = change()
    assert of(changed, "Net") != of(Net(), "Net")


def test_an_edited_forward_is_another_space_of_the_same_parts_otherwise() -> None:
    double, triple = (ModelSpace(_same_layers_other_forward(each)) for each in (True, False))
    assert double.digest != triple.digest
    assert [part for part in double.parts if double.parts[part] != triple.parts[part]] == ["structure"]
    assert of(_same_layers_other_forward(True)) == double.digest


def test_two_hooks_count_by_what_they_do_not_by_their_number() -> None:
    def hooked() -> nn.Module:
        net = Net()
        net.head.register_forward_hook(lambda module, given, out: out + 1)
        return net

    assert of(hooked()) == of(hooked())


def test_what_a_network_does_while_it_runs_does_not_change_its_digest() -> None:
    class Counting(Net):
        calls = 0

        def forward(self, x: Tensor) -> Tensor:
            self.calls += 1
            return super().forward(x)

    space = ModelSpace(Counting())
    space.module(torch.zeros(2, 1, 8, 8))
    assert space.digest == of(Counting())


SCRIPT = """
import torch, archscout
from torch import nn
SIZE = 3
class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(1, 4, SIZE); self.sizes = {"b", "a", "c"}
    def forward(self, x):
        return self.conv(x) if x.shape[0] in {1, 2, 3} else self.conv(x) * 2
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.block = Block(); self.m = nn.MultiheadAttention(8, 2)
        self.o = archscout.OneOf({"a": nn.ReLU(), "b": nn.Tanh()})
        self.register_buffer("steps", torch.arange(4))
    def forward(self, x):
        return self.o(self.block(x))
print(archscout.space(Net()).digest)
"""


def test_a_script_run_again_is_the_same_space(tmp_path: Path) -> None:
    """Another process, another hash seed, and the script moved: resume is replay."""
    for number, name in enumerate(("one.py", "two.py")):
        (tmp_path / name).write_text("# a comment\n" * number + SCRIPT)
    environment = {**os.environ, "PYTHONHASHSEED": "1"}
    command = [sys.executable, str(tmp_path / "one.py")]
    there = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout
    here = io.StringIO()
    with contextlib.redirect_stdout(here):
        runpy.run_path(str(tmp_path / "two.py"), run_name="__main__")
    assert here.getvalue() == there != ""
