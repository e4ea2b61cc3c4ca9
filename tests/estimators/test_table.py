"""The table estimator: what it answers is what the table says."""

import math

import pytest

from archscout.core.errors import UsageError
from archscout.core.estimator import Setting
from archscout.core.registry import create
from archscout.core.seeds import stream
from archscout.estimators.table import TableLookup
from archscout.tables.metric import Metric
from archscout.tables.table import write
from archscout.testing import EstimatorConformance


def make(file, count=40):
    space = create("space", "nasbench201")
    texts = [space.sample(stream(number, "conformance")).text for number in range(count)]
    values = [0.5 + number / 100 for number in range(count)]
    columns = {
        "architecture": texts,
        "accuracy": [None if number == 3 else value for number, value in enumerate(values)],
        "accuracy_2": [value - 0.2 for value in values],
        "curve": [[1.0, 0.5, 1 - value, 0.1] for value in values],
        "time": [10.0 * (number + 1) for number in range(count)],
    }
    metrics = [
        Metric("accuracy", split="valid", epochs=4),
        Metric("accuracy_2", split="valid", epochs=2),
        Metric("curve", kind="loss", split="valid", epochs=4),
        Metric("time", kind="seconds", epochs=4),
    ]
    return write(file, "nasbench201", columns, metrics, default="accuracy")


class TestConformance(EstimatorConformance):
    @pytest.fixture(autouse=True)
    def _file(self, tmp_path):
        self.table = make(tmp_path / "t.parquet")

    def estimator(self):
        return create("estimator", f"table:name={self.table.path}")


@pytest.fixture
def table(tmp_path):
    return make(tmp_path / "t.parquet")


@pytest.fixture
def setting(table):
    return Setting(table.space, None)


def test_values_curves_and_seconds(table, setting):
    architectures = [table.space.parse(text) for text in table.architectures]
    estimates = TableLookup(str(table.path)).estimate(architectures, setting)
    for architecture, estimate in zip(architectures, estimates, strict=True):
        value = table.value(architecture)
        assert estimate.value == value or (math.isnan(value) and estimate.reason == "table 't' has no value of it.")
        assert estimate.extra == {"epochs": 4, "simulated_seconds": table.seconds(architecture)}
        assert [row["valid_loss"] for row in estimate.curve] == table.curve(architecture, "curve").tolist()
    assert math.isnan(estimates[3].value)


def test_fidelities(table, setting):
    architecture = [table.space.parse(table.architectures[0])]
    for asked, epochs in ((1, 2), (2, 2), (3, 2), (4, 4), (100, 4)):
        (estimate,) = TableLookup(str(table.path)).estimate(architecture, setting, fidelity=asked)
        assert estimate.extra["epochs"] == epochs
        assert estimate.value == table.value(architecture[0], epochs=epochs)
        assert len(estimate.curve) == epochs
    (estimate,) = TableLookup(str(table.path), epochs=2).estimate(architecture, setting)
    assert estimate.value == table.value(architecture[0], "accuracy_2")


def test_less_is_better_for_seconds(table, setting):
    architecture = table.space.parse(table.architectures[5])
    (estimate,) = TableLookup(str(table.path), metric="time").estimate([architecture], setting)
    assert estimate.value == -table.value(architecture, "time")


def test_a_search_sees_validation_where_the_default_is_the_same_on_test(table, setting, tmp_path):
    columns = {"architecture": table.architectures, "held": table.column("accuracy"), "tested": [0.1] * len(table)}
    kinds = [Metric("held", split="valid"), Metric("tested", split="test")]
    both = write(tmp_path / "both.parquet", "nasbench201", columns, kinds, default="tested")
    architecture = table.space.parse(table.architectures[5])
    for named, value in (("", table.value(architecture)), (",metric=tested", 0.1)):
        (estimate,) = create("estimator", f"table:name={both.path}{named}").estimate([architecture], setting)
        assert estimate.value == value


def test_what_the_table_does_not_have(table, setting):
    missing = next(a for a in table.space if a not in table)
    (estimate,) = TableLookup(str(table.path)).estimate([missing], setting)
    assert math.isnan(estimate.value)
    assert estimate.reason == "table 't' does not have it."


def test_wrong_names_are_refused_when_it_is_made(table):
    with pytest.raises(UsageError, match="there is no table or file 'nothing'"):
        create("estimator", "table:name=nothing")
    with pytest.raises(UsageError, match="has no metric 'acuracy': did you mean 'accuracy'"):
        create("estimator", f"table:name={table.path},metric=acuracy")
    with pytest.raises(UsageError, match="is a curve"):
        create("estimator", f"table:name={table.path},metric=curve")
    with pytest.raises(UsageError, match="cannot be made"):
        create("estimator", "table")
