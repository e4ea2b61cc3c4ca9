"""What is planned for a transfer, from what steps take."""

import dataclasses

import numpy as np
import pytest

from archscout.core.task import Split
from archscout.shrink.planning import Pace, expected_error, plan_transfer
from archscout.testing.tasks import tiny_task
from archscout.training.speed import Mode

TASK = tiny_task((3, 16, 16), classes=5, examples=60)
PLAIN = Mode("float32", "channels_last")


def test_the_plan_trains_more_at_larger_sizes_the_more_time_there_is() -> None:
    pace = Pace(96, (1e-3, 1e-3, 1e-3, 5e-4), (5e-3, 4e-3, 2e-3, 1e-3), (2e4, 1e4, 5e3, 10), PLAIN)
    plans = [plan_transfer(TASK, seconds, pace) for seconds in (0.5, 8, 30, 10_000)]
    errors = [plan.error for plan in plans]
    assert errors == sorted(errors, reverse=True)
    assert plans[-1].passes > plans[1].passes and plans[-1].size >= plans[0].size
    for plan, seconds in zip(plans[1:], (8, 30, 10_000), strict=True):
        assert plan.probe <= seconds
    assert (plans[1].copies == 0) == (plans[1].start == 0)
    assert plan_transfer(TASK, 100, pace, [96]).size == 96


def test_of_many_images_no_tenth_of_the_time_goes_to_the_head() -> None:
    split = Split(np.broadcast_to(np.uint8(0), (50_000, 32, 32, 3)), np.zeros(50_000, dtype=np.int64))
    many = dataclasses.replace(TASK, train=split)
    plan = plan_transfer(many, 900, Pace(96, (2e-3,), (6e-3,), (10,), PLAIN), [96])
    assert plan.probe < 60 and plan.passes > 2


def test_as_many_steps_teach_about_as_much_of_few_images_as_of_many() -> None:
    split = Split(np.broadcast_to(np.uint8(0), (50_000, 32, 32, 3)), np.zeros(50_000, dtype=np.int64))
    many, few = (dataclasses.replace(TASK, train=part) for part in (split, split.head(3000)))
    assert expected_error(many, 96, passes=1) == pytest.approx(expected_error(few, 96, passes=50_000 / 3000))
    pace = Pace(96, (3e-3,), (9e-3,), (10,), PLAIN)
    assert plan_transfer(many, 240, pace, [96]).error < expected_error(many, 96), "a part of a pass counts"
