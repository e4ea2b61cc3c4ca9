"""What every method promises, as tests."""

from __future__ import annotations

import json
import math
import random
import time
import zlib
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from archscout.core import panel as panels
from archscout.core.architecture import Architecture
from archscout.core.budget import Budget
from archscout.core.cost import Constraint
from archscout.core.errors import ArchscoutError
from archscout.core.estimator import PAUSED, TRAINING, Estimator, Setting
from archscout.core.method import Method
from archscout.core.progress import Silent
from archscout.core.registry import create
from archscout.core.seeds import stream
from archscout.core.space import Space
from archscout.core.subspace import SubSpace
from archscout.core.task import Task
from archscout.core.trial import Estimate, Trial
from archscout.costs.book import CostBook
from archscout.estimators.jobs import Jobs
from archscout.search.run import SearchRun
from archscout.store.clock import Clock
from archscout.store.store import Store, StoredTrial
from archscout.testing.tasks import tiny_task
from archscout.workers.engine import Engine, InlineEngine


class MethodConformance(ABC):
    """The contract of a `Method`. Inherit it and give the method, with small settings.

    What it has trained is answered by a made-up estimator, in no time; all else (scores, shared weights) is real.

    >>> class TestMine(MethodConformance):                # doctest: +SKIP
    ...     def method(self): return MyMethod(samples=10)
    """

    budget = 8
    """Trainings that a search may pay for."""

    epochs = 9
    """Of full training."""

    limited = 0.3
    """The share of sampled architectures that keep the limit in the test of limits."""

    sittings = 3
    """How often a search is interrupted."""

    draws = True
    """Whether another seed is to give another search."""

    @abstractmethod
    def method(self) -> Method:
        """A new method, equal each time."""

    def space(self) -> Space:
        """What is searched."""
        return create("space", "nasbench201:width=4,cells=1")  # type: ignore[no-any-return]

    def small(self) -> Space:
        """A space with fewer networks than the budget has trainings: two options of two choices of `space`."""
        space = self.space()
        alive = {choice.name: choice.options[-2:] if place < 2 else choice.options[-1:]
                 for place, choice in enumerate(space.choices)}  # fmt: skip
        return SubSpace(space, alive)

    def task(self) -> Task:
        """On what data."""
        return tiny_task()

    def search(self, folder: Path, **changes: Any) -> Outcome:
        """One sitting of a search whose run is kept in a folder; `changes` are those of `Sitting`."""
        given: dict[str, Any] = {
            "space": self.space(),
            "task": self.task(),
            "budget": self.budget,
            "epochs": self.epochs,
        } | changes
        return Sitting(folder, **given).search(self.method())

    def test_it_has_a_name(self) -> None:
        method = self.method()
        assert method.name
        assert method.name != Method.name
        assert method.name == self.method().name

    def test_one_seed_gives_one_search_whatever_the_workers(self, tmp_path: Path) -> None:
        alone = self.search(tmp_path / "alone", seed=1)
        again = self.search(tmp_path / "again", seed=1)
        many = self.search(tmp_path / "many", seed=1, workers=3)
        assert again.summary() == alone.summary(), "the same search again ended differently"
        assert many.summary() == alone.summary(), "three workers that finish out of order change it"

    def test_another_seed_gives_another_search(self, tmp_path: Path) -> None:
        if self.draws:
            summaries = [self.search(tmp_path / str(seed), seed=seed).summary() for seed in range(4)]
            assert any(summary != summaries[0] for summary in summaries[1:])

    def test_no_global_random_state_is_read_or_changed(self, tmp_path: Path) -> None:
        summaries = []
        before = random.getstate(), np.random.get_state(), torch.random.get_rng_state()
        try:
            for seed in (1, 2):
                random.seed(seed)
                np.random.seed(seed)
                torch.default_generator.manual_seed(seed)
                states = _states()
                summaries.append(self.search(tmp_path / str(seed)).summary())
                assert _states() == states
        finally:
            random.setstate(before[0])
            np.random.set_state(before[1])
            torch.random.set_rng_state(before[2])
        assert summaries[0] == summaries[1]

    def test_what_comes_back_was_evaluated_and_the_best_is_first(self, tmp_path: Path) -> None:
        outcome = self.search(tmp_path)
        rows = {(row.canonical, row.estimator, row.fidelity): row for row in outcome.rows}
        assert outcome.candidates, "nothing comes back"
        for trial in outcome.candidates:
            if trial.estimator == TRAINING:
                row = rows[outcome.space.canonical(trial.architecture), trial.estimator, trial.fidelity]
                assert (row.status, row.value) == ("completed", trial.value), "a value that no evaluation gave"
        canonicals = [trial.canonical for trial in outcome.candidates]
        assert len(set(canonicals)) == len(canonicals), "one network comes back twice"
        by_length: dict[int | None, list[float]] = {}
        for trial in outcome.candidates:
            by_length.setdefault(trial.fidelity, []).append(trial.value)
        assert all(values == sorted(values, reverse=True) for values in by_length.values() if not math.isnan(values[0]))

    def test_all_that_it_asks_for_is_in_the_space(self, tmp_path: Path) -> None:
        outcome = self.search(tmp_path)
        asked = [architecture for _, architecture in outcome.asked] + [t.architecture for t in outcome.candidates]
        assert asked
        assert all(architecture in outcome.space for architecture in asked)

    def test_it_keeps_to_its_budget(self, tmp_path: Path) -> None:
        for budget in (1, 2, self.budget):
            outcome = self.search(tmp_path / str(budget), budget=budget)
            paid = Counter(row.canonical for row in outcome.rows if row.estimator == TRAINING)
            paused: dict[str, int] = {}  # epochs of trainings that pause, each counted once
            for row in outcome.rows:
                if row.estimator == PAUSED:
                    paused[row.canonical] = max(row.fidelity or 0, paused.get(row.canonical, 0))
            assert 0 < paid.total() + sum(paused.values()) / self.epochs <= budget
            assert outcome.trained <= {(row.canonical, row.fidelity) for row in outcome.rows}, "trained past the run"

    def test_limits_are_kept(self, tmp_path: Path) -> None:
        cost, space = create("cost", "params"), self.space()
        setting = Setting(space, self.task().sealed())

        def params(architecture: Architecture) -> float:
            return float(cost.measure(architecture, setting).value)

        sample = [params(space.sample(stream(number, "conformance", "limit"))) for number in range(30)]
        limit = Constraint("params", "params", float(np.quantile(sample, self.limited)))
        share = float(np.mean(np.asarray(sample) <= limit.limit))
        outcome = self.search(tmp_path, constraints=[limit], share=share)
        paid = [architecture for estimator, architecture in outcome.asked if "training" in estimator.needs]
        assert paid, "nothing was trained"
        for architecture in paid + [trial.architecture for trial in outcome.candidates]:
            assert params(architecture) <= limit.limit, f"{architecture} breaks {limit}"

    def test_an_interrupted_search_goes_on_to_the_same_end(self, tmp_path: Path) -> None:
        whole = self.search(tmp_path / "whole", seed=2)
        assert whole.steps > 0, "it never asks anything of its run"
        for place in range(self.sittings):
            stop = 1 + place * whole.steps // self.sittings
            part = self.search(tmp_path / f"part {place}", seed=2, stop_after=stop)
            resumed = self.search(tmp_path / f"part {place}", seed=2)
            assert resumed.summary() == whole.summary(), f"interrupted after {stop} of {whole.steps} steps"
            stored = {(row.canonical, row.fidelity) for row in part.rows if row.estimator == TRAINING}
            assert not stored & resumed.trained, "what was paid for is paid for again"

    def test_it_lives_with_trainings_that_fail(self, tmp_path: Path) -> None:
        for seed in range(3):
            outcome = self.search(tmp_path / str(seed), seed=seed, broken=2)
            assert all(trial.status == "completed" for trial in outcome.candidates)
            assert not any(fails(trial.canonical, 2) for trial in outcome.candidates if trial.estimator == TRAINING)

    def test_it_ends_where_everything_fails(self, tmp_path: Path) -> None:
        with suppress(ArchscoutError):
            outcome = self.search(tmp_path, broken=1)
            assert not any(trial.defined for trial in outcome.candidates)

    def test_it_ends_in_a_space_with_fewer_networks_than_its_budget(self, tmp_path: Path) -> None:
        space = self.small()
        outcome = self.search(tmp_path, space=space)
        forms = {space.canonical(space.sample(stream(number, "conformance", "small"))) for number in range(100)}
        assert len(forms) < self.budget
        assert outcome.candidates
        assert {trial.canonical for trial in outcome.candidates} <= forms

    def test_what_it_notes_can_be_shown(self, tmp_path: Path) -> None:
        notes = self.search(tmp_path).notes
        for panel in json.loads(json.dumps(notes.get("panels", []))):
            assert panels.read(panel) is not None
            assert panel["title"]


