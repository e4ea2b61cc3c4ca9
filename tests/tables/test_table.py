"""Tables: what they answer, by brute force over a small one, and what they refuse."""

from __future__ import annotations

import math
import pickle
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import archscout
from archscout.core.errors import DataError, UsageError
from archscout.study.simulated import simulate
from archscout.tables.metric import Metric
from archscout.tables.table import Table, write

CONV = "|nor_conv_3x3~0|+|none~0|none~1|+|none~0|skip_connect~1|none~2|"
SAME = "|none~0|+|nor_conv_3x3~0|none~1|+|none~0|none~1|skip_connect~2|"
POOL = "|avg_pool_3x3~0|+|none~0|none~1|+|none~0|skip_connect~1|none~2|"
WIRE = "|none~0|+|none~0|none~1|+|skip_connect~0|none~1|none~2|"
DEAD = "|none~0|+|nor_conv_1x1~0|none~1|+|skip_connect~0|none~1|none~2|"
"""The same network as WIRE, with an operation whose output goes nowhere."""


# -- answers ----------------------------------------------------------------------------------------------------------


def test_it_says_what_is_in_it(small: ModuleType, table: Table) -> None:
    assert table.name == "small"
    assert table.space.name == "nasbench201"
    assert table.task == "digits"
    assert len(table) == 4
    assert table.metrics == ("accuracy", "accuracy_4", "test", "time")
    assert table.curves == ("curve",)
    assert table.default_metric == "accuracy"
    assert table.architectures == small.COLUMNS["architecture"]
    assert table.metric("time").higher is False
    assert table.metric().split == "valid"


def test_a_search_goes_by_validation_where_the_default_is_the_same_on_test(table: Table, tmp_path: Path) -> None:
    assert table.searched_metric == "accuracy"  # which is of the validation split
    columns: dict[str, list[Any]] = {"architecture": [CONV, POOL], "loss": [1, 2], "held": [0.5, 0.9], "t": [0.7, 0.6]}
    kinds = [Metric("loss", "loss", split="valid"), Metric("held", split="valid"), Metric("t", split="test")]
    both = write(tmp_path / "both.parquet", table.space, columns, kinds, default="t")
    assert both.searched_metric == "held"
    trajectory = simulate(both, "random", "2trials")
    assert (trajectory.metric, trajectory.optimum) == ("held", 0.9)
    assert simulate(both, "random", "2trials", metric="t").optimum == 0.7
    del columns["held"]
    assert write(tmp_path / "t.parquet", table.space, columns, kinds[::2], default="t").searched_metric == "t"


def test_columns_are_rows_as_they_are(table: Table) -> None:
    np.testing.assert_array_equal(table.column("accuracy"), [0.9, 0.5, 0.8, math.nan])
    np.testing.assert_array_equal(table.curve_matrix("curve"), [[0.5, 0.7], [0.3, 0.4], [0.3, 0.5], [math.nan] * 2])


def test_equal_networks_are_averaged(table: Table) -> None:
    assert table.canonical == [table.space.canonical(table.space.parse(text)) for text in table.architectures]
    assert table.networks.tolist() == [0, 1, 0, 2]
    for text in (CONV, SAME):
        assert table.rows(text) == [0, 2]
        assert table.value(text) == pytest.approx((0.9 + 0.8) / 2)
        assert table.value(text, "accuracy_4") == 0.6  # the mean leaves out what is missing
        assert table.curve(text, "curve") == pytest.approx([0.4, 0.6])
        assert table.seconds(text) == pytest.approx(150)
    assert math.isnan(table.value(WIRE))


def test_any_architecture_of_the_network_will_do(table: Table) -> None:
    parsed = table.space.parse(DEAD)
    assert table.value(parsed, "test") == table.value(DEAD, "test") == table.value(WIRE, "test") == 0.2
    assert parsed in table
    assert DEAD in table
    other = table.space.parse(CONV.replace("3x3", "1x1"))
    assert other not in table
    with pytest.raises(UsageError, match="has no architecture"):
        table.value(other)
    with pytest.raises(UsageError, match="is no operation"):
        table.value(CONV.replace("nor_conv_3x3", "conv"))


