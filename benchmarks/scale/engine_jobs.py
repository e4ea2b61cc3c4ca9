"""What the engine costs: empty jobs a second, a new worker after a death, starting and closing.

    python -m benchmarks.scale.engine_jobs

Beside it, in the same run, what the standard library's pool (which does not survive a death) makes of the same jobs.
Writes docs/results/engine_jobs.json.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, wait
from pathlib import Path
from typing import Any

from archscout.core.errors import ArchscoutError
from archscout.core.seeds import derive
from archscout.workers.engines import Engine, engine
from benchmarks.common import RESULTS, arguments, machine, write_result


def by_value(payload: Any, number: int) -> int:
    """A function of a script: sent with every job."""
    return number


def leave(payload: Any) -> None:
    os._exit(1)


def sleep(payload: Any) -> None:
    time.sleep(600)


def rate(submit: Callable[[int], Any], jobs: int) -> float:
    before = time.perf_counter()
    wait([submit(number) for number in range(jobs)])
    return round(jobs / (time.perf_counter() - before))


def restart(made: Engine) -> float:
    """Seconds from the start of a job that kills its worker to the end of a job by the next."""
    before = time.perf_counter()
    try:
        made.submit(leave).result()
    except ArchscoutError:
        made.submit(by_value, 1).result()
    return time.perf_counter() - before


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--jobs", type=int, default=5_000)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--results", type=Path, default=RESULTS)
    options = parser.parse_args()
    result: dict[str, Any] = {"asked": {"jobs": options.jobs, "workers": options.workers}}

    before = time.perf_counter()
    made = engine("local", options.workers, 0)
    wait([made.submit(by_value, number) for number in range(options.workers)])
    result["seconds_to_first_results"] = round(time.perf_counter() - before, 3)
    result["jobs_per_second"] = rate(lambda number: made.submit(derive, number), options.jobs)
    result["jobs_per_second_of_a_scripts_function"] = rate(lambda n: made.submit(by_value, n), options.jobs)
    with ProcessPoolExecutor(options.workers, mp_context=multiprocessing.get_context("forkserver")) as pool:
        pool.submit(derive, 0, 0).result()
        result["jobs_per_second_of_concurrent_futures"] = rate(lambda n: pool.submit(derive, 0, n), options.jobs)
    with engine("local", 1, 0) as one:
        one.submit(by_value, 0).result()
        result["seconds_to_replace_a_dead_worker"] = round(min(restart(one) for _ in range(5)), 4)
    for _ in range(options.workers):
        made.submit(sleep)
    time.sleep(0.2)
    before = time.perf_counter()
    made.close()
    result["seconds_to_close_while_jobs_run"] = round(time.perf_counter() - before, 4)
    result["conditions"] = machine()

    print(json.dumps(result, indent=2))
    write_result(options.results / "engine_jobs.json", result)


if __name__ == "__main__":
    main()
