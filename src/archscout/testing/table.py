"""What every table promises, as tests."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cloudpickle
import numpy as np
import pytest

from archscout.core.errors import ArchscoutError, UsageError
from archscout.study.simulated import simulate
from archscout.tables.check import check
from archscout.tables.metric import HIGHER
from archscout.tables.table import Table, write


class TableConformance(ABC):
    """The contract of a `Table`. Inherit it and give the table, opened.

    >>> class TestMine(TableConformance):                 # doctest: +SKIP
    ...     def table(self): return Table.open("mine.parquet")
    """

    count = 20
    """Rows that are looked at one by one, evenly spread over the table."""

    trainings = 10
    """Of the search that is answered from it."""

    @abstractmethod
    def table(self) -> Table:
        """The table, opened anew."""

    def _rows(self, table: Table) -> list[int]:
        return sorted({round(place) for place in np.linspace(0, len(table) - 1, self.count)})

    def test_it_says_what_its_columns_hold(self) -> None:
        table = self.table()
        assert table.name
        assert len(table) > 0
        assert table.default_metric in table.metrics
        assert table.metric() == table.metric(table.default_metric)
        for name in (*table.metrics, *table.curves):
            about = table.metric(name)
            assert about.name == name
            assert about.higher is (HIGHER[about.kind] if about.kind in ("accuracy", "seconds") else about.higher)
            assert isinstance(about.higher, bool)

    def test_its_values_are_in_their_units(self) -> None:
        table = self.table()
        for name in (*table.metrics, *table.curves):
            values = table.curve_matrix(name) if name in table.curves else table.column(name)
            assert len(values) == len(table)
            known = values[~np.isnan(values)]
            assert np.isfinite(known).all(), f"column '{name}' has infinite values"
            kind = table.metric(name).kind
            if kind == "accuracy":
                assert ((known >= 0) & (known <= 1)).all(), f"column '{name}' has accuracies that are no fractions"
            if kind == "seconds":
                assert (known >= 0).all(), f"column '{name}' has negative seconds"

    def test_nothing_is_wrong_with_it(self) -> None:
        assert [str(finding) for finding in check(self.table()) if finding.wrong] == []

    def test_its_architectures_are_of_its_space(self) -> None:
        table = self.table()
        assert len(table.architectures) == len(table)
        for row in self._rows(table):
            architecture = table.space.parse(table.architectures[row])
            assert architecture in table.space
            assert table.space.parse(architecture.text) == architecture

    def test_any_text_of_a_network_finds_it(self) -> None:
        table = self.table()
        for row in self._rows(table):
            architecture = table.space.parse(table.architectures[row])
            number = int(table.networks[row])
            assert table.canonical[row] == table.space.canonical(architecture)
            for asked in (table.architectures[row], architecture, table.space.simplify(architecture)):
                assert table.network(asked) == number
                assert asked in table
                assert row in table.rows(asked)
            assert all(table.canonical[other] == table.canonical[row] for other in table.rows(architecture))

    def test_a_value_is_the_mean_of_the_rows_that_have_one(self) -> None:
        table = self.table()
        for name in table.metrics:
            column = table.column(name)
            for row in self._rows(table):
                known = [
                    column[other] for other in table.rows(table.architectures[row]) if not math.isnan(column[other])
                ]
                expected = sum(known) / len(known) if known else math.nan
                value = table.value(table.architectures[row], name)
                assert value == pytest.approx(expected, rel=1e-9, nan_ok=True)
                assert table.values(name)[table.networks[row]] == pytest.approx(value, rel=1e-12, nan_ok=True)

    def test_what_is_missing_is_nan_and_never_a_number(self) -> None:
        import pyarrow.parquet as parquet

        table = self.table()
        for name in table.metrics:
            stored = parquet.read_table(table.path, columns=[name]).column(0).to_pylist()
            missing = np.asarray([value is None or math.isnan(value) for value in stored])
            assert (np.isnan(table.column(name)) == missing).all(), f"column '{name}' hides or invents missing values"
            numbers = np.asarray(table.networks)
            known = np.bincount(numbers[~missing], minlength=len(table.first_rows)) > 0
            assert (np.isnan(table.values(name)) == ~known).all()

    def test_the_best_is_the_best_in_the_direction_of_the_metric(self) -> None:
        table = self.table()
        for name in table.metrics:
            values = [value for value in table.values(name) if not math.isnan(value)]
            if values:
                architecture, value = table.best(name)
                assert value == (max if table.metric(name).higher else min)(values)
                assert table.value(architecture, name) == value
            else:
                with pytest.raises(ArchscoutError, match=name):
                    table.best(name)

    def test_a_curve_is_its_measure_after_each_epoch(self) -> None:
        table = self.table()
        for name in table.curves:
            if table.metric(name).kind == "seconds":
                continue
            known = table.fidelities(name)
            assert list(known) == sorted(set(known))
            matrix = table.curve_matrix(name)
            alike = {
                table.metric(m).epochs for m in table.metrics if table.metric(m).measure == table.metric(name).measure
            }
            for row in self._rows(table):
                rows = [matrix[other] for other in table.rows(table.architectures[row])]
                expected = np.asarray(_means(rows))
                curve = table.curve(table.architectures[row], name)
                assert np.allclose(curve, expected, equal_nan=True)
                for epochs in {1, len(curve)} - alike:
                    value = table.value(table.architectures[row], name, epochs=epochs)
                    assert value == pytest.approx(curve[epochs - 1], nan_ok=True)

    def test_trainings_take_no_negative_time(self) -> None:
        table = self.table()
        seconds = np.asarray(table.all_seconds())
        assert len(seconds) == len(table.first_rows)
        assert not (seconds < 0).any()
        for row in self._rows(table):
            expected = seconds[table.networks[row]]
            assert table.seconds(table.architectures[row]) == pytest.approx(expected, nan_ok=True)

    def test_what_it_does_not_have_is_named(self) -> None:
        table = self.table()
        with pytest.raises(UsageError, match="no_such_metric"):
            table.metric("no_such_metric")
        with pytest.raises(UsageError, match="no_such_metric"):
            table.value(table.architectures[0], "no_such_metric")
        with pytest.raises(UsageError):
            table.network("no architecture")
        assert "no architecture" not in table

    def test_it_is_itself_when_opened_again_and_in_another_process(self) -> None:
        table = self.table()
        for again in (self.table(), cloudpickle.loads(cloudpickle.dumps(table))):
            assert (again.name, again.digest, len(again)) == (table.name, table.digest, len(table))
            assert (again.metrics, again.curves) == (table.metrics, table.curves)
            assert again.space.digest == table.space.digest
            assert again.best() == table.best()

    def test_written_again_it_says_the_same(self, tmp_path: Path) -> None:
        table = self.table()
        rows = self._rows(table)
        again, same = (self._written(table, rows, tmp_path / name) for name in ("again.parquet", "same.parquet"))
        assert again.digest == same.digest
        assert again.canonical == [table.canonical[row] for row in rows]
        for name in table.metrics:
            assert np.array_equal(again.column(name), table.column(name)[rows], equal_nan=True)
            assert again.metric(name) == table.metric(name)
        for name in table.curves:
            assert np.array_equal(again.curve_matrix(name), table.curve_matrix(name)[rows], equal_nan=True)
        column = table.column(table.default_metric)[rows]
        changed = self._written(table, rows, tmp_path / "changed.parquet", np.where(np.isnan(column), 0.5, column / 2))
        assert changed.digest != again.digest, "another value, and the same digest"

    def _written(self, table: Table, rows: Sequence[int], file: Path, default: Any = None) -> Table:
        """Some rows of it in a file of their own, perhaps with other values of the default metric."""
        columns: dict[str, Any] = {"architecture": [table.architectures[row] for row in rows]}
        columns |= {name: table.column(name)[rows].tolist() for name in table.metrics}
        for name in table.curves:
            lists = table.lists(name)
            columns[name] = [lists[row] for row in rows]
        if default is not None:
            columns[table.default_metric] = default.tolist()
        metrics = [table.metric(name) for name in (*table.metrics, *table.curves)]
        return write(file, table.space, columns, metrics, default=table.default_metric, name=table.name)

    def test_a_search_is_answered_from_it(self) -> None:
        table = self.table()
        trajectory, metric = simulate(table, "random", f"{self.trainings}trials", seed=1), table.searched_metric
        assert trajectory.metric == metric
        assert trajectory.optimum == table.best(metric)[1]
        sign = 1 if table.metric(metric).higher else -1
        for trial in trajectory.trials:
            assert trial.value == pytest.approx(sign * table.value(trial.architecture, metric), nan_ok=True)
            assert not math.isnan(trial.value), "a network without a value is searched"
        best = max(trial.value for trial in trajectory.trials)
        assert trajectory.values[-1] == pytest.approx(sign * best)


def _means(rows: Sequence[np.ndarray]) -> list[float]:
    """For each epoch the mean of the rows that have a number there."""
    each = [[value for value in column if not math.isnan(value)] for column in zip(*rows, strict=True)]
    return [sum(known) / len(known) if known else math.nan for known in each]
