"""How long a hundred thousand trials take to write and to load again, and how much memory that needs.

    python -m benchmarks.scale.store
    python -m benchmarks.scale.store --store postgresql://postgres@localhost/scratch

Writing and loading are done by processes of their own, so that the memory of each is told apart. With --epochs above
zero, a third of the trials carry a learning curve of that length. Writes docs/results/store_scale.json.
"""

from __future__ import annotations

import json
import multiprocessing
import resource
import sqlite3
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import sqlalchemy

from archscout.core.cost import Measurement
from archscout.core.seeds import stream
from archscout.store.store import Store, StoredTrial
from benchmarks.common import RESULTS, arguments, machine, write_result

OPERATIONS = ("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3")
RUN = "scale"


def trial(number: int, picks: list[int], epochs: int) -> StoredTrial:
    """A trial as long as a real one of nasbench201."""
    op = [OPERATIONS[i] for i in picks]
    text = f"|{op[0]}~0|+|{op[1]}~0|{op[2]}~1|+|{op[3]}~0|{op[4]}~1|{op[5]}~2|"
    trained = epochs > 0 and number % 3 == 0
    row = {"train_loss": 1 / 3, "valid_loss": 0.7, "valid_accuracy": 0.9123, "learning_rate": 0.05, "seconds": 0.21}
    return StoredTrial(
        key=f"naswot|{number}|{text}",
        number=number,
        architecture=text,
        canonical=f"{text} {number}",
        estimator="trained" if trained else "naswot",
        fidelity=epochs if trained else None,
        status="completed",
        value=number / 7,
        costs={"params": 73306.0, "macs": 1_234_567.0, "latency_ms": 1.2345678, "peak_memory_bytes": 123456.0},
        seconds=0.0123,
        curve=tuple({"epoch": float(epoch)} | row for epoch in range(epochs)) if trained else (),
        phase="rung 1",
        seed=number * 92233720368547,
    )


def write(place: str, count: int, batch: int, epochs: int) -> None:
    picks = stream(0, "benchmark").integers(0, len(OPERATIONS), (count, 6)).tolist()
    with Store.open(place) as store:
        store.begin(RUN, {})
        for start in range(0, count, batch):
            store.add(RUN, [trial(i, picks[i], epochs) for i in range(start, min(count, start + batch))])


def write_one_by_one(place: str, count: int) -> None:
    with Store.open(place) as store:
        store.begin("one by one", {})
        for i in range(count):
            store.add("one by one", [trial(i, [0] * 6, 0)])


def write_costs(place: str, count: int) -> None:
    with Store.open(place) as store:
        for i in range(count):
            store.add_costs(RUN, f"c{i}", {"params": Measurement(i), "latency_ms": Measurement(1.5, 0.01)})


def load(place: str) -> int:
    with Store.open(place, create=False) as store:
        return len(store.trials(RUN))


def timed(function: Callable[..., Any], *args: Any) -> dict[str, float]:
    """Seconds and peak memory of a call in a process of its own, the seconds without the start of the process."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(_timed, function, *args).result()


def _timed(function: Callable[..., Any], *args: Any) -> dict[str, float]:
    before, worked = time.perf_counter(), time.process_time()
    function(*args)
    seconds, worked = time.perf_counter() - before, time.process_time() - worked
    kilobytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {"seconds": round(seconds, 3), "cpu_seconds": round(worked, 3), "peak_rss_mb": round(kilobytes / 1e3, 1)}


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--trials", type=int, default=100_000)
    parser.add_argument("--batch", type=int, default=1_000)
    parser.add_argument("--epochs", type=int, default=0)
    parser.add_argument("--store", help="a new or empty store; default: a file that is removed at the end")
    parser.add_argument("--results", type=Path, default=RESULTS)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        place = options.store or str(Path(folder) / "search.sqlite")
        result: dict[str, Any] = {
            "asked": {"trials": options.trials, "batch": options.batch, "epochs": options.epochs},
            "add": timed(write, place, options.trials, options.batch, options.epochs),
            "load": timed(load, place),
            "add_1000_one_by_one": timed(write_one_by_one, place, 1_000),
            "add_1000_costs_one_by_one": timed(write_costs, place, 1_000),
        }
        if not options.store:
            result["file_mb"] = round(Path(place).stat().st_size / 1e6, 1)
    result["conditions"] = {
        "database": options.store.partition(":")[0] if options.store else f"SQLite {sqlite3.sqlite_version}",
        "sqlalchemy": sqlalchemy.__version__,
        **machine(),
    }
    print(json.dumps(result, indent=2))
    write_result(options.results / "store_scale.json", result)


if __name__ == "__main__":
    main()
