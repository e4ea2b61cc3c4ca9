"""Seconds of a run: of all its sittings together, by phase, without the pauses between them."""

from pathlib import Path

import pytest

from archscout.store import clock as clocks
from archscout.store.clock import Clock
from archscout.store.store import Store


class Time:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def time(monkeypatch: pytest.MonkeyPatch) -> Time:
    time = Time()
    monkeypatch.setattr(clocks, "time", time)
    return time


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = Store.open(tmp_path / "search.sqlite")
    store.begin("r", {})
    return store


def test_earlier_sittings_count_and_the_pause_between_does_not(store: Store, time: Time) -> None:
    first = Clock(store, "r", since=990.0)
    assert first.elapsed() == 10.0
    first.enter("search")
    time.now += 5.0
    first.write()
    time.now += 500.0
    second = Clock(store, "r", since=time.now)
    assert second.elapsed() == 15.0
    time.now += 3.0
    assert second.elapsed() == 18.0


def test_seconds_count_towards_the_phase_that_they_passed_in(store: Store, time: Time) -> None:
    clock = Clock(store, "r", since=time.now)
    time.now += 2.0
    clock.enter("search")
    time.now += 7.0
    clock.enter("search")  # the same: nothing ends
    clock.enter("finish")
    time.now += 1.0
    clock.write()
    assert store.spent("r") == {"prepare": 2.0, "search": 7.0, "finish": 1.0}


def test_seconds_are_written_no_more_often_than_asked(store: Store, time: Time) -> None:
    clock = Clock(store, "r", since=time.now)
    time.now += 4.0
    clock.write(every=5.0)
    assert store.spent("r") == {}
    time.now += 1.0
    clock.write(every=5.0)
    assert store.spent("r") == {"prepare": 5.0}
    time.now += 4.0
    clock.write(every=5.0)
    assert store.spent("r") == {"prepare": 5.0}