# -- the run in which a method is tried -------------------------------------------------------------------------------


class Summary(NamedTuple):
    """What must not depend on workers, interruptions or the time of day."""

    candidates: list[tuple[str, int | None, str]]
    trials: list[tuple[int, str, str, str]]


@dataclass(frozen=True)
class Outcome:
    """How a sitting ended.

    `asked` is what was handed to workers, with the estimator that was asked; `trained` the networks (canonical form
    and epochs) that the made-up training was really asked for; `steps` how often the method spoke to its run.
    """

    space: Space
    candidates: Sequence[Trial]
    rows: Sequence[StoredTrial]
    notes: Mapping[str, Any]
    asked: Sequence[tuple[Estimator, Architecture]]
    trained: set[tuple[str, int | None]]
    steps: int

    def summary(self) -> Summary:
        """The search without its seconds."""
        return Summary(
            [(trial.architecture.text, trial.fidelity, repr(trial.value)) for trial in self.candidates],
            sorted((row.number, row.key, row.status, repr(row.value)) for row in self.rows),
        )


def fails(canonical: str, every: int) -> bool:
    """Whether the made-up training of a network fails: of one in `every`, and of none where that is 0."""
    return bool(every) and zlib.crc32(f"broken {canonical}".encode()) % every == 0


class MadeUp(Estimator):
    """Stands for real training: a value that follows from the network and the epochs, with a curve.

    Half of the networks that fail raise an error, the others end in NaN.
    """

    needs = frozenset({"training"})

    def __init__(self, every: int = 0, name: str = TRAINING) -> None:
        self.every, self.name = every, name
        self.trained: set[tuple[str, int | None]] = set()

    def estimate(
        self, architectures: Sequence[Architecture], setting: Setting, *, fidelity: int | None = None
    ) -> list[Estimate]:
        return [self._estimate(setting.space.canonical(each), fidelity) for each in architectures]

    def _estimate(self, canonical: str, epochs: int | None) -> Estimate:
        self.trained.add((canonical, epochs))
        digest = zlib.crc32(canonical.encode())
        if fails(canonical, self.every):
            if digest % 2:
                raise ArchscoutError(f"network {digest} cannot be trained.")
            return Estimate(math.nan, reason=f"network {digest} diverged.")
        best = 0.3 + 0.6 * digest / 2**32
        values = [best * (1 - 0.5**epoch) for epoch in range(1, (epochs or 1) + 1)]
        curve = tuple(
            {"epoch": epoch, "train_loss": 1 - value, "valid_loss": 1 - value, "valid_accuracy": value,
             "seconds": 0.01 * epoch} for epoch, value in enumerate(values, 1)
        )  # fmt: skip
        return Estimate(values[-1], seconds=0.01 * len(curve), curve=curve)


