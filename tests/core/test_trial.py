"""The record of an evaluation: what ranks before what, and what can be compared at all."""

import dataclasses
import math

import pytest

from archscout.core.architecture import Architecture
from archscout.core.trial import History, Trial


def trial(number: int, value: float = 0.5, **fields: object) -> Trial:
    text = f"a{number}"
    given = {"architecture": Architecture(text, ()), "canonical": text, "estimator": "trained", "fidelity": 3,
             "status": "completed", "value": value} | fields  # fmt: skip
    return Trial(number=number, **given)  # type: ignore[arg-type]


def test_the_better_value_ranks_first_then_the_lower_loss_then_the_earlier() -> None:
    lossy = ({"valid_loss": 0.9}, {"valid_loss": 0.7})
    trials = [
        trial(0, 0.5), trial(1, 0.9), trial(2, 0.5, curve=lossy), trial(3, math.nan), trial(4, 0.5),
        trial(5, 0.99, status="failed"),
    ]  # fmt: skip
    assert [each.number for each in sorted(trials, key=lambda each: each.rank)] == [1, 2, 0, 4, 3, 5]


def test_the_loss_is_the_lowest_of_the_curve_and_infinite_without_one() -> None:
    curve = ({"valid_loss": 0.4}, {"valid_loss": 0.2}, {"valid_loss": 0.3}, {"train_loss": 0.1})
    assert trial(0, curve=curve).loss == 0.2
    assert trial(0).loss == trial(0, curve=({"train_loss": 0.1},)).loss == math.inf


@pytest.mark.parametrize(
    ("value", "status", "defined"),
    [(0.5, "completed", True), (math.nan, "completed", False), (math.inf, "completed", False),
     (0.5, "failed", False), (0.5, "rejected", False)],
)  # fmt: skip
def test_only_finite_values_of_what_was_completed_can_be_compared(value: float, status: str, defined: bool) -> None:
    assert trial(0, value, status=status).defined is defined


def test_a_history_knows_what_it_has_seen() -> None:
    history = History([trial(0), trial(1)])
    history.append(dataclasses.replace(trial(2), canonical="a0"))
    assert history.seen == {"a0", "a1"}
    assert [each.number for each in history] == [0, 1, 2]
    assert [each.number for each in history[1:]] == [1, 2]
    assert (len(history), history[-1].number) == (3, 2)
