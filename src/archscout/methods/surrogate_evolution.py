"""Evolution that asks a predictor before it pays: the three ways of surrogate-assisted evolution."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np

from archscout.core.architecture import Architecture
from archscout.core.errors import UsageError, nearest
from archscout.core.estimator import Setting
from archscout.core.fresh import fresh
from archscout.core.method import Method, Run
from archscout.core.registry import create, register
from archscout.core.trial import Trial
from archscout.estimators.predictors.base import LEAST
from archscout.methods.strategy import check_trains, ranked
from archscout.methods.training_free import whole
from archscout.strategies.pareto import UNKNOWN, order

TRIES = 20
"""Children that are drawn for each that is wanted."""

Rows = np.ndarray
"""Objectives of architectures, (N, M), all to be minimised: minus the value, then exact costs."""


@register("method", "surrogate_evolution")
class SurrogateEvolution(Method):
    """Evolution that trains what a predictor likes, in the three ways of Jin 2011 and of Liu et al. 2023 (2008.10937).

    Parents are chosen by Pareto front and crowding (NSGA-II), or by value where there is one objective; a child is
    their crossover, mutated. A predictor learns from all trainings and says what children will come to. Costs that are
    objectives are never predicted: they are counted.

    - `preselection`: each generation many children are predicted, and the best of them trained.
    - `generation`: several generations are bred on predictions alone, then the last one's best are trained.
    - `individual`: of the children of a generation those are trained that are predicted best, and those of which the
      predictor is least sure; half each.

    Args:
        control: which of the three.
        population: parents at most, and random architectures to begin with.
        batch: trainings of a generation.
        children: of a generation, that are predicted.
        generations: on predictions alone, between trainings.
        predictor: of the value, an estimator that learns from the architecture alone.
    """

    def __init__(
        self,
        control: str = "preselection",
        population: int = 20,
        batch: int = 10,
        children: int = 100,
        generations: int = 5,
        predictor: str = "scout",
    ) -> None:
        if control not in CONTROLS:
            raise UsageError(f"method 'surrogate_evolution' has no control '{control}': {nearest(control, CONTROLS)}")
        self.name = "surrogate_evolution"
        self.control = control
        self.population, self.batch = whole(population, "population", 2), whole(batch, "batch")
        self.children, self.generations = whole(children, "children", 2), whole(generations, "generations")
        self.predictor = predictor

    def search(self, run: Run) -> list[Trial]:
        check_trains(run, self.name)
        trials = list(run.start)
        seen = {trial.canonical for trial in trials}
        rng = run.rng("first")
        chosen = run.admit(
            fresh(run.space, (run.space.sample(rng) for _ in range(TRIES * self.population)), seen),
            max(0, self.population - len(trials)),
        )
        if not chosen and trials:
            chosen = CONTROLS[self.control](Breeding(run, self, trials))
        while chosen:
            finished = run.evaluate(chosen, run.estimator, fidelity=run.epochs)
            trials += finished
            if len(finished) < len(chosen) or run.trials_left() < 1:
                break  # the budget is spent
            breeding = Breeding(run, self, trials)
            chosen = CONTROLS[self.control](breeding)
        return ranked(run, trials)


class Breeding:
    """One step: what is known, and children of it."""

    def __init__(self, run: Run, method: SurrogateEvolution, trials: Sequence[Trial]) -> None:
        self.run, self.method, self.trials = run, method, trials
        self.rng = run.rng("children", len(trials))
        self.trained = {trial.canonical for trial in trials}
        self.setting = Setting(run.space, run.task, run.seed, run.device)
        self.known = [trial for trial in trials if trial.defined]
        self.estimator = None
        if len(self.known) >= LEAST and len({trial.value for trial in self.known}) > 1:
            self.estimator = create("estimator", method.predictor)
            self.estimator.fit(self.known, self.setting)

    def parents(self) -> list[Architecture]:
        """The best so far."""
        known = [trial.architecture for trial in self.known]
        return self.best(known, self.rows(known, [t.value for t in self.known]), self.method.population)

    def breed(self, parents: Sequence[Architecture], count: int) -> list[Architecture]:
        """New networks that keep the limits: crossovers of two, mutated; random ones where there are no parents."""

        def children() -> Iterator[Architecture]:
            for number in range(TRIES * count):
                if not parents:
                    yield self.run.space.sample(self.rng)
                    continue
                first, second = (parents[int(place)] for place in self.rng.integers(len(parents), size=2))
                child = self.run.space.mutate(self.run.space.crossover(first, second, self.rng), self.rng)
                for _ in range(number // (count * TRIES // 4 + 1)):  # further away, where all that is near is known
                    child = self.run.space.mutate(child, self.rng)
                yield child

        return self.run.admit(fresh(self.run.space, children(), set(self.trained)), count)

    def predicted(self, some: Sequence[Architecture]) -> tuple[Rows, np.ndarray]:
        """Objectives as far as they can be known before training, and how unsure the predictor is."""
        if self.estimator is None or not some:  # nothing is known: any order
            return self.rows(some, self.rng.random(len(some))), np.zeros(len(some))
        estimates = self.estimator.estimate(some, self.setting)
        rows = self.rows(some, [estimate.value for estimate in estimates])
        return rows, np.asarray([estimate.std or 0.0 for estimate in estimates])

    def rows(self, some: Sequence[Architecture], values: Sequence[float] | np.ndarray) -> Rows:
        """Minus these values, then what the costs that are objectives are exactly."""
        costs = self.run.screened(some) if self.run.objectives else [{} for _ in some]
        rows = [
            [-value, *(c.get(key, UNKNOWN) for key in self.run.objectives)]
            for value, c in zip(values, costs, strict=True)
        ]
        return np.asarray(rows, dtype=float).reshape(len(some), 1 + len(self.run.objectives))

    def best(self, some: Sequence[Architecture], rows: Rows, count: int) -> list[Architecture]:
        """The first so many by front and crowding."""
        return [some[place] for place in order(rows)[:count]] if len(some) else []


def preselection(breeding: Breeding) -> list[Architecture]:
    """The best of many children by prediction."""
    method = breeding.method
    children = breeding.breed(breeding.parents(), method.children)
    return breeding.best(children, breeding.predicted(children)[0], method.batch)


def generation(breeding: Breeding) -> list[Architecture]:
    """The best after several generations by prediction alone."""
    method, parents = breeding.method, breeding.parents()
    offspring: list[Architecture] = []
    for _ in range(method.generations):
        children = breeding.breed(parents, method.population)
        offspring = list({one.text: one for one in (*offspring, *children)}.values())
        offspring = breeding.best(offspring, breeding.predicted(offspring)[0], method.population)
        parents = offspring or parents
    return offspring[: method.batch]


def individual(breeding: Breeding) -> list[Architecture]:
    """The best by prediction, and those that the predictor is least sure of: half each."""
    method = breeding.method
    children = breeding.breed(breeding.parents(), method.children)
    rows, unsure = breeding.predicted(children)
    best = breeding.best(children, rows, (method.batch + 1) // 2)
    doubtful = [children[int(place)] for place in np.argsort(-unsure, kind="stable")]
    return [*best, *[one for one in doubtful if one not in best][: method.batch - len(best)]]


CONTROLS: Mapping[str, Callable[[Breeding], list[Architecture]]] = {
    "preselection": preselection, "generation": generation, "individual": individual,
}  # fmt: skip
