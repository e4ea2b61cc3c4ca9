"""The knapsack against enumeration."""

import itertools
import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from archscout.shrink.knapsack import choose


def best_of_all(harms, costs, limits):
    found = None
    for combination in itertools.product(*(range(len(each)) for each in harms)):
        if all(
            sum(table[i][option] for i, option in enumerate(combination)) <= limit + 1e-9
            for table, limit in zip(costs, limits, strict=True)
        ):
            harm = sum(harms[i][option] for i, option in enumerate(combination))
            found = harm if found is None else min(found, harm)
    return found


@given(st.integers(0, 10_000), st.integers(1, 2), st.booleans())
def test_it_is_the_best_of_all_combinations(seed: int, count: int, whole: bool) -> None:
    rng = np.random.default_rng(seed)
    draw = (lambda n: rng.integers(0, 5, n).astype(float)) if whole else (lambda n: rng.normal(size=n))
    sizes = rng.integers(1, 5, rng.integers(1, 6))
    harms = [draw(size) for size in sizes]
    costs = [[draw(size) for size in sizes] for _ in range(count)]
    limits = [float(sum(each.mean() for each in table) + rng.normal()) for table in costs]
    expected, chosen = best_of_all(harms, costs, limits), choose(harms, costs, limits)
    if expected is None:
        assert chosen is None
        return
    assert chosen is not None
    for table, limit in zip(costs, limits, strict=True):
        assert sum(table[i][option] for i, option in enumerate(chosen)) <= limit + 1e-6
    assert sum(harms[i][option] for i, option in enumerate(chosen)) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("count", [1, 2])
def test_sixty_groups_of_sixteen_options_in_some_seconds(count: int) -> None:
    rng = np.random.default_rng(0)
    shares = np.linspace(1, 0.1, 16)
    harms = [rng.uniform(0.1, 2) * (1 - shares) ** 2 + rng.uniform(0, 0.01, 16) for _ in range(60)]
    costs = [[rng.uniform(0.5, 3) * (shares + rng.uniform(0, 0.01, 16)) for _ in range(60)] for _ in range(count)]
    limits = [0.5 * sum(float(each.max()) for each in table) for table in costs]
    began = time.process_time()
    chosen = choose(harms, costs, limits)
    assert time.process_time() - began < 10  # below 2 where nothing else runs
    assert chosen is not None
    assert all(
        sum(float(table[i][option]) for i, option in enumerate(chosen)) <= limit * (1 + 1e-9)
        for table, limit in zip(costs, limits, strict=True)
    )


def test_no_limit_takes_the_least_harm() -> None:
    assert choose([np.array([2.0, 1.0]), np.array([0.0, 3.0])], [], []) == [1, 0]
