"""Search by a Gaussian process on architecture and zero-cost scores, asked anew after every few trainings.

Where trainings are counted, this finds the best network of a table in fewer of them than any strategy that sees the
architecture alone: scores tell at the start where to look, and are features among others as soon as trainings tell
more. Scores as features of a surrogate are from White, Zela, Ru, Liu, Hutter (2021, arXiv 2104.01177, OMNI); the loop
is that of WeakNAS (Wu et al. 2021, arXiv 2102.10490) with an upper confidence bound (Srinivas et al. 2010) in place of
a draw from the best hundred.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from archscout.core.architecture import Architecture
from archscout.core.method import Method, Run
from archscout.core.registry import register
from archscout.core.trial import Trial
from archscout.estimators.predictors.base import LEAST
from archscout.estimators.predictors.gaussian_process import Process
from archscout.estimators.predictors.targets import Scale
from archscout.methods.pool import Pool, check_pool, score_names
from archscout.methods.strategy import check_trains, ranked

FIRST, BATCH = 10, 5
"""Trainings before the process is asked, and between one lesson and the next (a worker, if there are more)."""

TOP = 0.1
"""Half of the first trainings are of this share of the candidates, the best by their scores; the others are of any."""

SCORES = "naswot+zen+params"
"""More of them is not better: multiply-adds say again what parameters say, and the size of networks then counts double
(`benchmarks/strategies/on_tables.py`)."""

DEVIATIONS = 1.0
"""Of the upper confidence bound, above the mean."""

PARENTS, MUTANTS = 5, 64
"""The best trials so far, and how many mutants of them join the candidates in each round."""


@register("method", "guided")
class Guided(Method):
    """A Gaussian process on architecture and zero-cost scores proposes a few trainings at a time.

    Args:
        scores: zero-cost scores, joined by `+`; those that most candidates lack are left out.
        pool: candidates that are scored before the first training, at most.
    """

    def __init__(self, scores: str = SCORES, pool: int = 2000) -> None:
        self.name = "guided"
        self.scores, self.most = score_names(self.name, scores), check_pool(self.name, pool)

    def search(self, run: Run) -> list[Trial]:
        check_trains(run, self.name)
        pool = Pool(run, self.scores)
        pool.add([trial.architecture for trial in run.start])
        pool.add([candidate.architecture for candidate in run.candidates])
        pool.extend(self.most)
        return ranked(run, guided(run, pool))


def guided(run: Run, pool: Pool) -> list[Trial]:
    """Train candidates in rounds, until the budget or the space ends; all trials in order.

    What is known before counts among the first trainings.
    """
    trials = list(run.start)
    begun = len(trials) >= FIRST
    while True:
        chosen = _next(run, pool, trials) if begun else _first(run, pool, trials)
        begun = True
        finished = run.evaluate(chosen, run.estimator, fidelity=run.epochs, phase="guided search")
        trials += finished
        if not finished or len(finished) < len(chosen):
            return trials


def _first(run: Run, pool: Pool, known: Sequence[Trial]) -> list[Architecture]:
    """Those that go before all others, then in turn one of the best by the scores and any; none that is known."""
    rng = run.rng("guided", "first")
    anyone = rng.permutation(len(pool))
    if not np.isfinite(np.asarray(pool.values, dtype=float)).any():
        best = anyone
    else:
        top = np.argsort(-pool.prior(), kind="stable")[: max(FIRST, int(TOP * len(pool)))]
        best = rng.permutation(top)
    tried = {trial.canonical for trial in known}
    forms = [run.space.canonical(one) for one in pool.architectures]
    named = [place for place, form in enumerate(forms) if form in pool.first and form not in tried]
    turns = [int(place) for pair in zip(best, anyone, strict=False) for place in pair if forms[place] not in tried]
    some = dict.fromkeys([*named, *turns])
    return run.admit((pool.architectures[place] for place in some), max(FIRST - len(known), len(named)))


def _next(run: Run, pool: Pool, trials: list[Trial]) -> list[Architecture]:
    """The highest upper confidence bounds among candidates that have not been trained."""
    count = max(BATCH, run.workers)
    defined = sorted((trial for trial in trials if trial.defined), key=lambda trial: trial.rank)
    if defined:
        pool.extend(MUTANTS, parents=[trial.architecture for trial in defined[:PARENTS]])
    tried = {trial.canonical for trial in trials}
    free = [place for place, one in enumerate(pool.architectures) if run.space.canonical(one) not in tried]
    if len({trial.value for trial in defined}) < 2 or len(defined) < LEAST:
        hopes = run.rng("guided", len(trials)).random(len(pool))
    else:
        hopes = _bounds(pool, defined, run.seed)
    free.sort(key=lambda place: (-hopes[place], place))
    return run.admit((pool.architectures[place] for place in free), count)


def _bounds(pool: Pool, trials: list[Trial], seed: int) -> np.ndarray:
    """For every candidate the upper confidence bound of its value, on the scale of the process."""
    features, blocks = pool.features()
    rows = [pool.place(trial.canonical) for trial in trials]
    y = np.asarray([trial.value for trial in trials])
    z = Scale(y).up(y)
    mean, deviation = Process(features[rows].astype(float), z, blocks, seed).predict(features)
    return np.asarray(mean + DEVIATIONS * deviation)
