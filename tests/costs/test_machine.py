"""The pace of the machine, on a clock that is made up and on the real one."""

import math
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from archscout.costs import machine
from archscout.costs.machine import FULL_SPEED, get_to_know, pace, processor


@pytest.fixture
def work(monkeypatch: pytest.MonkeyPatch) -> dict[str, float]:
    """What the fixed bit of work takes, in seconds."""
    takes = {"seconds": 1.0}
    monkeypatch.setattr(machine, "_least", math.inf)
    monkeypatch.setattr(machine, "_work", lambda: takes["seconds"])
    return takes


def test_the_pace_is_relative_to_the_fastest_moment(work: dict[str, float]) -> None:
    assert pace() == 1.0
    work["seconds"] = 1.8
    assert pace() == pytest.approx(1.8)
    assert pace() > FULL_SPEED
    work["seconds"] = 0.9
    assert pace() == 1.0
    work["seconds"] = 1.8
    assert pace() == pytest.approx(2.0)


def test_a_machine_is_looked_at_for_a_second_and_once(work: dict[str, float], monkeypatch: pytest.MonkeyPatch) -> None:
    waited: list[float] = []

    def sleep(seconds: float) -> None:
        waited.append(seconds)
        work["seconds"] = 0.5 if len(waited) == 7 else 1.0

    monkeypatch.setattr(machine.time, "sleep", sleep)
    get_to_know.cache_clear()
    get_to_know()
    get_to_know()
    assert sum(waited) == pytest.approx(1.0)
    assert pace() == pytest.approx(2.0)


def test_what_another_process_has_seen_counts(work: dict[str, float]) -> None:
    assert pace() == 1.0
    machine.remember(0.5)
    assert machine.least() == 0.5
    assert pace() == pytest.approx(2.0)
    machine.remember(0.7)
    assert machine.least() == 0.5


def test_the_processor_has_a_name() -> None:
    assert processor().strip()


@pytest.mark.skipif(not Path("/proc/thread-self/schedstat").exists(), reason="the system does not tell")
def test_waiting_for_a_processor_is_told() -> None:
    """Two processes that are bound to one processor wait for each other."""
    code = "import os; os.sched_setaffinity(0, {%d})\nwhile True: pass"
    mine = sorted(os.sched_getaffinity(0))
    with subprocess.Popen([sys.executable, "-c", code % mine[0]]) as other:
        try:
            os.sched_setaffinity(0, {mine[0]})
            time.sleep(0.3)
            before, end = machine.waited(), time.perf_counter() + 0.4
            while time.perf_counter() < end:
                pass
            assert machine.waited() - before > 0.05
        finally:
            os.sched_setaffinity(0, mine)
            other.kill()
