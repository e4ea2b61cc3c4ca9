"""Budgets in every form that people write, and the ones that are none."""

import math
from datetime import timedelta
from typing import Any

import pytest

from archscout.core.budget import Budget
from archscout.core.errors import UsageError


@pytest.mark.parametrize(
    ("value", "seconds", "trials"),
    [("5m", 300, math.inf), ("90s", 90, math.inf), (" 1.5 H ", 5400, math.inf), ("60", 60, math.inf),
     ("2d", 172800, math.inf), ("1h30m", 5400, math.inf), ("1d 2h 3m 4s", 93784, math.inf),
     ("200trials", math.inf, 200), ("1 trial", math.inf, 1), (2.5, 2.5, math.inf),
     (timedelta(minutes=2), 120, math.inf), (Budget(trials=3), math.inf, 3), (None, 300, math.inf)],
)  # fmt: skip
def test_every_natural_form_is_read(value: Any, seconds: float, trials: float) -> None:
    budget = Budget.read(value)
    assert (budget.seconds, budget.trials) == (seconds, trials)


@pytest.mark.parametrize(
    "value", ["", "soon", "5 parsecs", "0s", "-1m", "1.5trials", "1e99d", 0, math.nan, [5], "5m5m", "30m1h"]
)
def test_what_is_no_budget_is_refused_in_one_sentence(value: Any) -> None:
    with pytest.raises(UsageError) as refused:
        Budget.read(value)
    assert "\n" not in str(refused.value)


def test_a_budget_is_told_as_it_was_given() -> None:
    assert [str(Budget.read(text)) for text in ("5m", "200trials")] == ["300 s", "200 trials"]
    assert str(Budget()) == "without limit"
    with pytest.raises(UsageError, match="above zero"):
        Budget(seconds=math.nan)
