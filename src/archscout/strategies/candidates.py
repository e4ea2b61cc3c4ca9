"""Inner searches: which candidates a predictor is asked about, where it cannot be asked about all.

Each takes the space, the history, how many candidates are wanted, a function that says what a predictor expects of
architectures, and a random stream; it gives architectures of networks that have not been asked for yet.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from archscout.core.architecture import Architecture
from archscout.core.errors import UsageError, nearest
from archscout.core.offspring import mutant
from archscout.core.space import Space
from archscout.core.trial import History

PARENTS = 5
"""Of the best trials, which are mutated."""

GENERATIONS, CLIMBERS, STEPS = 5, 4, 20
"""Of the evolution on what is expected; starts and steps of the local search on it."""


@dataclass(frozen=True)
class Search:
    """What an inner search is about."""

    space: Space
    history: History
    count: int
    expect: Callable[[Sequence[Architecture]], np.ndarray]

    def new(self, architectures: Iterable[Architecture]) -> list[Architecture]:
        """Those whose networks nobody has asked for, each once."""
        known = self.history.seen | {pending.canonical for pending in self.history.pending}
        fresh: dict[str, Architecture] = {}
        for one in architectures:
            canonical = self.space.canonical(one)
            if canonical not in known:
                fresh.setdefault(canonical, one)
        return list(fresh.values())

    def best(self) -> list[Architecture]:
        """The best trials so far."""
        defined = sorted((trial for trial in self.history if trial.defined), key=lambda trial: trial.rank)
        return [trial.architecture for trial in defined[:PARENTS]]

    def mutant(self, parents: Sequence[Architecture], rng: np.random.Generator) -> Architecture:
        """One of several, with one or two mutations."""
        return mutant(self.space, parents, rng, lambda _: int(rng.integers(1, 3)))


Inner = Callable[[Search, np.random.Generator], list[Architecture]]


def sampled(search: Search, rng: np.random.Generator) -> list[Architecture]:
    """Random architectures."""
    return search.new(search.space.sample(rng) for _ in range(search.count))


def mutated(search: Search, rng: np.random.Generator) -> list[Architecture]:
    """Mutants of the best trials."""
    parents = search.best()
    return search.new(search.mutant(parents, rng) for _ in range(search.count))


def mixed(search: Search, rng: np.random.Generator) -> list[Architecture]:
    """Random architectures and mutants of the best trials in turn, so that what lies far off is looked at too."""
    parents = search.best()
    return search.new(
        search.mutant(parents, rng) if place % 2 else search.space.sample(rng) for place in range(search.count)
    )


def evolved(search: Search, rng: np.random.Generator) -> list[Architecture]:
    """Generations of mutants, of which those that are expected to be best become parents."""
    candidates = mixed(search, rng)
    for _ in range(GENERATIONS - 1):
        if not candidates:
            break
        order = np.argsort(-search.expect(candidates), kind="stable")
        parents = [candidates[int(place)] for place in order[: 2 * PARENTS]]
        candidates = search.new([*candidates, *(search.mutant(parents, rng) for _ in range(search.count // 4))])
    return candidates


def climbed(search: Search, rng: np.random.Generator) -> list[Architecture]:
    """Neighbours on the way uphill, by what is expected, from the best trials and from random architectures."""
    candidates: list[Architecture] = []
    starts = [*search.best()[: CLIMBERS // 2], *(search.space.sample(rng) for _ in range(CLIMBERS // 2))]
    for place in starts:
        height = -np.inf
        for _ in range(STEPS):
            near = search.new(search.space.neighbours(place))
            if not near:
                break
            candidates += near
            expected = search.expect(near)
            if expected.max() <= height:
                break
            place, height = near[int(np.argmax(expected))], float(expected.max())
    return search.new(candidates)


INNER: Mapping[str, Inner] = {
    "random": sampled, "mutation": mutated, "mixed": mixed, "evolution": evolved, "local": climbed,
}  # fmt: skip


def inner_named(name: str) -> Inner:
    """An inner search by its name. Raises `UsageError`."""
    if name not in INNER:
        raise UsageError(f"there is no inner search '{name}': {nearest(name, INNER)}")
    return INNER[name]
