"""Regularised evolution that asks a score before it pays for a training."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

import numpy as np

from archscout.core.architecture import Architecture
from archscout.core.errors import UsageError
from archscout.core.method import Method, Run
from archscout.core.registry import register
from archscout.core.trial import Trial
from archscout.methods.strategy import check_trains, ranked
from archscout.methods.training_free import Scored, first, whole
from archscout.strategies.evolution import tournament

TOGETHER = 4
"""Children that are trained at once; each has parents of before."""

_TRIES = 64


@register("method", "assisted_evolution")
class AssistedEvolution(Method):
    """Regularised evolution whose first generation and mutants are the best of several by a zero-cost score.

    Sources: Zhang, Jia 2022, "GradSign: Model Performance Inference with Theoretical Insights", arXiv 2110.08616, whose
    assisted evolution begins with the best by GradSign of a larger random pool; the same with NASWOT is AREA (Mellor et
    al. 2021, arXiv 2006.04647): `score=naswot`. Choosing among mutants by the score is the second of GradSign's uses
    here, a reconstruction: with `mutants=1` the score counts at the beginning alone. Evolution itself is that of
    `evolution` (Real et al. 2019).

    Args:
        population: trials that are alive.
        sample: contestants of each tournament.
        pool: random architectures that are scored at first, of which the best `population` are trained.
        mutants: of a parent, the best of which by the score is trained.
        score: the estimator, perhaps with parameters.
    """

    simulates: ClassVar[bool] = False

    def __init__(
        self, population: int = 10, sample: int = 5, pool: int = 100, mutants: int = 4, score: str = "gradsign"
    ) -> None:
        self.name = "assisted_evolution"
        self.population, self.sample = whole(population, "population"), whole(sample, "sample")
        self.pool, self.mutants = whole(pool, "pool"), whole(mutants, "mutants")
        if sample > population or pool < population:
            raise UsageError(
                "method 'assisted_evolution' needs a sample of the population at most and a pool of the population at "
                f"least, not population={population}, sample={sample}, pool={pool}."
            )
        self.score = score

    def search(self, run: Run) -> list[Trial]:
        check_trains(run, self.name)
        scored = Scored(run, [self.score])
        scored.sample(self.pool)
        generation = scored.best_first(first(scored.values))[: self.population]
        trials: list[Trial] = []
        while generation:
            finished = run.evaluate(generation, run.estimator, fidelity=run.epochs)
            trials += finished
            if len(finished) < len(generation) or run.trials_left() <= 0:
                break  # the budget is spent
            generation = self._children(run, scored, trials)
        return ranked(run, trials)

    def _children(self, run: Run, scored: Scored, trials: list[Trial]) -> list[Architecture]:
        """The next ones to train: none where all that is near has been trained."""
        alive = [trial for trial in trials if trial.defined][-self.population :]
        trained = {trial.canonical for trial in trials}
        children: list[Architecture] = []
        for number in range(min(TOGETHER, max(run.workers, 1))):
            rng = run.rng("mutants", len(trials), number)
            parent = tournament(alive, self.sample, rng) if alive else run.space.sample(rng)
            mutants = list(self._mutants(run, parent, trained, rng))
            scored.extend(mutants, len(mutants))
            best = max(mutants, key=lambda mutant: self._value(run, scored, mutant), default=None)
            if best is not None:
                children.append(best)
                trained.add(run.space.canonical(best))
        return children

    def _mutants(
        self, run: Run, parent: Architecture, trained: set[str], rng: np.random.Generator
    ) -> Iterator[Architecture]:
        """Different networks near a parent that were not trained and keep every limit; further away as tries go by."""
        drawn: set[str] = set()
        for number in range(_TRIES):
            mutant = parent
            for _ in range(1 + number // 16):
                mutant = run.space.mutate(mutant, rng)
            form = run.space.canonical(mutant)
            if form not in trained and form not in drawn and run.admit([mutant], 1):
                drawn.add(form)
                yield mutant
                if len(drawn) == self.mutants:
                    return

    def _value(self, run: Run, scored: Scored, mutant: Architecture) -> float:
        """The score of a mutant; least where it has none, or the time for scoring is over."""
        place = scored.place.get(run.space.canonical(mutant))
        return float(np.nan_to_num(scored.values[place, 0], nan=-np.inf)) if place is not None else -np.inf
