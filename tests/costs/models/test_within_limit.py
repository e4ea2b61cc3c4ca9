"""The best network under a limit from ten measurements: against looking at all, with noise, and with bad input."""

from itertools import combinations, product

import numpy as np
import pytest

from archscout.core.architecture import Architecture
from archscout.core.errors import DataError, UsageError
from archscout.core.seeds import stream
from archscout.costs.models.within_limit import shortlist, within_limit
from archscout.spaces.nasbench201 import NASBench201

SPACE = NASBench201()
CELLS = list(dict.fromkeys(SPACE.simplify(SPACE.sample(stream(number, "within limit"))) for number in range(500)))
COSTS = {"none": 0.0, "skip_connect": 0.1, "nor_conv_1x1": 0.9, "nor_conv_3x3": 2.3, "avg_pool_3x3": 0.4}
MS = {cell: 3.0 + sum(COSTS[str(option)] for option in cell.values()) for cell in CELLS}
NOISY = {cell: ms * float(np.exp(stream(7, cell.text).normal(0, 0.06))) for cell, ms in MS.items()}
WORTH = [
    100 * (1 - np.exp(-0.3 * ms)) + float(stream(8, cell.text).normal(0, 2)) if not useless else 0.0
    for (cell, ms), useless in zip(MS.items(), SPACE.constant(CELLS), strict=True)
]


def best(times: dict[Architecture, float], limit: float) -> float:
    return max(value for value, ms in zip(WORTH, times.values(), strict=True) if ms <= limit)


def search(times: dict[Architecture, float], limit: float, budget: int = 10):  # type: ignore[no-untyped-def]
    asked: list[Architecture] = []

    def measure(cell: Architecture) -> float:
        asked.append(cell)
        return times[cell]

    found = within_limit(SPACE, CELLS, WORTH, limit, measure, budget=budget)
    assert [cell for cell, _ in found.measured] == asked
    assert len(set(asked)) == len(asked) <= budget
    assert found.ms == times[found.architecture]
    assert found.keeps == (found.ms <= limit)
    return found


@pytest.mark.parametrize("quantile", [0.1, 0.3, 0.5, 0.7, 0.9])
def test_without_noise_it_finds_what_looking_at_all_finds(quantile: float) -> None:
    limit = float(np.quantile(list(MS.values()), quantile))
    found = search(MS, limit)
    assert found.keeps
    assert WORTH[CELLS.index(found.architecture)] == pytest.approx(best(MS, limit))


def test_with_noise_it_comes_closer_than_measuring_at_random() -> None:
    short, blind = [], []
    for quantile in np.linspace(0.1, 0.9, 9):
        limit = float(np.quantile(list(NOISY.values()), quantile))
        found = search(NOISY, limit)
        assert found.keeps
        short.append(best(NOISY, limit) - WORTH[CELLS.index(found.architecture)])
        for seed in range(20):
            drawn = stream(seed, "blind").permutation(len(CELLS))[:10]
            kept = [WORTH[i] for i in drawn if NOISY[CELLS[i]] <= limit]
            blind.append(best(NOISY, limit) - max(kept, default=0.0))
    assert np.mean(short) < 0.2 * np.mean(blind)


def test_where_nothing_keeps_the_limit_the_fastest_is_given_and_it_is_said() -> None:
    found = search(MS, 0.5)
    assert not found.keeps
    assert found.ms == min(ms for _, ms in found.measured)


def test_it_ends_when_nothing_better_is_left() -> None:
    found = search(MS, 1e9, budget=200)
    assert WORTH[CELLS.index(found.architecture)] == max(WORTH)
    assert len(found.measured) < 200


@pytest.mark.parametrize(
    ("worth", "budget", "says"),
    [
        (WORTH[:-1], 10, "one finite worth for each of"),
        ([*WORTH[:-1], float("nan")], 10, "one finite worth"),
        (WORTH, 2, "3 measurements at least teach a device: 2 were given"),
    ],
)
def test_bad_input_is_one_sentence(worth: list[float], budget: int, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        within_limit(SPACE, CELLS, worth, 5.0, MS.__getitem__, budget=budget)


def test_times_of_no_use_are_refused() -> None:
    with pytest.raises(DataError, match="not numbers above zero"):
        within_limit(SPACE, CELLS, WORTH, 5.0, lambda cell: -1.0)


def expected(worth: np.ndarray, keeps: np.ndarray, chosen: tuple[int, ...]) -> float:
    """The expected worth of the best chosen one that keeps the limit, over all outcomes; the least worth if none."""
    total = 0.0
    for outcome in product((False, True), repeat=len(chosen)):
        share = np.prod([keeps[i] if kept else 1 - keeps[i] for i, kept in zip(chosen, outcome, strict=True)])
        total += share * max([worth[i] for i, kept in zip(chosen, outcome, strict=True) if kept], default=worth.min())
    return float(total)


def test_a_shortlist_raises_what_is_expected_most() -> None:
    """Each pick is the best that can be added, and together they are about as good as the best set there is."""
    for seed in range(10):
        rng = stream(seed, "shortlist")
        worth, keeps = rng.random(9), rng.random(9)
        chosen = shortlist(worth, keeps, 4)
        assert len(set(chosen)) == 4
        for size in range(4):
            before = tuple(chosen[:size])
            added = [expected(worth, keeps, (*before, i)) for i in range(9) if i not in before]
            assert expected(worth, keeps, (*before, chosen[size])) == pytest.approx(max(added))
        best = max(expected(worth, keeps, some) for some in combinations(range(9), 4))
        assert expected(worth, keeps, tuple(chosen)) > 0.99 * best


def test_a_shortlist_of_all() -> None:
    assert sorted(shortlist([1.0, 2.0, 2.0], [0.5, 0.5, 0.0], 9)) == [0, 1, 2]
    assert shortlist([], [], 3) == []
