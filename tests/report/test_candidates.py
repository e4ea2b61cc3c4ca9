"""What the trials say: fronts against other implementations, thinning, phases, and networks of several trials."""

import math
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pymoo.util.nds.non_dominated_sorting import NonDominatedSorting

from archscout.report import candidates
from archscout.store.store import StoredTrial


def trial(number: int, **changes: Any) -> StoredTrial:
    values: dict[str, Any] = {
        "key": f"k{number}", "number": number, "architecture": f"a{number}", "canonical": f"c{number}",
        "estimator": "trained", "fidelity": 2, "status": "completed", "value": 0.5, "seconds": 1.0, "phase": "search",
    }  # fmt: skip
    return StoredTrial(**values | changes)


# -- front ------------------------------------------------------------------------------------------------------------

points = st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), max_size=40)


@given(points)
def test_front_agrees_with_brute_force(rows: list[tuple[int, int]]) -> None:
    costs, values = np.asarray(rows, dtype=float).reshape(-1, 2).T
    expected = [not any(c <= cost and v >= value and (c < cost or v > value) for c, v in rows) for cost, value in rows]
    assert candidates.front(costs, values).tolist() == expected


def test_front_agrees_with_pymoo() -> None:
    rng = np.random.default_rng(0)
    for size in (1, 2, 50, 500):
        costs, values = rng.normal(size=size), rng.normal(size=size)
        expected = NonDominatedSorting().do(np.column_stack([costs, -values]), only_non_dominated_front=True)
        assert sorted(np.flatnonzero(candidates.front(costs, values))) == sorted(expected)


# -- thinning ---------------------------------------------------------------------------------------------------------


def test_thinning_keeps_what_it_must_and_the_number_it_may() -> None:
    keep = np.zeros(10_000, dtype=bool)
    keep[[0, 5, 9_999]] = True
    chosen = candidates.thin(keep, 100)
    assert len(chosen) == len(set(chosen.tolist())) == 100
    assert {0, 5, 9_999} <= set(chosen.tolist())
    assert (np.diff(chosen) > 0).all()
    # The others are drawn from everywhere, not taken from the beginning.
    assert 3_000 < np.median(chosen) < 7_000
    assert (candidates.thin(keep, 100) == chosen).all()


def test_thinning_leaves_few_points_alone_and_thins_a_front_evenly() -> None:
    assert candidates.thin(np.zeros(7, dtype=bool), 7).tolist() == list(range(7))
    front = candidates.thin(np.ones(1_000, dtype=bool), 11)
    assert front[0] == 0 and front[-1] == 999
    assert np.ptp(np.diff(front)) <= 1


# -- course -----------------------------------------------------------------------------------------------------------


def test_course_takes_the_recorded_seconds_and_marks_records() -> None:
    values = [0.5, 0.4, math.nan, 0.7, 0.7, 0.8]
    trials = [trial(i, value=v, extra={"at": 10.0 + i}) for i, v in enumerate(values)]
    trials.append(trial(9, estimator="naswot", fidelity=None, value=99.0, phase="scores", extra={"at": 17.0}))
    course = candidates.course(trials, "trained")
    assert course.elapsed.tolist() == [10.0, 11.0, 13.0, 14.0, 15.0]
    assert course.record.tolist() == [True, False, True, False, True]
    assert [name for name, _, _ in course.phases] == ["search", "scores"]


def test_course_adds_up_seconds_where_none_are_recorded() -> None:
    course = candidates.course([trial(i, seconds=4.0) for i in range(3)], "trained", workers=2)
    assert course.elapsed.tolist() == [2.0, 4.0, 6.0]


def test_course_of_nothing_is_empty() -> None:
    assert len(candidates.course([], "trained").values) == 0
    assert not len(candidates.course([trial(0, status="failed", value=math.nan)], "trained").values)


