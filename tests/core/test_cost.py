"""What limits are held against, and how a limit is read."""

import math

import pytest

from archscout.core.cost import Constraint, Cost, Measurement, meets
from archscout.core.errors import UsageError

LIMITS = [Constraint("params", "params", 100.0), Constraint("latency", "latency_ms", 2.0)]


def test_a_limit_is_held_against_the_upper_end_of_a_prediction() -> None:
    assert Measurement(2.0).at_most == 2.0
    assert Measurement(2.0, details={"low": 1.5, "high": 2.75}).at_most == 2.75


def test_a_measurement_is_trusted_unless_whoever_made_it_says_otherwise() -> None:
    assert Measurement(1.0).trusted
    assert Measurement(1.0, details={"trusted": True}).trusted
    assert not Measurement(1.0, details={"trusted": False}).trusted


@pytest.mark.parametrize(
    ("costs", "margins", "kept"),
    [
        ({"params": 100.0, "latency_ms": 2.0}, {}, True),
        ({"params": 100.5, "latency_ms": 1.0}, {}, False),
        ({"params": 1.0, "latency_ms": 2.001}, {}, False),
        ({"params": 100.0, "latency_ms": 1.95}, {"latency_ms": 0.95}, False),
        ({"params": 100.0, "latency_ms": 1.89}, {"latency_ms": 0.95}, True),
        ({"params": 1.0}, {}, False),
        ({"params": 1.0, "latency_ms": math.nan}, {}, False),
    ],
)
def test_every_limit_must_hold_and_what_is_not_known_breaks_it(costs, margins, kept) -> None:  # type: ignore[no-untyped-def]
    assert meets(costs, LIMITS, margins) is kept
    assert meets({}, [], margins)


@pytest.mark.parametrize(
    ("value", "expected"),
    [(3, 3.0), ("3", 3.0), (" 2.5K ", 2500.0), ("1e-3", 1e-3), (".5g", 5e8), ("4.m", 4e6), ("0" * 63 + "7", 7.0)],
)
def test_a_limit_is_a_number_with_a_unit(value: object, expected: float) -> None:
    assert Cost.quantity(value, "params") == expected


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (0, "the limit 0 for params must be above zero"),
        ("0k", "the limit '0k' for params must be above zero"),
        ("1e999", "must be finite"),
        (math.inf, "params"),
        ("3 parsecs", r"write a number and one of the units \(none\), k, m, g"),
        ("-1", "is not a limit for params"),
        ([3], "the limit for params"),
        ("1" * 500, "is not a limit"),
        ("0" * 64 + "7", "is not a limit"),
    ],
)
def test_what_is_no_limit_is_refused_in_one_sentence(value: object, message: str) -> None:
    with pytest.raises(UsageError, match=message) as refused:
        Cost.quantity(value, "params")
    assert len(str(refused.value)) < 300


def test_a_limit_is_written_with_its_unit() -> None:
    assert [str(limit) for limit in LIMITS] == ["params <= 100", "latency_ms <= 2"]
