"""The time of a run is kept, whatever measuring again says: in-process, by a clock that goes on as steps say."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from torch import nn

from archscout.core.cost import Cost, Measurement
from archscout.core.errors import ArchscoutError
from archscout.core.progress import Silent
from archscout.core.registry import create
from archscout.shrink import record as records
from archscout.shrink import reduction
from archscout.shrink.record import Record
from archscout.testing.tasks import tiny_task
from archscout.training.trainer import Outcome

TASK = tiny_task((3, 8, 8), classes=5)
BUDGET, PASS = 240.0, 18.0


class Clock:
    """Seconds that go by where a step says so."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


class SlowWay:
    """A way to make a network cheaper that takes its time, and nothing else."""

    step = "cut"
    setting: Any = None

    def __init__(self, clock: Clock) -> None:
        self.clock, self.network = clock, nn.Sequential(nn.Flatten(), nn.Linear(192, 5))
        self.limits: list[dict[str, float]] = []

    def choose(self, limits: dict[str, float], key: str) -> tuple[Any, dict[str, Any]]:
        self.clock.now += 4.0 if self.limits else 40.0
        self.limits.append(dict(limits))
        return f"architecture {len(self.limits)}", {"harm": 0.1, "rated": 1}

    def smaller(self, architecture: Any) -> nn.Module:
        self.clock.now += 1.0
        return copy.deepcopy(self.network)

    def shipped(self, network: nn.Module) -> nn.Module:
        return network

    def go_on_from(self, architecture: Any, network: nn.Module) -> None:
        pass


def reduced(
    milliseconds: Iterator[float], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> tuple[reduction.Reduced, SlowWay, list[float], float]:
    """What comes of it, the way, the seconds of each training, and when it ended; a measurement takes a second."""
    clock, trainings = Clock(), list[float]()
    way = SlowWay(clock)

    def measure(*_: Any) -> Measurement:
        clock.now += 1.0
        return Measurement(next(milliseconds))

    def fine_tune(network: nn.Module, task: Any, seconds: float, *, least: float, **_: Any) -> Outcome:
        trainings.append(max(seconds, least * PASS))
        clock.now += trainings[-1]
        return Outcome((), 0, math.nan, trainings[-1])

    monkeypatch.setattr(reduction, "measure", measure)
    monkeypatch.setattr(records, "fine_tune", fine_tune)
    record = Record(
        folder, TASK, seed=0, device="cpu", watch=Silent(), clock=clock, end=BUDGET, began=0.0, shared=None
    )  # fmt: skip
    costs: dict[str, Cost] = {"latency": create("cost", "latency")}
    return reduction.reduce(record, way, costs, {"latency": 10.0}, True), way, trainings, clock.now


def test_a_limit_that_breaks_after_recovery_does_not_overrun(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    times = iter([9.0, 11.0, 11.5, 12.0, 9.6, 9.5])
    result, way, trainings, ended = reduced(times, tmp_path, monkeypatch)
    assert result.measured["latency"].value == 9.5 and len(way.limits) == 2
    assert way.limits[1]["latency"] == pytest.approx(0.97 * 10 / 11 * 10), "by the least of what was measured"
    assert trainings[0] > 0.7 * BUDGET, "what is held back for measuring again is little"
    assert ended <= 1.05 * BUDGET


def test_one_slow_measurement_is_no_broken_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    result, way, trainings, ended = reduced(iter([12.0, 9.0, 15.0, 9.2]), tmp_path, monkeypatch)
    assert len(way.limits) == len(trainings) == 1 and result.measured["latency"].value == 9.2
    assert 0.95 * BUDGET <= ended <= BUDGET


def test_limits_that_stay_broken_end_in_time_as_well(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    times = iter([9.0] + [11.0] * 9)
    with pytest.raises(ArchscoutError, match=r"latency_ms = 11 when measured again, above the limit of 10"):
        reduced(times, tmp_path, monkeypatch)
    assert next(times, None) is None, "each network is measured three times"
