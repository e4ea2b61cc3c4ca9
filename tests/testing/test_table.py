"""The suite for tables passes a right table and fails each wrong one in the test that is about it."""

import itertools
from pathlib import Path

import numpy as np
import pytest

from archscout.core.errors import ArchscoutError, UsageError
from archscout.core.registry import create
from archscout.core.seeds import stream
from archscout.tables.metric import Metric
from archscout.tables.table import Table, write
from archscout.testing import TableConformance

METRICS = [
    Metric("accuracy", dataset="digits", split="valid", epochs=8),
    Metric("curve", dataset="digits", split="valid"),
    Metric("time", kind="seconds", dataset="digits", epochs=8),
]


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A table of 30 rows, some of one network, some without a value."""
    space = create("space", "nasbench201")
    rng = np.random.default_rng(0)
    accuracy = [None if row % 7 == 3 else float(rng.uniform(0.2, 0.9)) for row in range(30)]
    columns = {
        "architecture": [space.sample(stream(row % 25, "table")).text for row in range(30)],
        "accuracy": accuracy,
        "curve": [rng.uniform(0.1, 0.5, 3).tolist() for _ in range(30)],
        "time": rng.uniform(1, 9, 30).tolist(),
    }
    file = tmp_path_factory.mktemp("table") / "right.parquet"
    return write(file, space, columns, METRICS, default="accuracy", task="digits").path


class WrongDirection(Table):
    def metric(self, name=None):
        about = super().metric(name)
        return Metric(about.name, about.kind, about.dataset, about.split, about.epochs, higher=not about.higher)


class InPercent(Table):
    def column(self, metric):
        return super().column(metric) * 100


class Negative(Table):
    def _read(self, column):
        import pyarrow.compute as compute

        return compute.negate(super()._read(column)) if column == "time" else super()._read(column)


class OtherArchitectures(Table):
    @property
    def architectures(self):
        return [f"{text} " for text in super().architectures[1:]]


class ByText(Table):
    def network(self, architecture):
        if str(architecture) not in self._by_text:
            raise UsageError(f"no {architecture}")
        return self._by_text[str(architecture)]


class FirstRow(Table):
    def _mean(self, rows):
        return np.asarray(rows[self.first_rows])


class Zeroes(Table):
    def column(self, metric):
        return np.nan_to_num(super().column(metric))


class Lowest(Table):
    def best(self, metric=None):
        values = np.asarray(self.values(metric))
        place = int(np.nanargmin(values))
        return self.architectures[int(self.first_rows[place])], float(values[place])


class Shifted(Table):
    def curve(self, architecture, metric):
        return np.roll(super().curve(architecture, metric), 1)


class Rushed(Table):
    def all_seconds(self, **named):
        return [-value for value in super().all_seconds(**named)]


class KnowsEverything(Table):
    def network(self, architecture):
        try:
            return super().network(architecture)
        except UsageError:
            return 0


class NewEachTime(Table):
    counter = itertools.count()

    @property
    def digest(self):
        return str(next(self.counter))


class Nameless(Table):
    def metric(self, name=None):
        about = super().metric(name)
        return Metric("", about.kind, about.dataset, about.split, about.epochs)


class Rounded(Table):
    def lists(self, metric):
        return [[round(value, 1) for value in row] for row in super().lists(metric)]

    def curve_matrix(self, metric):
        return np.asarray(super().lists(metric), dtype=float)


class OtherFidelities(Table):
    def values(self, metric=None, *, epochs=None):
        values = super().values(metric, epochs=epochs)
        return values if epochs is None else [value / 2 for value in values]


WRONG = {
    Nameless: "it_says_what_its_columns_hold",
    WrongDirection: "it_says_what_its_columns_hold",
    InPercent: "its_values_are_in_their_units",
    Negative: "nothing_is_wrong_with_it",
    OtherArchitectures: "its_architectures_are_of_its_space",
    ByText: "any_text_of_a_network_finds_it",
    FirstRow: "a_value_is_the_mean_of_the_rows_that_have_one",
    Zeroes: "what_is_missing_is_nan_and_never_a_number",
    Lowest: "the_best_is_the_best_in_the_direction_of_the_metric",
    Shifted: "a_curve_is_its_measure_after_each_epoch",
    Rushed: "trainings_take_no_negative_time",
    KnowsEverything: "what_it_does_not_have_is_named",
    NewEachTime: "it_is_itself_when_opened_again_and_in_another_process",
    Rounded: "written_again_it_says_the_same",
    OtherFidelities: "a_search_is_answered_from_it",
}
TESTS = sorted(name.removeprefix("test_") for name in dir(TableConformance) if name.startswith("test_"))


def run(kind: type[Table], path: Path, test: str, folder: Path) -> None:
    class Suite(TableConformance):
        count = 30

        def table(self):
            return kind.open(path)

    method = getattr(Suite(), f"test_{test}")
    method(folder) if test.startswith("written") else method()


@pytest.mark.parametrize("test", TESTS)
def test_a_right_table_passes(path: Path, tmp_path: Path, test: str) -> None:
    run(Table, path, test, tmp_path)


@pytest.mark.parametrize(("wrong", "test"), WRONG.items(), ids=lambda value: getattr(value, "__name__", value))
def test_a_wrong_table_fails(path: Path, tmp_path: Path, wrong: type[Table], test: str) -> None:
    with pytest.raises((AssertionError, ArchscoutError, pytest.fail.Exception)):
        run(wrong, path, test, tmp_path)


def test_every_test_of_the_suite_can_fail() -> None:
    assert set(TESTS) == set(WRONG.values())
