"""What `check` finds in tables that were spoiled on purpose, and what it leaves in peace."""

import math

import pytest

from archscout.tables.check import check
from archscout.tables.metric import Metric
from archscout.tables.table import Table, write

CONV = "|nor_conv_3x3~0|+|none~0|none~1|+|none~0|skip_connect~1|none~2|"
POOL = "|avg_pool_3x3~0|+|none~0|none~1|+|none~0|skip_connect~1|none~2|"
SAME = "|none~0|+|nor_conv_3x3~0|none~1|+|none~0|none~1|skip_connect~2|"
WIRE = "|none~0|+|none~0|none~1|+|skip_connect~0|none~1|none~2|"


def faults(table):
    return [(finding.column, finding.rows, finding.message) for finding in check(table) if finding.wrong]


def test_a_sound_table_has_only_notes(table):
    found = check(table)
    assert not any(finding.wrong for finding in found)
    notes = {(finding.column, finding.rows) for finding in found}
    assert notes == {
        ("canonical", ()),  # CONV and SAME are one network
        ("accuracy", (2, 0)),  # and disagree, from least to most
        ("test", (2, 0)),
        ("accuracy", (3,)),  # missing
        ("accuracy_4", (2,)),
        ("curve", (3,)),
    }


def test_disagreements_are_named_with_their_sizes(table):
    (note,) = [f for f in check(table) if f.column == "accuracy" and "disagree" in f.message]
    assert "disagree for 1 networks, by 0.1 in the median and at most by 0.1: 0.8 and 0.9" in note.message
    assert str(note) == f"column 'accuracy': {note.message} (rows 2, 0)"


@pytest.mark.parametrize(
    ("columns", "column", "rows", "message"),
    [
        ({"architecture": [CONV, "nonsense", SAME, WIRE]}, "architecture", (1,), "are not of space 'nasbench201'"),
        ({"architecture": [CONV, None, SAME, ""]}, "architecture", (1, 3), "2 rows have no architecture"),
        ({"canonical": ["x", "x", "x", "x"]}, "canonical", (0, 1, 2, 3), "are not the space's canonical form"),
        ({"accuracy": [0.5, 95.0, -0.1, 0.3]}, "accuracy", (1, 2), "2 accuracies are not fractions from 0 to 1"),
        ({"accuracy": [None] * 3 + [math.nan]}, "accuracy", (), "all values are missing"),
        ({"test": [0.5, math.inf, 0.5, 0.5]}, "test", (1,), "1 are infinite"),
        ({"time": [1.0, 2.0, 3.0, -4.0]}, "time", (3,), "1 are negative"),
        ({"curve": [[0.5, 0.6], [0.5], [0.5, 0.6, 0.7], None]}, "curve", (1, 2), "2 curves do not have 2 epochs"),
        ({"curve": [[None, 0.6], [0.5, 0.6], [0.5, 0.6], None]}, "curve", (0,), "1 curves have gaps"),
        ({"curve": [[0.5, 60.0], [0.5, 0.6], [0.5, 0.6], None]}, "curve", (0,), "1 curves are not fractions"),
    ],
)
def test_faults_are_named_by_row_and_column(small, table, columns, column, rows, message):
    metadata = {
        "metrics": {m.name: {"kind": m.kind, "epochs": 2 if m.name == "curve" else m.epochs} for m in small.METRICS}
    }
    found = faults(Table.open(small.rewrite(table.path, columns, metadata)))
    assert [(c, r) for c, r, m in found if message in m] == [(column, rows)], found


def test_a_message_with_braces_is_not_a_template(small, table):
    (finding,) = faults(Table.open(small.rewrite(table.path, {"architecture": [CONV, '{"n": 1}', SAME, WIRE]})))
    assert '{"n": 1}' in finding[2]


def test_many_rows_are_counted_and_some_named(tmp_path):
    texts = [CONV, POOL] * 10
    table = write(
        tmp_path / "t.parquet",
        "nasbench201",
        {"architecture": texts, "accuracy": [2.0] * 20},
        [Metric("accuracy")],
        default="accuracy",
    )
    (finding,) = [finding for finding in check(table) if finding.wrong]
    assert (finding.count, finding.rows) == (20, (0, 1, 2, 3, 4))
    assert str(finding).endswith("(rows 0, 1, 2, 3, 4, ...)")


def test_diverged_curves_are_a_note(tmp_path):
    curves = [[0.5, 0.6, 0.7], [0.5, math.nan, math.nan], [None, None, None], [0.1, 0.2, 0.3]]
    table = write(
        tmp_path / "t.parquet",
        "nasbench201",
        {"architecture": [CONV, POOL, SAME, WIRE], "accuracy": [0.5] * 4, "curve": curves},
        [Metric("accuracy"), Metric("curve", kind="loss")],
        default="accuracy",
    )
    (note,) = [finding for finding in check(table) if finding.column == "curve"]
    assert not note.wrong
    assert note.rows == (1, 2)
    assert "end before epoch 3" in note.message


def test_a_table_without_rows(tmp_path):
    table = write(
        tmp_path / "t.parquet",
        "nasbench201",
        {"architecture": [], "accuracy": []},
        [Metric("accuracy")],
        default="accuracy",
    )
    assert [finding.message for finding in check(table) if finding.wrong] == ["the table has no rows"]
