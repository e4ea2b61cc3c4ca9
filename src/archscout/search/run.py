"""What a method gets to search with: it evaluates, checkpoints, reports and knows the budget.

A search is replayed when it is resumed: the method runs again from its start, everything that was paid for is answered
from the store, and what depended on the clock is answered from the recorded decisions.
"""

from __future__ import annotations

import itertools
import math
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from archscout.core.architecture import Architecture
from archscout.core.budget import Budget
from archscout.core.cost import Constraint
from archscout.core.errors import ArchscoutError
from archscout.core.estimator import PAUSED, TRAINING, Estimator, Setting
from archscout.core.method import Candidate
from archscout.core.progress import Progress
from archscout.core.registry import create
from archscout.core.space import Space
from archscout.core.strategy import Strategy
from archscout.core.task import Task
from archscout.core.trial import Estimate, Trial
from archscout.costs.book import CostBook
from archscout.estimators.jobs import Estimated, Evaluation, Jobs, estimate_job, score_job, scored_alone
from archscout.search.failures import hopeless
from archscout.search.replay import PROPOSAL, Proposals, Replay, followed
from archscout.store.clock import Clock
from archscout.store.ledger import Ledger
from archscout.store.store import Store, StoredTrial
from archscout.workers.engines import Engine
from archscout.workers.folder import Folder
from archscout.workers.pace import Pace

_SCORED = 8
"""Architectures of a job of zero-cost scores."""

_ROOM = 1.1
"""By what factor more than expected must be left for a job to begin: networks differ."""

_LEAST_SECONDS = 5.0
"""A job in a budget of time is given so long at least."""

CALIBRATION = "calibration"
"""The phase in which it is learnt how long a training takes here."""


