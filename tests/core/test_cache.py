"""The bounded cache."""

from __future__ import annotations

import pytest

from archscout.core.cache import Cache


def test_a_value_is_made_once_and_the_oldest_is_forgotten() -> None:
    cache, made = Cache[int](size=2), []

    def make(n: int) -> int:
        made.append(n)
        return n

    for n in (1, 2, 1, 3, 1, 2):
        assert cache.get(n, lambda n=n: make(n)) == n
    assert made == [1, 2, 3, 2]  # asking for 1 kept it; 2 had to go
    assert len(cache) == 2
    cache.clear()
    assert len(cache) == 0


def test_an_error_is_not_remembered() -> None:
    cache = Cache[int](size=2)
    with pytest.raises(ValueError, match="no"):
        cache.get("a", lambda: int("no"))
    assert cache.get("a", lambda: 1) == 1
