"""Numbers as the page writes them."""

import math

import pytest
from scipy.stats import binomtest

from archscout.report.quantities import big, cost_text, duration, finite, percent, share, significant, size, wilson


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        (big(999), "999"),
        (big(999.9), "1\u202fk"),
        (big(1_234_567), "1.23\u202fM"),
        (size(999_600), "1\u202fMB"),
        (size(7), "7\u202fB"),
        (significant(0.0), "0"),
        (significant(-0.5), "-0.5"),
        (significant(1e-20), "0"),
        (percent(1.0), "100.0\u202f%"),
        (percent(math.nan), "–"),
        (share(1e-9), "< 0.1\u202f%"),
        (duration(0), "0\u202fs"),
        (duration(0.9999), "1\u202fs"),
        (duration(99.99), "1\u202fmin 40\u202fs"),
        (duration(3599.7), "1\u202fh 00\u202fmin"),
        (duration(None), "–"),
        (cost_text("latency_ms", 2), "2\u202fms"),
        (cost_text("macs", None), "–"),
        (cost_text("made_up", 3.14159), "3.14"),
    ],
)
def test_written_numbers(written: str, expected: str) -> None:
    assert written == expected


@pytest.mark.parametrize("value", [None, math.nan, math.inf, -math.inf, "3", True, [1]])
def test_what_is_no_number_is_none(value: object) -> None:
    assert finite(value) is None


@pytest.mark.parametrize(("right", "total"), [(0, 7), (7, 7), (356, 360), (1, 10_000)])
def test_wilson_interval_agrees_with_scipy(right: int, total: int) -> None:
    expected = binomtest(right, total).proportion_ci(0.95, method="wilson")
    assert wilson(right, total) == pytest.approx((expected.low, expected.high), abs=1e-6)