class SearchRun(Replay):
    """Implements `archscout.core.method.Run` over a store, an engine and a clock."""

    def __init__(
        self,
        *,
        name: str,
        space: Space,
        task: Task,
        seed: int,
        store: Store,
        engine: Engine,
        book: CostBook,
        constraints: Sequence[Constraint],
        objectives: Sequence[str],
        budget: Budget,
        clock: Clock,
        progress: Progress,
        estimator: Estimator,
        folder: Path,
        device: str,
        reserve: float,
    ) -> None:
        self.name, self.space, self.task, self.seed = name, space, task, seed
        self.store, self.engine, self.book, self.clock, self.progress = store, engine, book, clock, progress
        self.constraints: Sequence[Constraint] = tuple(constraints)
        self.objectives: Sequence[str] = tuple(objectives)
        self.budget, self.reserve = budget, reserve
        self.estimator, self.folder, self.device = estimator.name, folder, device
        self.trains = "training" in estimator.needs
        self.setting = Setting(space, task, seed=seed, device=device)
        self.workers = max(1, engine.workers)
        self.final = 0.0
        """Seconds that are kept for the final training."""
        self.planned = False
        """Whether the winner is trained for what time is left, for nobody said for how many epochs."""
        self.candidates: Sequence[Candidate] = ()
        self.trainings = math.inf
        self.epochs = 1
        self.cheaper = True
        self.share = 1.0
        self.rejected = 0
        self.margins = {cost.key: cost.margin for cost in book.costs}
        self._stored = {trial.key: trial for trial in store.trials(name)}
        self._next = 1 + max((trial.number for trial in self._stored.values()), default=-1)
        self._decisions = store.decisions(name)
        self._ledger = Ledger()
        self._best: float | None = None
        self._estimators: dict[str, Estimator] = {estimator.name: estimator}
        self._trainings = {TRAINING, PAUSED} | ({estimator.name} if self.trains else set())
        self._pace = Pace(self.workers, math.isfinite(budget.seconds))
        self._follows = 0
        self._proposals: dict[str, list[int | None]] = {}
        for trial in self._stored.values():
            self._learn(trial)

    def seconds_left(self) -> float:
        """Of the search part of a time budget: what the final training and the ending need is kept back."""
        return self.budget.seconds - self.reserve - self.final - self.clock.elapsed()

    def trials_left(self) -> float:
        return self.budget.trials - self._ledger.spent(self.epochs)

    def decide(self, key: str, make: Callable[[], Any]) -> Any:
        if key not in self._decisions:
            self._decisions[key] = self.store.decide(self.name, key, make())
        return self._decisions[key]

    def note(self, key: str, value: Any) -> None:
        self.store.note(self.name, key, value)

    def show(self, phase: str, done: float, total: float | None = None) -> None:
        self.clock.enter(phase)
        self.clock.write(every=1.0)
        self._show(phase, done, total)

    def say(self, text: str) -> None:
        self.progress.say(text)

    def evaluate(
        self,
        architectures: Sequence[Architecture],
        estimator: Estimator | str,
        *,
        fidelity: int | Sequence[int] | None = None,
        phase: str = "search",
    ) -> list[Trial]:
        instance = self._estimator(estimator)
        self.clock.enter(phase)
        each = fidelity if isinstance(fidelity, Sequence) else [fidelity] * len(architectures)
        keys = [self._key(instance, architecture, one) for architecture, one in zip(architectures, each, strict=True)]
        fidelities = dict(zip(keys, each, strict=True))
        unique = dict(zip(keys, architectures, strict=True))
        # Only trainings of one length can share a job.
        together = instance.together(list(unique.values()), self.setting) if len(set(each)) == 1 else 1
        size = self._pace.job_size(instance.name, together, len(unique))
        pairs = list(unique.items())
        chunks = [pairs[start : start + size] for start in range(0, len(pairs), size)]
        waiting = deque(batch for chunk in chunks if (batch := [pair for pair in chunk if pair[0] not in self._stored]))
        # A stored trial costs nothing now, but it was paid for: the count must not depend on interruptions.
        self._count_paid(instance, (key for key in keys if key in self._stored))
        jobs = self._jobs(instance)
        total = sum(map(len, waiting))
        # Where time is short, no job waits in a queue: whether there is time for it is seen when it begins.
        most = self.workers if math.isfinite(self.budget.seconds) else 2 * self.workers
        try:
            while waiting or jobs:
                while waiting and len(jobs) < most:
                    batch = waiting.popleft()
                    length = fidelities[batch[0][0]]
                    affordable = self._affords(instance, length, [key for key, _ in batch])
                    if affordable:
                        self._submit(jobs, instance, batch[:affordable], length)
                    if not affordable:
                        waiting.clear()
                    elif affordable < len(batch):
                        waiting.appendleft(batch[affordable:])
                if not jobs:
                    break
                self._collect(jobs, instance, phase)
                self._show(phase, total - sum(map(len, waiting)) - jobs.evaluations, total)
        finally:
            self.clock.write()
        return [self._trial(k, a) for k, a in zip(keys, architectures, strict=True) if k in self._stored]

    def score(
        self, architectures: Sequence[Architecture], names: Sequence[str], *, phase: str = "zero-cost scores"
    ) -> list[list[Trial]]:
        self.clock.enter(phase)
        instances = [self._estimator(name) for name in names]
        fresh = {
            self.space.canonical(architecture): architecture
            for architecture in architectures
            if any(self._key(each, architecture, None) not in self._stored for each in instances)
        }
        waiting = list(fresh.values())
        futures: dict[Future[list[list[Estimate]]], list[Architecture]] = {}
        for start in range(0, len(waiting), _SCORED):
            chunk = waiting[start : start + _SCORED]
            futures[self.engine.submit(score_job, tuple(names), chunk, self.seed)] = chunk
        # In the order of asking, so that numbers do not depend on who was quicker.
        for future, chunk in futures.items():
            try:
                table = future.result()
            except ArchscoutError:
                # One of a chunk brought the worker down: each alone tells which.
                table = scored_alone(self.engine, names, chunk, self.seed)
            rows = []
            for architecture, estimates in zip(chunk, table, strict=True):
                for each, estimate in zip(instances, estimates, strict=True):
                    key = self._key(each, architecture, None)
                    if key not in self._stored:
                        rows.append(self._row(Evaluation(key, architecture, self._next, None), estimate, each, phase))
                        self._next += 1
            self._commit(rows)
        return [[self._trial(self._key(each, a, None), a) for a in architectures] for each in instances]

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
        instance = self._estimator(estimator)
        self.clock.enter(phase)
        stop = self.clock.elapsed() + seconds
        proposals = Proposals(self, strategy, trials)
        self._follows += 1
        follow, rejected = self._follows, self.rejected
        known = followed(self._stored.values(), follow, instance.name, fidelity)
        jobs = self._jobs(instance)
        try:
            while True:
                while not proposals.ended and len(jobs) < self.workers and not proposals.wait(self._stored):
                    answered = known.get(len(proposals))
                    proposal: Architecture | None = None
                    if self.clock.elapsed() < stop:
                        # What is known to have been proposed here need not be worked out again to be answered.
                        proposal = (
                            proposals.next(self._trial)
                            if answered is None
                            else Architecture.unread(answered.architecture, self.space.parse)
                        )
                    if proposal is None:
                        proposals.end()
                        break
                    if answered is None:
                        length = proposals.fidelity(proposal, fidelity)
                        key = self._key(instance, proposal, length)
                    else:
                        key, length = answered.key, answered.fidelity
                        self.rejected = rejected + answered.extra[PROPOSAL][2]
                    if key not in self._stored and key not in proposals.keys:
                        if not self._affords(instance, length, [key]):
                            proposals.end()
                            break
                        self._proposals[key] = [follow, len(proposals), self.rejected - rejected, fidelity]
                        self._submit(jobs, instance, [(key, proposal)], length)
                    elif key not in proposals.keys:
                        self._count_paid(instance, [key])
                    proposals.ask(key, proposal, length)
                if not jobs:
                    break
                self._collect(jobs, instance, phase)
                self._show(phase, len(proposals.keys) - len(jobs), proposals.total)
        finally:
            self.clock.write()
        return [self._trial(key, a) for key, a in proposals.distinct() if key in self._stored]

    def admit(self, architectures: Iterable[Architecture], count: int) -> list[Architecture]:
        """The first `count` that break no constraint; the costs of the objectives are computed on the way."""
        admitted: list[Architecture] = []
        if not self.book.costs:
            return list(itertools.islice(architectures, count))
        waiting = iter(architectures)
        while len(admitted) < count:
            batch = list(itertools.islice(waiting, min(16, count - len(admitted))))
            if not batch:
                break
            before = self.clock.phase
            self.clock.enter("costs")
            keeping = self.book.keeping(batch, self.constraints, self.margins)
            self.rejected += len(batch) - len(keeping)
            admitted += keeping
            self.clock.enter(before)
            if self.seconds_left() <= 0:
                break
        return admitted

    def screened(self, architectures: Sequence[Architecture]) -> Sequence[Mapping[str, float]]:
        return self.book.screened(architectures)

    def _estimator(self, estimator: Estimator | str) -> Estimator:
        if isinstance(estimator, Estimator):
            return estimator
        if estimator not in self._estimators:
            self._estimators[estimator] = create("estimator", estimator)
        return self._estimators[estimator]

    def _trial(self, key: str, architecture: Architecture) -> Trial:
        return self._stored[key].trial(architecture)

    def _key(self, estimator: Estimator, architecture: Architecture, fidelity: int | None) -> str:
        return f"{estimator.name}@{fidelity}|{self.space.canonical(architecture)}"

    def _count_paid(self, estimator: Estimator, keys: Iterable[str]) -> None:
        if estimator.name == self.estimator:
            self._ledger.pay(keys)
        elif estimator.name == PAUSED:
            self._ledger.train_all(keys)

    def _affords(self, estimator: Estimator, fidelity: int | None, keys: Sequence[str]) -> int:
        """For how many of these evaluations, the first of them, in a job that begins now the budget pays."""
        count = len(keys)
        if estimator.name == self.estimator:
            count = int(min(count, self.trials_left()))
        elif estimator.name == PAUSED and math.isfinite(self.budget.trials):
            count = self._ledger.affordable(keys, self.trials_left() * self.epochs)
        if math.isinf(self.budget.seconds) or count < 1:
            return max(0, count)
        left = self.seconds_left()
        while count and left <= _ROOM * self._pace.expected(estimator.name, fidelity, count):
            count -= 1
        return count if left > 0 else 0

    def expected_seconds(self, estimator: str, fidelity: int | None, count: int = 1) -> float:
        return self._pace.of_all(estimator, fidelity, count)

    def _learn(self, trial: StoredTrial) -> None:
        """From a trial that is done: how long such ones take, and the best value so far."""
        if trial.status == "completed":
            # The first jobs of all include what every process does once.
            self._pace.learn_trial(trial, first=trial.phase == CALIBRATION)
        if trial.estimator == self.estimator and math.isfinite(trial.value):
            self._best = max(trial.value, self._best if self._best is not None else -math.inf)

    def _jobs(self, estimator: Estimator) -> Jobs:
        return Jobs(partial(self._start, estimator), lambda files: self._shared.take(files))

    def _submit(
        self, jobs: Jobs, estimator: Estimator, batch: Sequence[tuple[str, Architecture]], fidelity: int | None
    ) -> None:
        numbers = itertools.count(self._next)
        self._next += len(batch)
        self._count_paid(estimator, [key for key, _ in batch])
        jobs.submit([Evaluation(key, architecture, next(numbers), fidelity) for key, architecture in batch])

    def _start(
        self, estimator: Estimator, architectures: Sequence[Architecture], fidelity: int | None
    ) -> Future[Estimated]:
        """Hand a job to the workers; in a time budget it is stopped when it eats into what the ending needs."""
        folder = self._shared if "training" in estimator.needs else None
        left = self.seconds_left() + self.reserve / 4
        timeout = None if estimator.keeps_time or math.isinf(left) else max(_LEAST_SECONDS, left)
        return self.engine.submit(estimate_job, estimator, architectures, self.seed, folder, fidelity, timeout=timeout)

    @cached_property
    def _shared(self) -> Folder:
        return Folder.of(self.folder)

    def _collect(self, jobs: Jobs, estimator: Estimator, phase: str) -> None:
        self._commit([self._row(evaluation, estimate, estimator, phase) for evaluation, estimate in jobs.collect()])

    def _commit(self, rows: Sequence[StoredTrial]) -> None:
        if rows:
            self.store.add(self.name, rows)
        for row in rows:
            self._stored[row.key] = row
            self._learn(row)
        self.clock.write(every=1.0)
        if any(row.status == "failed" for row in rows):
            # What would be paid for would fail too.
            reason = hopeless(self._stored.values(), self._trainings)
            if reason:
                raise ArchscoutError(reason)

    def _row(self, evaluation: Evaluation, estimate: Estimate, estimator: Estimator, phase: str) -> StoredTrial:
        canonical = self.space.canonical(evaluation.architecture)
        extra = dict(estimate.extra)
        place = {PROPOSAL: self._proposals.pop(evaluation.key)} if evaluation.key in self._proposals else {}
        failed = extra.pop("failed", False) or ("training" in estimator.needs and not math.isfinite(estimate.value))
        return StoredTrial(
            key=evaluation.key,
            number=evaluation.number,
            architecture=evaluation.architecture.text,
            canonical=canonical,
            estimator=estimator.name,
            fidelity=evaluation.fidelity,
            status="failed" if failed else "completed",
            value=estimate.value,
            costs=self.book.known(canonical),
            seconds=estimate.seconds,
            std=estimate.std,
            curve=estimate.curve,
            phase=phase,
            reason=estimate.reason,
            seed=self.seed,
            extra=extra | {"at": round(self.clock.elapsed(), 3)} | place,
        )

    def _show(self, phase: str, done: float, total: float | None) -> None:
        left = self.budget.seconds - self.clock.elapsed()
        self.progress.update(phase, done, total, self._best, left if math.isfinite(left) else None)
