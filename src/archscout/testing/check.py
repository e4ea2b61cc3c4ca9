"""Hypothesis without ceremony, for suites that are inherited by other classes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis.strategies import SearchStrategy


def for_all(examples: int, *strategies: SearchStrategy[Any]) -> Callable[[Callable[..., None]], None]:
    """Run the decorated function at once, on so many examples; a failing one is shrunk and reported.

    The examples are the same in every run, so that a suite fails either always or never.

    >>> @for_all(20, strategies.integers())               # doctest: +SKIP
    ... def check(number): assert -(-number) == number
    """

    def run(check: Callable[..., None]) -> None:
        unhurried = settings(
            max_examples=examples,
            deadline=None,
            derandomize=True,
            database=None,
            suppress_health_check=[HealthCheck.too_slow, HealthCheck.nested_given],
        )
        unhurried(given(*strategies)(check))()

    return run
