"""Ranks against brute force, and scores that are made of others."""

import math

import numpy as np
import pytest

from archscout.core.errors import UsageError
from archscout.core.estimator import Setting
from archscout.core.registry import create
from archscout.core.seeds import stream
from archscout.core.trial import Estimate
from archscout.estimators.zero_cost.harness import score
from archscout.estimators.zero_cost.log_rank import LogRank
from archscout.estimators.zero_cost.ranks import among, log_rank_sum, majority, ranks
from archscout.estimators.zero_cost.teg import Teg
from archscout.testing.tasks import tiny_task


def some(rows: int, seed: int) -> np.ndarray:
    values = np.random.default_rng(seed).integers(0, 6, (rows, 3)).astype(float)
    values[values == 5] = np.nan
    return values


def test_ranks_by_counting() -> None:
    values, reference = some(9, 0), some(14, 1)
    found = ranks(values, reference)
    for row, column in np.ndindex(values.shape):
        value = -math.inf if math.isnan(values[row, column]) else values[row, column]
        others = [-math.inf if math.isnan(v) else v for v in reference[:, column]]
        expected = (1 + sum(v < value for v in others) + sum(v == value for v in others) / 2) / 15
        assert found[row, column] == pytest.approx(expected)
    assert np.allclose(log_rank_sum(values, reference), [sum(math.log(v) for v in row) for row in found])


def test_majority_by_pairs() -> None:
    values, reference = some(7, 2), some(11, 3)
    for row, found in zip(values, majority(values, reference), strict=True):
        wins = 0.0
        for other in reference:
            voices = 0
            for a, b in zip(row, other, strict=True):
                a, b = (-math.inf if math.isnan(v) else v for v in (a, b))
                voices += int(a > b) - int(a < b)
            wins += 1.0 if voices > 0 else 0.5 if voices == 0 else 0.0
        assert found == pytest.approx(wins / len(reference))


def test_teg_is_a_sum_of_ranks() -> None:
    values, reference = some(5, 4), some(8, 5)
    assert np.allclose(Teg().combine(values, reference), ranks(values, reference).sum(1))


def test_an_ensemble_ranks_against_a_sample_of_the_space() -> None:
    space = create("space", "nasbench201:width=3,cells=1")
    setting = Setting(space, tiny_task().sealed(), seed=4)
    architectures = [space.sample(stream(number)) for number in range(5)]
    members = ("params", "macs")
    rng = stream(4, "ensemble", "reference")
    drawn = [space.sample(rng) for _ in range(6)]
    values, reference = (
        np.array([[e.value for e in column] for column in score(group, members, setting).values()]).T
        for group in (architectures, drawn)
    )
    columns = score(architectures, ["log_rank:members=params+macs,reference=6", "params"], setting)
    found = columns["log_rank:members=params+macs,reference=6"]
    assert [e.value for e in found] == pytest.approx(list(log_rank_sum(values, reference)))
    assert list(columns) == ["log_rank:members=params+macs,reference=6", "params"]
    alone = LogRank("params+macs", 6).estimate(architectures[:2], setting)
    assert [e.value for e in alone] == [e.value for e in found[:2]]


def test_an_ensemble_of_nothing_is_undefined() -> None:
    space = create("space", "nasbench201:width=3,cells=1")
    setting = Setting(space, tiny_task().sealed())
    undefined, known = Estimate(math.nan, 1.0, reason="no path"), Estimate(3.0, 2.0)
    merged = LogRank("params+macs", 3).merge([[undefined, undefined], [undefined, known]], setting, None)
    assert math.isnan(merged[0].value)
    assert "no path" in merged[0].reason
    assert math.isfinite(merged[1].value)
    assert merged[1].seconds == 3.0


def test_the_tuned_blend_is_its_members_weighed() -> None:
    made = create("estimator", "rank_blend:reference=9")
    assert made.members == ("meco", "near", "nasgraph:expected=true", "epsilon_log", "epsilon")
    values, reference = (np.hstack([some(n, seed), some(n, seed + 1)])[:, :5] for n, seed in ((6, 1), (9, 3)))
    assert np.allclose(made.combine(values, reference), np.log(ranks(values, reference)) @ [2, 1, 1, 2, 1])


def test_among_candidates_ranks_are_those_of_scipy() -> None:
    values = np.round(some(12, 8), 1)
    values[3, 1] = math.nan
    found = among(values)
    for column, ranked in zip(values.T, found.T, strict=True):
        lowest = np.where(np.isnan(column), -1e9, column)
        expected = [(lowest < v).sum() + ((lowest == v).sum() + 1) / 2 for v in lowest]
        assert np.allclose(ranked, np.array(expected) / 12)


def test_weights_of_members() -> None:
    values, reference = some(6, 6), some(9, 7)
    found = LogRank("2*params+macs+0.5*naswot").combine(values, reference)
    assert np.allclose(found, np.log(ranks(values, reference)) @ [2, 1, 0.5])
    with pytest.raises(UsageError, match="is no number"):
        LogRank("much*params")
