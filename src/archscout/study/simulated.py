"""A search whose trainings are answered from a table: hours of training in a moment, and the truth is known.

Methods and strategies run as they are. What they ask to have trained is looked up, what the training took is taken
from the table, and a budget in time is of these simulated seconds, one training after the other. Nothing is drawn but
from the seed, and scores, predictors and the methods' own work cost no simulated time: a simulation gives the same
trajectory each time, so that one which was stopped is simply made again.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any, cast

import numpy as np

from archscout.core import options
from archscout.core.architecture import Architecture
from archscout.core.budget import Budget
from archscout.core.cost import Constraint
from archscout.core.errors import ArchscoutError, DataError, UsageError
from archscout.core.estimator import PAUSED, TRAINING, Estimator, Setting
from archscout.core.method import Candidate, Method
from archscout.core.registry import create
from archscout.core.strategy import Strategy
from archscout.core.task import Task
from archscout.core.trial import Estimate, Trial
from archscout.methods.strategy import resolve_method
from archscout.search.replay import Proposals, Replay
from archscout.search.start import Source, begin, read_start, with_start
from archscout.store.ledger import Ledger
from archscout.study.limits import Limits
from archscout.tables.table import Table
from archscout.tables.trajectory import Trajectory, best_so_far
from archscout.tables.within import within
from archscout.tasks.load import load

_RECENT = 32

UNDEFINED_SCORES = "undefined scores"
"""The note that names the scores which neither the table has nor data was given for."""


def simulate(
    table: Table,
    method: str | Method | Strategy = "cascade",
    budget: str | float | timedelta | Budget | None = "200trials",
    seed: int = 0,
    *,
    metric: str | None = None,
    task: Task | str | Path | None = None,
    constraints: Sequence[Constraint] = (),
    objectives: str | Sequence[str] = (),
    start: Source | None = None,
) -> Trajectory:
    """Search a table: the method's trainings are answered from it.

    `archscout.api.simulate` says what the options are, and what is raised.
    """
    budget, seed = Budget.read(budget, "200trials"), options.seed(seed)
    task = None if task is None else load(task)
    run = SimulatedRun(table, budget, seed, metric=metric, task=task, constraints=constraints, objectives=objectives)
    resolved = resolve_method(method, objectives)
    first = begin(run, read_start(start, run.space, task))
    return run.trajectory(resolved.name, with_start(run, first, resolved.search(run)))


class SimulatedRun(Replay):
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
        self.metric = table.searched(metric)
        if self.metric.name in table.curves:
            raise UsageError(f"'{self.metric.name}' of table '{table.name}' is a curve: name one of its metrics.")
        self.space = within(table, self.metric.name)
        # A method may ask for the metric's name and the sizes of the splits; a table has neither.
        self.task = cast(Task, task)
        if task is not None:
            self.space.check_task(task)
        self._limits = Limits(table, constraints, options.several(objectives, "objectives"))
        self.constraints: Sequence[Constraint] = self._limits.constraints
        self.objectives: Sequence[str] = self._limits.objectives
        self.epochs = self.metric.epochs or table.fidelity(metric=self.metric.name) or 1
        self.cheaper = math.isinf(budget.trials)
        self._sign = 1.0 if self.metric.higher else -1.0
        if math.isfinite(budget.seconds) and not np.isfinite(self._times(self.epochs)).any():
            raise UsageError(
                f"table '{table.name}' does not say how long trainings took: give a budget in trials (200trials)."
            )
        self.share = self._limits.share()
        self.trials: list[Trial] = []
        self.notes: dict[str, Any] = {}
        self.rejected = 0
        self._clock: list[float] = []
        self._ledger = Ledger()
        self._epochs: list[int] = []
        self._prices: list[float] = []
        self._known: dict[tuple[str, int | None, str], Trial] = {}
        self._values: dict[int | None, list[float]] = {}
        self._seconds: dict[int | None, list[float]] = {}
        self._decisions: dict[str, Any] = {}
        self._spent: dict[str, list[float]] = {}
        self._scores: dict[tuple[str, str], Trial] = {}

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

    def decide(self, key: str, make: Callable[[], Any]) -> Any:
        if key not in self._decisions:
            self._decisions[key] = make()
        return self._decisions[key]

    def note(self, key: str, value: Any) -> None:
        self.notes[key] = value

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
        trials: list[Trial] = []
        for architecture, each in zip(architectures, fidelities, strict=True):
            trial = self._train(architecture, each, phase, name)
            if trial is not None:
                trials.append(trial)
        return trials

    def score(
        self, architectures: Sequence[Architecture], names: Sequence[str], *, phase: str = "zero-cost scores"
    ) -> list[list[Trial]]:
        missing = [name for name in names if name not in self.table.metrics]
        if missing and self.task is not None:
            self._score_for_real(architectures, missing, phase)
        elif missing:
            for name in missing:
                create("estimator", name)  # what is no score at all is refused
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
        proposals = Proposals(self, strategy, trials)
        answers: dict[str, Trial] = {}

        def trial(key: str, architecture: Architecture) -> Trial:
            return replace(answers[key], architecture=architecture)

        while not proposals.ended and self.elapsed < stop:
            proposal = proposals.next(trial)
            if proposal is None:
                break
            length = proposals.fidelity(proposal, fidelity)
            answered = self.evaluate([proposal], estimator, fidelity=length, phase=phase)
            if not answered:
                break
            key = f"{answered[0].fidelity}|{answered[0].canonical}"
            answers.setdefault(key, answered[0])
            proposals.ask(key, answered[0].architecture, answered[0].fidelity)
        return [trial(key, architecture) for key, architecture in proposals.distinct()]

    def admit(self, architectures: Iterable[Architecture], count: int) -> list[Architecture]:
        """The first `count` that the table has and that break no constraint."""
        admitted: list[Architecture] = []
        waiting = iter(architectures)
        while len(admitted) < count and (architecture := next(waiting, None)) is not None:
            number = self.table.numbers.get(self.space.canonical(architecture))
            if number is not None and self._limits.keeps(number):
                admitted.append(architecture)
            else:
                self.rejected += 1
        return admitted

    def screened(self, architectures: Sequence[Architecture]) -> Sequence[Mapping[str, float]]:
        return [self._limits.costs(self.space.canonical(architecture)) for architecture in architectures]

    # -- the result -----------------------------------------------------------------------------------------------

    def trajectory(self, method: str, candidates: Sequence[Trial]) -> Trajectory:
        """What was found, and how it came about. Raises `ArchscoutError` where no trial came to a value."""
        if not any(trial.defined for trial in self.trials):
            raise ArchscoutError(
                f"the budget of {self.budget} ended before table '{self.table.name}' gave a value: give more."
            )
        truth = self.table.values(self.metric.name)
        best = best_so_far(self.trials)
        allowed = [value for number, value in enumerate(truth) if self._limits.keeps(number) and not math.isnan(value)]
        winner = next((trial for trial in candidates if trial.defined), best[-1])
        assert winner is not None
        return Trajectory(
            table=self.table.name,
            metric=self.metric.name,
            method=method,
            seed=self.seed,
            budget=str(self.budget),
            optimum=max(allowed) if self.metric.higher else min(allowed),
            winner=winner.architecture,
            trials=tuple(self.trials),
            seconds=np.asarray(self._clock),
            epochs=np.cumsum(self._epochs),
            spent=np.cumsum(self._prices),
            incumbents=tuple(trial.architecture.text if trial else "" for trial in best),
            values=np.asarray([truth[self.table.numbers[trial.canonical]] if trial else math.nan for trial in best]),
            rejected=self.rejected,
            notes=self.notes,
        )

    # -- inside ---------------------------------------------------------------------------------------------------

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
            costs=self._limits.costs(canonical),
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
        self._prices.append(price)
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
        instance: Estimator = create("estimator", estimator) if isinstance(estimator, str) else estimator
        if "training" in instance.needs:
            raise UsageError(
                f"this method trains networks in a way of its own ('{instance.name}'), which table '{self.table.name}' "
                "cannot answer: search without --table."
            )
        estimates = instance.estimate(architectures, self._setting(), fidelity=fidelity)
        return [
            self._keep_score(architecture, instance.name, estimate, fidelity, phase)
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
