"""The run against engines that finish out of order, are interrupted and lose workers."""

import math
import random
import time
from collections import Counter
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from archscout.core.architecture import Architecture
from archscout.core.budget import Budget
from archscout.core.choice import Choice
from archscout.core.cost import Constraint, Cost, Measurement
from archscout.core.errors import ArchscoutError
from archscout.core.estimator import Estimator, Setting
from archscout.core.progress import Silent
from archscout.core.registry import create
from archscout.core.space import Space
from archscout.core.strategy import Strategy
from archscout.core.trial import Estimate
from archscout.costs.book import CostBook
from archscout.search.run import SearchRun
from archscout.store.clock import Clock
from archscout.store.store import Store
from archscout.strategies.evolution import RegularisedEvolution
from archscout.strategies.random import RandomSearch
from archscout.workers.engines import Engine, TrialTimeout


class Grid(Space):
    """Four digits; the order of the first two does not matter."""

    name = "grid"

    @property
    def choices(self):
        return [Choice(f"c{i}", tuple(range(5))) for i in range(4)]

    def network(self, task, pick):
        raise AssertionError("no network is built here")

    def canonical(self, architecture: Architecture) -> str:
        first = sorted(int(architecture[f"c{i}"]) for i in (0, 1))
        return f"{first}{architecture['c2']}{architecture['c3']}"


class Judge(Estimator):
    """Counts what it is asked; the value is a fixed function of the canonical form."""

    needs = frozenset({"training"})

    def __init__(self, broken: str | None = None) -> None:
        self.name = "trained"
        self.asked: Counter[str] = Counter()
        self.broken = broken

    def estimate(self, architectures, setting: Setting, *, fidelity=None):
        estimates = []
        for architecture in architectures:
            canonical = setting.space.canonical(architecture)
            self.asked[canonical] += 1
            if canonical == self.broken:
                raise ArchscoutError("it broke.")
            estimates.append(Estimate(random.Random(canonical).random(), seconds=0.01))
        return estimates


class Cheap(Judge):
    needs = frozenset()

    def __init__(self, broken: str | None = None) -> None:
        super().__init__(broken)
        self.name = "cheap"


class Sum(Cost):
    name, key, exact = "sum", "sum", True

    def measure(self, architecture, setting):
        return Measurement(float(sum(int(v) for v in architecture.values())))


class Threads(Engine):
    """Finishes jobs after random delays; interrupts after so many."""

    def __init__(self, workers: int, delay: float = 0.0, interrupt_after: float = math.inf) -> None:
        self.workers = workers
        self.delay, self.left = delay, interrupt_after
        self.pool = ThreadPoolExecutor(workers)
        self.space = Grid()
        self.timeouts: list[float | None] = []

    def submit(self, function, *args, timeout=None) -> Future:
        self.timeouts.append(timeout)
        if self.left <= 0:
            raise KeyboardInterrupt
        self.left -= 1
        pause = random.random() * self.delay

        def job():
            time.sleep(pause)
            return function((self.space, None, "cpu"), *args)

        return self.pool.submit(job)

    def close(self) -> None:
        self.pool.shutdown(wait=True, cancel_futures=True)


def make_run(tmp_path: Path, engine: Engine, *, trials=math.inf, seconds=math.inf, constraints=()) -> SearchRun:
    store = Store.open(tmp_path / "search.sqlite")
    store.begin("r", {})
    costs = [Sum()] if constraints else []
    book = CostBook(costs, Setting(engine.space, None), store, "r", engine)
    return SearchRun(
        name="r", space=engine.space, task=None, seed=3, store=store, engine=engine, book=book, constraints=constraints,
        objectives=(), budget=Budget(seconds=seconds, trials=trials), clock=Clock(store, "r", time.monotonic()),
        progress=Silent(), estimator=create("estimator", "trained"), folder=tmp_path, device="cpu", reserve=0.0,
    )  # fmt: skip


def outcome(trials):
    return [(t.number, t.architecture.text, t.value) for t in trials]


def test_the_number_of_workers_does_not_change_a_search(tmp_path):
    strategy = RegularisedEvolution(population=6, sample=3)
    results = []
    for workers in (1, 2, 5):
        folder = tmp_path / str(workers)
        folder.mkdir()
        run = make_run(folder, Threads(workers, delay=0.01), trials=40)
        results.append(outcome(run.follow(strategy, Judge())))
    assert len(results[0]) == 40
    assert results[0] == results[1] == results[2]


