"""Another space's networks with weights of few bits and N:M sparsity, which are choices like all others."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np
from torch import nn
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd

from archscout.core.architecture import Architecture
from archscout.core.choice import Choice, Option
from archscout.core.errors import UsageError
from archscout.core.registry import create, register
from archscout.core.space import Pick, Space
from archscout.core.task import Task
from archscout.networks.elastic import Elastic
from archscout.networks.few_bits import FewBits, M, attach
from archscout.networks.pick import ElasticDepth

BITS = (2, 4, 8)
KEPT = (1, 2, 4)
"""Of every four weights."""
_ENDS = 8
"""Bits of the first and the last layer, which stay whole."""
_SIGN = "@"
_PART = re.compile(r"w(\d)n(\d)")


@register("space", "compressed")
class Compressed(Space):
    """Networks of another space, each part of which has weights of 2, 4 or 8 bits, and 1, 2 or 4 of every four of them.

    Architecture, bits and sparsity are searched at once (joint compression and search: Wang et al. 2020, APQ, arXiv
    2006.08509). The text is that of the other space and the parts: `resnet8`'s architecture and `@w8n4_w4n4_w2n2` have
    8 bits, 4 bits, and 2 bits with 2:4. Networks are trained with rounded and left out weights from the first step on,
    the first and the last layer with 8 bits; cost `weight_bytes` counts bits and places of the weights that stay.

    Args:
        of: the other space, or its name.
        parts: into how many parts a network is divided, by the order of its uppermost layers but the first and last.
    """

    def __init__(self, of: Space | str = "classic", parts: int = 3) -> None:
        if type(parts) is not int or not 1 <= parts <= 16:
            raise UsageError(f"a compressed network has 1 to 16 parts, not {parts!r}.")
        self.of: Space = create("space", of) if isinstance(of, str) else of
        self.parts_count = parts
        self.name = f"compressed {self.of.name}"

    def identity(self) -> dict[str, Any]:
        """The other space, and what is chosen besides."""
        return {"space": self.of.digest, "choices": list(self._own)}

    @cached_property
    def _own(self) -> tuple[Choice, ...]:
        pairs = [
            (Choice(f"part{part}.bits", BITS, ordinal=True), Choice(f"part{part}.kept", KEPT, ordinal=True))
            for part in range(1, self.parts_count + 1)
        ]
        return tuple(itertools.chain.from_iterable(pairs))

    @property
    def choices(self) -> Sequence[Choice]:
        return (*self.of.choices, *self._own)

    # -- text ---------------------------------------------------------------------------------------------------------

    def format(self, values: Mapping[str, Option]) -> str:
        own = [values[choice.name] for choice in self._own]
        parts = "_".join(f"w{bits}n{kept}" for bits, kept in zip(own[::2], own[1::2], strict=True))
        return f"{self.of.format(self._inner(values))}{_SIGN}{parts}"

    def read(self, text: str) -> dict[str, Option]:
        before, sign, after = text.strip().rpartition(_SIGN)
        parts = after.split("_")
        matches = [_PART.fullmatch(part) for part in parts]
        if not sign or len(parts) != self.parts_count or not all(matches):
            raise UsageError(
                f"'{text[:80]}' is no compressed network: write an architecture, {_SIGN}, and {self.parts_count} parts "
                "as w4n2 (bits of weights, and how many of four stay) with _ between them."
            )
        numbers = [int(number) for match in matches if match for number in match.groups()]
        own = {choice.name: number for choice, number in zip(self._own, numbers, strict=True)}
        return {**self.of.named(before), **own}

    # -- networks -----------------------------------------------------------------------------------------------------

    def network(self, task: Task, pick: Pick) -> nn.Module:
        network: nn.Module = self.of.network(task, pick)
        if any(isinstance(m, ElasticDepth) or any(map(_elastic, getattr(m, "numbers", ()))) for m in network.modules()):
            raise UsageError(
                f"networks of space '{self.of.name}' cannot share weights of few bits, for scales hang on widths and "
                "parts on depths: take a space without them (nasbench201), or a method that trains each network."
            )
        sections = _sections(network, self.parts_count + 2)
        layers = [(place, layer) for place, section in enumerate(sections) for layer in _weighted(section)]
        for number, (place, layer) in enumerate(layers):
            # Between the first and the last section, which hold little but the ends.
            part = (place - 1) * self.parts_count // max(1, len(sections) - 2)
            part = min(max(part, 0), self.parts_count - 1) + 1
            ends = number in (0, len(layers) - 1)
            bits = _ENDS if ends else pick.number(f"part{part}.bits")
            kept = M if ends else pick.number(f"part{part}.kept")
            attach(layer, FewBits(bits, kept))
        return network

    def check_task(self, task: Task) -> None:
        self.of.check_task(task)

    def caveats(self, task: Task) -> list[str]:
        return self.of.caveats(task)

    # -- the set: that of the other space, times the choices of its own -----------------------------------------------

    def size(self) -> int:
        size: int = self.of.size() * (len(BITS) * len(KEPT)) ** self.parts_count
        return size

    def __iter__(self) -> Iterator[Architecture]:
        for inner in self.of:
            for values in itertools.product(*(choice.options for choice in self._own)):
                yield self._joined(inner, {c.name: value for c, value in zip(self._own, values, strict=True)})

    def sample(self, rng: np.random.Generator) -> Architecture:
        return self._joined(self.of.sample(rng), {choice.name: choice.draw(rng) for choice in self._own})

    def mutate(self, architecture: Architecture, rng: np.random.Generator) -> Architecture:
        """The other space's mutant, or one of the own choices changed: either with one half."""
        inner, own = self.inner(architecture), self._values(architecture)
        if rng.random() < 0.5:
            return self._joined(self.of.mutate(inner, rng), own)
        choice = self._own[int(rng.integers(len(self._own)))]
        return self._joined(inner, {**own, choice.name: choice.another(own[choice.name], rng)})

    def crossover(self, first: Architecture, second: Architecture, rng: np.random.Generator) -> Architecture:
        inner = self.of.crossover(self.inner(first), self.inner(second), rng)
        parents = (first, second)
        own = {choice.name: parents[int(rng.integers(2))][choice.name] for choice in self._own}
        return self._joined(inner, own)

    def neighbours(self, architecture: Architecture) -> Iterator[Architecture]:
        inner, own = self.inner(architecture), self._values(architecture)
        for neighbour in self.of.neighbours(inner):
            yield self._joined(neighbour, own)
        for choice in self._own:
            for option in choice.options:
                if option != own[choice.name]:
                    yield self._joined(inner, {**own, choice.name: option})

    def extremes(self) -> Iterator[Architecture]:
        for inner in self.of.extremes():
            for end in (0, -1):
                yield self._joined(inner, {choice.name: choice.options[end] for choice in self._own})

    def references(self) -> Mapping[str, Architecture]:
        """Those of the other space, with 8 bits and whole."""
        whole = {choice.name: choice.options[-1] for choice in self._own}
        return {name: self._joined(design, whole) for name, design in self.of.references().items()}

    # -- forms --------------------------------------------------------------------------------------------------------

    def canonical(self, architecture: Architecture) -> str:
        parts = architecture.text.rpartition(_SIGN)[2]
        return f"{self.of.canonical(self.inner(architecture))}{_SIGN}{parts}"

    def simplify(self, architecture: Architecture) -> Architecture:
        return self._joined(self.of.simplify(self.inner(architecture)), self._values(architecture))

    def constant(self, architectures: Sequence[Architecture]) -> np.ndarray:
        return self.of.constant([self.inner(architecture) for architecture in architectures])

    def inner(self, architecture: Architecture) -> Architecture:
        """The architecture of the other space."""
        values = self._inner(architecture)
        return Architecture(self.of.format(values), tuple(values.items()))

    def _inner(self, values: Mapping[str, Option]) -> dict[str, Option]:
        own = {choice.name for choice in self._own}
        return {name: value for name, value in values.items() if name not in own}

    def _values(self, architecture: Mapping[str, Option]) -> dict[str, Option]:
        return {choice.name: architecture[choice.name] for choice in self._own}

    def _joined(self, inner: Architecture, own: Mapping[str, Option]) -> Architecture:
        values = {**inner, **own}
        return Architecture(self.format(values), tuple(values.items()))


def _elastic(number: Any) -> bool:
    return isinstance(number, Elastic)


def _sections(network: nn.Module, least: int) -> list[nn.Module]:
    """The uppermost layers; where they are few, what layers in a row among them are made of, too."""
    sections = list(network.children())
    while len(sections) < least and any(isinstance(section, nn.Sequential) for section in sections):
        sections = [part for section in sections
                    for part in (section.children() if isinstance(section, nn.Sequential) else (section,))]  # fmt: skip
    return sections


def _weighted(section: nn.Module) -> Iterator[nn.Module]:
    for layer in section.modules():
        if isinstance(layer, nn.Linear) or (isinstance(layer, _ConvNd) and not isinstance(layer, _ConvTransposeNd)):
            yield layer
