"""A space with nothing in it but the networks of a table: where simulated searches look."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import Any

import numpy as np

from archscout.core.architecture import Architecture
from archscout.core.errors import DataError
from archscout.core.seeds import stream
from archscout.core.space import Space
from archscout.tables.table import Table

_PROBES, _DENSE = 100, 0.5
"""A table is dense in its space if it has this share of so many samples."""

_TRIES = 32
_NEAREST = 8


def within(table: Table, metric: str | None = None) -> Space:
    """The table's space, in which sampling and changing architectures ends at networks that the table has.

    Args:
        table: what the networks are taken from.
        metric: only networks that have a value of it (of the default metric, if not given) are in the space.

    Where that is most of the space, samples and mutants are the space's own, drawn again until the table has them.
    Where it is a small part, a sample is any of its networks, and a mutant one of the eight that are nearest by their
    encodings (a mutation of the space would hardly ever hit one).

    Canonical forms are remembered by text, so that asking again costs nothing.
    """
    restricted = copy.copy(table.space)
    # Of the space's own class too: encodings and strategies may know it.
    restricted.__class__ = type(type(restricted).__name__, (_Within, type(restricted)), {})
    numbers = np.flatnonzero(~np.isnan(table.values(metric)))
    if not len(numbers):
        raise DataError(f"'{table.path}' has no value of '{table.metric(metric).name}'.")
    for identity in ("digest", "parts"):
        restricted.__dict__.pop(identity, None)  # those of the whole space, where it was asked
    restricted.__dict__.update(
        _table=table,
        _metric=metric,
        _numbers=numbers,
        _place={int(number): place for place, number in enumerate(numbers)},
        _forms=dict(zip(table.architectures, table.canonical, strict=True)),
        _simple={},
        _parsed={},
        _close={},
    )
    return restricted


class _Within(Space):
    """Goes before a space's own class; the class is made by `within`."""

    _table: Table
    _metric: str | None
    _numbers: np.ndarray
    _place: dict[int, int]
    _forms: dict[str, str]
    _simple: dict[str, Architecture]
    _parsed: dict[int, Architecture]
    _close: dict[str, list[Architecture]]

    def __reduce__(self) -> tuple[Any, ...]:
        return within, (self._table, self._metric)

    @property
    def whole(self) -> Space:
        """The space that this is a part of."""
        return self._table.space

    def identity(self) -> dict[str, Any]:
        """The whole space, and which of its networks are here."""
        canonical, first = self._table.canonical, self._table.first_rows
        networks = "\n".join(canonical[int(first[number])] for number in self._numbers)
        return {"space": self.whole.digest, "networks": networks}

    # -- remembered -----------------------------------------------------------------------------------------------

    def canonical(self, architecture: Architecture) -> str:
        form = self._forms.get(architecture.text)
        if form is None:
            form = self._forms[architecture.text] = super().canonical(architecture)
        return form

    def simplify(self, architecture: Architecture) -> Architecture:
        simple = self._simple.get(architecture.text)
        if simple is None:
            simple = self._simple[architecture.text] = super().simplify(architecture)
        return simple

    # -- inside the table -----------------------------------------------------------------------------------------

    def size(self) -> int:
        return len(self._numbers)

    def __iter__(self) -> Iterator[Architecture]:
        return (self._network(place) for place in range(self.size()))

    def sample(self, rng: np.random.Generator) -> Architecture:
        for _ in range(_TRIES if self._dense else 0):
            drawn = super().sample(rng)
            if self._has(drawn):
                return drawn
        return self._network(int(rng.integers(self.size())))

    def mutate(self, architecture: Architecture, rng: np.random.Generator) -> Architecture:
        for _ in range(_TRIES if self._dense else 0):
            mutant = super().mutate(architecture, rng)
            if self._has(mutant):
                return mutant
        near = self._near(architecture)
        return near[int(rng.integers(len(near)))] if near else architecture

    def nearest(self, architecture: Architecture) -> Architecture:
        if self._has(architecture):
            return architecture
        return next(iter(self._near(architecture)), architecture)

    def crossover(self, first: Architecture, second: Architecture, rng: np.random.Generator) -> Architecture:
        child = super().crossover(first, second, rng)
        return child if self._has(child) else self.mutate(first, rng)

    def neighbours(self, architecture: Architecture) -> Iterator[Architecture]:
        if self._dense:
            return (other for other in super().neighbours(architecture) if self._has(other))
        return iter(self._near(architecture))

    def extremes(self) -> Iterator[Architecture]:
        return (end for end in super().extremes() if self._has(end))

    def references(self) -> Mapping[str, Architecture]:
        """Those of the whole space that the table has."""
        return {name: design for name, design in super().references().items() if self._has(design)}

    def _has(self, architecture: Architecture) -> bool:
        return self._table.numbers.get(self.canonical(architecture), -1) in self._place

    @cached_property
    def _dense(self) -> bool:
        rng = stream(0, "probe", "table")
        return sum(self._has(super(_Within, self).sample(rng)) for _ in range(_PROBES)) >= _DENSE * _PROBES

    def _network(self, place: int) -> Architecture:
        """The first architecture in the file of one of the networks."""
        if place not in self._parsed:
            row = int(self._table.first_rows[self._numbers[place]])
            self._parsed[place] = self.parse(self._table.architectures[row])
        return self._parsed[place]

    @cached_property
    def _encoded(self) -> tuple[np.ndarray, np.ndarray]:
        """The encodings of all networks, and their squared lengths."""
        rows = self.encode(list(self))
        return rows, (rows**2).sum(axis=1)

    def _near(self, architecture: Architecture) -> list[Architecture]:
        """The networks with the nearest encodings, but for its own."""
        form = self.canonical(architecture)
        if form not in self._close:
            rows, lengths = self._encoded
            distance = lengths - 2 * rows @ self.encode([architecture])[0]
            own = self._place.get(self._table.numbers.get(form, -1))
            if own is not None:
                distance[own] = np.inf
            count = min(_NEAREST, len(distance) - (own is not None))
            nearest = np.argpartition(distance, count - 1)[:count] if count else ()
            self._close[form] = [self._network(int(place)) for place in nearest]
        return self._close[form]
