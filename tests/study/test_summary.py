"""Intervals and paired tests against independent ones."""

import csv
import io
import math

import numpy as np
import pytest
from scipy import stats

from archscout.study.summary import as_csv, interval, paired, summary


def test_the_interval_is_that_of_scipys_bootstrap_and_covers():
    rng = np.random.default_rng(0)
    data = rng.gamma(2, size=30)
    mean, low, high = interval(data)
    other = stats.bootstrap((data,), np.mean, method="percentile", rng=np.random.default_rng(1)).confidence_interval
    assert mean == pytest.approx(data.mean())
    assert (low, high) == pytest.approx((other.low, other.high), abs=0.05)
    covered = [low <= 0 <= high for _, low, high in (interval(rng.normal(size=20)) for _ in range(300))]
    assert 0.88 <= np.mean(covered) <= 0.98
    assert all(map(math.isnan, interval([])))
    assert math.isnan(interval([1.0, math.nan])[0])


def test_paired_is_wilcoxons():
    rng = np.random.default_rng(2)
    a, b = rng.normal(size=20), rng.normal(size=20) + 0.5
    assert paired(a, b) == pytest.approx(stats.wilcoxon(a, b).pvalue)
    assert paired(a, a) == 1


def test_the_best_of_each_size_is_marked_and_others_are_tested_against_it():
    rng = np.random.default_rng(3)
    rows = [
        {"repeat": r, "estimator": name, "train": size, "epochs": 0, "kendall": shift + 0.05 * rng.normal()}
        for r in range(12)
        for size in (10, 20)
        for name, shift in (("a", 0.5), ("b", 0.2))
    ]
    entries = {(e["estimator"], e["train"]): e for e in summary(rows)}
    for size in (10, 20):
        first = [row["kendall"] for row in rows if row["estimator"] == "a" and row["train"] == size]
        second = [row["kendall"] for row in rows if row["estimator"] == "b" and row["train"] == size]
        assert entries["a", size]["best"]
        assert not entries["b", size]["best"]
        assert entries["a", size]["kendall"] == pytest.approx(np.mean(first))
        assert entries["b", size]["p_against_best"] == pytest.approx(stats.wilcoxon(first, second).pvalue)
        assert entries["a", size]["p_against_best"] == 1


def test_csv_can_be_read_back():
    text = as_csv([{"a": 1.5, "b": "x,y"}, {"a": math.nan, "b": None, "c": 2}])
    assert list(csv.DictReader(io.StringIO(text))) == [
        {"a": "1.5", "b": "x,y", "c": ""},
        {"a": "", "b": "", "c": "2"},
    ]


@pytest.mark.parametrize("evil", ["=HYPERLINK(1)", "+1+cmd", "-2+3", "@SUM(A1)", "\t=1"])
def test_no_cell_is_a_formula_for_a_spreadsheet(evil):
    """Names come from files that somebody sent."""
    (row,) = csv.DictReader(io.StringIO(as_csv([{"estimator": evil, "kendall": -0.5, "p": "-1.5"}])))
    assert row == {"estimator": f"'{evil}", "kendall": "-0.5", "p": "-1.5"}