def test_a_proposal_sees_the_trials_up_to_its_lag(tmp_path):
    seen = []

    class Spy(Strategy):
        name, lag = "spy", 3

        def propose(self, space, history, rng):
            seen.append([trial.number for trial in history])
            return space.sample(rng)

    run = make_run(tmp_path, Threads(2, delay=0.01), trials=12)
    asked = run.follow(Spy(), Judge())
    assert len(asked) == 12
    for k, numbers in enumerate(seen[:12]):
        assert len(numbers) == max(0, k - 2), "proposal k sees trials 0 .. k - lag"


@pytest.mark.parametrize("after", [1, 7, 23])
def test_an_interrupted_search_ends_as_an_uninterrupted_one(tmp_path, after):
    strategy = RegularisedEvolution(population=6, sample=3)
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    whole = make_run(tmp_path / "a", Threads(1), trials=30).follow(strategy, Judge())

    judge = Judge()
    broken_off = make_run(tmp_path / "b", Threads(1, interrupt_after=after), trials=30)
    with pytest.raises(KeyboardInterrupt):
        broken_off.follow(strategy, judge)
    broken_off.store.close()
    committed = after
    resumed = make_run(tmp_path / "b", Threads(1), trials=30)
    assert resumed.store.count("r") == committed
    second = Judge()
    assert outcome(resumed.follow(strategy, second)) == outcome(whole)
    assert sum(second.asked.values()) == 30 - committed, "no finished trial is repeated"


def test_equal_networks_are_paid_for_once(tmp_path):
    run = make_run(tmp_path, Threads(2))
    space = run.space
    one, twin = space.parse("c0=1,c1=2,c2=0,c3=0"), space.parse("c0=2,c1=1,c2=0,c3=0")
    judge = Judge()
    trials = run.evaluate([one, twin, one], judge)
    assert [t.architecture for t in trials] == [one, twin, one]
    assert len({t.value for t in trials}) == 1
    assert sum(judge.asked.values()) == 1
    run.evaluate([twin], judge)
    assert sum(judge.asked.values()) == 1


def test_one_broken_network_of_a_chunk_is_recorded_and_the_others_count(tmp_path):
    run = make_run(tmp_path, Threads(2))
    rng = np.random.default_rng(0)
    architectures = [run.space.sample(rng) for _ in range(20)]
    bad = run.space.canonical(architectures[3])
    trials = run.evaluate(architectures, Cheap(broken=bad))
    assert len(trials) == 20
    for trial in trials:
        assert trial.status == ("failed" if trial.canonical == bad else "completed")
    failed = next(t for t in trials if t.canonical == bad)
    assert "it broke" in failed.reason and math.isnan(failed.value)


def test_a_budget_of_trials_counts_networks_paid_for_and_not_the_cheap_scores(tmp_path):
    run = make_run(tmp_path, Threads(2), trials=5)
    rng = np.random.default_rng(0)
    distinct = {run.space.canonical(a): a for a in (run.space.sample(rng) for _ in range(50))}
    architectures = list(distinct.values())
    assert len(run.evaluate(architectures, Cheap())) == len(architectures)
    assert len(run.evaluate(architectures[:3], Judge())) == 3
    assert run.trials_left() == 2
    assert len(run.evaluate(architectures[:3], Judge())) == 3, "known already"
    assert len(run.evaluate(architectures, Judge())) == 5
    assert run.trials_left() == 0


def test_what_breaks_a_constraint_is_rejected_before_it_is_paid_for(tmp_path):
    run = make_run(tmp_path, Threads(2), trials=15, constraints=[Constraint("sum", "sum", 6.0)])
    judge = Judge()
    trials = run.follow(RandomSearch(), judge)
    assert len(trials) == 15
    assert all(trial.costs["sum"] <= 6 for trial in trials)
    assert run.rejected > 0
    assert sum(judge.asked.values()) == 15


def test_a_strategy_that_repeats_itself_ends(tmp_path):
    class Stuck(Strategy):
        name = "stuck"

        def propose(self, space, history, rng):
            return space.parse("c0=0,c1=0,c2=0,c3=0")

    run = make_run(tmp_path, Threads(1), trials=10)
    assert len(run.follow(Stuck(), Judge())) == 1


