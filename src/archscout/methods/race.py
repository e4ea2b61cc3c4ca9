"""A race of hand-made and drawn architectures at equal time: what to do where few trainings fit into the budget.

Successive halving (Jamieson, Talwalkar 2016, arXiv 1502.07943) over what is known before the search, in slices of equal
time rather than equal epochs: a network that trains quickly gets as many epochs as it can have. The winner's final
training comes after the search (`archscout.search.finish`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from typing import ClassVar

from archscout.core import options
from archscout.core.architecture import Architecture
from archscout.core.method import Candidate, Method, Run
from archscout.core.registry import register
from archscout.core.trial import Trial
from archscout.methods.strategy import check_trains

ALONE = 3.0
"""With fewer full trainings than this in the budget nobody races: the most promising candidate is trained."""


@register("method", "race")
class Race(Method):
    """The references of a space (or samples) by successive halving in slices of equal time.

    Args:
        most: how many start at most.
        keep: one in so many goes on to the next slice.
    """

    plans_final: ClassVar[bool] = True
    simulates: ClassVar[bool] = False

    def __init__(self, most: int = 8, keep: int = 2) -> None:
        self.name = "race"
        self.most = options.whole(most, "the most of method 'race'", 2)
        self.keep = options.whole(keep, "the keep of method 'race'", 2)

    def search(self, run: Run) -> list[Trial]:
        check_trains(run, self.name)
        return race(run, self.most, self.keep)


def race(run: Run, most: int = 8, keep: int = 2) -> list[Trial]:
    """The candidates of a run, best first: those that went furthest before those that were left behind."""
    candidates = list(run.candidates)
    if not candidates:
        candidates = [Candidate(a.text, a, 0.0, 0.0, timed=False) for a in _drawn(run, most)]
    known = any(candidate.name != candidate.architecture.text for candidate in candidates)
    if run.trainings < ALONE and known:
        return [_untrained(run, candidate, place) for place, candidate in enumerate(candidates)]
    alive = candidates[: max(2, min(most, int(run.trainings)))] if math.isfinite(run.trainings) else candidates[:most]
    rounds = max(1, math.ceil(math.log(len(alive), keep)))
    left = run.seconds_left()
    order: list[Trial] = []
    for place in range(rounds):
        share = left / rounds / len(alive) * run.workers
        seconds = run.decide(f"race {place}", partial(_value, share))
        epochs = [_epochs(run, candidate, seconds) for candidate in alive]
        trials = run.evaluate(
            [candidate.architecture for candidate in alive],
            run.estimator,
            fidelity=epochs,
            phase=f"race, round {place + 1}",
        )
        ranking = sorted((trial for trial in trials if trial.defined), key=lambda trial: trial.rank)
        first = {trial.canonical for trial in ranking}
        order = ranking + [trial for trial in order if trial.canonical not in first]
        going = {trial.canonical for trial in ranking[: max(1, len(alive) // keep)]}
        alive = [candidate for candidate in alive if run.space.canonical(candidate.architecture) in going]
        if len(alive) < 2:
            break
    if not order and known and run.seconds_left() <= 0:
        # Where the machine was slower than it was timed, the time is over; the final training has its own.
        return [_untrained(run, candidate, place) for place, candidate in enumerate(candidates)]
    return order


def _epochs(run: Run, candidate: Candidate, seconds: float | None) -> int:
    """As many as fit into a slice; full ones where the budget is in trials."""
    if seconds is None or not candidate.seconds:
        return run.epochs
    return max(1, int(seconds / candidate.seconds))


def _value(value: float) -> float | None:
    """As JSON can hold it."""
    return value if math.isfinite(value) else None


def _drawn(run: Run, count: int) -> Sequence[Architecture]:
    rng = run.rng("race")
    return run.admit((run.space.simplify(run.space.sample(rng)) for _ in range(1000)), count)


def _untrained(run: Run, candidate: Candidate, place: int) -> Trial:
    """What stands for an architecture that the final training is to train first of all."""
    return Trial(
        number=-1 - place,
        architecture=candidate.architecture,
        canonical=run.space.canonical(candidate.architecture),
        estimator="none",
        fidelity=None,
        status="completed",
        phase="chosen before the search",
    )
