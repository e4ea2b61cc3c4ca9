"""A space with some options left: what pruning, shrinking and progressive searches look at."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np

from archscout.core.architecture import Architecture
from archscout.core.choice import Choice, Option
from archscout.core.errors import UsageError, nearest
from archscout.core.graph import Graph
from archscout.core.seeds import stream
from archscout.core.space import Pick, Space
from archscout.core.task import Task

_TRIES = 20


class SubSpace(Space):
    """The architectures of a space all of whose options are alive.

    Text, networks, graphs and canonical forms are the space's own; a supernet holds the modules of living options
    alone. Choices that depend on dead options are gone.

    Args:
        space: in which options can be chosen freely; a part of a part is a part of the whole.
        alive: by choice, the options that are left; all of a choice that is not named.

    Raises:
        UsageError: an unknown choice or option, a choice without a living one, or a space in which not every
            combination of options is an architecture, so that none can be taken away alone.
    """

    def __init__(self, space: Space, alive: Mapping[str, Collection[Option]]) -> None:
        known = {choice.name: choice for choice in space.choices}
        for name, options in alive.items():
            if name not in known:
                raise UsageError(f"space '{space.name}' has no choice '{name}': {nearest(name, known)}")
            unknown = [option for option in options if option not in known[name].options]
            if unknown or not options:
                wrong = f"no option {unknown[0]!r}" if unknown else "to have an option left"
                raise UsageError(f"choice '{name}' of space '{space.name}' has {wrong}: use {known[name].options}.")
        self.whole: Space = space.whole if isinstance(space, SubSpace) else space
        self.name = f"part of {self.whole.name}"
        self._choices: tuple[Choice, ...] = ()
        for choice in space.choices:
            if self._reachable(choice):
                left = tuple(option for option in choice.options if option in alive.get(choice.name, choice.options))
                self._choices += (dataclasses.replace(choice, options=left),)
        self._check_free()

    def _reachable(self, choice: Choice) -> bool:
        if choice.condition is None:
            return True
        before = {known.name: known.options for known in self._choices}
        return any(option in choice.condition.values for option in before.get(choice.condition.choice, ()))

    def _check_free(self) -> None:
        for number in range(_TRIES):
            rng = stream(number, "part of a space")
            values = {c.name: c.options[int(rng.integers(len(c.options)))] for c in self._choices}
            try:
                architecture = self.whole.architecture(values)
            except UsageError:
                architecture = None
            if architecture is None or any(values[name] != option for name, option in architecture.items()):
                raise UsageError(
                    f"not every combination of options is an architecture of space '{self.whole.name}', so that none "
                    "can be taken away alone."
                )

    @property
    def choices(self) -> Sequence[Choice]:
        return self._choices

    @cached_property
    def alive(self) -> dict[str, tuple[Option, ...]]:
        """By choice, the options that are left."""
        return {choice.name: choice.options for choice in self._choices}

    def without(self, choice: str, option: Option) -> SubSpace:
        """The part that is left without one more option."""
        left = [other for other in self.alive.get(choice, ()) if other != option]
        return SubSpace(self, {choice: left})

    def identity(self) -> dict[str, Any]:
        """The whole space, and what is alive of it."""
        return {"space": self.whole.digest, "choices": list(self._choices)}

    # -- the whole space's own ------------------------------------------------------------------------------------

    def network(self, task: Task, pick: Pick) -> Any:
        """The whole space's network; `pick`, which knows the living choices, builds no dead option."""
        return self.whole.network(task, pick)

    def format(self, values: Mapping[str, Option]) -> str:
        return self.whole.format(values)

    def read(self, text: str) -> dict[str, Option]:
        return self.whole.read(text)

    def canonical(self, architecture: Architecture) -> str:
        """The whole space's; of an architecture whose useless parts cannot be left out here, a text of its own."""
        simple = self.whole.simplify(architecture) in self
        return self.whole.canonical(architecture) if simple else f"as written: {architecture.text}"

    def simplify(self, architecture: Architecture) -> Architecture:
        """As the whole space does it where that is alive; else as it is."""
        simple = self.whole.simplify(architecture)
        return simple if simple in self else architecture

    def graph(self, architecture: Architecture) -> Graph:
        return self.whole.graph(architecture)

    def operator_counts(
        self, architectures: Sequence[Architecture], *, dead_operations: bool = False
    ) -> dict[str, np.ndarray]:
        return self.whole.operator_counts(architectures, dead_operations=dead_operations)

    def constant(self, architectures: Sequence[Architecture]) -> np.ndarray:
        return self.whole.constant(architectures)

    def grown(self, architecture: Architecture | None = None) -> Iterator[Architecture]:
        """Those of the whole space that are alive."""
        return (cell for cell in self.whole.grown(architecture) if cell in self)

    def check_task(self, task: Task) -> None:
        self.whole.check_task(task)

    def references(self) -> Mapping[str, Architecture]:
        """Those of the whole space that are alive."""
        return {name: design for name, design in self.whole.references().items() if design in self}

    def small_references(self) -> Mapping[str, Architecture]:
        """Those of the whole space that are alive."""
        return {name: design for name, design in self.whole.small_references().items() if design in self}