class Sitting:
    """One sitting of a search: a real run over a store in a folder, which may be interrupted.

    Args:
        folder: of the store and of what the method keeps; an earlier sitting's is gone on with.
        space: what is searched.
        task: on what data.
        budget: trainings.
        epochs: of full training.
        seed: of the search.
        workers: 0 for none; with more of them, jobs end in the reverse order of asking.
        constraints: limits on costs.
        share: of sampled architectures that keep them.
        broken: one in so many trainings fails; 0 for none.
        stop_after: the step (something that the method asks or tells) after which the sitting is interrupted.
    """

    def __init__(
        self,
        folder: Path,
        space: Space,
        task: Task,
        budget: int,
        epochs: int,
        seed: int = 0,
        workers: int = 0,
        constraints: Sequence[Constraint] = (),
        share: float = 1.0,
        broken: int = 0,
        stop_after: float = math.inf,
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.store = Store.open(folder / "search.sqlite")
        self.store.begin("conformance", {})
        self.training = MadeUp(broken)
        setting = Setting(space, task.sealed(), seed=seed)
        payload = space, setting.task, "cpu"
        engine: Engine = Reversed(payload, workers) if workers else InlineEngine(payload)
        costs = [create("cost", constraint.cost) for constraint in constraints]
        self.run = Watched(
            name="conformance", space=space, task=setting.task, seed=seed, store=self.store, engine=engine,
            book=CostBook(costs, setting, self.store, "conformance", engine), constraints=constraints, objectives=(),
            budget=Budget(trials=budget), clock=Clock(self.store, "conformance", time.monotonic()), progress=Silent(),
            estimator=self.training, folder=folder, device="cpu", reserve=0.0,
        )  # fmt: skip
        self.run.epochs, self.run.share, self.run.stop_after = epochs, share, stop_after
        self.run.paused = MadeUp(broken, PAUSED)

    def search(self, method: Method) -> Outcome:
        """Search until the method, or the interruption, ends it."""
        candidates: list[Trial] = []
        try:
            with suppress(KeyboardInterrupt):
                candidates = method.search(self.run)
            rows, notes = self.store.trials("conformance"), self.store.notes("conformance")
        finally:
            self.store.close()
        run = self.run
        return Outcome(run.space, candidates, rows, notes, run.asked, self.training.trained, run.steps)


class Watched(SearchRun):
    """A run that remembers what was asked of it, and interrupts the method after so many steps."""

    stop_after: float = math.inf
    paused: Estimator
    """Stands for full trainings that pause."""

    def __init__(self, **named: Any) -> None:
        super().__init__(**named)
        self.asked: list[tuple[Estimator, Architecture]] = []
        self.steps = 0

    def _step(self) -> None:
        self.steps += 1
        if self.steps > self.stop_after:
            raise KeyboardInterrupt

    def decide(self, key: str, make: Callable[[], Any]) -> Any:
        self._step()
        return super().decide(key, make)

    def note(self, key: str, value: Any) -> None:
        self._step()
        super().note(key, value)

    def show(self, phase: str, done: float, total: float | None = None) -> None:
        self._step()
        super().show(phase, done, total)

    def score(
        self, architectures: Sequence[Architecture], names: Sequence[str], *, phase: str = "zero-cost scores"
    ) -> list[list[Trial]]:
        self._step()
        self.asked += [(self._estimator(name), each) for name in names for each in architectures]
        return super().score(architectures, names, phase=phase)

    def _start(self, estimator: Estimator, architectures: Sequence[Architecture], fidelity: int | None) -> Future[Any]:
        self._step()
        self.asked += [(estimator, each) for each in architectures]
        if estimator.name == PAUSED:
            estimator = self.paused
        return super()._start(estimator, architectures, fidelity)

    def _collect(self, jobs: Jobs, *arguments: Any) -> None:
        newest = next(reversed(jobs.flying))
        if isinstance(newest, Later):
            newest.compute()
        super()._collect(jobs, *arguments)


class Later(Future[Any]):
    """A job that is computed when somebody wants to know."""

    def __init__(self, job: Callable[[], Future[Any]]) -> None:
        super().__init__()
        self._job = job

    def compute(self) -> None:
        """Compute it now, unless that was done before."""
        if not self.done():
            done = self._job()
            error = done.exception()
            self.set_exception(error) if error else self.set_result(done.result())

    def result(self, timeout: float | None = None) -> Any:
        self.compute()
        return super().result(timeout)


class Reversed(Engine):
    """Several workers in this process; what was submitted last ends first."""

    def __init__(self, payload: Any, workers: int) -> None:
        self.workers = workers
        self._inline = InlineEngine(payload)

    def submit(self, function: Callable[..., Any], *args: Any, timeout: float | None = None) -> Future[Any]:
        return Later(lambda: self._inline.submit(function, *args))

    def close(self) -> None:
        """Nothing runs between two calls."""


def _states() -> tuple[Any, ...]:
    legacy: Any = np.random.get_state(legacy=True)
    return random.getstate(), legacy[1].tobytes(), torch.random.get_rng_state().tolist()
