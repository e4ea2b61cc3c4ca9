"""Choices that only code reads are refused: in every network they would pass for their first option."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from archscout.core.errors import UsageError
from archscout.networks.choices import Linear, Value, Width
from archscout.spaces.model import ModelSpace
from archscout.testing import tiny_task

ACT = Value("relu", "tanh", name="act")
WIDTH = Width(4, 8, name="w")


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body, self.head = Linear(64, WIDTH), Linear(WIDTH, 3)
        self.after: Callable[[Tensor], Tensor] = torch.relu

    def forward(self, x: Tensor) -> Tensor:
        return self.after(self.head(self.body(x.flatten(1))))


class ReadsVariable(Net):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) / int(WIDTH)


def helper(x: Tensor) -> Tensor:
    return getattr(torch, ACT)(x)


class ReadsInHelper(Net):
    def forward(self, x: Tensor) -> Tensor:
        return helper(x)


class ReadsInMethod(Net):
    def forward(self, x: Tensor) -> Tensor:
        return self.last(super().forward(x))

    def last(self, x: Tensor) -> Tensor:
        return getattr(torch, ACT)(x)


class OfClass(Net):
    rate = Value(0.5, 1.0)

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) * self.rate


class InFunction(Net):
    def __init__(self) -> None:
        super().__init__()
        rate = Value(0.5, 1.0)
        self.after = lambda x: x * rate


def in_hook() -> nn.Module:
    rate = Value(0.5, 1.0)
    net = Net()
    net.register_forward_hook(lambda _module, _inputs, y: y * rate)
    return net


@pytest.mark.parametrize(
    ("make", "reader"),
    [
        (ReadsVariable, r"ReadsVariable\.forward\(\)"),
        (ReadsInHelper, r"helper\(\)"),
        (ReadsInMethod, r"ReadsInMethod\.last\(\)"),
        (OfClass, "class OfClass"),
        (InFunction, r"<lambda>\(\)"),
        (in_hook, r"<lambda>\(\)"),
    ],
)
def test_a_choice_outside_of_the_module_is_refused(make: Callable[[], nn.Module], reader: str) -> None:
    with pytest.raises(UsageError, match=rf"is read by .*{reader} .* from outside of it.*self\.x = "):
        ModelSpace(make())


def test_a_choice_outside_that_only_layers_are_made_with_is_none_of_it() -> None:
    space = ModelSpace(Net())
    space.check_task(tiny_task())
    assert space.size() == 2


def made(function: Callable[[Any], Any]) -> Callable[[], nn.Module]:
    class Made(Net):
        def __init__(self) -> None:
            super().__init__()
            self.what = function(self)

    return Made


LOST = {
    "looked up": lambda _: {"relu": 1, "tanh": 2}[Value("relu", "tanh")],
    "compared": lambda _: Value("relu", "tanh") == "relu",
    "an attribute's name": lambda _: getattr(torch, Value("relu", "tanh")),
    "a truth value": lambda _: 1 if Value(True, False) else 2,
    "a number compared": lambda _: Value(0.1, 0.3) > 0.2,
    "a number cut": lambda _: int(Value(0.1, 1.3)),
}


@pytest.mark.parametrize("name", LOST)
def test_a_value_that_making_the_module_has_used_up_is_refused(name: str) -> None:
    with pytest.raises(UsageError, match=r"was taken as a plain value where Made .*line \d+"):
        ModelSpace(made(LOST[name])())


def forget(_: nn.Module) -> None:
    Width(2, 3)


@pytest.mark.parametrize("function", [lambda _: torch.full((3,), Value(0.1, 0.3)), forget])
def test_a_choice_that_is_left_nowhere_is_refused(function: Any) -> None:
    with pytest.raises(UsageError, match=r"line \d+\) is in no layer and no attribute"):
        ModelSpace(made(function)())


def test_a_value_is_checked_by_torch_and_decided_later() -> None:
    """What holds for every option is a plain answer: torch's layers check their arguments."""

    class Checked(Net):
        def __init__(self) -> None:
            super().__init__()
            self.drop, self.slope = nn.Dropout(Value(0.1, 0.3, name="p")), nn.LeakyReLU(Value(0.1, 0.2, name="s"))

        def forward(self, x: Tensor) -> Tensor:
            return self.slope(self.drop(super().forward(x)))

    space = ModelSpace(Checked())
    assert space.size() == 8
    space.check_task(tiny_task())
