"""The default method: a ladder of estimators from cheap to dear in which each rung filters for the next.

No single estimator wins at every budget: zero-cost scores are cheap and noisy, predictors need labels, training needs
time (White, Zela, Ru, Liu, Hutter 2021, arXiv 2104.01177). So many candidates get zero-cost scores; some of them are
trained for a few epochs, at first those that the scores like best; a predictor over encoding and scores learns from
these and chooses the next; the best go on to longer training by successive halving (Jamieson, Talwalkar 2016, arXiv
1502.07943); the top rung is full training. How well each rung told the next one is measured on the way, and decides how
sharply it filters. Where time is left, the ladder is climbed again.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Sequence
from functools import partial
from typing import Any, ClassVar

import numpy as np

from archscout.core.errors import UsageError
from archscout.core.method import Method, Run
from archscout.core.registry import register
from archscout.core.trial import Trial
from archscout.methods.guided import SCORES, guided
from archscout.methods.pool import Pool, check_pool, correlation, merit, score_names
from archscout.methods.race import few_examples, hand_made, race
from archscout.methods.strategy import affordable, check_trains, ranked
from archscout.strategies.pareto import order

LADDER_SCORES = "naswot+synflow+params"

ROUNDS = 3
"""Batches in which the lowest training rung is filled; after each, the predictor learns."""

SHARES = (0.15, 0.2, 0.65)
"""Of the training budget, for the rungs from the lowest to full training."""

TELLING = 0.3
"""Short trainings whose `reliability` is lower are not worth filtering by."""

BATCH = 16
"""Networks asked for at once where there is no plan of their number, by each worker where time is what is short.

