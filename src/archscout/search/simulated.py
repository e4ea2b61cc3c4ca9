"""A search whose trainings are answered from a table: hours of training in a moment, and the truth is known.

Methods and strategies run as they are. What they ask to have trained is looked up, what the training took is taken
from the table, and a budget in time is of these simulated seconds, one training after the other. Nothing is drawn but
from the seed, and scores, predictors and the methods' own work cost no simulated time: a simulation gives the same
trajectory each time, so that one which was stopped is simply made again.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import cached_property
from pathlib import Path
from typing import Any, cast

import numpy as np

from archscout.core import options, seeds
from archscout.core.architecture import Architecture
from archscout.core.cost import Constraint
from archscout.core.errors import ArchscoutError, DataError, UsageError
from archscout.core.estimator import PAUSED, TRAINING, Estimator, Setting
from archscout.core.method import Candidate, Method
from archscout.core.registry import create
from archscout.core.strategy import Strategy
from archscout.core.task import Task
from archscout.core.trial import Estimate, History, Pending, Trial
from archscout.methods.strategy import resolve_method
from archscout.search.budget import Budget
from archscout.search.ledger import Ledger
from archscout.tables.table import Table
from archscout.tables.within import within

_STALE = 200
"""Proposals in a row that bring nothing new, after which a strategy has nothing left to propose."""

_RECENT = 32

UNDEFINED_SCORES = "undefined scores"
"""The note that names the scores which neither the table has nor data was given for."""


@dataclass(frozen=True)
class Trajectory:
    """How a simulated search went: one entry a training, in the order in which they were paid for.

    `trials` have the values that the method saw (higher is better). The arrays have the table's own numbers:
    `seconds` are simulated and `epochs` trained, both since the start; `values` the true value of the best network so
    far (best by what the method saw, among its longest trainings), `regret` how far that is from `optimum`, the best of
    the table.
    """

    table: str
    metric: str
    method: str
    seed: int
    budget: str
    optimum: float
    winner: Architecture
    trials: Sequence[Trial]
    seconds: np.ndarray
    epochs: np.ndarray
    incumbents: Sequence[str]
    values: np.ndarray
    rejected: int
    notes: Mapping[str, Any]

    @cached_property
    def regret(self) -> np.ndarray:
        """Distance from the optimum after each training, 0 at best; NaN before the first that came to a value."""
        return np.asarray(np.abs(self.optimum - self.values))

    @property
    def evaluations_to_optimum(self) -> int | None:
        """Trainings until the best network was found; None where it was not."""
        found = np.flatnonzero(self.regret == 0)
        return int(found[0]) + 1 if len(found) else None


def simulate(
    table: Table,
    method: str | Method | Strategy = "cascade",
    budget: str | float | timedelta | Budget | None = "200trials",
    seed: int = 0,
    *,
    metric: str | None = None,
    task: Task | None = None,
    constraints: Sequence[Constraint] = (),
    objectives: Sequence[str] = (),
) -> Trajectory:
    """Search a table: the method's trainings are answered from it.

    Args:
        table: the ground truth.
        method: a method or a strategy, by name or made.
        budget: so many trainings (`200trials`), or simulated time (`10h`, or a number of seconds) where the table has
            the seconds.
        seed: one seed, one trajectory.
        metric: what is searched for, and what regret is about; the table's default metric if not given.
        task: what zero-cost scores that the table does not have are computed on; without it they are undefined.
        constraints: limits on columns of the table, by key.
        objectives: columns of the table to trade against the value.

    Networks without a value of the metric are no part of the search.

    Raises:
        UsageError: a metric or cost that the table does not have, a budget in time without seconds in the table.
        ArchscoutError: nothing was found within the budget.

    >>> simulate(table, "evolution", "200trials", seed=0).regret[-1]         # doctest: +SKIP
    0.0012
    """
    budget, seed = Budget.read(budget, "200trials"), options.seed(seed)
    run = SimulatedRun(table, budget, seed, metric=metric, task=task, constraints=constraints, objectives=objectives)
    resolved = resolve_method(method, objectives)
    candidates = resolved.search(run)
    return run.trajectory(resolved.name, candidates)


class SimulatedRun:
    """Implements `archscout.core.method.Run` over a table: every evaluation is looked up."""

    estimator = TRAINING
    trains = True
    workers = 1
    device = "cpu"
    candidates: Sequence[Candidate] = ()
    trainings = math.inf

    def __init__(
        self,
        table: Table,
        budget: Budget,
        seed: int = 0,
        *,
        metric: str | None = None,
        task: Task | None = None,
        constraints: Sequence[Constraint] = (),
        objectives: Sequence[str] = (),
    ) -> None:
        self.table, self.budget, self.seed = table, budget, seed
        self.metric = table.metric(metric)
        if self.metric.name in table.curves:
            raise UsageError(f"'{self.metric.name}' of table '{table.name}' is a curve: name one of its metrics.")
        self.space = within(table, self.metric.name)
        # A method may ask for the metric's name and the sizes of the splits; a table has neither.
        self.task = cast(Task, task)
        if task is not None:
            self.space.check_task(task)
        self.constraints: Sequence[Constraint] = tuple(constraints)
        self.objectives: Sequence[str] = tuple(objectives)
        self._costs = {key: table.values(key) for key in (*(c.key for c in constraints), *objectives)}
        self.epochs = self.metric.epochs or table.fidelity(metric=self.metric.name) or 1
        self.cheaper = math.isinf(budget.trials)
        self._sign = 1.0 if self.metric.higher else -1.0
        if math.isfinite(budget.seconds) and not np.isfinite(self._times(self.epochs)).any():
            raise UsageError(
                f"table '{table.name}' does not say how long trainings took: give a budget in trials (200trials)."
            )
        self.share = self._share()
        self.trials: list[Trial] = []
        self.notes: dict[str, Any] = {}
        self.rejected = 0
        self._clock: list[float] = []
        self._ledger = Ledger()
        self._epochs: list[int] = []
        self._known: dict[tuple[str, int | None, str], Trial] = {}
        self._values: dict[int | None, list[float]] = {}
        self._seconds: dict[int | None, list[float]] = {}
        self._decisions: dict[str, Any] = {}
        self._spent: dict[str, list[float]] = {}
        self._scores: dict[tuple[str, str], Trial] = {}

    # -- what the budget leaves -----------------------------------------------------------------------------------

    @property
    def elapsed(self) -> float:
        """Simulated seconds since the start."""
        return self._clock[-1] if self._clock else 0.0

    def seconds_left(self) -> float:
        return self.budget.seconds - self.elapsed

    def trials_left(self) -> float:
        return self.budget.trials - self._ledger.spent(self.epochs)

    def expected_seconds(self, estimator: str, fidelity: int | None, count: int = 1) -> float:
        recent = self._spent.get(f"{estimator}@{fidelity}")
        return count * float(np.mean(recent)) if recent else 0.0

    def fidelity(self, epochs: int) -> int:
        return self.table.fidelity(epochs, self.metric.name) or epochs

    # -- randomness, decisions, notes -----------------------------------------------------------------------------

    def rng(self, *keys: str | int) -> np.random.Generator:
        return seeds.stream(self.seed, *keys)

    def decide(self, key: str, make: Callable[[], Any]) -> Any:
        if key not in self._decisions:
            self._decisions[key] = make()
        return self._decisions[key]

    def note(self, key: str, value: Any) -> None:
        self.notes[key] = value

    def show(self, phase: str, done: float, total: float | None = None) -> None:
        """Nobody waits for a simulation."""

    def say(self, text: str) -> None:
        """Nobody watches a simulation."""

    @property
    def folder(self) -> Path:
        """Refused: what keeps weights cannot be answered from a table."""
        raise UsageError(
            f"this method trains shared weights, of which table '{self.table.name}' knows nothing: "
            "search without --table."
        )

    # -- evaluation -----------------------------------------------------------------------------------------------

    def evaluate(
        self,
        architectures: Sequence[Architecture],
        estimator: Estimator | str,
        *,
        fidelity: int | Sequence[int] | None = None,
        phase: str = "search",
    ) -> list[Trial]:
        name = estimator if isinstance(estimator, str) else estimator.name
        fidelities = fidelity if isinstance(fidelity, Sequence) else [fidelity] * len(architectures)
        if name not in (self.estimator, PAUSED):
            return self._estimate(architectures, estimator, fidelities[0] if fidelities else None, phase)
        found: list[Trial] = []
        for architecture, each in zip(architectures, fidelities, strict=True):
            trial = self._train(architecture, each, phase, name)
            if trial is not None:
                found.append(trial)
        return found

    def score(
        self, architectures: Sequence[Architecture], names: Sequence[str], *, phase: str = "zero-cost scores"
    ) -> list[list[Trial]]:
        missing = [name for name in names if name not in self.table.metrics]
        if missing and self.task is not None:
            self._score_for_real(architectures, missing, phase)
        elif missing:
            self.note(UNDEFINED_SCORES, missing)
        rows = []
        for name in names:
            column = self.table.values(name) if name in self.table.metrics else None
            row = []
            for architecture in architectures:
                canonical = self.space.canonical(architecture)
                if (name, canonical) not in self._scores:
                    value = math.nan if column is None else column[self.table.numbers[canonical]]
                    reason = f"table '{self.table.name}' has no score '{name}' of it." if math.isnan(value) else ""
                    self._keep_score(architecture, name, Estimate(value, reason=reason), None, phase)
                row.append(self._scores[name, canonical])
            rows.append(row)
        return rows

    def follow(
        self,
        strategy: Strategy,
        estimator: Estimator | str,
        *,
        fidelity: int | None = None,
        phase: str = "search",
        trials: int | None = None,
        seconds: float = math.inf,
    ) -> list[Trial]:
        stop = self.elapsed + seconds
        history = History()
        asked: list[Trial] = []
        networks: set[tuple[str, int | None]] = set()
        stale = 0
        while (trials is None or len(networks) < trials) and stale < _STALE and self.elapsed < stop:
            for told in asked[len(history) : max(0, len(asked) + 1 - strategy.lag)]:
                history.append(told)
            history.pending = [Pending(t.architecture, t.canonical, t.fidelity) for t in asked[len(history) :]]
            proposal = self._propose(strategy, history, len(asked))
            if proposal is None:
                break
            wished = strategy.fidelity(self.space, history, proposal)
            answered = self.evaluate([proposal], estimator, fidelity=wished or fidelity, phase=phase)
            if not answered:
                break
            key = answered[0].canonical, answered[0].fidelity
            stale = stale + 1 if key in networks else 0
            networks.add(key)
            asked += answered
        return list({(trial.canonical, trial.fidelity): trial for trial in reversed(asked)}.values())[::-1]

    def admit(self, architectures: Iterable[Architecture], count: int) -> list[Architecture]:
        """The first `count` that the table has and that break no constraint."""
        admitted: list[Architecture] = []
        waiting = iter(architectures)
        while len(admitted) < count and (architecture := next(waiting, None)) is not None:
            number = self.table.numbers.get(self.space.canonical(architecture))
            if number is not None and self._meets(number):
                admitted.append(architecture)
            else:
                self.rejected += 1
        return admitted

    def screened(self, architectures: Sequence[Architecture]) -> Sequence[Mapping[str, float]]:
        return [self._costs_of(self.space.canonical(architecture)) for architecture in architectures]

    # -- the result -----------------------------------------------------------------------------------------------

    def trajectory(self, method: str, candidates: Sequence[Trial]) -> Trajectory:
        """What was found, and how it came about. Raises `ArchscoutError` where no trial came to a value."""
        if not any(trial.defined for trial in self.trials):
            raise ArchscoutError(
                f"the budget of {self.budget} ended before table '{self.table.name}' gave a value: give more."
            )
        truth = self.table.values(self.metric.name)
        best: Trial | None = None
        incumbents, values = [], []
        for trial in self.trials:
            if trial.defined and (best is None or _order(trial) < _order(best)):
                best = trial
            incumbents.append(best.architecture.text if best else "")
            values.append(truth[self.table.numbers[best.canonical]] if best else math.nan)
        assert best is not None
        allowed = [value for number, value in enumerate(truth) if self._meets(number) and not math.isnan(value)]
        defined = [trial for trial in candidates if trial.defined]
        return Trajectory(
            table=self.table.name,
            metric=self.metric.name,
            method=method,
            seed=self.seed,
            budget=str(self.budget),
            optimum=max(allowed) if self.metric.higher else min(allowed),
            winner=(defined[0] if defined else best).architecture,
            trials=tuple(self.trials),
            seconds=np.asarray(self._clock),
            epochs=np.cumsum(self._epochs),
            incumbents=tuple(incumbents),
            values=np.asarray(values),
            rejected=self.rejected,
            notes=self.notes,
        )

    # -- inside ---------------------------------------------------------------------------------------------------

    def _propose(self, strategy: Strategy, history: History, position: int) -> Architecture | None:
        for attempt in range(_STALE):
            rng = self.rng("propose", strategy.name, position, attempt)
            proposal = self.space.simplify(strategy.propose(self.space, history, rng))
            if self.admit([proposal], 1):
                return proposal
        return None

    def _train(self, architecture: Architecture, fidelity: int | None, phase: str, estimator: str) -> Trial | None:
        """The looked-up training of an architecture; None where the budget ends before it would have.

        Of one that pauses, the epochs and seconds since the last pause are spent.
        """
        epochs = self.table.fidelity(self.epochs if fidelity is None else fidelity, self.metric.name)
        canonical = self.space.canonical(architecture)
        known = self._known.get((estimator, epochs, canonical))
        if known is not None:
            # The same network, perhaps by another text: what is made of it next starts from the text asked for.
            return known if known.architecture == architecture else replace(known, architecture=architecture)
        number = self.table.numbers.get(canonical)
        if number is None:
            raise DataError(f"table '{self.table.name}' has no architecture '{architecture}'.")
        length = self.epochs if epochs is None else epochs
        spent, seconds = length, self._seconds_of(epochs)[number]
        if estimator == PAUSED:
            spent = self._ledger.missing(canonical, length)
            if spent < length:
                seconds -= self._seconds_of(length - spent)[number]
        price = spent / self.epochs if estimator == PAUSED else 1.0
        if price > self.trials_left() + 1e-9 or seconds > self.seconds_left():
            return None
        if estimator == PAUSED:
            self._ledger.train(canonical, length)
        else:
            self._ledger.pay([f"{epochs}|{canonical}"])
        if epochs not in self._values:
            self._values[epochs] = self.table.values(self.metric.name, epochs=epochs)
        value = self._sign * self._values[epochs][number]
        failed = math.isnan(value)
        trial = Trial(
            number=len(self.trials),
            architecture=architecture,
            canonical=canonical,
            estimator=estimator,
            fidelity=epochs,
            status="failed" if failed else "completed",
            value=value,
            costs=self._costs_of(canonical) if self._costs else {},
            seconds=seconds,
            curve=self.table.history(architecture, epochs=epochs, metric=self.metric.name) if self.table.curves else (),
            phase=phase,
            reason=f"table '{self.table.name}' has no value of it." if failed else "",
            seed=self.seed,
        )
        self._known[estimator, epochs, canonical] = trial
        self.trials.append(trial)
        self._clock.append(self.elapsed + seconds)
        self._epochs.append(spent)
        recent = self._spent.setdefault(f"{estimator}@{fidelity}", [])
        recent.append(seconds)
        del recent[:-_RECENT]
        return trial

    def _seconds_of(self, epochs: int | None) -> list[float]:
        """What a training of so many epochs takes each network; the usual time where the table does not say."""
        if epochs not in self._seconds:
            times = np.asarray(self._times(epochs))
            usual = float(np.nanmean(times)) if np.isfinite(times).any() else 0.0
            self._seconds[epochs] = np.where(np.isnan(times), usual, times).tolist()
        return self._seconds[epochs]

    def _times(self, epochs: int | None) -> list[float]:
        return self.table.all_seconds(metric=self.metric.name, epochs=epochs)

    def _estimate(
        self, architectures: Sequence[Architecture], estimator: Estimator | str, fidelity: int | None, phase: str
    ) -> list[Trial]:
        """Estimators other than training work as they do in any search, and cost no simulated time."""
        if isinstance(estimator, str) and estimator in self.table.metrics:
            return self.score(architectures, [estimator], phase=phase)[0]
        made: Estimator = create("estimator", estimator) if isinstance(estimator, str) else estimator
        estimates = made.estimate(architectures, self._setting(), fidelity=fidelity)
        return [
            self._keep_score(architecture, made.name, estimate, fidelity, phase)
            for architecture, estimate in zip(architectures, estimates, strict=True)
        ]

    def _score_for_real(self, architectures: Sequence[Architecture], names: Sequence[str], phase: str) -> None:
        from archscout.estimators.zero_cost.harness import score

        fresh = {
            canonical: architecture
            for architecture in architectures
            if any((name, canonical := self.space.canonical(architecture)) not in self._scores for name in names)
        }
        if fresh:
            columns = score(list(fresh.values()), names, self._setting())
            for name in names:
                for architecture, estimate in zip(fresh.values(), columns[name], strict=True):
                    self._keep_score(architecture, name, estimate, None, phase)

    def _keep_score(
        self, architecture: Architecture, name: str, estimate: Estimate, fidelity: int | None, phase: str
    ) -> Trial:
        canonical = self.space.canonical(architecture)
        self._scores[name, canonical] = Trial(
            number=len(self.trials), architecture=architecture, canonical=canonical, estimator=name, fidelity=fidelity,
            status="completed", value=estimate.value, seconds=estimate.seconds, std=estimate.std, phase=phase,
            reason=estimate.reason, seed=self.seed, extra=estimate.extra,
        )  # fmt: skip
        return self._scores[name, canonical]

    def _setting(self) -> Setting:
        if self.task is None:
            raise UsageError(
                f"this method computes estimates that table '{self.table.name}' does not have: "
                "say on which data, with --data."
            )
        return Setting(self.space, self.task.sealed(), seed=self.seed)

    def _costs_of(self, canonical: str) -> dict[str, float]:
        number = self.table.numbers[canonical]
        return {key: column[number] for key, column in self._costs.items()}

    def _meets(self, number: int) -> bool:
        return all(self._costs[c.key][number] <= c.limit for c in self.constraints)

    def _share(self) -> float:
        numbers = range(len(self.table.numbers))
        meeting = sum(map(self._meets, numbers)) / max(1, len(numbers)) if self.constraints else 1.0
        if not meeting:
            limits = ", ".join(str(constraint) for constraint in self.constraints)
            raise UsageError(f"no network of table '{self.table.name}' meets {limits}: raise the limit.")
        return meeting


def _order(trial: Trial) -> tuple[float, tuple[float, float, int]]:
    """Longer trainings first: they say more; then as trials are ranked."""
    return -(trial.fidelity or 0), trial.rank
