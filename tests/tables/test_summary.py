"""The summary against SciPy and by hand."""

import math

import pytest
from scipy.stats import spearmanr

from archscout.core.errors import UsageError
from archscout.tables.summary import summarise
from archscout.tables.table import write


def test_the_summary_of_a_small_table(table):
    found = summarise(table)
    assert (found["rows"], found["networks"], found["space"]) == (4, 3, "nasbench201")
    assert found["metric"] == found["default_metric"] == "accuracy"
    assert found["best"] == {"architecture": table.architectures[0], "value": pytest.approx(0.85)}
    assert found["best_row"] == {"row": 0, "architecture": table.architectures[0], "value": 0.9}
    assert found["fidelities"] == [1, 2, 4, 8]
    assert sum(found["histogram"]["counts"]) == 2
    accuracy = found["metrics"][0]
    assert (accuracy["rows"], accuracy["least"], accuracy["median"], accuracy["most"]) == (3, 0.5, 0.8, 0.9)
    assert [m["name"] for m in found["metrics"]] == [*table.metrics, *table.curves]
    assert next(m for m in found["metrics"] if m["curve"])["rows"] == 3


def test_correlations_are_spearmans_over_networks(small, tmp_path):
    space_texts = small.COLUMNS["architecture"]
    columns = {**small.COLUMNS, "accuracy": [0.9, 0.5, 0.7, 0.2], "test": [0.8, 0.82, 0.5, 0.1]}
    table = write(tmp_path / "t.parquet", "nasbench201", columns, small.METRICS, default="accuracy")
    assert table.architectures == space_texts
    found = summarise(table)["correlations"]
    assert set(found) == {"accuracy_4", "test"}
    expected = spearmanr(table.values("accuracy"), table.values("test")).statistic
    assert found["test"] == pytest.approx(expected)


def test_less_is_better_for_a_loss(table):
    assert summarise(table, "time")["best_row"]["row"] == 3
    assert summarise(table, "time")["best"]["value"] == 10


def test_nothing_known(small, tmp_path):
    table = small.make(tmp_path / "t.parquet", test=[None] * 4)
    found = summarise(table, "test")
    assert found["best_row"] is None
    assert math.isnan(found["best"]["value"])
    assert all(math.isnan(value) for value in found["correlations"].values())


def test_a_curve_is_no_metric(table):
    with pytest.raises(UsageError, match="is a curve"):
        summarise(table, "curve")