Those trained together take less time each.
"""


FEW = 20.0
"""With fewer full trainings than this in the budget a ladder has too few networks a rung to tell anything."""

Ladder = dict[int, list[Trial]]
"""The trials of each training rung, by its epochs, the lowest first."""

Stage = tuple[int, float]
"""Epochs, and the share of the training budget."""


@register("method", "cascade")
class Cascade(Method):
    """Zero-cost scores, then successive halving over real training, then full training of the finalists.

    Args:
        scores: the zero-cost scores of the first rung, joined by `+`; by default those of `LADDER_SCORES`, and where
            trainings are counted those of the guided search.
        share: of a time budget, for the zero-cost rung.
        pool: candidates of the zero-cost rung at most.
        eta: the factor between the epochs of one rung and the next.
    """

    plans_final: ClassVar[bool] = True

    def __init__(self, scores: str = "default", share: float = 0.1, pool: int = 2000, eta: int = 3) -> None:
        self.name = "cascade"
        self.scores = None if scores == "default" else score_names(self.name, scores)
        self.most = check_pool(self.name, pool)
        if not 0 < share < 1:
            raise UsageError(f"method 'cascade' needs a share between 0 and 1 for its scores, not share={share}.")
        if type(eta) is not int or eta < 2:
            raise UsageError(f"method 'cascade' needs an eta of 2 or more, not eta={eta}.")
        self.share, self.eta = share, eta

    def search(self, run: Run) -> list[Trial]:
        check_trains(run, self.name)
        if not run.objectives and (run.trainings < FEW or (hand_made(run) and few_examples(run))):
            return race(run)
        climbs = bool(run.cheaper or run.objectives)
        usual = score_names(self.name, LADDER_SCORES if climbs else SCORES)
        pool = Pool(run, usual if self.scores is None else self.scores)
        pool.add([trial.architecture for trial in run.start])
        pool.add([candidate.architecture for candidate in run.candidates])
        self._score(run, pool)
        if not climbs:
            # Where every training counts alike, a short one is as dear as a full one, and tells less.
            return ranked(run, guided(run, pool))
        lengths = fidelities(run.epochs, self.eta) if run.cheaper else [run.epochs]
        ladder: dict[int, list[Trial]] = {run.fidelity(epochs): [] for epochs in lengths}
        ladder[run.fidelity(run.epochs)] += run.start
        stages = plan(ladder)
        for bracket in itertools.count():
            if not run.decide(f"bracket {bracket}", partial(self._affords, run, stages, bracket == 0)):
                break
            before = sum(map(len, ladder.values()))
            self._climb(run, pool, ladder, stages, bracket)
            if sum(map(len, ladder.values())) == before:
                break  # the space has nothing new to train
        self._spend_the_rest(run, ladder)
        run.note("rungs", self._notes(run, pool, ladder))
        return ranked(run, next((rung for rung in reversed(ladder.values()) if any(t.defined for t in rung)), []))

    def _score(self, run: Run, pool: Pool) -> None:
        """Fill the pool: to its size, or for its share of a time budget."""
        start, whole = run.seconds_left(), run.seconds_left() * self.share
        # With a budget of trials: twenty candidates for each training, which costs about as much as one short training.
        most = self.most if math.isfinite(whole) else int(min(self.most, 20 * run.trials_left()))
        while len(pool) < most:
            step = len(pool)
            if not run.decide(f"score after {step}", lambda: start - run.seconds_left() < whole or math.isinf(whole)):
                break
            pool.extend(min(32, most - step))
            if len(pool) == step:
                break

    def _affords(self, run: Run, stages: Sequence[Stage], first: bool) -> bool:
        """Whether what is left pays for another climb, with one full training at its end."""
        return first or self._count(run, stages, len(stages) - 1, whole=True) >= 1

    def _count(self, run: Run, stages: Sequence[Stage], place: int, whole: bool = False) -> float:
        """How many a stage may train: its share of what is left for it and the stages after it (or of the whole)."""
        rest = stages if whole else stages[place:]
        epochs, share = stages[place]
        if math.isfinite(run.trials_left()):
            return run.trials_left() * (share / epochs) / sum(s / e for e, s in rest)
        return affordable(run, epochs, run.seconds_left() * share / sum(s for _, s in rest))

    def _planned(self, run: Run, stages: Sequence[Stage], place: int, factor: float) -> int:
        """How many a stage trains. Of few trials, one is kept for the last stage: full training."""
        count = max(1, round(self._count(run, stages, place) * factor))
        left = run.trials_left()
        return count if place == len(stages) - 1 or math.isinf(left) else max(0, min(count, int(left) - 1))

    def _climb(self, run: Run, pool: Pool, ladder: Ladder, stages: Sequence[Stage], bracket: int) -> None:
        """Once up the ladder: new candidates on the lowest rung, the best that have not gone on to each next one."""
        lowest = stages[0][0]
        below: list[Trial] = []
        spearman: float | None = None
        for place, (epochs, _) in enumerate(stages):
            sharp = 1.0 if epochs == lowest else sharpness(spearman)
            planned = partial(self._planned, run, stages, place, sharp)
            count = run.decide(f"bracket {bracket} stage {place}", planned)
            rung = ladder[epochs]
            if not count:
                continue
            if epochs == lowest or not below:
                chosen = pool.choose(rung, min(count, len(pool)), run.rng("choose", bracket, place))
            else:
                done = {trial.canonical for trial in rung}
                chosen = [t.architecture for t in promising(run, below) if t.canonical not in done][:count]
            rung += run.evaluate(chosen, run.estimator, fidelity=epochs, phase=phase_name(epochs, run.epochs))
            if place == 0 and len(stages) > 1 and reliability(run, rung) < TELLING:
                self._skip_to_full_training(run, pool, ladder)
                return
            # How well the rung below told this one says how sharply this one may filter for the next.
            spearman = (
                pool.agreement(rung)["spearman"]
                if epochs == lowest
                else agreement("", below, "", rung, 0.0)["spearman"]
            )
            below = rung

    def _skip_to_full_training(self, run: Run, pool: Pool, ladder: Ladder) -> None:
        """Where short trainings tell networks apart no better than chance does: all that is left, in full rounds."""
        top = ladder[run.epochs]
        phase = phase_name(run.epochs, run.epochs)
        for step in itertools.count():
            chosen = pool.choose(top, batch(run), run.rng("skip", step))
            more = run.evaluate(chosen, run.estimator, fidelity=run.epochs, phase=phase)
            top += more
            if not more:
                return

    def _spend_the_rest(self, run: Run, ladder: Ladder) -> None:
        """Train in full the best that have not been, as long as the budget lasts."""
        top = ladder[run.epochs]
        phase = phase_name(run.epochs, run.epochs)
        for rung in list(reversed(ladder.values()))[1:]:
            done = {trial.canonical for trial in top}
            waiting = iter([t.architecture for t in promising(run, rung) if t.canonical not in done])
            while some := list(itertools.islice(waiting, batch(run))):
                more = run.evaluate(some, run.estimator, fidelity=run.epochs, phase=phase)
                top += more
                if not more:
                    return

    def _notes(self, run: Run, pool: Pool, ladder: Ladder) -> list[dict[str, Any]]:
        """For the report: how well each rung told the next."""
        notes = [pool.agreement(next(iter(ladder.values())))]
        for (below, lower), (above, upper) in itertools.pairwise(ladder.items()):
            each = mean_seconds(lower)
            notes.append(agreement(f"{run.estimator}@{below}", lower, f"{run.estimator}@{above}", upper, each))
        return notes


def plan(rungs: Iterable[int]) -> list[Stage]:
    """The stages of one climb: the lowest rung in rounds, then each higher one.

    >>> [epochs for epochs, _ in plan([3, 9, 27])]
    [3, 3, 3, 9, 27]
    """
    lowest, *above = rungs
    shares = SHARES[-1 - len(above) :]
    return [(lowest, shares[0] / ROUNDS)] * ROUNDS + list(zip(above, shares[1:], strict=True))


def batch(run: Run) -> int:
    """How many networks are asked for at once where there is no plan of their number."""
    return BATCH * (run.workers if math.isfinite(run.seconds_left()) else 1)


def mean_seconds(trials: Sequence[Trial]) -> float:
    """What each of these has taken."""
    return float(np.mean([trial.seconds for trial in trials])) if trials else 0.0


def reliability(run: Run, trials: Sequence[Trial]) -> float:
    """The share of the variance of these accuracies that is not the chance of a finite validation split.

    1 minus the mean of p (1 - p) / n over the variance between networks; 1 where the metric is not an accuracy.
    """
    values = np.asarray([trial.value for trial in trials if trial.defined])
    if str(getattr(run.task, "metric", "")) != "accuracy" or len(values) < 4:
        return 1.0
    chance = float((values * (1 - values)).mean() / len(run.task.valid))
    return 1.0 - chance / max(float(values.var(ddof=1)), 1e-12)


def fidelities(epochs: int, eta: int) -> list[int]:
    """The epochs of each rung, up to full training.

    >>> fidelities(27, 3)
    [3, 9, 27]
    """
    return sorted({max(1, round(epochs / eta**place)) for place in range(3)})


def promising(run: Run, trials: Sequence[Trial]) -> list[Trial]:
    """The defined trials of one rung, the best first; with several objectives by Pareto front and crowding."""
    defined = [trial for trial in trials if trial.defined]
    if run.objectives and defined:
        rows = [[-merit(trial), *(trial.costs.get(key, math.inf) for key in run.objectives)] for trial in defined]
        return [defined[i] for i in order(np.asarray(rows))]
    return sorted(defined, key=lambda trial: (-merit(trial), trial.number))


def phase_name(epochs: int, full: int) -> str:
    """How the report calls a rung."""
    return "final training" if epochs == full else f"training, {epochs} epoch{'s' if epochs > 1 else ''}"


def sharpness(spearman: float | None) -> float:
    """By what factor more (or fewer) than planned go on: a rung that tells little must not filter sharply."""
    return 1.0 if spearman is None else float(np.clip(1.5 - spearman, 0.75, 1.5))


def agreement(below: str, lower: Sequence[Trial], above: str, upper: Sequence[Trial], seconds: float) -> dict[str, Any]:
    """How well one rung told the next, on the architectures that both trained."""
    by_canonical = {trial.canonical: trial for trial in lower if trial.defined}
    pairs = [(merit(by_canonical[t.canonical]), merit(t)) for t in upper if t.defined and t.canonical in by_canonical]
    return correlation(below, above, pairs, seconds)
