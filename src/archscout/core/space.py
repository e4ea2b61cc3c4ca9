"""A search space: a list of choices, and the network written once in terms of them.

A space author writes `choices` and `network`; everything else here follows from them and may be overridden where the
field has a better answer (a text format, a canonical form, a cell graph). No torch is imported on this floor:
`network` does so itself.
"""

from __future__ import annotations

import itertools
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches
from functools import cached_property
from typing import Any, ClassVar, Protocol

import numpy as np

from archscout.core.architecture import Architecture
from archscout.core.choice import Choice, Continuous, Option, write
from archscout.core.digest import digest
from archscout.core.errors import UsageError, nearest
from archscout.core.graph import Graph
from archscout.core.task import Task


class Pick(Protocol):
    """Decides what a network is built of; see `archscout.networks.pick` for the ways of picking."""

    def __call__(self, choice: str, builders: Mapping[Any, Any]) -> Any:
        """One of several modules: `builders` maps each option to a function that makes its module."""

    def number(self, choice: str) -> Any:
        """The value of a numeric choice (a width, a kernel size), for the elastic layers."""

    def depth(self, choice: str, blocks: Sequence[Any]) -> Any:
        """The first so many of `blocks` (functions that make modules), one after the other."""


class Space(ABC):
    """The set of architectures: sample, mutate, cross over, neighbours, enumerate, count, canonical form, network."""

    name: str = "space"

    own_module: ClassVar[bool] = False
    """Whether its networks are those of a module of the user's own, which only the user has the code of."""

    wired: ClassVar[bool] = False
    """Whether options are operations on the edges of a cell, so that architectures are told apart by their graphs."""

    repetitions: ClassVar[tuple[str, ...]] = ()
    """Choices that only tell draws of one distribution of networks apart: what differs in them alone is expected to
    come to the same."""

    # -- what an author writes ------------------------------------------------------------------------------------

    @property
    @abstractmethod
    def choices(self) -> Sequence[Choice]:
        """Every decision; a conditional choice comes after the one that it depends on."""

    @abstractmethod
    def network(self, task: Task, pick: Pick) -> Any:
        """The network as a `torch.nn.Module`; `pick` decides what is built at each choice."""

    # -- identity -------------------------------------------------------------------------------------------------

    def identity(self) -> dict[str, Any]:
        """What tells this space from every other one, by part; each part is what `archscout.core.digest` takes.

        By default its class (with its code, where that is a user's own), its attributes but for cached properties, and
        its choices. A space that keeps other caches among its attributes says here what it is without them.
        """
        cached = {name for kind in type(self).__mro__ for name, member in vars(kind).items()
                  if isinstance(member, cached_property)}  # fmt: skip
        parameters = {name: value for name, value in vars(self).items() if name not in cached}
        return {"class": type(self), "parameters": parameters, "choices": list(self.choices)}

    @cached_property
    def parts(self) -> dict[str, str]:
        """A hash of each part of the identity: what differs between two spaces is where these do."""
        return {part: digest(value) for part, value in self.identity().items()}

    @cached_property
    def digest(self) -> str:
        """A hash of the whole identity: two spaces with one digest build the same networks, in whatever process.

        Whatever is stored about architectures, or remembered of a space, is kept under it.
        """
        return digest(self.parts)

    # -- text -----------------------------------------------------------------------------------------------------

    def format(self, values: Mapping[str, Option]) -> str:
        """The text of an assignment of the active choices."""
        return ",".join(f"{name}={write(value)}" for name, value in values.items())

    def read(self, text: str) -> dict[str, Option]:
        """The assignment that a text describes. Raises `UsageError`, saying where the text is wrong."""
        values: dict[str, Option] = {}
        for part in text.strip().split(","):
            name, sign, written = part.partition("=")
            name = name.strip()
            if not sign:
                raise UsageError(f"'{part}' in architecture '{_short(text)}' is not of the form choice=option.")
            if name not in self._by_name:
                raise UsageError(
                    f"space '{self.name}' has no choice '{name}' (in '{_short(text)}'): {nearest(name, self._by_name)}"
                )
            if name in values:
                raise UsageError(f"choice '{name}' occurs twice in architecture '{_short(text)}': name it once.")
            option = self._by_name[name].read(written.strip())
            if option is None:
                raise UsageError(
                    f"choice '{name}' has no option '{written.strip()}' (in '{_short(text)}'): "
                    f"use {self._by_name[name].allowed}."
                )
            values[name] = option
        return values

    def parse(self, text: str) -> Architecture:
        """The architecture that a text describes. Raises `UsageError` for a malformed one."""
        if not text.strip():
            raise UsageError(f"an architecture of space '{self.name}' cannot be empty text.")
        values = self.read(text)
        architecture = self.architecture(values)
        surplus = [name for name in values if name not in architecture]
        if surplus:
            raise UsageError(
                f"choice '{surplus[0]}' is not active in architecture '{_short(text)}': leave it out, "
                "or change the choice that it depends on."
            )
        return architecture

    def architecture(self, values: Mapping[str, Option]) -> Architecture:
        """The architecture with these values; values of inactive choices are dropped.

        Raises `UsageError` where an active choice has no value, or one that is not among its options.
        """
        active: dict[str, Option] = {}
        for choice in self.choices:
            if not _is_active(choice, active):
                continue
            if choice.name not in values:
                raise UsageError(f"choice '{choice.name}' of space '{self.name}' has no value: give {choice.allowed}.")
            value = choice.settled(values[choice.name])
            if value is None:
                raise UsageError(
                    f"choice '{choice.name}' of space '{self.name}' has no option {values[choice.name]!r}: "
                    f"use {choice.allowed}."
                )
            active[choice.name] = value
        return Architecture(self.format(active), tuple(active.items()))

    def __contains__(self, architecture: object) -> bool:
        if not isinstance(architecture, Architecture):
            return False
        try:
            return self.architecture(architecture) == architecture and len(self.architecture(architecture)) == len(
                architecture
            )
        except UsageError:
            return False

    # -- the set --------------------------------------------------------------------------------------------------

    @cached_property
    def _by_name(self) -> dict[str, Choice]:
        seen: dict[str, Choice] = {}
        for choice in self.choices:
            if choice.name in seen:
                raise ValueError(f"space '{self.name}' names choice '{choice.name}' twice.")
            if choice.condition is not None and choice.condition.choice not in seen:
                raise ValueError(
                    f"choice '{choice.name}' depends on '{choice.condition.choice}', which must come before it."
                )
            seen[choice.name] = choice
        return seen

    def size(self) -> int:
        """The exact number of architectures, counted over the tree of conditions.

        Where a choice is a real number, of those that double precision can tell apart, at most: more than anybody
        enumerates.
        """
        children: dict[str | None, list[Choice]] = {}
        for choice in self.choices:
            children.setdefault(choice.condition.choice if choice.condition else None, []).append(choice)

        def count(choice: Choice) -> int:
            if isinstance(choice, Continuous):
                return 2**53
            total = 0
            for option in choice.options:
                product = 1
                for child in children.get(choice.name, ()):
                    if child.condition is not None and option in child.condition.values:
                        product *= count(child)
                total += product
            return total

        product = 1
        for root in children.get(None, ()):
            product *= count(root)
        return product

    def __iter__(self) -> Iterator[Architecture]:
        """Every architecture, in the order of the choices and their options."""

        def extend(position: int, values: dict[str, Option]) -> Iterator[dict[str, Option]]:
            if position == len(self.choices):
                yield values
                return
            choice = self.choices[position]
            if not _is_active(choice, values):
                yield from extend(position + 1, values)
                return
            for option in choice.options:
                yield from extend(position + 1, {**values, choice.name: option})

        for values in extend(0, {}):
            yield self.architecture(values)

    def incoming(self) -> Sequence[tuple[Sequence[str], int]]:
        """Where a node takes some of the edges that could lead into it: the choices that are these edges, and how many
        a network keeps; the others are `none`. Empty where edges can be chosen freely."""
        return ()

    def unmixed(self) -> Sequence[tuple[str, Option]]:
        """Options, by choice, that are no part of a mixture: of an edge that is only there or not, that it is not."""
        return ()

    def caveats(self, task: Task) -> list[str]:
        """What users should know of the networks before they are trained, a sentence each."""
        return []

    def strongest(self, weights: Mapping[str, Sequence[float]]) -> Architecture:
        """The architecture of the options with the largest weights (one list a choice).

        Spaces in which not every combination is an architecture say here how one is derived from a mixture.
        """
        return self.architecture({c.name: c.options[int(np.argmax(weights[c.name]))] for c in self.choices})

    def sample(self, rng: np.random.Generator) -> Architecture:
        """A random architecture: each active choice uniformly among what `draws` says."""
        values: dict[str, Option] = {}
        for choice in self.choices:
            if _is_active(choice, values):
                options = self.draws(choice, values)
                values[choice.name] = choice.draw(rng) if options is None else options[int(rng.integers(len(options)))]
        return self.architecture(values)

    def draws(self, choice: Choice, values: Mapping[str, Option]) -> Sequence[Option] | None:
        """What `sample` draws from, each with one chance, where earlier choices have these values; None for all.

        A space in which most assignments are networks that nobody would build draws those that one would.
        """
        return None

    def mutate(self, architecture: Architecture, rng: np.random.Generator) -> Architecture:
        """Another architecture: one active choice changed; choices that become active are drawn uniformly.

        Returns the same architecture only where the space has no other.
        """
        names = [name for name in architecture if len(self._by_name[name].landmarks) > 1]
        if not names:
            return architecture
        name = names[int(rng.integers(len(names)))]
        return self._complete({**architecture, name: self._by_name[name].another(architecture[name], rng)}, rng)

    def nearest(self, architecture: Architecture) -> Architecture:
        """The architecture itself; where the space is a part of what it could be, one of those in it that are near.

        For what writes architectures by its own rules, and not by sampling and changing those of the space.
        """
        return architecture

    def crossover(self, first: Architecture, second: Architecture, rng: np.random.Generator) -> Architecture:
        """A child that takes each choice from either parent (uniform crossover)."""
        values: dict[str, Option] = {}
        for name in self._by_name:
            parents = [parent for parent in (first, second) if name in parent]
            if parents:
                values[name] = parents[int(rng.integers(len(parents)))][name]
        return self._complete(values, rng)

    def _complete(self, values: Mapping[str, Option], rng: np.random.Generator) -> Architecture:
        complete: dict[str, Option] = {}
        for choice in self.choices:
            if not _is_active(choice, complete):
                continue
            if choice.name in values:
                complete[choice.name] = values[choice.name]
            else:
                complete[choice.name] = choice.draw(rng)
        return self.architecture(complete)

    def neighbours(self, architecture: Architecture) -> Iterator[Architecture]:
        """Every architecture that differs in one choice; newly active choices take their first option."""
        for name in architecture:
            for option in self._by_name[name].landmarks:
                if option != architecture[name]:
                    values = {**architecture, name: option}
                    for choice in self.choices:
                        values.setdefault(choice.name, choice.landmarks[0])
                    yield self.architecture(values)

    def grown(self, architecture: Architecture | None = None) -> Iterator[Architecture]:
        """Those with one block more than an architecture, or those of one block where none is given.

        For searches that go from small cells to large ones; none where a cell is full grown. Raises `UsageError` where
        the networks of the space are not made of blocks.
        """
        raise UsageError(
            f"the networks of space '{self.name}' do not grow block by block: this method needs a space of cells such "
            "as nasbench201; take another method here."
        )

    # -- forms ----------------------------------------------------------------------------------------------------

    def canonical(self, architecture: Architecture) -> str:
        """A text that is the same for two architectures exactly when they build the same network."""
        return architecture.text

    def simplify(self, architecture: Architecture) -> Architecture:
        """An architecture that builds the same network and names nothing that the network does not use."""
        return architecture

    @cached_property
    def encoding_names(self) -> tuple[str, ...]:
        """What each column of `encode` means: `choice=option`."""
        return tuple(column for choice in self.choices for column in choice.columns)

    def encode(self, architectures: Sequence[Architecture]) -> np.ndarray:
        """One row an architecture, one column an option: 1 where taken; all 0 for an inactive choice.

        A real number has one column, from 0 to 1 between its ends.
        """
        rows = np.zeros((len(architectures), len(self.encoding_names)), dtype=np.float32)
        start = 0
        for choice in self.choices:
            end = start + len(choice.columns)
            known: dict[Option, Sequence[float]] = {}
            for row, architecture in zip(rows, architectures, strict=True):
                if choice.name in architecture:
                    value = architecture[choice.name]
                    if value not in known:
                        known[value] = choice.encode(value)
                    row[start:end] = known[value]
            start = end
        return rows

    def graph(self, architecture: Architecture) -> Graph:
        """The architecture as a labelled graph. Raises `UsageError` where a space has none smaller than its network."""
        raise UsageError(
            f"space '{self.name}' has no graph of its own: trace its network with archscout.networks.tracing.trace."
        )

    def operator_counts(
        self, architectures: Sequence[Architecture], *, dead_operations: bool = False
    ) -> dict[str, np.ndarray]:
        """Groups of columns (n, columns) of which the time of a network is nearly a sum; the last is the finest.

        By default the `choices`, one column an option.

        Args:
            architectures: n of this space.
            dead_operations: whether the networks have operations that no input reaches or whose output reaches nothing.
        """
        return {"choices": self.encode(architectures).astype(float)}

    def constant(self, architectures: Sequence[Architecture]) -> np.ndarray:
        """Whether the output of each network does not depend on its input: (n,); where it is not known, no."""
        return np.zeros(len(architectures), dtype=bool)

    def extremes(self) -> Iterator[Architecture]:
        """Architectures at the ends: all first options, all last options (used to look for what meets a limit)."""
        for end in (0, -1):
            yield self.architecture({choice.name: choice.landmarks[end] for choice in self.choices})

    def references(self) -> Mapping[str, Architecture]:
        """Designs that people made by hand, by name and in several sizes: what a search has to be better than.

        They are worth trying first. Empty where there is no design in this space that is known to be good.
        """
        return {}

    def small_references(self) -> Mapping[str, Architecture]:
        """Designs for devices with little memory, by name: candidates where few references keep the limits."""
        return {}

    def named(self, text: str) -> Architecture:
        """The reference of that name, or the architecture that a text describes. Raises `UsageError`."""
        references = {**self.references(), **self.small_references()}
        if text.strip() in references:
            return references[text.strip()]
        try:
            return self.parse(text)
        except UsageError:
            # What is nearly a name was meant as one.
            if references and text.strip().replace("_", "").isalnum() and get_close_matches(text.strip(), references):
                raise UsageError(
                    f"space '{self.name}' has no reference design '{text.strip()}': {nearest(text.strip(), references)}"
                ) from None
            raise

    def check_task(self, task: Task) -> None:  # noqa: B027 - optional
        """Raises `UsageError` where the network cannot take this task's input."""

    def __repr__(self) -> str:
        return f"<Space {self.name}>"


def take(iterator: Iterator[Architecture], count: int) -> list[Architecture]:
    """The first `count` of an iterator, as a list."""
    return list(itertools.islice(iterator, count))


def _is_active(choice: Choice, values: Mapping[str, Option]) -> bool:
    if choice.condition is None:
        return True
    return choice.condition.choice in values and values[choice.condition.choice] in choice.condition.values


def _short(text: str) -> str:
    return text if len(text) <= 80 else text[:77] + "..."
