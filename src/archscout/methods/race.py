"""A race of hand-made and drawn architectures at equal time: what to do where few trainings fit into the budget.

Successive halving (Jamieson, Talwalkar 2016, arXiv 1502.07943) over what is known before the search, in slices of equal
time rather than equal epochs: a network that trains quickly gets as many epochs as it can have. The winner's final
training comes after the search (`archscout.search.finish`).

Where validation examples are few, which network is best on them is mostly chance. Those that were drawn from the
training examples are then put together with them again, for cross-validation; and of networks that are no more than a
standard error behind the best, the one wins that was most promising before the search.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, ClassVar

from archscout.core import options
from archscout.core.architecture import Architecture
from archscout.core.method import Candidate, Method, Run
from archscout.core.registry import register
from archscout.core.trial import Trial
from archscout.estimators.folds import Folds
from archscout.methods.strategy import check_trains
from archscout.training.recipe import full_epochs

ALONE = 3.0
"""With fewer full trainings than this in the budget nobody races: the most promising candidate is trained."""

FEW_EXAMPLES = 100
"""Of validation: fewer tell little of the difference between two networks."""

FOLDS = (5, 4, 3, 2)
"""Of cross-validation, the most that there is time for."""

ENOUGH, LEAST = 2 / 3, 1 / 3
"""Of the epochs of a full training, from how many on more folds are better than more epochs, and with how many networks
can be compared at all."""


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
    known = hand_made(run)
    if run.trainings < ALONE and known:
        return [_untrained(run, candidate, place) for place, candidate in enumerate(candidates)]
    alive = candidates[: max(2, min(most, int(run.trainings)))] if math.isfinite(run.trainings) else candidates[:most]
    few = any(candidate.seconds for candidate in candidates) and few_examples(run)
    if few and "valid" in run.task.drawn:
        return cross_validated(run, alive) or _in_vain(run, candidates, known)
    places = {run.space.canonical(candidate.architecture): place for place, candidate in enumerate(candidates)}
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
        ranking = beyond_chance(run, ranking, places) if few else ranking
        first = {trial.canonical for trial in ranking}
        order = ranking + [trial for trial in order if trial.canonical not in first]
        going = {trial.canonical for trial in ranking[: max(1, len(alive) // keep)]}
        alive = [candidate for candidate in alive if run.space.canonical(candidate.architecture) in going]
        if len(alive) < 2:
            break
    return order or _in_vain(run, candidates, known)


def hand_made(run: Run) -> bool:
    """Whether reference designs are among the candidates."""
    return any(candidate.name != candidate.architecture.text for candidate in run.candidates)


def few_examples(run: Run) -> bool:
    """Whether the validation split is so small that it hardly tells one network from another."""
    return len(run.task.valid) < FEW_EXAMPLES


def cross_validated(run: Run, candidates: Sequence[Candidate]) -> list[Trial]:
    """The candidates by cross-validation, best first, all on the same folds: a fold that the time was too short to give
    to every one of them does not count. As they come where there is no time to compare two."""
    planned = run.decide("folds", partial(_folds, run, candidates))
    if planned is None:
        return [_untrained(run, candidate, place) for place, candidate in enumerate(candidates)]
    epochs = {run.space.canonical(candidates[place].architecture): count for place, count in planned["epochs"]}
    places = {run.space.canonical(candidate.architecture): place for place, candidate in enumerate(candidates)}
    run.say(f"few examples: {len(epochs)} networks are compared by cross-validation in {planned['folds']} folds.")
    alive = [candidates[place].architecture for place, _ in planned["epochs"]]
    trials: list[Trial] = []
    failed: set[str] = set()
    for number in range(planned["folds"]):
        if trials and not run.decide(f"fold {number}", partial(_in_time, run, trials)):
            break
        lengths = [epochs[run.space.canonical(architecture)] for architecture in alive]
        fold = Folds(planned["folds"], number, trials)
        fresh = run.evaluate(alive, fold, fidelity=lengths, phase="cross-validation")
        stopped = {trial.canonical for trial in fresh if trial.extra.get("stopped")}
        failed |= {trial.canonical for trial in fresh if not trial.defined} - stopped
        if len(fresh) < len(alive) or stopped:
            break
        trials = [trial for trial in fresh if trial.defined]
        alive = [trial.architecture for trial in trials]
        if not alive:
            return []
    trials = [trial for trial in trials if trial.canonical not in failed]
    if trials and (len(trials) == 1 or None not in [trial.std for trial in trials]):
        if trials[0].extra["folds"] < planned["folds"]:
            run.say(f"the time was enough for {trials[0].extra['folds']} of the folds, which all of them have.")
        return beyond_chance(run, sorted(trials, key=lambda trial: trial.rank), places)
    run.say("the time was over before two networks were compared on the same examples: the most promising is taken.")
    return [_untrained(run, candidate, place) for place, candidate in enumerate(candidates)
            if run.space.canonical(candidate.architecture) not in failed]  # fmt: skip


def _in_time(run: Run, trials: Sequence[Trial]) -> bool:
    """Whether another fold of all that have had one is expected to be done in time: by what the last one took."""
    seconds = [trial.seconds for trial in trials]
    return max(max(seconds), sum(seconds) / max(1, run.workers)) <= run.seconds_left()


def _folds(run: Run, candidates: Sequence[Candidate]) -> dict[str, Any] | None:
    """In how many folds, and for how many epochs, which candidates (by their places) can be compared; None for none.

    As many as there is time for, the first of them in any case: each gets an equal share of it.
    """
    full, left = full_epochs(run.task), max(0.0, run.seconds_left())
    examples = (len(run.task.train) + len(run.task.valid)) / len(run.task.train)

    def epochs(candidate: Candidate, share: float, folds: int) -> int:
        # Each of so many networks learns from all examples but those of its fold.
        return min(full, int(share / (candidate.seconds * examples * (folds - 1))))

    for count in range(len(candidates), 1, -1):
        share = run.workers * left / count
        fitting = [c for c in range(count) if epochs(candidates[c], share, 2) >= LEAST * full]
        if len(fitting) > 1 and fitting[0] == 0:
            lengths = {n: [(c, epochs(candidates[c], share, n)) for c in fitting] for n in FOLDS}
            folds = next((n for n in FOLDS if min(e for _, e in lengths[n]) >= ENOUGH * full), FOLDS[-1])
            return {"folds": folds, "epochs": lengths[folds]}
    return None


def beyond_chance(run: Run, ranking: Sequence[Trial], places: Mapping[str, int]) -> list[Trial]:
    """A ranking with those first that are no more than a standard error behind its best: the most promising before all.

    The rule of one standard error (Breiman, Friedman, Olshen, Stone 1984, "Classification and Regression Trees"), here
    of the difference of two values that are taken to be independent.

    Args:
        run: whose validation split tells the standard error where a trial does not.
        ranking: trials, best first.
        places: of each canonical form, how promising it was before the search (0 the most).
    """
    if not ranking:
        return []
    metric = run.task.metric

    def error(trial: Trial) -> float:
        if trial.std is not None:
            return trial.std
        return metric.standard_error(metric.oriented(trial.value), len(run.task.valid)) or 0.0

    best = ranking[0]
    level = [t for t in ranking if best.value - t.value <= math.hypot(error(best), error(t))]
    first = {trial.canonical for trial in level}
    level.sort(key=lambda trial: places.get(trial.canonical, len(places)))
    return [*level, *(trial for trial in ranking if trial.canonical not in first)]


def _in_vain(run: Run, candidates: Sequence[Candidate], known: bool) -> list[Trial]:
    """Where nothing was trained: the candidates as they are, if only time was missing.

    Where the machine was slower than it was timed, the time is over; the final training has its own.
    """
    if known and run.seconds_left() <= 0:
        return [_untrained(run, candidate, place) for place, candidate in enumerate(candidates)]
    return []


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
