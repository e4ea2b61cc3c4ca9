"""What a search costs besides training, scoring and measuring, and how long 100,000 trials take to resume and report.

    python -m benchmarks.scale.search_overhead

The first figure is the share of the workers' time in a search over an estimator that sleeps for a known time: what is
missing from it is ours (engine, store, strategy, cost book). The second fills a store with 100,000 trials of a run,
then times a resumed search (which answers them all from the store) and its page, with peak memory. Writes
docs/results/search_overhead.json.
"""

from __future__ import annotations

import json
import resource
import sys
import tempfile
import time
from pathlib import Path

import cloudpickle
import numpy as np

from archscout.core.budget import Budget
from archscout.core.estimator import Estimator, Setting
from archscout.core.progress import Silent
from archscout.core.registry import create
from archscout.core.trial import Estimate
from archscout.costs.book import CostBook
from archscout.search.run import SearchRun
from archscout.store.clock import Clock
from archscout.store.store import Store, StoredTrial
from archscout.testing import tiny_task
from archscout.workers.engines import engine
from benchmarks.common import RESULTS, arguments, write_result

SLEEP = 0.2
cloudpickle.register_pickle_by_value(sys.modules[__name__])


class Sleeper(Estimator):
    """Takes a known time."""

    needs = frozenset({"training"})

    def __init__(self) -> None:
        self.name = "sleeper"

    def estimate(self, architectures, setting, *, fidelity=None):
        time.sleep(SLEEP * len(architectures))
        return [Estimate(float(len(set(a.values()))), seconds=SLEEP) for a in architectures]


def make_run(folder: Path, space, task, workers, trials):
    store = Store.open(folder / "search.sqlite")
    store.begin("run", {})
    pool = engine("local", workers, (space, task, "cpu"))
    book = CostBook([], Setting(space, task), store, "run", pool)
    return SearchRun(
        name="run", space=space, task=task, seed=0, store=store, engine=pool, book=book, constraints=(),
        objectives=(), budget=Budget(trials=trials), clock=Clock(store, "run", time.monotonic()), progress=Silent(),
        estimator="sleeper", folder=folder, device="cpu", reserve=0.0,
    )  # fmt: skip


def overhead(folder: Path) -> float:
    space, task = create("space", "nasbench201"), tiny_task()
    run = make_run(folder, space, task, 2, 200)
    run.engine.submit(lambda payload: None).result()  # workers are up
    began = time.perf_counter()
    trials = run.follow(create("strategy", "evolution"), Sleeper())
    wall = time.perf_counter() - began
    run.engine.close()
    return 1 - len(trials) * SLEEP / 2 / wall


def resume(folder: Path, count: int) -> dict[str, float]:
    space, task = create("space", "mobile"), tiny_task()
    rng = np.random.default_rng(0)
    architectures = [space.sample(rng) for _ in range(count)]
    with Store.open(folder / "search.sqlite") as store:
        store.begin("run", {})
        rows = [
            StoredTrial(
                key=f"sleeper@None|{space.canonical(a)}", number=i, architecture=a.text, canonical=space.canonical(a),
                estimator="sleeper", fidelity=None, status="completed", value=float(rng.random()),
                costs={"latency_ms": float(rng.random()), "params": 1e5}, seconds=1.0, phase="search",
                extra={"at": float(i)},
            )
            for i, a in enumerate(architectures)
        ]  # fmt: skip
        for start in range(0, count, 5000):
            store.add("run", rows[start : start + 5000])
    del rows
    began = time.perf_counter()
    run = make_run(folder, space, task, 0, count)
    trials = run.evaluate(architectures, Sleeper())
    resumed = time.perf_counter() - began
    assert len(trials) == count, len(trials)
    run.store.close()
    from archscout.report.page import write

    report = {
        "run": "run", "space": "mobile", "task": "tiny", "method": "random", "metric": "accuracy",
        "estimator": "sleeper", "constraints": [], "seconds": {"total": 1.0}, "notes": {}, "class_names": [],
        "winner": {"architecture": architectures[0].text, "costs": {"latency_ms": 1.0}, "valid_accuracy": 0.9},
        "trials": count,
    }  # fmt: skip
    write_result(folder / "report.json", report)
    began = time.perf_counter()
    write(folder)
    return {
        "trials": count,
        "resume_seconds": resumed,
        "report_seconds": time.perf_counter() - began,
        "peak_megabytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


def main() -> None:
    arguments(__doc__).parse_args()
    with tempfile.TemporaryDirectory() as one, tempfile.TemporaryDirectory() as two:
        result = {"overhead_share": overhead(Path(one)), "job_seconds": SLEEP} | resume(Path(two), 100_000)
    print(json.dumps(result, indent=1))
    write_result(RESULTS / "search_overhead.json", result)


if __name__ == "__main__":
    main()