def test_a_time_budget_stops_new_trials(tmp_path):
    class Slow(Judge):
        def estimate(self, architectures, setting, *, fidelity=None):
            time.sleep(0.1)
            return super().estimate(architectures, setting, fidelity=fidelity)

    run = make_run(tmp_path, Threads(2), seconds=1.0)
    began = time.monotonic()
    trials = run.follow(RandomSearch(), Slow())
    assert 4 <= len(trials) <= 22
    assert time.monotonic() - began < 2.0


def test_a_job_may_not_outlast_a_time_budget(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    run = make_run(tmp_path / "a", Threads(1), seconds=60.0)
    architecture = run.space.parse("c0=1,c1=2,c2=0,c3=0")
    run.evaluate([architecture], Judge())
    assert run.engine.timeouts == [pytest.approx(60.0, abs=2.0)]
    free = make_run(tmp_path / "b", Threads(1), trials=3)
    free.evaluate([architecture], Judge())
    assert free.engine.timeouts == [None]


def test_what_the_time_ends_is_not_tried_again_one_by_one(tmp_path):
    class Late(Threads):
        def submit(self, function, *args, timeout=None) -> Future:
            self.timeouts.append(timeout)
            future: Future = Future()
            future.set_exception(TrialTimeout("took longer than 1 s and was stopped."))
            return future

    run = make_run(tmp_path, Late(1), seconds=60.0)
    rng = np.random.default_rng(0)
    trials = run.evaluate([run.space.sample(rng) for _ in range(8)], Judge())
    assert len(run.engine.timeouts) == 1
    assert [trial.status for trial in trials] == ["failed"] * 8
    assert "took longer" in trials[0].reason


def test_a_job_is_as_large_as_the_time_that_is_left_allows(tmp_path, monkeypatch):
    now = [0.0]

    class Timed(Threads):
        """A tenth of a second for each network, by a clock that nothing else moves."""

        def submit(self, function, estimator, architectures, *args, timeout=None) -> Future:
            now[0] += 0.1 * len(architectures)
            future: Future = Future()
            estimates = [Estimate(0.5, seconds=0.1) for _ in architectures]
            future.set_result((estimates, 0.1 * len(architectures), {}))
            return future

    run = make_run(tmp_path, Timed(1), seconds=3.0)
    monkeypatch.setattr(run.clock, "elapsed", lambda: now[0])
    rng = np.random.default_rng(0)
    distinct = list({run.space.canonical(a): a for a in (run.space.sample(rng) for _ in range(60))}.values())
    run.evaluate(distinct[:4], Judge())
    assert run.expected_seconds("trained", None, 8) == pytest.approx(0.8)
    assert run.expected_seconds("trained", None, 20) == pytest.approx(2.0)
    trials = run.evaluate(distinct[4:], Judge())
    sizes = Counter(trial.extra["together"] for trial in trials)
    # 2.6 s are left: three jobs of eight, and in the last 0.2 s one network, which may take longer alone.
    assert sizes == {8: 24, 1: 1}


def test_decisions_are_made_once(tmp_path):
    run = make_run(tmp_path, Threads(1))
    assert run.decide("k", lambda: {"a": 1}) == {"a": 1}
    again = make_run(tmp_path, Threads(1))
    assert again.decide("k", lambda: {"a": 2}) == {"a": 1}


class Counted(RegularisedEvolution):
    """Counts what it is asked."""

    asked = 0

    def propose(self, space, history, rng):
        type(self).asked += 1
        return super().propose(space, history, rng)


def test_a_resumed_search_takes_its_proposals_from_the_store(tmp_path):
    limit = [Constraint("sum", "sum", 9.0)]

    def follow(folder, trials):
        Counted.asked = 0
        run = make_run(folder, Threads(1), trials=trials, constraints=limit)
        found = run.follow(Counted(population=4, sample=2), Judge())
        run.store.close()
        return outcome(found), run.rejected, Counted.asked

    whole, rejected, asked = follow(tmp_path / "whole", 40)
    half, _, before = follow(tmp_path / "parts", 30)
    resumed, rejected_again, after = follow(tmp_path / "parts", 40)
    assert half == whole[:30]
    assert (resumed, rejected_again) == (whole, rejected)
    assert rejected > 0
    assert after < asked - 20 + (before - 30), "what was proposed before the stop is not worked out again"