def test_a_measure_at_other_fidelities(table: Table) -> None:
    assert table.fidelities() == (1, 2, 4, 8)
    assert table.fidelities("test") == (8,)
    assert table.value(POOL, epochs=8) == 0.5
    assert table.value(POOL, epochs=4) == 0.4
    assert table.value(POOL, epochs=2) == 0.4
    assert table.value(POOL, epochs=1) == 0.3
    with pytest.raises(UsageError, match="after 3 epochs; the epochs are 1, 2, 4, 8"):
        table.value(POOL, epochs=3)


def test_seconds_of_shorter_training_are_proportional(small: ModuleType, table: Table) -> None:
    assert table.seconds(POOL, epochs=2) == pytest.approx(50 / 4)
    assert math.isnan(small.make(table.path, time=[None] * 4).seconds(POOL))


def test_seconds_of_each_epoch_are_added_up(tmp_path: Path) -> None:
    metrics = [Metric("accuracy", epochs=3), Metric("each", kind="seconds", epochs=3)]
    columns = {"architecture": [CONV, POOL], "accuracy": [0.9, 0.5], "each": [[1.0, 2.0, 4.0], [1.0, 1.0, 1.0]]}
    table = write(tmp_path / "t.parquet", "nasbench201", columns, metrics, default="accuracy")
    assert [table.seconds(CONV, epochs=n) for n in (1, 2, 3)] == [1, 3, 7]
    assert table.seconds(CONV) == 7


def test_what_is_infinite_or_took_less_than_no_time_is_not_known(small: ModuleType, tmp_path: Path) -> None:
    odd = {"accuracy": [0.9, 0.5, 0.8, math.inf], "time": [math.inf, -1.0, 200.0, 10.0]}
    table = small.make(tmp_path / "odd.parquet", **odd)
    assert table.best() == (small.CONV, pytest.approx(0.85))
    assert math.isnan(table.value(small.WIRE))
    assert table.seconds(small.CONV) == 200
    assert math.isnan(table.seconds(small.POOL))


def test_the_best_network(table: Table) -> None:
    assert table.best() == (CONV, pytest.approx(0.85))
    assert table.best("time") == (WIRE, 10.0)


def test_it_travels_to_another_process(table: Table) -> None:
    table.name = "renamed"
    again = pickle.loads(pickle.dumps(table))
    assert again.name == "renamed"
    assert again.value(CONV) == table.value(CONV)


def test_a_name_or_a_path_makes_a_table(table: Table, tmp_path: Path) -> None:
    assert archscout.table(table.path).value(CONV) == table.value(CONV)
    with pytest.raises(UsageError, match="there is no table or file 'nothing'"):
        archscout.table("nothing")
    with pytest.raises(DataError, match="there is no table"):
        archscout.table(tmp_path / "nothing.parquet")


def test_a_stale_canonical_index_is_noticed(small: ModuleType, table: Table) -> None:
    small.rewrite(table.path, {"canonical": ["x", "x", "x", "x"]})
    assert Table.open(table.path).networks.tolist() == [0, 1, 0, 2]
    small.rewrite(table.path, {"canonical": None})
    assert Table.open(table.path).networks.tolist() == [0, 1, 0, 2]


# -- refusals ---------------------------------------------------------------------------------------------------------


def test_a_file_that_is_no_parquet(tmp_path: Path) -> None:
    file = tmp_path / "text.parquet"
    file.write_text("architecture,accuracy\n")
    with pytest.raises(DataError, match=r"text\.parquet' is no readable Parquet file"):
        Table.open(file)


def test_a_file_without_architectures_or_description(table: Table) -> None:
    pq.write_table(pa.table({"accuracy": [0.5]}), table.path)
    with pytest.raises(DataError, match=r"small\.parquet' has no column 'architecture' \(its columns: accuracy\)"):
        Table.open(table.path)
    pq.write_table(pa.table({"architecture": [CONV], "accuracy": [0.5]}), table.path)
    with pytest.raises(DataError, match="does not say what its columns hold: import it"):
        Table.open(table.path)


