"""What a method gets to search with: it evaluates, checkpoints, reports and knows the budget.

Two ideas carry it. A search is replayed when it is resumed: the method runs again from its start, everything that was
paid for is answered from the store, and what depended on the clock is answered from the recorded decisions. And
proposal number k of a strategy sees the trials up to k - lag, in the order of asking, however many workers there are.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from pathlib import Path
from typing import Any

import numpy as np

from archscout.core import seeds
from archscout.core.architecture import Architecture
from archscout.core.cost import Constraint, meets
from archscout.core.errors import ArchscoutError, UsageError
from archscout.core.estimator import PAUSED, TRAINING, Estimator, Setting
from archscout.core.method import Candidate
from archscout.core.progress import Progress
from archscout.core.registry import create
from archscout.core.space import Space
from archscout.core.strategy import Strategy
from archscout.core.task import Task
from archscout.core.trial import Estimate, History, Pending, Trial
from archscout.costs.book import CostBook
from archscout.search.budget import Budget
from archscout.search.ledger import Ledger
from archscout.store.clock import Clock
from archscout.store.store import Store, StoredTrial
from archscout.workers.engines import Engine, TrialTimeout
from archscout.workers.folder import Files, Folder
from archscout.workers.pace import Pace, Timing

_SCORED = 8
"""Architectures of a job of zero-cost scores."""

_ROOM = 1.1
"""By what factor more than expected must be left for a job to begin: networks differ."""

_HOPELESS = 3
"""Different networks whose trainings all fail alike, after which a search ends."""

_TOO_LONG = "took longer"
"""How the reason of a training begins that was stopped for want of time, which others may not need."""

_STALE = 200

_PROPOSAL = "proposal"
"""Under this key of `extra`: the number of the strategy among those that a run follows, the place among its proposals,
how many were rejected until then, and the fidelity that was asked for. A search that is resumed takes its proposals
from there.
"""

_LEAST_SECONDS = 5.0


CALIBRATION = "calibration"
"""The phase in which it is learnt how long a training takes here."""

Estimated = tuple[list[Estimate], float, Files]
"""What a job comes to: estimates, the seconds that they took, and files that it could not write into the folder."""

Flying = dict[Future[Estimated], list[tuple[str, Architecture, int]]]
"""Jobs under way, each with its architectures, their keys and the numbers of their trials."""


class BudgetTooSmall(UsageError):  # noqa: N818 - what it says is plainer
    """The budget does not pay for one trained network."""


def estimate_job(
    payload: Any,
    estimator: Estimator,
    architectures: Sequence[Architecture],
    seed: int,
    folder: Folder | None,
    fidelity: int | None,
) -> Estimated:
    """Runs in a worker."""
    space, task, device = payload
    began = time.perf_counter()

    def estimate(place: Path | None) -> list[Estimate]:
        setting = Setting(space, task, seed=seed, device=device, folder=place)
        return estimator.estimate(architectures, setting, fidelity=fidelity)

    estimates, files = (estimate(None), {}) if folder is None else folder.use(estimate)
    return estimates, time.perf_counter() - began, files


def score_job(
    payload: Any, names: Sequence[str], architectures: Sequence[Architecture], seed: int
) -> list[list[Estimate]]:
    """Runs in a worker: some estimates by each of several zero-cost scores, in passes that they share."""
    from archscout.estimators.zero_cost.harness import score

    space, task, device = payload
    columns = score(architectures, names, Setting(space, task, seed=seed, device=device))
    return [[columns[name][i] for name in names] for i in range(len(architectures))]


def epoch_seconds(trial: Trial | StoredTrial) -> float:
    """Of the last epoch, where there are two: the first one includes what every process does once."""
    marks = [row["seconds"] for row in trial.curve if "seconds" in row]
    return marks[-1] - marks[-2] if len(marks) > 1 else trial.seconds


class SearchRun:
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
        self._pace = Pace()
        self._shared: Folder | None = None
        self._follows = 0
        self._proposals: dict[str, list[int | None]] = {}
        self._sizes: dict[str, int] = {}
        for trial in self._stored.values():
            self._learn(trial)

    # -- what the budget leaves -----------------------------------------------------------------------------------

    def seconds_left(self) -> float:
        """Of the search part of a time budget: what the final training and the ending need is kept back."""
        return self.budget.seconds - self.reserve - self.final - self.clock.elapsed()

    def trials_left(self) -> float:
        return self.budget.trials - self._ledger.spent(self.epochs)

    # -- randomness, decisions, notes -----------------------------------------------------------------------------

    def rng(self, *keys: str | int) -> np.random.Generator:
        return seeds.stream(self.seed, *keys)

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

    # -- evaluation -----------------------------------------------------------------------------------------------

    def evaluate(
        self,
        architectures: Sequence[Architecture],
        estimator: Estimator | str,
        *,
        fidelity: int | Sequence[int] | None = None,
        phase: str = "search",
    ) -> list[Trial]:
        made = self._estimator(estimator)
        self.clock.enter(phase)
        each = fidelity if isinstance(fidelity, Sequence) else [fidelity] * len(architectures)
        keys = [self._key(made, architecture, one) for architecture, one in zip(architectures, each, strict=True)]
        fidelities = dict(zip(keys, each, strict=True))
        unique = dict(zip(keys, architectures, strict=True))
        # Only trainings of one length can share a job.
        together = made.together(list(unique.values()), self.setting) if len(set(each)) == 1 else 1
        self._sizes[made.name] = max(together, self._sizes.get(made.name, 1))
        size = self._job_size(together, len(unique))
        pairs = list(unique.items())
        chunks = [pairs[start : start + size] for start in range(0, len(pairs), size)]
        waiting = deque(batch for chunk in chunks if (batch := [pair for pair in chunk if pair[0] not in self._stored]))
        # A stored trial costs nothing now, but it was paid for: the count must not depend on interruptions.
        self._count_paid(made, (key for key in keys if key in self._stored))
        flying: Flying = {}
        total = sum(map(len, waiting))
        # Where time is short, no job waits in a queue: whether there is time for it is seen when it begins.
        most = self.workers if math.isfinite(self.budget.seconds) else 2 * self.workers
        try:
            while waiting or flying:
                while waiting and len(flying) < most:
                    batch = waiting.popleft()
                    length = fidelities[batch[0][0]]
                    affordable = self._affords(made, length, [key for key, _ in batch])
                    if affordable:
                        flying |= self._submit(made, batch[:affordable], length)
                    if not affordable:
                        waiting.clear()
                    elif affordable < len(batch):
                        waiting.appendleft(batch[affordable:])
                if not flying:
                    break
                self._collect(flying, made, fidelities, phase)
                left = sum(map(len, waiting)) + sum(map(len, flying.values()))
                self._show(phase, total - left, total)
        finally:
            self.clock.write()
        return [self._stored[k].trial(a) for k, a in zip(keys, architectures, strict=True) if k in self._stored]

    def score(
        self, architectures: Sequence[Architecture], names: Sequence[str], *, phase: str = "zero-cost scores"
    ) -> list[list[Trial]]:
        self.clock.enter(phase)
        made = [self._estimator(name) for name in names]
        fresh = {
            self.space.canonical(architecture): architecture
            for architecture in architectures
            if any(self._key(each, architecture, None) not in self._stored for each in made)
        }
        waiting = list(fresh.values())
        jobs: dict[Future[list[list[Estimate]]], list[Architecture]] = {}
        for start in range(0, len(waiting), _SCORED):
            chunk = waiting[start : start + _SCORED]
            jobs[self.engine.submit(score_job, tuple(names), chunk, self.seed)] = chunk
        # In the order of asking, so that numbers do not depend on who was quicker.
        for future, chunk in jobs.items():
            try:
                table = future.result()
            except ArchscoutError:
                # One of a chunk brought the worker down: each alone tells which.
                table = [self._score_alone(names, architecture) for architecture in chunk]
            rows = []
            for architecture, estimates in zip(chunk, table, strict=True):
                for each, estimate in zip(made, estimates, strict=True):
                    key = self._key(each, architecture, None)
                    if key not in self._stored:
                        rows.append(self._row(key, architecture, self._next, estimate, each, None, phase))
                        self._next += 1
            self._commit(rows)
        return [[self._stored[self._key(each, a, None)].trial(a) for a in architectures] for each in made]

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
        made = self._estimator(estimator)
        self.clock.enter(phase)
        stop = self.clock.elapsed() + seconds
        history = History()
        asked: list[tuple[str, Architecture]] = []
        keys: dict[str, int | None] = {}
        flying: Flying = {}
        most = math.inf if trials is None else trials
        stale = 0
        self._follows += 1
        follow, rejected = self._follows, self.rejected
        known = self._followed(follow, made, fidelity)
        try:
            while True:
                while len(keys) < most and stale < _STALE and len(flying) < self.workers:
                    told = max(0, len(asked) + 1 - strategy.lag)
                    if any(key not in self._stored for key, _ in asked[len(history) : told]):
                        break
                    for key, architecture in asked[len(history) : told]:
                        history.append(self._stored[key].trial(architecture))
                    if self.clock.elapsed() >= stop:
                        most = 0
                        break
                    answered = known.get(len(asked))
                    if answered is not None:
                        # What was proposed here is known, and need not be worked out again to be answered.
                        key, length = answered.key, answered.fidelity
                        proposal = Architecture.unread(answered.architecture, self.space.parse)
                        self.rejected = rejected + answered.extra[_PROPOSAL][2]
                    else:
                        history.pending = [
                            Pending(a, self.space.canonical(a), keys[key]) for key, a in asked[len(history) :]
                        ]
                        proposed = self._propose(strategy, history, len(asked))
                        if proposed is None:
                            most = 0
                            break
                        proposal = proposed
                        wished = strategy.fidelity(self.space, history, proposal)
                        length = fidelity if wished is None else wished
                        key = self._key(made, proposal, length)
                    if key not in self._stored and key not in keys:
                        if not self._affords(made, length, [key]):
                            most = 0
                            break
                        self._proposals[key] = [follow, len(asked), self.rejected - rejected, fidelity]
                        flying |= self._submit(made, [(key, proposal)], length)
                    elif key not in keys:
                        self._count_paid(made, [key])
                    stale = stale + 1 if key in keys else 0
                    keys[key] = length
                    asked.append((key, proposal))
                if not flying:
                    break
                self._collect(flying, made, keys, phase)
                self._show(phase, len(keys) - len(flying), None if math.isinf(most) else most)
        finally:
            self.clock.write()
        seen: set[str] = set()
        unique = [(k, a) for k, a in asked if k in self._stored and not (k in seen or seen.add(k))]  # type: ignore[func-returns-value]
        return [self._stored[key].trial(architecture) for key, architecture in unique]

    def _followed(self, follow: int, estimator: Estimator, fidelity: int | None) -> dict[int, StoredTrial]:
        """What a strategy is known to have proposed before the search was stopped, by the place in its proposals."""
        known = ((row.extra.get(_PROPOSAL), row) for row in self._stored.values() if row.estimator == estimator.name)
        return {
            place[1]: row for place, row in known if place is not None and (place[0], place[3]) == (follow, fidelity)
        }

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
            worth = [a for a, no in zip(batch, self.book.hopeless(batch, self.constraints), strict=True) if not no]
            self.rejected += len(batch) - len(worth)
            self.book.screened(worth)
            for architecture in worth:
                if not meets(self.book.at_most(architecture), self.constraints, self.margins):
                    self.rejected += 1
                else:
                    admitted.append(architecture)
            self.clock.enter(before)
            if self.seconds_left() <= 0:
                break
        return admitted

    def screened(self, architectures: Sequence[Architecture]) -> Sequence[Mapping[str, float]]:
        return self.book.screened(architectures)

    def _score_alone(self, names: Sequence[str], architecture: Architecture) -> list[Estimate]:
        try:
            table = self.engine.submit(score_job, tuple(names), [architecture], self.seed).result()
        except ArchscoutError as error:
            return [Estimate(math.nan, reason=str(error), extra={"failed": True})] * len(names)
        return list(table[0])

    # -- inside ---------------------------------------------------------------------------------------------------

    def _propose(self, strategy: Strategy, history: History, position: int) -> Architecture | None:
        for attempt in range(_STALE):
            rng = self.rng("propose", strategy.name, position, attempt)
            proposal = self.space.simplify(strategy.propose(self.space, history, rng))
            if self.admit([proposal], 1):
                return proposal
            if self.seconds_left() <= 0:
                return None
        return None

    def _estimator(self, estimator: Estimator | str) -> Estimator:
        if isinstance(estimator, Estimator):
            return estimator
        if estimator not in self._estimators:
            self._estimators[estimator] = create("estimator", estimator)
        return self._estimators[estimator]

    def _key(self, estimator: Estimator, architecture: Architecture, fidelity: int | None) -> str:
        return f"{estimator.name}@{fidelity}|{self.space.canonical(architecture)}"

    def _count_paid(self, estimator: Estimator, keys: Iterable[str]) -> None:
        if estimator.name == self.estimator:
            self._ledger.pay(keys)
        elif estimator.name == PAUSED:
            for key in keys:
                level, _, canonical = key.partition("|")
                self._ledger.train(canonical, int(level.partition("@")[2]))

    def _affords(self, estimator: Estimator, fidelity: int | None, keys: Sequence[str]) -> int:
        """For how many of these evaluations, the first of them, in a job that begins now the budget pays."""
        count = len(keys)
        if estimator.name == self.estimator:
            count = int(min(count, self.trials_left()))
        elif estimator.name == PAUSED and math.isfinite(self.budget.trials):
            assert fidelity is not None
            missing = itertools.accumulate(self._ledger.missing(key.partition("|")[2], fidelity) for key in keys)
            count = sum(epochs <= self.trials_left() * self.epochs + 1e-6 for epochs in missing)
        if math.isinf(self.budget.seconds) or count < 1:
            return max(0, count)
        left = self.seconds_left()
        while count and left <= _ROOM * self._pace.expected(estimator.name, fidelity, count):
            count -= 1
        return count if left > 0 else 0

    def _job_size(self, together: int, count: int) -> int:
        """How many of `count` evaluations share a job, of which so many are best given together.

        Apart from a budget in time this follows from what was asked alone: not from workers or what is stored.
        """
        jobs = self.workers if math.isfinite(self.budget.seconds) else 2
        return max(1, min(together, -(-count // jobs)))

    def expected_seconds(self, estimator: str, fidelity: int | None, count: int = 1) -> float:
        size = self._job_size(self._sizes.get(estimator, 1), count)
        whole, rest = divmod(count, size * self.workers)
        last = min(size, rest)
        return whole * self._pace.expected(estimator, fidelity, size) + (
            self._pace.expected(estimator, fidelity, last) if last else 0.0
        )

    def fidelity(self, epochs: int) -> int:
        return epochs

    def _learn(self, trial: StoredTrial) -> None:
        """From a trial that is done: how long such ones take, and the best value so far."""
        if trial.status == "completed":
            together, epochs = int(trial.extra.get("together", 1)), len(trial.curve)
            job = trial.extra.get("job_seconds") or trial.seconds * together
            epoch = min(job, epoch_seconds(trial) * together) if epochs else 0.0
            # The first jobs of all include what every process does once.
            seconds = min(job, epochs * epoch) if trial.phase == CALIBRATION else job
            self._pace.learn(trial.estimator, together, Timing(epochs, seconds, epoch))
        if trial.estimator == self.estimator and math.isfinite(trial.value):
            self._best = max(trial.value, self._best if self._best is not None else -math.inf)

    def _submit(self, estimator: Estimator, batch: Sequence[tuple[str, Architecture]], fidelity: int | None) -> Flying:
        numbered = []
        for key, architecture in batch:
            numbered.append((key, architecture, self._next))
            self._next += 1
        self._count_paid(estimator, [key for key, _ in batch])
        return {self._start(estimator, [architecture for _, architecture in batch], fidelity): numbered}

    def _start(
        self, estimator: Estimator, architectures: list[Architecture], fidelity: int | None
    ) -> Future[Estimated]:
        """Hand a job to the workers; in a time budget it is stopped when it eats into what the ending needs."""
        folder = self._shared_folder() if "training" in estimator.needs else None
        left = self.seconds_left() + self.reserve / 4
        timeout = None if estimator.keeps_time or math.isinf(left) else max(_LEAST_SECONDS, left)
        return self.engine.submit(estimate_job, estimator, architectures, self.seed, folder, fidelity, timeout=timeout)

    def _shared_folder(self) -> Folder:
        if self._shared is None:
            self._shared = Folder.of(self.folder)
        return self._shared

    def _collect(
        self,
        flying: Flying,
        estimator: Estimator,
        fidelities: Mapping[str, int | None],
        phase: str,
    ) -> None:
        """Wait for at least one job, and commit what is finished."""
        finished, _ = wait(flying, timeout=1.0, return_when=FIRST_COMPLETED)
        rows: list[StoredTrial] = []
        for future in finished:
            jobs = flying.pop(future)
            seconds: float | None = None
            try:
                estimates, seconds, files = future.result()
            except ArchscoutError as error:
                if len(jobs) > 1 and not isinstance(error, TrialTimeout):
                    # One of a chunk brought the worker down: each alone tells which.
                    for job in jobs:
                        flying[self._start(estimator, [job[1]], fidelities[job[0]])] = [job]
                    continue
                estimates = [Estimate(math.nan, reason=str(error), extra={"failed": True})] * len(jobs)
            else:
                if files:  # before the trial counts: whoever finds it finds its weights
                    self._shared_folder().take(files)
            for (key, architecture, number), estimate in zip(jobs, estimates, strict=True):
                row = self._row(key, architecture, number, estimate, estimator, fidelities[key], phase)
                shared = {"together": len(jobs), "job_seconds": seconds}
                rows.append(dataclasses.replace(row, extra={**row.extra, **shared}))
        self._commit(rows)

    def _commit(self, rows: Sequence[StoredTrial]) -> None:
        if rows:
            self.store.add(self.name, rows)
        for row in rows:
            self._stored[row.key] = row
            self._learn(row)
        self.clock.write(every=1.0)
        if any(row.status == "failed" for row in rows):
            self._end_if_hopeless()

    def _end_if_hopeless(self) -> None:
        """Raises `ArchscoutError` where the first trainings all failed alike: what would be paid for would fail too."""
        names = {TRAINING, self.estimator} if self.trains else {TRAINING}
        failed: list[StoredTrial] = []
        for row in self._stored.values():
            if row.estimator in names:
                if row.status != "failed" or (failed and row.reason != failed[0].reason):
                    return
                failed.append(row)
        networks = {row.canonical for row in failed}
        if len(networks) >= _HOPELESS and not failed[0].reason.startswith(_TOO_LONG):
            raise ArchscoutError(
                f"no network was trained: the first {len(networks)} trainings failed alike, with: {failed[0].reason}"
            )

    def _row(
        self,
        key: str,
        architecture: Architecture,
        number: int,
        estimate: Estimate,
        estimator: Estimator,
        fidelity: int | None,
        phase: str,
    ) -> StoredTrial:
        canonical = self.space.canonical(architecture)
        extra = dict(estimate.extra)
        failed = extra.pop("failed", False) or ("training" in estimator.needs and not math.isfinite(estimate.value))
        return StoredTrial(
            key=key,
            number=number,
            architecture=architecture.text,
            canonical=canonical,
            estimator=estimator.name,
            fidelity=fidelity,
            status="failed" if failed else "completed",
            value=estimate.value,
            costs=self.book.known(canonical),
            seconds=estimate.seconds,
            std=estimate.std,
            curve=estimate.curve,
            phase=phase,
            reason=estimate.reason,
            seed=self.seed,
            extra=extra | {"at": round(self.clock.elapsed(), 3)} | self._place(key),
        )

    def _place(self, key: str) -> dict[str, list[int | None]]:
        place = self._proposals.pop(key, None)
        return {} if place is None else {_PROPOSAL: place}

    def _show(self, phase: str, done: float, total: float | None) -> None:
        left = self.budget.seconds - self.clock.elapsed()
        self.progress.update(phase, done, total, self._best, left if math.isfinite(left) else None)
