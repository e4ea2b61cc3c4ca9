"""Plans: which paths run in a training step, and in which role. A plan never looks at a loss."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from archscout.core.architecture import Architecture
from archscout.core.choice import Option
from archscout.supernets.extent import ends, nearest_largest
from archscout.supernets.gates import soft, straight_through
from archscout.supernets.step import Job, Step

Plan = Callable[[Step], list[Job]]


def dense(step: Step) -> list[Job]:
    """All options at once, weighted by their probabilities (DARTS)."""
    return [Job(soft(step.distribution))]


def relaxed(step: Step) -> list[Job]:
    """One option of each choice, by a straight-through sample at the step's temperature (GDAS)."""
    return [Job(straight_through(step.distribution, step.rng("gates"), step.temperature))]


def uniform(step: Step) -> list[Job]:
    """One architecture, as the space draws it, whatever the distribution has learnt."""
    return [Job(step.supernet.space.sample(step.rng("paths")))]


class Samples:
    """So many architectures drawn from the distribution: one for single-path training, several for PARSEC.

    With `balanced`, together they take every option as often as its probability says (`Distribution.sample`).
    """

    def __init__(self, count: int = 1, *, balanced: bool = False) -> None:
        self.count, self.balanced = count, balanced

    def __call__(self, step: Step) -> list[Job]:
        drawn = step.distribution.sample(self.count, step.rng("paths"), balanced=self.balanced)
        return [Job(architecture) for architecture in drawn]


class SamplesByEntropy:
    """As many as the distribution is undecided: `factor` times its entropy in nats, rounded up, at least `least`.

    Yan et al. 2021, arXiv 2011.10949. With a single sample the importance weight would always be 1, and whatever was
    drawn would be reinforced; so `least` is 2.
    """

    def __init__(self, factor: float, least: int = 2, *, balanced: bool = False) -> None:
        self.factor, self.least, self.balanced = factor, least, balanced

    def __call__(self, step: Step) -> list[Job]:
        entropy = float(step.distribution.entropy().detach())
        count = max(self.least, math.ceil(self.factor * entropy - 1e-6))
        return Samples(count, balanced=self.balanced)(step)


def fair(step: Step) -> list[Job]:
    """As many paths as the widest choice has options; together they take every option of every choice equally often,
    give or take one (Chu et al. 2021, arXiv 1907.01845)."""
    space, rng = step.supernet.space, step.rng("paths")
    count = max(len(choice.options) for choice in space.choices)
    orders = {choice.name: rng.permutation(len(choice.options)) for choice in space.choices}
    jobs = []
    for place in range(count):
        values: dict[str, Option] = {
            choice.name: choice.options[int(orders[choice.name][place % len(choice.options)])]
            for choice in space.choices
        }
        jobs.append(Job(space.architecture(values)))
    return jobs


class Sandwich:
    """The largest architecture as teacher, the smallest and some random ones as students (Yu et al. 2020, arXiv
    2003.11142). Largest and smallest are those of `archscout.supernets.extent`."""

    def __init__(self, between: int = 2) -> None:
        self.between = between

    def __call__(self, step: Step) -> list[Job]:
        smallest, largest = ends(step.supernet)
        drawn = step.distribution.sample(self.between, step.rng("paths"))
        return [Job(largest, "teacher"), Job(smallest, "student"), *(Job(each, "student") for each in drawn)]


class Progressive:
    """Architectures of which only some kinds of choices have been opened; the others are at their largest.

    Args:
        count: architectures a step, drawn independently.
        opened: by kind (`archscout.networks.elastic.Kind`), how many options there are by now, from the largest down;
            all for None. Not named: the largest alone.
    """

    def __init__(self, count: int, opened: Mapping[str, int | None]) -> None:
        self.count, self.opened = count, opened

    def __call__(self, step: Step) -> list[Job]:
        space, rng = step.supernet.space, step.rng("paths")
        left = nearest_largest(step.supernet, self.opened)
        jobs = []
        for _ in range(self.count):
            values = {name: options[int(rng.integers(len(options)))] for name, options in left.items()}
            jobs.append(Job(space.architecture(values), "student"))
        return jobs


class CostBins:
    """One architecture from a cost bin that is drawn uniformly, so that rare costs are trained as often as common ones
    (Guo et al. 2020, arXiv 1904.00420).

    Args:
        architectures: to draw from.
        costs: of each, in any unit.
        bins: of equal width, between the lowest and the highest cost.
    """

    def __init__(self, architectures: Sequence[Architecture], costs: Sequence[float], bins: int = 8) -> None:
        values = np.asarray(costs, dtype=float)
        width = max(float(values.max() - values.min()), 1e-12) / bins
        place = np.minimum(((values - values.min()) / width).astype(int), bins - 1)
        self.bins = [
            [architectures[int(i)] for i in np.flatnonzero(place == number)]
            for number in range(bins)
            if bool((place == number).any())
        ]

    def __call__(self, step: Step) -> list[Job]:
        return [Job(architecture) for architecture in self.draw(step.rng("paths"), 1)]

    def draw(self, rng: np.random.Generator, count: int) -> list[Architecture]:
        """So many architectures, of as many different bins as there are."""
        order = [int(place) for _ in range(-(-count // len(self.bins))) for place in rng.permutation(len(self.bins))]
        members = [self.bins[place] for place in order[:count]]
        return [each[int(rng.integers(len(each)))] for each in members]
