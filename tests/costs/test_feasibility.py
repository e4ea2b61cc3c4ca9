"""Whether limits can be met: the share of the space, the way down to a rare network, and the closest where none is."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from archscout.core.architecture import Architecture
from archscout.core.choice import Choice
from archscout.core.cost import Constraint
from archscout.core.errors import UsageError
from archscout.core.seeds import stream
from archscout.core.space import Space
from archscout.costs.feasibility import brought_within, check, excess, sample
from archscout.workers.engine import TrialTimeout

pytestmark = pytest.mark.usefixtures("whole_samples")

TARGET = (3, 1, 4, 1, 5, 2)


class Digits(Space):
    """Six digits from 0 to 6."""

    name = "digits"

    @property
    def choices(self):
        return [Choice(f"d{place}", tuple(range(7)), ordinal=True) for place in range(6)]

    def network(self, task, pick):
        raise AssertionError("no network is built here")


class Book:
    """Costs of digits: how far they are from `TARGET`, and their sum; counts what is looked at."""

    def __init__(self, exact: bool = True) -> None:
        self.costs = [SimpleNamespace(exact=exact)]
        self.seen = 0

    def screened(self, architectures: Any) -> None:
        self.seen += len(architectures)

    def at_most(self, architecture: Architecture) -> dict[str, float]:
        digits = [int(architecture[f"d{place}"]) for place in range(6)]
        away = sum(abs(digit - goal) for digit, goal in zip(digits, TARGET, strict=True))
        return {"away": 1.0 + away, "sum": 1.0 + sum(digits)}


def looked_at(book: Book, limits: Any, **named: Any) -> Any:
    return check(Digits(), book, limits, named.pop("margins", {"away": 1.0}), stream(0, "check"), **named)


def test_the_share_is_that_of_the_sample_that_keeps_every_limit() -> None:
    limits = [Constraint("away", "away", 10.0), Constraint("sum", "sum", 20.0)]
    found = looked_at(book := Book(), limits)
    drawn = sample(Digits(), Book(), stream(0, "check"))
    costs = [Book().at_most(architecture) for architecture in drawn]
    meeting = sum(row["away"] <= 10 and row["sum"] <= 20 for row in costs)
    assert (found.sampled, found.meeting, found.share) == (200, meeting, meeting / 200)
    assert 0 < meeting < 200
    assert book.seen == 200, "nothing is searched for where something keeps the limits"
    best = min(range(200), key=lambda i: max(costs[i]["away"] / 10, costs[i]["sum"] / 20))
    assert (found.closest, found.closest_costs) == (drawn[best].text, costs[best])
    assert found.as_json()["share"] == found.share


def test_a_measured_cost_is_looked_at_fewer_times() -> None:
    assert len(sample(Digits(), Book(exact=True), stream(0))) == 200
    assert len(sample(Digits(), Book(exact=False), stream(0))) == 48


def test_where_time_is_short_the_share_is_that_of_what_was_looked_at() -> None:
    told: list[tuple[int, int]] = []
    meeting = [0]

    def going(done: int, total: int, met: int) -> bool:
        told.append((done, total))
        meeting.append(met)
        return done < 16

    found = looked_at(Book(), [Constraint("away", "away", 14.0)], going=going)
    assert found.sampled == 16
    assert found.share == found.meeting / 16
    assert told == [(8, 200), (16, 200)]
    assert meeting == sorted(meeting) and meeting[-1] == found.meeting
    limits = [Constraint("away", "away", 14.0)]
    assert looked_at(Book(), limits, going=lambda *_: False).sampled == 8
    assert looked_at(Book(exact=False), limits, going=lambda *_: False).sampled == 2, "each may take seconds"


def test_a_network_that_no_sample_hits_is_found_by_walking_downhill() -> None:
    limits = [Constraint("away", "away", 1.0)]
    found = looked_at(Book(), limits)
    assert found.meeting == 0
    assert found.closest_costs["away"] == 1.0
    assert Digits().parse(found.closest)["d4"] == 5


def test_a_limit_that_cannot_be_met_is_refused_with_the_closest() -> None:
    with pytest.raises(UsageError) as refused:
        looked_at(Book(), [Constraint("away", "away", 0.5)])
    assert "no architecture of space 'digits' was found that meets away <= 0.5: the closest" in str(refused.value)
    assert "has away = 1;" in str(refused.value)


@pytest.mark.parametrize(
    ("limit", "margins", "words"),
    [
        (Constraint("away", "away", 1.04), {"away": 0.95}, "a measured limit needs 5 % of room"),
        (Constraint("latency@phone", "away", 0.5), {"away": 1.0}, "upper end of its 90 % interval"),
    ],
)
def test_why_there_must_be_room_is_said(limit: Constraint, margins: dict[str, float], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        looked_at(Book(exact=False), [limit], margins=margins)


def test_the_worst_limit_says_by_how_much_a_network_is_off() -> None:
    limits = [Constraint("a", "a", 10.0), Constraint("b", "b", 2.0)]
    assert excess({"a": 5.0, "b": 3.0}, limits) == 1.5
    assert excess({"a": 5.0}, limits) == np.inf
    assert excess({"a": 5.0}, []) == 0.0


def test_a_design_that_breaks_a_limit_is_lowered_until_it_keeps_it_and_no_further() -> None:
    space, limits = Digits(), [Constraint("sum", "sum", 20.0)]
    design = space.architecture({f"d{place}": 6 for place in range(6)})
    lower = brought_within(space, Book(), limits, {}, design, stream(0, "lower"))
    assert lower is not None and 1 + sum(int(lower[name]) for name in lower) == 20, "one digit, one step, each time"
    kept = brought_within(space, Book(), limits, {}, lower, stream(1, "lower"))
    assert kept == lower


def test_a_step_that_takes_it_further_from_the_limit_is_not_kept() -> None:
    space = Digits()
    design = space.architecture(dict(zip([f"d{place}" for place in range(6)], (5, 1, 4, 1, 5, 2), strict=True)))
    lower = brought_within(space, Book(), [Constraint("away", "away", 2.0)], {}, design, stream(0, "lower"))
    assert lower is not None and Book().at_most(lower)["away"] == 2.0 and int(lower["d0"]) == 4


def test_without_time_or_lower_options_a_design_is_left_alone() -> None:
    space, limits = Digits(), [Constraint("away", "away", 1.0)]
    lowest = space.architecture({f"d{place}": 0 for place in range(6)})
    assert brought_within(space, Book(), limits, {}, lowest, stream(0, "lower")) is None
    highest = space.architecture({f"d{place}": 6 for place in range(6)})
    assert brought_within(space, Book(), limits, {}, highest, stream(0, "lower"), lambda: False) is None


class Slow(Book):
    """The time for a look is over after so many networks."""

    def __init__(self, most: int) -> None:
        super().__init__()
        self.most = most

    def screened(self, architectures: Any) -> None:
        if self.seen + len(architectures) > self.most:
            raise TrialTimeout("took longer")
        super().screened(architectures)


def test_a_look_without_time_is_the_last_one() -> None:
    limits = [Constraint("away", "away", 30.0)]
    found = looked_at(Slow(20), limits)
    assert (found.sampled, found.meeting) == (16, 16), "two batches were looked at"
    with pytest.raises(TrialTimeout):
        looked_at(Slow(7), limits)
    with pytest.raises(UsageError, match="no architecture of space 'digits' was found"):
        looked_at(Slow(220), [Constraint("away", "away", 1.0)])
