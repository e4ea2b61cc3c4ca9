"""How architectures come out of a training with shared weights: generators, best first, from which the caller takes the
first that keep its limits."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice

import numpy as np

from archscout.core.architecture import Architecture
from archscout.core.fresh import fresh
from archscout.core.offspring import mutant
from archscout.core.space import Space
from archscout.supernets.distributions import Distribution, is_product
from archscout.supernets.supernet import Supernet
from archscout.supernets.switched import switched
from archscout.supernets.weights import last_norm

Score = Callable[[Sequence[Architecture]], Sequence[float]]
"""Higher is better; NaN counts as worst."""

Admit = Callable[[Iterable[Architecture], int], list[Architecture]]
"""The first so many that keep every limit, in order."""

TRIES = 256
"""Of the most probable architectures, how many are tried before the search for one that keeps the limits begins."""


def likeliest(distribution: Distribution, admit: Admit, count: int, rng: np.random.Generator) -> list[Architecture]:
    """The `count` most probable different networks that keep every limit.

    Where hardly any of the most probable ones does, evolution looks for the most probable one that does. Where options
    cannot be combined freely, the first is `space.strongest`, and evolution goes on from there by the sum of weights.
    """
    space = distribution.space
    if not is_product(space):
        return _strongest(distribution, admit, count, rng)
    found = admit(islice(fresh(space, distribution.best_first(), set()), TRIES), count)
    if len(found) == count:
        return found

    def score(architectures: Sequence[Architecture]) -> list[float]:
        values: list[float] = distribution.log_probabilities(architectures).detach().tolist()
        return values

    more = evolve(space, score, admit, rng, first=found, most=4 * TRIES)
    known = {space.canonical(architecture) for architecture in found}
    return (found + [a for a, _ in more if space.canonical(a) not in known])[:count]


def _strongest(distribution: Distribution, admit: Admit, count: int, rng: np.random.Generator) -> list[Architecture]:
    space = distribution.space
    weights = {name: weight.tolist() for name, weight in distribution.weights().items()}
    tables = {choice.name: dict(zip(choice.options, weights[choice.name], strict=True)) for choice in space.choices}
    first = space.strongest(weights)

    def score(architectures: Sequence[Architecture]) -> list[float]:
        # An edge that is not there weighs nothing, however probable that is.
        return [sum(tables[name][o] for name, o in a.items() if o != "none") for a in architectures]

    return [a for a, _ in evolve(space, score, admit, rng, first=[first], most=4 * TRIES)[:count]]


def near_limit(admit: Admit, cost: Callable[[Sequence[Architecture]], Sequence[float]], use: float) -> Admit:
    """What also takes up at least the share `use` of a limit, with the cost of each in units of it."""

    def near(architectures: Iterable[Architecture], count: int) -> list[Architecture]:
        return admit((a for a in architectures if cost([a])[0] >= use), count)

    return near


def evolve(
    space: Space,
    score: Score,
    admit: Admit,
    rng: np.random.Generator,
    *,
    first: Sequence[Architecture] = (),
    most: int = 1000,
    population: int = 50,
    parents: int = 10,
    change: float = 0.1,
) -> list[tuple[Architecture, float]]:
    """Evolution on a cheap score, with the defaults of SPOS (Guo et al. 2020, arXiv 1904.00420).

    Generation after generation, half of the new ones are mutants (each choice changes with probability `change`, at
    least one does) and half are children of two of the best so far; what is missing is drawn at random. No network is
    scored twice, and none that breaks a limit is scored at all.

    Args:
        space: where to look.
        score: of a list of architectures.
        admit: keeps those that break no limit.
        rng: of every decision.
        first: architectures to start with.
        most: architectures that are scored in all.
        population: new ones a generation.
        parents: of the best so far, how many have offspring.
        change: see above.

    Returns:
        All that were scored with their scores, the best first.
    """
    seen: set[str] = set()
    scored: list[tuple[Architecture, float]] = []

    def unseen(candidates: Iterator[Architecture]) -> Iterator[Architecture]:
        return fresh(space, candidates, seen)

    start: Iterator[Architecture] = iter(first)
    while len(scored) < most:
        room = min(population, most - len(scored))
        best = [architecture for architecture, _ in scored[:parents]]
        batch = admit(unseen(start), room)
        start = iter(())
        if best:
            # Several times as many tries as places: in a small space most offspring have been seen.
            batch += admit(unseen(_mutants(space, best, rng, change, 10 * room)), (room - len(batch)) // 2)
            batch += admit(unseen(_children(space, best, rng, 10 * room)), room - len(batch))
        if len(batch) < room:
            batch += admit(unseen(space.sample(rng) for _ in range(20 * room)), room - len(batch))
        if not batch:
            break
        values = [value if np.isfinite(value) else -np.inf for value in score(batch)]
        scored += zip(batch, values, strict=True)
        scored.sort(key=lambda pair: -pair[1])
    return scored


def _mutants(
    space: Space, parents: Sequence[Architecture], rng: np.random.Generator, change: float, tries: int
) -> Iterator[Architecture]:
    for _ in range(tries):
        yield mutant(space, parents, rng, lambda parent: max(1, int(rng.binomial(len(parent), change))))


def _children(
    space: Space, parents: Sequence[Architecture], rng: np.random.Generator, tries: int
) -> Iterator[Architecture]:
    for _ in range(tries):
        one, other = (parents[int(rng.integers(len(parents)))] for _ in range(2))
        yield space.crossover(one, other, rng)


def norm_score(supernet: Supernet, architectures: Sequence[Architecture]) -> list[float]:
    """Of each, the sum over all places of its choices of the mean size of the scales of the chosen option's last batch
    normalisation (Chen et al. 2021, arXiv 2108.07375), those of numbers (`archscout.supernets.switched`) included.
    Options without one count nothing; no data is looked at."""
    tables: dict[str, dict[object, float]] = {}
    for name, places in supernet.mixed().items():
        tables[name] = {}
        for option, key in places[0].keys.items():
            norms = [last_norm(place.options[key]) for place in places]
            sizes = [float(norm.weight.detach().abs().mean()) for norm in norms if norm is not None]
            tables[name][option] = sum(sizes)
    simple = [supernet.space.simplify(architecture) for architecture in architectures]
    numbers = switched(supernet)
    return [
        sum(table[a[name]] for name, table in tables.items() if name in a) + sum(norm.scale(a) for norm in numbers)
        for a in simple
    ]
