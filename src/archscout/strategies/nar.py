"""Sampling by what the best tier is made of: the search of NAR."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from archscout.core.architecture import Architecture
from archscout.core.choice import Option
from archscout.core.errors import UsageError
from archscout.core.registry import register
from archscout.core.seeds import stream
from archscout.core.space import Space
from archscout.core.trial import History, Trial
from archscout.estimators.predictors.base import Predictor
from archscout.estimators.predictors.nar import NAR, TIERS, tiers
from archscout.strategies.advised import Advised

SORTED = 500
"""Random architectures that the ranker orders for the statistics."""

APART = 0.1
"""The divergence, in nats, from which on the best tier is made otherwise than a low one."""

GROWTH, TRIES = 1.5, 100


@register("strategy", "nar")
def nar(predictor: str = "nar", start: int = 50, pool: int = 128) -> TierSampling:
    """Samples what the best tier is made of, tries the best ranked (NAR, Guo et al. 2022, arXiv 2201.12725)."""
    return TierSampling("nar", predictor, start, pool)


class TierSampling(Advised):
    """Half of a pool follows the statistics of the best tier, half is uniform; the best ranked of its tier is tried.

    The first architectures are random, and teach the ranker (`archscout.estimators.predictors.nar`). It orders 500
    random ones, whose fifths are the tiers: for each choice the frequency of its options, and for each option how often
    it is taken, are counted in each. Where those of the best tier differ from both of the two lowest (Kullback-Leibler
    divergence above 0.1 nats), architectures are drawn like them; uniformly where not. Each proposal is the highest
    score among those that the ranker puts into its best tier.

    Published are 1,000 random architectures of NAS-Bench-201, then 50 rounds of which the top 5 are tried, and a ranker
    that learns once. Here it learns again when half as many more are known, and each proposal has a pool of its own.
    Reconstructed: the statistics are of equal fifths, as the tiers of a ranker that has learned from what a search
    chose are not; published ones are of multiply-adds and parameters, as upper limits, beside those of edges, here of
    how often an option is taken, which needs no task, and is met by rejection (100 attempts); the threshold, chosen on
    CIFAR-10 of NAS-Bench-201, is for smoothed frequencies, and not for the softmax of counts.

    Args:
        name: of the method.
        predictor: an estimator `nar`, by its name.
        start: random architectures before the first ranker.
        pool: architectures that are looked at for each proposal.
    """

    most: ClassVar[int | None] = None
    """All teach, for the published ranker learns from 1,000."""

    def __init__(self, name: str, predictor: str, start: int, pool: int) -> None:
        super().__init__(name, predictor, start, pool)
        if not isinstance(self.learned.predictor, NAR):
            raise UsageError(
                f"strategy '{name}' needs a predictor of tiers that learns from the architecture alone, not "
                f"'{predictor}': name nar, or nar:encoding=graph."
            )
        if start < TIERS:
            raise UsageError(f"strategy '{name}' needs a start of {TIERS} or more, not start={start}.")
        self._counted: tuple[Predictor, Statistics] | None = None

    def propose(self, space: Space, history: History, rng: np.random.Generator) -> Architecture:
        ranker = self.predictor(space, history)
        if ranker is None:
            for choice in space.choices:
                _ = choice.options  # a real number has none, and says so, before any is tried
            return self.drawn(space, history, rng)
        assert isinstance(ranker, NAR)
        if self._counted is None or self._counted[0] is not ranker:
            draws = stream(0, "nar", "sorted")
            listed = [space.sample(draws) for _ in range(SORTED)]
            self._counted = ranker, Statistics.of(space, listed, tiers(np.asarray(ranker.predict(listed))))
        statistics = self._counted[1]
        drawn = [statistics.sample(rng) if number % 2 else space.sample(rng) for number in range(self.pool)]
        fresh = {space.canonical(one): one for one in drawn}
        pool = [one for form, one in fresh.items() if form not in history.seen] or drawn
        score = np.asarray(ranker.predict(pool))
        return pool[int(np.lexsort((-score, ranker.tier_of(pool) > 0))[0])]

    def lesson(self, known: int) -> int:
        size = self.batch
        while (more := int(np.ceil(size * GROWTH))) <= known:
            size = more
        return size if known >= size else 0

    def _learn(self, space: Space, known: Sequence[Trial]) -> Predictor | None:
        return super()._learn(space, known) if len(known) >= TIERS else None


@dataclass(frozen=True)
class Statistics:
    """What the best tier is made of, as far as low tiers are made otherwise.

    `options` are the probabilities of the options of a choice; `counts` maps an option, as text, to the probability
    that it is taken 0, 1, ... times, divided by the largest of them.
    """

    space: Space
    options: dict[str, np.ndarray]
    counts: dict[str, np.ndarray]

    @classmethod
    def of(cls, space: Space, architectures: list[Architecture], tier: np.ndarray) -> Statistics:
        """From architectures and the tier of each."""
        options, counts = {}, {}
        for choice in space.choices:
            active = [place for place, one in enumerate(architectures) if choice.name in one]
            taken = np.asarray([choice.index(architectures[place][choice.name]) for place in active], dtype=np.int64)
            weights = _apart(tier[active], taken, len(choice.options))
            if weights is not None:
                options[choice.name] = weights
        for option in dict.fromkeys(str(option) for choice in space.choices for option in choice.options):
            times = np.asarray([_times(one, option) for one in architectures])
            weights = _apart(tier, times, len(space.choices) + 1)
            if weights is not None:
                counts[option] = weights / weights.max()
        return cls(space, options, counts)

    def sample(self, rng: np.random.Generator) -> Architecture:
        """One whose options are drawn, and whose counts are accepted, as often as they are found in the best tier."""
        architecture = self.space.sample(rng)
        for _ in range(TRIES):
            plain = self.space.sample(rng)
            drawn: dict[str, Option] = {
                choice.name: choice.options[int(rng.choice(len(choice.options), p=self.options[choice.name]))]
                for choice in self.space.choices
                if choice.name in self.options
            }
            try:
                architecture = self.space.architecture({**plain, **drawn})
            except UsageError:  # not every assignment is an architecture
                continue
            passes = np.prod([of[_times(architecture, option)] for option, of in self.counts.items()])
            if rng.random() < passes:
                break
        return architecture


def _times(architecture: Architecture, option: str) -> int:
    """How many choices take this option."""
    return sum(str(value) == option for value in architecture.values())


def _apart(tier: np.ndarray, values: np.ndarray, size: int) -> np.ndarray | None:
    """The frequencies of 0 .. size - 1 in the best tier; None where a low tier has them much alike, or has none."""
    divergences = {}
    for which in (0, TIERS - 2, TIERS - 1):
        inside = values[tier == which]
        if not len(inside):
            return None
        # One more of each value that occurs: what has not been seen yet is not impossible.
        seen = np.bincount(values, minlength=size) > 0
        divergences[which] = (np.bincount(inside, minlength=size) + seen) / (len(inside) + seen.sum())
    best = divergences.pop(0)
    some = best > 0
    apart = all((best[some] * np.log(best[some] / low[some])).sum() > APART for low in divergences.values())
    return best if apart else None
