"""How long a search takes to come back to where it was stopped after many trials, and how much memory that needs.

    python -m benchmarks.scale.resume
    python -m benchmarks.scale.resume --trials 100000 --strategy random

A search of a space with made-up values is carried out, then resumed in a process of its own with a budget of one
trial more. Seconds are those of the processor. Writes docs/results/resume_scale.json, a row for
each number of trials, space and strategy.
"""

from __future__ import annotations

import json
import math
import multiprocessing
import resource
import tempfile
import time
import zlib
from concurrent.futures import Future, ProcessPoolExecutor
from pathlib import Path
from typing import Any

from archscout.core.budget import Budget
from archscout.core.estimator import Estimator, Setting
from archscout.core.progress import Silent
from archscout.core.registry import create
from archscout.core.trial import Estimate
from archscout.costs.book import CostBook
from archscout.search.run import SearchRun
from archscout.store.clock import Clock
from archscout.store.store import Store
from archscout.workers.engines import InlineEngine
from benchmarks.common import RESULTS, Rows, arguments


class Made(Estimator):
    """A value that follows from the text alone."""

    name = "made"

    def estimate(self, architectures: Any, setting: Setting, *, fidelity: int | None = None) -> list[Estimate]:
        return [Estimate(zlib.crc32(one.text.encode()) / 2**32, seconds=0.01) for one in architectures]


class Answers(InlineEngine):
    """Answers at once, and counts."""

    asked = 0

    def submit(self, function: Any, *args: Any, timeout: float | None = None) -> Future[Any]:
        type(self).asked += 1
        return super().submit(function, *args, timeout=timeout)


def carry_out(place: str, space: str, strategy: str, trials: int) -> dict[str, float]:
    """Search, or go on with what the store has; CPU seconds, megabytes and the number of jobs that were asked."""
    searched = create("space", space)
    began, Answers.asked = time.process_time(), 0
    with Store.open(place) as store:
        store.begin("r", {})
        engine = Answers((searched, None, "cpu"))
        book = CostBook([], Setting(searched, None), store, "r", engine)  # type: ignore[arg-type]
        run = SearchRun(
            name="r", space=searched, task=None, seed=3, store=store, engine=engine, book=book,  # type: ignore[arg-type]
            constraints=(), objectives=(), budget=Budget(seconds=math.inf, trials=trials),
            clock=Clock(store, "r", time.monotonic()), progress=Silent(), estimator=Made(), folder=Path(place).parent,
            device="cpu", reserve=0.0,
        )  # fmt: skip
        found = run.follow(create("strategy", strategy), Made())
    assert len(found) == trials
    return {
        "cpu_seconds": round(time.process_time() - began, 2),
        "peak_rss_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3, 1),
        "jobs": Answers.asked,
    }


def apart(*args: Any) -> dict[str, float]:
    """The same in a process of its own."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(carry_out, *args).result()


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--trials", type=int, default=10_000)
    parser.add_argument("--space", default="mobile")
    parser.add_argument("--strategy", default="evolution")
    parser.add_argument("--results", type=Path, default=RESULTS)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        place = str(Path(folder) / "search.sqlite")
        searched = apart(place, options.space, options.strategy, options.trials)
        resumed = apart(place, options.space, options.strategy, options.trials + 1)
    keys = ("trials", "space", "strategy")
    asked = {key: getattr(options, key) for key in keys}
    Rows(options.results / "resume_scale.json", keys).add({**asked, "searched": searched, "resumed": resumed})
    print(json.dumps(resumed))


if __name__ == "__main__":
    main()
