"""Choices in what attributes of a module hold: settings of every form are decided, and follow a supernet."""

import argparse
import dataclasses
import functools
import types
from collections import OrderedDict, namedtuple
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from archscout.core.errors import UsageError
from archscout.networks.choices import Linear, OneOf, Value, Width
from archscout.networks.held import changed, held
from archscout.networks.pick import build
from archscout.spaces.model import ModelSpace
from archscout.supernets.supernet import Supernet
from archscout.testing import tiny_task

Pair = namedtuple("Pair", "scale width")


@dataclasses.dataclass(frozen=True, slots=True)
class Frozen:
    scale: Any
    width: Any


SETTINGS: dict[str, tuple[Callable[[Any, Any], Any], Callable[[Any], tuple[Any, Any]]]] = {
    "namespace": (lambda s, w: types.SimpleNamespace(scale=s, width=w), lambda c: (c.scale, c.width)),
    "arguments": (lambda s, w: argparse.Namespace(scale=s, width=w), lambda c: (c.scale, c.width)),
    "frozen data class": (Frozen, lambda c: (c.scale, c.width)),
    "named tuple": (Pair, lambda c: (c.scale, c.width)),
    "ordered dictionary": (lambda s, w: OrderedDict(scale=s, width=w), lambda c: (c["scale"], c["width"])),
    "partial": (
        lambda s, w: functools.partial(dict, scale=s, width=w),
        lambda c: (c.keywords["scale"], c.keywords["width"]),
    ),
    "nested": (lambda s, w: [{"x": (Frozen(s, w),)}], lambda c: (c[0]["x"][0].scale, c[0]["x"][0].width)),
}


class Net(nn.Module):
    def __init__(self, settings: Any, read: Callable[[Any], tuple[Any, Any]]) -> None:
        super().__init__()
        self.settings, self.read = settings, read
        width = read(settings)[1]
        self.body, self.head = Linear(64, width), Linear(width, 3)

    def forward(self, x: Tensor) -> Tensor:
        scale, width = self.read(self.settings)
        return self.head(self.body(x.flatten(1)).reshape(len(x), width)) * scale / width


@pytest.mark.parametrize("name", SETTINGS)
def test_choices_in_settings_are_choices_of_the_space(name: str) -> None:
    make, read = SETTINGS[name]
    module = Net(make(Value(2.0, 3.0, name="scale"), Width(4, 8, name="width")), read)
    space, task, x = ModelSpace(module), tiny_task(), torch.rand(2, 1, 8, 8)
    assert space.size() == 4
    supernet = Supernet(space, task).eval()
    for architecture in space:
        network = supernet.extract(architecture)
        assert read(network.settings) == (architecture["scale"], architecture["width"])
        by_hand = network.head(network.body(x.flatten(1))) * architecture["scale"] / architecture["width"]
        torch.testing.assert_close(network(x), by_hand)
        torch.testing.assert_close(supernet.select(architecture)(x), by_hand)
    assert read(module.settings)[1].options == (4, 8), "the user's own module is left alone"


def test_several_choices_without_names_in_one_attribute_are_several() -> None:
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.settings = {"a": Value(1.0, 2.0), "b": Value(1.0, 2.0)}
            self.alone = (Value(1.0, 2.0),)
            self.head = nn.Linear(64, 3)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(x.flatten(1)) * self.settings["a"] + self.settings["b"] * self.alone[0]

    space = ModelSpace(Two())
    assert [choice.name for choice in space.choices] == ["settings.a", "settings.b", "alone"]
    network = build(space, space.parse("settings.a=1.0,settings.b=2.0,alone=2.0"), tiny_task())
    assert (network.settings, network.alone) == ({"a": 1.0, "b": 2.0}, (2.0,))


def test_a_choice_where_nobody_looks_is_one_clear_error() -> None:
    class Locked:
        """Says nothing about what it holds, and is copied all the same."""

        __slots__ = ("__value",)

        def __init__(self, value: Any) -> None:
            self.__value = value

    module = nn.Sequential(nn.Flatten(), OneOf([nn.Linear(64, 3), nn.Linear(64, 3)], name="head"))
    module.locked = Locked(Value(1.0, 2.0, name="scale"))  # type: ignore[assignment]
    space = ModelSpace(module)
    with pytest.raises(UsageError, match=r"Value\(1.0, 2.0\) lies where it is not seen: keep it in an attribute"):
        build(space, space.parse("head=Linear0"), tiny_task())


def test_what_holds_nothing_is_left_as_it_is() -> None:
    settings = {"a": [1, Frozen(2, nn.Linear(2, 2))], "b": "text"}
    assert list(held(settings, (float,))) == []
    assert changed(settings, (float,), str) is settings
    assert list(held([settings, 2.5], (float,))) == [("1", 2.5)]
    rebuilt = changed([settings, (2.5, {"x": 0.5})], (float,), str)
    assert rebuilt == [settings, ("2.5", {"x": "0.5"})]
    assert rebuilt[0] is settings
