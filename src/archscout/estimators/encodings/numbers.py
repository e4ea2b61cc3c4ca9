"""Numbers of layer-wise spaces: kernels, expansions, widths and depths as ordered numbers, their sums and products.

A one-hot code does not say that kernel 5 lies between 3 and 7, nor that eight layers of one kind in different places
have anything in common. Where choices are layers, both tell more than any choice of model.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from archscout.core.cache import Cache
from archscout.core.choice import Choice, Continuous, Option
from archscout.core.space import Space
from archscout.estimators.encodings.graphs import Architectures, parsed

_PAIR = re.compile(r"([a-z]+)_?(\d+(?:\.\d+)?)")
"""A quantity in the name of an option: `mb6_k5` has mb 6 and k 5."""

_PLACE = re.compile(r"\d+")

SQUARED = ("k", "ks", "kernel", "kernel_size", "r", "res", "resolution", "side", "size")
"""Quantities that work grows with the square of."""

THIRDS = 3
"""Where names of layers have one number only, the layers are looked at in so many parts instead of stages."""


@dataclass(frozen=True)
class Quantity:
    """What a choice says about its layer in one respect.

    `kind` is the name of the choice with its numbers taken out, and what of it is meant; `place` are the numbers
    (`stage2.block1.kernel`: 2, 1). `values` maps each option to a number, and is None where the option is the number.
    An `ordered` one says how much; any other one counts an option (0 or 1).
    """

    choice: str
    kind: str
    place: tuple[int, ...]
    values: Mapping[Option, float] | None
    ordered: bool


def numbers(space: Space, architectures: Architectures) -> np.ndarray:
    """Quantities of all layers, and their sums: float32, (N, D); what an architecture does not use is 0.

    Quantities are the numbers that choices choose (`kernel` 3, 5, 7), and those in the names of their options
    (`mb6_k5`: expansion 6, kernel 5); options without numbers are counted. For each kind of quantity: its sum and that
    of each stage, running sums (what differs by one layer's place differs little) and the values. For
    layers with several quantities, their product stands for work: its logarithm by stage and in all, with and without
    the square of kernel and resolution; widths above a layer (those of its stage) are factors, too.

    Blocks of columns are those of `blocks`.
    """
    columns = _columns(space, _matrix(space, architectures))
    return np.concatenate(list(columns.values()), axis=1) if columns else np.empty((len(architectures), 0), np.float32)


def blocks(space: Space) -> tuple[int, ...]:
    """How many columns of `numbers` belong together: features of one kind."""
    columns = _columns(space, np.zeros((0, len(quantities(space))), dtype=np.float32))
    return tuple(block.shape[1] for block in columns.values())


_known = Cache[tuple[Quantity, ...]](16)


def quantities(space: Space) -> tuple[Quantity, ...]:
    """All quantities of a space, in the order of its choices."""
    return _known.get(space.digest, lambda: tuple(q for choice in space.choices for q in _of_choice(choice)))


def _of_choice(choice: Choice) -> Iterable[Quantity]:
    name = _PLACE.sub("#", choice.name)
    place = tuple(map(int, _PLACE.findall(choice.name)))
    if isinstance(choice, Continuous) or all(isinstance(option, int | float) for option in choice.options):
        yield Quantity(choice.name, name, place, None, True)  # truth values are 0 and 1
        return
    inside = {option: dict(_PAIR.findall(str(option))) for option in choice.options}
    for part in dict.fromkeys(part for pairs in inside.values() for part in pairs):
        values = {option: float(pairs.get(part, 1)) if pairs else 0.0 for option, pairs in inside.items()}
        if len(set(values.values())) > 1:
            yield Quantity(choice.name, f"{name}.{part}", place, values, True)
    for option in choice.options:
        yield Quantity(choice.name, f"{name}={option}", place, {option: 1.0}, False)


def _matrix(space: Space, architectures: Architectures) -> np.ndarray:
    """The quantities themselves: (N, quantities)."""
    known = quantities(space)
    by_choice: dict[str, list[tuple[int, Mapping[Option, float] | None]]] = {}
    for column, quantity in enumerate(known):
        by_choice.setdefault(quantity.choice, []).append((column, quantity.values))
    matrix = np.zeros((len(architectures), len(known)), dtype=np.float32)
    for row, architecture in zip(matrix, parsed(space, architectures), strict=True):
        for name, option in space.simplify(architecture).items():
            for column, values in by_choice[name]:
                row[column] = float(option) if values is None else values.get(option, 0.0)
    return matrix


def _columns(space: Space, matrix: np.ndarray) -> dict[str, np.ndarray]:
    known = quantities(space)
    kinds: dict[str, list[int]] = {}
    for column, quantity in enumerate(known):
        kinds.setdefault(quantity.kind, []).append(column)
    features: dict[str, np.ndarray] = {}
    several = {kind: columns for kind, columns in kinds.items() if len(columns) > 1}
    for kind, columns in several.items():
        features[f"sum of {kind}"] = matrix[:, columns].sum(axis=1, keepdims=True)
    for name, work in _work(known, matrix).items():
        features[f"{name} in all"] = np.log1p(work.values.sum(axis=1, keepdims=True))
        features[f"{name} by stage"] = np.log1p(_by_stage([known[column].place for column in work.places], work.values))
    for kind, columns in several.items():
        if len(columns) > THIRDS:
            features[f"{kind} by stage"] = _by_stage([known[column].place for column in columns], matrix[:, columns])
        features[f"running sum of {kind}"] = np.cumsum(matrix[:, columns], axis=1)[:, :-1]
    for kind, columns in kinds.items():
        if known[columns[0]].ordered:
            features[kind] = matrix[:, columns]
    return {name: block.astype(np.float32) for name, block in features.items() if block.shape[1]}


@dataclass(frozen=True)
class _Work:
    """The work of layers (N, layers), and a column of each that says where it stands."""

    places: list[int]
    values: np.ndarray


def _work(quantities: tuple[Quantity, ...], matrix: np.ndarray) -> dict[str, _Work]:
    """Products of the quantities of each layer, times the widths above it and what the whole network has."""
    layers: dict[tuple[int, ...], list[int]] = {}
    for column, quantity in enumerate(quantities):
        if quantity.ordered:
            layers.setdefault(quantity.place, []).append(column)
    whole = layers.pop((), [])
    factors: dict[int, list[int]] = {}
    for place, columns in layers.items():
        above = [column for other in layers if _within(place, other) for column in layers[other]]
        widths = [column for column in above if "width" in quantities[column].kind]
        if len(columns + widths + whole) > 1 and not any(_within(other, place) for other in layers):
            factors[columns[0]] = [*columns, *widths, *whole]
    work: dict[str, _Work] = {}
    for name, power in (("work", 1), ("squared work", 2)):
        products = []
        for columns in factors.values():
            powers = [power if _called(quantities[column]) in SQUARED else 1 for column in columns]
            products.append(np.prod(matrix[:, columns] ** np.asarray(powers, dtype=np.float32), axis=1))
        if products:
            work[name] = _Work(list(factors), np.stack(products, axis=1))
    return work


def _within(place: tuple[int, ...], stage: tuple[int, ...]) -> bool:
    return len(stage) < len(place) and place[: len(stage)] == stage


def _called(quantity: Quantity) -> str:
    return re.split(r"[.#_ ]", quantity.kind.replace("#", ""))[-1]


def _by_stage(places: list[tuple[int, ...]], values: np.ndarray) -> np.ndarray:
    """Sums over the layers of each stage: (N, stages); over thirds of the layers where names have one number only."""
    if any(len(place) > 1 for place in places):
        stages = [place[0] for place in places]
    else:
        stages = [THIRDS * number // len(places) for number in range(len(places))]
    return np.stack([values[:, [s == stage for s in stages]].sum(axis=1) for stage in sorted(set(stages))], axis=1)
