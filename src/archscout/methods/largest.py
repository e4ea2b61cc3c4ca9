"""The largest network: what every system has to beat, without a look at data."""

from __future__ import annotations

import itertools
import math

from archscout.core.architecture import Architecture
from archscout.core.method import Run
from archscout.core.registry import register
from archscout.methods.training_free import Scored, TrainingFree, first, whole

NEIGHBOURS = 1000
"""That are counted, at most, before a change."""


@register("method", "largest")
class Largest(TrainingFree):
    """A control: the architecture with most parameters that keeps every limit, found by counting alone.

    Ascent over single changes, from each extreme of the space and from a random architecture: exact where what options
    add to the count does not hang on other choices. No source: it is what a pick by any score has to be compared with,
    since scores that grow with the network find it too.

    Args:
        rounds: the most changes from one start.
        finalists: see `archscout.methods.training_free.TrainingFree`.
    """

    def __init__(self, rounds: int = 100, finalists: int = 1) -> None:
        super().__init__(finalists)
        self.name = "largest"
        self.rounds = whole(rounds, "rounds")

    def find(self, run: Run) -> list[Architecture]:
        scored = Scored(run, ["params"])
        for start in [*run.space.extremes(), run.space.sample(run.rng("largest"))]:
            self._climb(run, scored, start)
        return scored.best_first(first(scored.values))

    def _climb(self, run: Run, scored: Scored, start: Architecture) -> None:
        current, value = start, -math.inf
        for _ in range(self.rounds):
            near = [current, *itertools.islice(run.space.neighbours(current), NEIGHBOURS)]
            scored.extend(near, len(near))
            places = [scored.place.get(run.space.canonical(each)) for each in near]
            known = [
                (scored.values[place, 0], each) for place, each in zip(places, near, strict=True) if place is not None
            ]
            best, architecture = max(known, key=lambda pair: pair[0], default=(-math.inf, current))
            if not best > value:
                break
            current, value = architecture, best
