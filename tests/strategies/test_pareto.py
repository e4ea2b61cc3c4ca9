import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from archscout.core.architecture import Architecture
from archscout.core.trial import Trial
from archscout.strategies.pareto import fronts, hypervolume, order, pareto_front

TABLES = arrays(float, st.tuples(st.integers(1, 12), st.just(2)), elements=st.integers(0, 5).map(float))


def dominates(a, b) -> bool:
    return bool(np.all(a <= b) and np.any(a < b))


@given(TABLES)
def test_the_first_front_is_what_nothing_dominates(rows):
    expected = {i for i in range(len(rows)) if not any(dominates(other, rows[i]) for other in rows)}
    assert set(fronts(rows)[0].tolist()) == expected


@given(TABLES)
def test_the_order_is_a_permutation_by_front(rows):
    ordered = order(rows)
    assert sorted(ordered) == list(range(len(rows)))
    front_of = {int(i): number for number, front in enumerate(fronts(rows)) for i in front}
    numbers = [front_of[i] for i in ordered]
    assert numbers == sorted(numbers)


def trial(number: int, value: float, latency: float, status="completed") -> Trial:
    architecture = Architecture(str(number), ())
    return Trial(number, architecture, str(number), "trained", 1, status, value, {"latency_ms": latency})


def test_the_pareto_front_leaves_out_failed_trials_and_is_sorted_by_cost():
    trials = [
        trial(0, 0.9, 3),
        trial(1, 0.8, 1),
        trial(2, 0.7, 2),
        trial(3, 0.99, 0.1, "failed"),
        trial(4, float("nan"), 0.1),
    ]
    assert [t.number for t in pareto_front(trials, ["latency_ms"])] == [1, 0]
    assert pareto_front([], ["latency_ms"]) == []


def test_hypervolume_of_a_staircase():
    # Two boxes to the reference (4, 4): 3 x 1 and 2 x 3, sharing 2 x 1.
    assert hypervolume(np.array([[1.0, 3.0], [2.0, 1.0]]), [4.0, 4.0]) == pytest.approx(3 * 1 + 2 * 3 - 2 * 1)
