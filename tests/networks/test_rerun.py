"""What is not run again answers, to the bit, as if all of it were run."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from archscout.networks.rerun import Rerun
from archscout.shrink.rating import hidden
from archscout.spaces.trained import TrainedSpace

_spec = importlib.util.spec_from_file_location("zoo", Path(__file__).with_name("zoo.py"))
zoo: Any = importlib.util.module_from_spec(_spec)  # type: ignore[arg-type]
_spec.loader.exec_module(zoo)  # type: ignore[union-attr]

X = torch.randn(4, 3, 16, 16, generator=torch.Generator().manual_seed(0))


SHAPES = {"resnet": (3, 16, 16), "mobilenet": (3, 16, 16), "unet": (3, 16, 16), "vit": (3, 16, 16), "scaled": None}


@pytest.mark.parametrize("name", SHAPES)
def test_every_cut_answers_as_when_all_of_it_is_run(name: str) -> None:
    space = TrainedSpace(zoo.zoo_network(name), input_shape=SHAPES[name])
    network, tensors = space.module, dict(space.module.named_parameters())
    x = torch.randn(4, *space.input_shape, generator=torch.Generator().manual_seed(0))
    rerun, shares = Rerun(network, x), []
    for choice in space.choices:
        what = space.cut_of({choice.name: choice.options[-1]})
        names = {tensor for group in what.units for tensor, _ in space.groups[group].consumers}
        names |= {f"{layer}.weight" for layer in what.kernels}
        place = rerun.place((tensors[name] for name in names), what.blocks)
        shares.append(rerun.share(place))
        rerun.goes_from(place)
        with hidden(network, space, what), torch.no_grad():
            answers = rerun.outputs()
            assert torch.equal(answers, network(x)), choice.name
    with torch.no_grad():
        assert torch.equal(network(x), rerun.original), "it is left as it was"
    assert sum(shares) < 0.9 * len(shares), "something is not run again"


class Runs(nn.Module):
    """Counts its runs."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer, self.count = layer, 0

    def forward(self, x: Tensor) -> Tensor:
        self.count += 1
        return self.layer(x)  # type: ignore[no-any-return]


class Chain(nn.Module):
    """Three layers in turn."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.third = (Runs(nn.Conv2d(3, 3, 3, padding=1)) for _ in range(3))

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        return self.third(torch.relu_(self.second(x)) + x)  # type: ignore[no-any-return]


def changed(network: nn.Module, layer: nn.Conv2d, read: nn.Conv2d | None = None) -> bool:
    """Whether a network with a layer changed answers as it does when all of it is run."""
    rerun = Rerun(network, X)
    place = rerun.place([(read or layer).weight])
    rerun.goes_from(place)
    with torch.no_grad():
        layer.weight.mul_(1.5)
        answers, again = rerun.outputs(), rerun.outputs()
        return torch.equal(answers, network(X)) and torch.equal(again, answers)


def test_what_ends_before_the_change_is_not_run_again() -> None:
    network = Chain().eval()
    rerun = Rerun(network, X)
    rerun.goes_from(rerun.place([network.third.layer.weight]))
    before = [part.count for part in (network.first, network.second, network.third)]
    rerun.outputs(), rerun.outputs()
    assert [part.count for part in (network.first, network.second, network.third)] == [*before[:2], before[2] + 2]
    rerun.goes_from(rerun.place([network.first.layer.weight]))
    rerun.outputs()
    assert network.first.count == before[0] + 1
    assert changed(network, network.third.layer) and changed(network, network.second.layer)


def test_an_output_that_is_changed_is_the_same_the_next_time() -> None:
    network = Ending().eval()
    rerun = Rerun(network, X)
    with torch.no_grad():
        expected = network(X)
    rerun.goes_from(max(call.end for call in rerun._calls.values()))
    count = network.third.count
    assert all(torch.equal(rerun.outputs(), expected) for _ in range(3))
    assert network.third.count == count, "nothing is run again but the functions"


class Tied(Chain):
    """The last layer's weights are read before by a function."""

    def forward(self, x: Tensor) -> Tensor:
        x = nn.functional.conv2d(x, self.third.layer.weight, padding=1)
        return super().forward(x)


class Stacking(Chain):
    """A layer leaves its output in a list that another takes it from."""

    def forward(self, x: Tensor) -> Tensor:
        left: list[Tensor] = []
        handle = self.first.register_forward_pre_hook(lambda *_: None)
        inner = self.first.layer.register_forward_hook(lambda _, inputs, output: left.append(output))
        try:
            return self.third(self.first(x)) + left[0]  # type: ignore[no-any-return]
        finally:
            handle.remove()
            inner.remove()


class Overwriting(Chain):
    """A block changes its input, which is read again later."""

    class Block(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.mul_(2.0) + 1.0

    def __init__(self) -> None:
        super().__init__()
        self.block = self.Block()

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        y = self.block(x)
        return self.third(self.second(y)) + x  # type: ignore[no-any-return]


class Ending(Chain):
    """What the last layer gives is changed by functions, and is the answer."""

    def forward(self, x: Tensor) -> Tensor:
        y = super().forward(x)
        y.data.mul_(2.0)
        return y.view(len(y), -1).clamp_(-1.0, 1.0)


class Twice(Chain):
    """A layer runs twice."""

    def forward(self, x: Tensor) -> Tensor:
        return self.third(self.first(self.first(x)))  # type: ignore[no-any-return]


@pytest.mark.parametrize("kind", [Tied, Stacking, Overwriting, Twice])
def test_code_that_does_more_than_pass_on_is_run_as_it_is(kind: type[Chain]) -> None:
    network = kind().eval()
    assert changed(network, network.third.layer)
    assert changed(network, network.first.layer)


def test_an_error_of_the_changed_network_is_told() -> None:
    network = Chain().eval()
    rerun = Rerun(network, X)
    rerun.goes_from(rerun.place([network.third.layer.weight]))
    network.third.layer = nn.Linear(5, 5)
    with pytest.raises(RuntimeError):
        rerun.outputs()
