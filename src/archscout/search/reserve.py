"""What comes after the final training of a winner, and how long it takes here: so much of a budget is kept for it."""

from __future__ import annotations

import time

from archscout.core.task import Task
from archscout.core.trial import Trial
from archscout.costs import mirroring
from archscout.networks.pick import build
from archscout.search.run import SearchRun
from archscout.training.trainer import predict

ENDING = 4.0
"""Seconds at full speed for writing and checking the files of a network, and for the report."""

OTHER_FORM = 1.5
"""Seconds at full speed for measuring the other form of a network, where that is a question."""

TIMED = 32
"""Examples whose answers are timed."""

MOST = 0.3
"""Of the time that is left, what the ending may get."""


def ending_seconds(run: SearchRun, winner: Trial, task: Task) -> float:
    """Seconds of a time budget that the ending of a run needs, as fast as this machine is now.

    Never more than was kept for it from the beginning, but for what the test takes of a split that is large for its
    network.

    Args:
        run: with a budget of time.
        winner: that will be trained.
        task: with its test examples.
    """
    part = task.train.head(TIMED)
    clock, processor = time.perf_counter(), time.process_time()
    network = build(run.space, winner.architecture, task, seed=run.seed).eval()
    predict(network, task, part)
    again = time.perf_counter()
    predict(network, task, part)
    each = (time.perf_counter() - again) / len(part)
    # Other programs have the processor for the rest of the time.
    slowed = max(1.0, (time.perf_counter() - clock) / max(time.process_time() - processor, 1e-3))
    question = mirroring.in_question(task, run.book.costs, run.constraints)
    files = min(run.reserve, slowed * (ENDING + (OTHER_FORM if question else 0.0)))
    tested = 0 if task.test is None else len(task.test)
    return min(
        files + (2 if question else 1) * each * tested, MOST * max(0.0, run.budget.seconds - run.clock.elapsed())
    )