def test_levels_are_in_the_order_of_fidelity() -> None:
    trials = [trial(0, fidelity=18), trial(1, fidelity=2), trial(2, fidelity=6)]
    course = candidates.course(trials, "trained", full=18)
    assert course.levels == ("2 epochs of training", "6 epochs of training", "full training (18 epochs)")
    assert course.level.tolist() == [2, 0, 1]


# -- networks ---------------------------------------------------------------------------------------------------------


def test_a_network_has_its_value_of_most_training_and_all_its_costs() -> None:
    trials = [
        trial(0, canonical="c", estimator="naswot", fidelity=None, value=7.0, costs={"params": 10.0}),
        trial(1, canonical="c", fidelity=6, value=0.8, costs={"macs": 5.0}),
        trial(2, canonical="c", fidelity=2, value=0.9),
        trial(3, canonical="d", estimator="naswot", fidelity=None, value=8.0),
        trial(4, canonical="e", value=math.nan, status="failed"),
    ]
    (network,) = candidates.networks(trials, {"epochs": 6}, "trained")
    assert (network.value, network.level) == (0.8, "full training (6 epochs)")
    assert network.costs == {"params": 10.0, "macs": 5.0}


def test_a_network_has_its_value_of_all_folds_that_it_was_given() -> None:
    rows = [
        trial(
            number, canonical=name, architecture=name, estimator=f"folds:count=5,number={fold}", fidelity=9, value=value
        )
        for number, (fold, name, value) in enumerate([(0, "a", 0.5), (0, "b", 0.7), (1, "a", 0.6)])
    ]
    networks = candidates.networks(rows, {}, candidates.main_estimator(rows, {}))
    assert {each.architecture: (each.value, each.level) for each in networks} == {
        "a": (0.6, "cross-validation (9 epochs, 2 of 5 folds)"),
        "b": (0.7, "cross-validation (9 epochs, 1 of 5 folds)"),
    }


def test_finalists_bring_their_second_measurement_and_stand_in_for_missing_trials() -> None:
    report = {
        "epochs": 6,
        "finalists": [{"architecture": "a0", "value": 0.9, "costs": {"latency_ms": 1.5, "macs": None}}],
        "winner": {"architecture": "w", "valid_accuracy": 0.95, "costs": {"latency_ms": 1.0}},
    }
    trials = [trial(0, fidelity=6, value=0.9, costs={"latency_ms": 1.2})]
    found = {n.architecture: n for n in candidates.networks(trials, report, "trained")}
    assert found["a0"].costs == {"latency_ms": 1.5}
    assert found["w"].value == 0.95 and found["w"].level == "full training (6 epochs)"


def test_phases_count_what_happened(samples: ModuleType) -> None:
    _, trials = samples.sample()
    rows = candidates.phases(trials)
    assert [(row.name, row.count, row.failed) for row in rows] == [
        ("zero-cost scores", 200, 0),
        ("training, 2 epochs", 62, 2),
        ("training, 6 epochs", 22, 0),
        ("final training", 7, 0),
    ]
    assert rows[1].best == max(t.value for t in trials if t.fidelity == 2 and t.status == "completed")


@pytest.mark.parametrize(
    ("wanted", "expected"), [("trained", "trained"), ("supernet", "trained"), ("naswot", "naswot"), ("", "trained")]
)
def test_main_estimator_is_the_one_asked_for_if_it_gave_values(samples: ModuleType, wanted: str, expected: str) -> None:
    _, trials = samples.sample()
    assert candidates.main_estimator(trials, {"estimator": wanted}) == expected


def test_a_few_low_values_do_not_squash_the_view() -> None:
    values = np.concatenate([np.linspace(0.9, 0.95, 95), np.full(5, 0.1)])
    low, high = candidates.view(values)
    assert 0.85 < low < 0.9 and 0.95 < high < 1.0
    low, high = candidates.view(np.linspace(0.1, 0.9, 50))
    assert low < 0.1 and high > 0.9
    low, high = candidates.view(np.asarray([0.5]))
    assert low < 0.5 < high
