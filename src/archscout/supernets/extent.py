"""What of a supernet is elastic, and its smallest and its largest network."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import wraps
from typing import Any, TypeVar

from torch import nn

from archscout.core.architecture import Architecture
from archscout.core.choice import Choice, Option
from archscout.core.errors import UsageError
from archscout.networks.elastic import ElasticBatchNorm2d, ElasticConv2d, ElasticLinear, Kind, Number, leaves
from archscout.networks.pick import ElasticDepth
from archscout.networks.sliced import SlicedNetwork
from archscout.supernets.supernet import Supernet

T = TypeVar("T")


def _once(read: Callable[[Supernet], T]) -> Callable[[Supernet], T]:
    """What is read off a supernet does not change: plans ask for it in every step."""

    @wraps(read)
    def known(supernet: Supernet) -> T:
        table: dict[str, Any] = supernet.__dict__.setdefault("_extent", {})
        if read.__name__ not in table:
            table[read.__name__] = read(supernet)
        value: T = table[read.__name__]
        return value

    return known


@_once
def kinds(supernet: Supernet) -> dict[str, Kind]:
    """The kind of each choice, read off the modules that follow it."""
    by_name: dict[str, Kind] = {}

    def follow(number: Number, kind: Kind) -> None:
        for name in leaves(number):
            by_name.setdefault(name, kind)

    for module in supernet.network.modules():
        if isinstance(module, SlicedNetwork):
            by_name.update(module.kinds)
        elif isinstance(module, ElasticDepth):
            by_name.setdefault(module.choice, "depth")
        elif isinstance(module, ElasticConv2d):
            follow(module.numbers[2], "kernel")
    for module in supernet.network.modules():
        if isinstance(module, ElasticConv2d | ElasticLinear):
            follow(module.numbers[0], "width")
            follow(module.numbers[1], "width")
        elif isinstance(module, ElasticBatchNorm2d):
            follow(module.channels, "width")
    return {choice.name: by_name.get(choice.name, "operation") for choice in supernet.space.choices}


@_once
def by_size(supernet: Supernet) -> dict[str, list[Option]]:
    """The options of each choice, the smallest first: numbers by value, modules by how many weights they have; what is
    neither stays in the order of the space."""
    mixed, elastic = supernet.mixed(), kinds(supernet)
    sizes = {
        name: list(order)
        for module in supernet.network.modules()
        if isinstance(module, SlicedNetwork)
        for name, order in module.smallest_first.items()
    }

    def size(choice: Choice, option: Option) -> float:
        if choice.name in sizes:
            return sizes[choice.name].index(option)
        if choice.name in mixed:
            return sum(_weights(place.options[place.keys[option]]) for place in mixed[choice.name])
        return float(option) if elastic[choice.name] != "operation" and not isinstance(option, str) else 0.0

    return {c.name: sorted(c.options, key=lambda option: size(c, option)) for c in supernet.space.choices}


@_once
def ends(supernet: Supernet) -> tuple[Architecture, Architecture]:
    """The smallest and the largest architecture; the space's extremes where options cannot be chosen freely."""
    space, options = supernet.space, by_size(supernet)
    try:
        small, large = (space.architecture({name: row[end] for name, row in options.items()}) for end in (0, -1))
    except UsageError:
        small, *_, large = space.extremes()
    return small, large


def nearest_largest(supernet: Supernet, opened: Mapping[str, int | None]) -> dict[str, list[Option]]:
    """The options of each choice when kinds are opened step by step: of an opened kind the largest so many (all for
    None), of any other the largest alone."""
    elastic, options = kinds(supernet), by_size(supernet)
    left: dict[str, list[Option]] = {}
    for name, row in options.items():
        count = opened.get(elastic[name], 1)
        left[name] = row if count is None else row[-count:]
    return left


def _weights(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())
