"""What is kept for the ending of a run."""

from __future__ import annotations

import dataclasses
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from archscout.core.cost import Constraint
from archscout.core.registry import create
from archscout.core.trial import Trial
from archscout.search import reserve
from archscout.search.reserve import ENDING, OTHER_FORM, ending_seconds
from archscout.testing import tiny_task

SPACE = create("space", "nasbench201:width=4,cells=1")
ARCHITECTURE = SPACE.sample(np.random.default_rng(0))
WINNER = Trial(0, ARCHITECTURE, "c", "trained", 9, "completed", 0.5)
TASK = tiny_task((3, 8, 8), classes=3, examples=40)


class Clock:
    """The n-th answer takes `seconds` of the clock and `processor` seconds; nothing else takes any time."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, seconds: float, processor: float) -> None:
        self.now = self.used = 0.0

        def predict(*_: Any) -> None:
            self.now += seconds
            self.used += processor

        monkeypatch.setattr(reserve, "predict", predict)
        told = SimpleNamespace(perf_counter=lambda: self.now, process_time=lambda: self.used)
        monkeypatch.setattr(reserve, "time", told)


def run(kept: float = 9.0, left: float = 200.0, limits: Any = ()) -> Any:
    return SimpleNamespace(
        space=SPACE, seed=0, reserve=kept, constraints=limits, book=SimpleNamespace(costs=[create("cost", "latency")]),
        budget=SimpleNamespace(seconds=240.0), clock=SimpleNamespace(elapsed=lambda: 240.0 - left),
    )  # fmt: skip


EACH = 1 / min(reserve.TIMED, len(TASK.train))
TESTED = len(TASK.test or ())  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("kept", "left", "wall", "expected"),
    [
        (9.0, 200.0, 0.4, ENDING + 0.4 * EACH * TESTED),
        (2.0, 200.0, 0.4, 2.0 + 0.4 * EACH * TESTED),  # of a small budget
        (9.0, 200.0, 0.8, 2 * ENDING + 0.8 * EACH * TESTED),  # another program has the processor for half of the time
        (9.0, 200.0, 4.0, 9.0 + 4.0 * EACH * TESTED),
        (9.0, 10.0, 0.4, 3.0),
    ],
)
def test_files_and_test_take_their_time(
    monkeypatch: pytest.MonkeyPatch, kept: float, left: float, wall: float, expected: float
) -> None:
    Clock(monkeypatch, wall, 0.4)
    assert ending_seconds(run(kept, left), WINNER, TASK) == pytest.approx(expected)


def test_a_form_that_is_a_question_is_tested_twice_over(monkeypatch: pytest.MonkeyPatch) -> None:
    Clock(monkeypatch, 0.4, 0.4)
    flipped = dataclasses.replace(TASK, flip=True)
    limits = [Constraint("latency", "latency_ms", 5.0)]
    test = 0.4 * EACH * TESTED
    assert ending_seconds(run(limits=limits), WINNER, flipped) == pytest.approx(ENDING + OTHER_FORM + 2 * test)
    assert ending_seconds(run(), WINNER, flipped) == pytest.approx(ENDING + test)
    assert ending_seconds(run(), WINNER, flipped.sealed()) == pytest.approx(ENDING)