@pytest.mark.parametrize(
    ("columns", "metadata", "message"),
    [
        ({"architecture": [1, 2, 3, 4]}, {}, "column 'architecture' of '.*' holds int64, not text"),
        ({"accuracy": ["0.9", "0.5", "0.8", ""]}, {}, "column 'accuracy' of '.*' holds string, where a metric"),
        ({"curve": [["x"], [], [], []]}, {}, "column 'curve' of '.*' holds list.*, where a metric"),
        ({"test": None}, {}, "describes a metric 'test' but has no such column"),
        ({}, b"{", "the description in '.*' is damaged"),
        ({}, b"[" * 100_000, "the description in '.*' is damaged \\(it is nested too deep\\)"),
        ({}, {"metrics": {"accuracy": {"kind": "fun"}}}, "cannot be of kind 'fun'"),
        ({}, {"metrics": {"accuracy": {"color": "red"}}}, "the description in '.*' is damaged"),
        ({}, {"metrics": None}, "the description in '.*' is damaged"),
        ({}, {"space": 3}, "the description in '.*' is damaged"),
        ({}, {"format": 99}, "was written by a newer version"),
        ({}, {"default": "acuracy"}, "its default metric 'acuracy' is no column .* did you mean 'accuracy'"),
        ({}, {"default": "curve"}, "its default metric 'curve' is no column with one number a row"),
    ],
)
def test_a_table_that_does_not_fit_its_description(
    small: ModuleType, table: Table, columns: Any, metadata: Any, message: str
) -> None:
    small.rewrite(table.path, columns, metadata)
    with pytest.raises(DataError, match=message):
        Table.open(table.path)


def test_a_space_that_is_not_registered(small: ModuleType, table: Table) -> None:
    with pytest.raises(DataError, match=r"is of space 'nasbench202', which is not registered here.*'nasbench201'"):
        Table.open(small.rewrite(table.path, metadata={"space": "nasbench202"})).space  # noqa: B018


def test_an_architecture_that_is_unknown_or_missing(small: ModuleType, table: Table) -> None:
    changed = Table.open(small.rewrite(table.path, {"architecture": [CONV, POOL, "nonsense", WIRE]}))
    with pytest.raises(DataError, match=r"row 2 of '.*', column 'architecture', is not of space 'nasbench201'"):
        changed.value(CONV)
    changed = Table.open(small.rewrite(table.path, {"architecture": [CONV, None, SAME, WIRE]}))
    with pytest.raises(DataError, match=r"row 1 of '.*' has no architecture"):
        changed.value(CONV)


def test_curves_of_different_lengths(small: ModuleType, table: Table) -> None:
    changed = Table.open(small.rewrite(table.path, {"curve": [[0.5, 0.7], [0.3], [0.3, 0.5], None]}))
    with pytest.raises(DataError, match=r"row 1 of '.*', column 'curve', is a curve of 1 epochs where others have 2"):
        changed.curve(CONV, "curve")


def test_metrics_that_are_not_there(table: Table) -> None:
    with pytest.raises(UsageError, match="has no metric 'acuracy': did you mean 'accuracy'"):
        table.value(CONV, "acuracy")
    with pytest.raises(UsageError, match="'curve' of table 'small' is a curve"):
        table.column("curve")
    with pytest.raises(UsageError, match="'test' of table 'small' is no curve"):
        table.curve(CONV, "test")
    with pytest.raises(UsageError, match="cannot be of kind 'acuracy': did you mean 'accuracy'"):
        Metric("test", kind="acuracy")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"architecture": [CONV, POOL, "nonsense", WIRE]}, r"row 2 of '.*t\.parquet', column 'architecture'"),
        ({"architecture": [CONV, POOL, None, WIRE]}, r"row 2 of '.*t\.parquet', column 'architecture'"),
        ({"accuracy": [0.5]}, "column 'accuracy' for '.*' has 1 rows where 'architecture' has 4"),
        ({"curve": [[0.5], [0.3, 0.1], None, None]}, r"row 0 of '[^.]*/t\.parquet', column 'curve'"),
    ],
)
def test_nothing_half_written(small: ModuleType, tmp_path: Path, changes: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        small.make(tmp_path / "t.parquet", **changes)
    assert list(tmp_path.iterdir()) == []


def test_a_place_that_cannot_be_written(small: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match="cannot write"):
        small.make(tmp_path / "file" / "t.parquet")


def test_a_metric_without_a_column(small: ModuleType, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="would have no column 'missing'"):
        write(tmp_path / "t.parquet", "nasbench201", small.COLUMNS, [Metric("missing")], default="missing")
