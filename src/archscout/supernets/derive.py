"""How architectures come out of a training with shared weights: generators, best first, from which the caller takes the
first that keep its limits."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import islice

import numpy as np

from archscout.core.architecture import Architecture
from archscout.core.evolution import Admit, evolve
from archscout.core.fresh import fresh
from archscout.supernets.distributions import Distribution, is_product
from archscout.supernets.supernet import Supernet
from archscout.supernets.switched import switched
from archscout.supernets.weights import last_norm

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
    admitted = admit(islice(fresh(space, distribution.best_first(), set()), TRIES), count)
    if len(admitted) == count:
        return admitted

    def score(architectures: Sequence[Architecture]) -> list[float]:
        values: list[float] = distribution.log_probabilities(architectures).detach().tolist()
        return values

    more = evolve(space, score, admit, rng, first=admitted, most=4 * TRIES)
    known = {space.canonical(architecture) for architecture in admitted}
    return (admitted + [a for a, _ in more if space.canonical(a) not in known])[:count]


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
