"""A table of the user's own, out of Parquet and CSV."""

import math

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from archscout.core.errors import DataError, UsageError
from archscout.tables import generic

CONV = "|nor_conv_3x3~0|+|none~0|none~1|+|none~0|skip_connect~1|none~2|"
POOL = "|avg_pool_3x3~0|+|none~0|none~1|+|none~0|skip_connect~1|none~2|"


@pytest.fixture
def csv(tmp_path):
    file = tmp_path / "mine.csv"
    file.write_text(f"cell,acc,t,loss\n{CONV},91.5,120,0.3\n{POOL},,60,0.9\n")
    return file


def test_a_csv_file(csv, tmp_path):
    wanted = ["architecture=cell", "valid:percent=acc", "time:seconds=t", "loss:loss=loss"]
    table = generic.read(csv, "nasbench201", wanted).write(tmp_path / "t.parquet")
    assert table.name == "mine"
    assert table.metrics == ("valid", "time", "loss")
    assert table.default_metric == "valid"
    assert table.value(CONV) == pytest.approx(0.915)
    assert math.isnan(table.value(POOL))
    assert table.seconds(POOL) == 60
    assert table.metric("loss").higher is False


def test_a_parquet_file_with_curves_and_a_space_of_ones_own(tmp_path):
    from archscout.core.choice import Choice
    from archscout.core.space import Space

    class Own(Space):
        name = "own"

        @property
        def choices(self):
            return [Choice("depth", (1, 2, 3))]

        def network(self, task, pick):
            raise AssertionError("no network is built here")

    columns = {"architecture": ["depth=1", "depth=3"], "a": [0.5, 0.75], "c": [[10.0, 50.0], [50.0, 75.0]]}
    pq.write_table(pa.table(columns), tmp_path / "own.parquet")
    draft = generic.read(tmp_path / "own.parquet", Own(), ["accuracy=a", "curve:percent=c"])
    table = draft.write(tmp_path / "t.parquet")
    assert table.value("depth=3") == 0.75
    np.testing.assert_allclose(table.curve("depth=3", "curve"), [0.5, 0.75])
    assert table.curves == ("curve",)


@pytest.mark.parametrize(
    ("columns", "error", "message"),
    [
        ([], UsageError, "say which columns to import"),
        (["architecture=cell"], UsageError, "say which columns to import"),
        (["acc"], UsageError, "'--column acc' is not of the form"),
        (["valid:acuracy=acc"], UsageError, "names no kind of metric: did you mean 'accuracy'"),
        (["a=acc", "a:loss=loss"], UsageError, "metric 'a' is named twice"),
        (["valid:percent=acc"], DataError, r"mine\.csv' has no column 'architecture'"),
        (["architecture=cell", "valid=ac"], DataError, r"mine\.csv' has no column 'ac': did you mean 'acc'"),
        (
            ["architecture=cell", "v=acc"],
            DataError,
            "row 0 of '.*', column 'acc', holds 91.5, .* say :percent",
        ),
        (["architecture=cell", "v:percent=t"], DataError, "row 0 of '.*', column 't', holds 120, .* a percentage"),
        (["architecture=cell", "v:cost=cell"], DataError, r"row 0 of '.*', column 'cell', holds '\|nor"),
    ],
)
def test_what_cannot_be_imported(csv, columns, error, message):
    with pytest.raises(error, match=message):
        generic.read(csv, "nasbench201", columns)


@pytest.mark.parametrize(
    ("kind", "scale", "said"),
    [("percent", 1, "if these are fractions, leave :percent out"), ("accuracy", 100, "if it is a percentage, say :pe")],
)
@pytest.mark.parametrize("curve", [False, True])
def test_percentages_and_fractions_are_told_apart(kind, scale, said, curve, tmp_path):
    values = [0.1 * scale, 0.52 * scale, None if curve else math.nan]
    texts = ["|skip_connect~0|+|none~0|none~1|+|none~0|none~1|none~2|"] * 3
    pq.write_table(
        pa.table({"architecture": texts, "a": [v and [v, v] for v in values] if curve else values}),
        tmp_path / "t.parquet",
    )
    with pytest.raises(DataError, match=said):
        generic.read(tmp_path / "t.parquet", "nasbench201", [f"valid:{kind}=a"])
    other = {"percent": "accuracy", "accuracy": "percent"}[kind]
    draft = generic.read(tmp_path / "t.parquet", "nasbench201", [f"valid:{other}=a"])
    assert np.max(draft.columns["valid"][1]) == pytest.approx(0.52)


def test_curves_of_different_lengths(tmp_path):
    pq.write_table(pa.table({"architecture": [CONV, POOL], "c": [[0.1, 0.2], [0.1]]}), tmp_path / "c.parquet")
    with pytest.raises(DataError, match=r"row 1 of '.*', column 'c', is a curve of 1 epochs where others have 2"):
        generic.read(tmp_path / "c.parquet", "nasbench201", ["c=c"])


def test_a_bad_architecture_is_named_by_its_row_in_the_file(csv, tmp_path):
    csv.write_text(csv.read_text().replace("avg_pool_3x3", "avg_pool_5x5"))
    draft = generic.read(csv, "nasbench201", ["architecture=cell", "loss:loss=loss"])
    with pytest.raises(DataError, match=r"row 1 of '.*mine\.csv', column 'cell', is not of space 'nasbench201'"):
        draft.write(tmp_path / "t.parquet")
    assert not (tmp_path / "t.parquet").exists()


def test_files_that_are_not_there_or_not_readable(tmp_path):
    for name in ("gone.csv", "gone.parquet"):
        with pytest.raises(DataError, match="there is no file"):
            generic.read(tmp_path / name, "nasbench201", ["v=acc"])
    (tmp_path / "empty.csv").write_text("")
    with pytest.raises(DataError, match=r"empty\.csv' is no readable CSV file"):
        generic.read(tmp_path / "empty.csv", "nasbench201", ["v=acc"])


def test_architectures_of_digits_keep_their_zeros_and_commas_are_points(tmp_path):
    (tmp_path / "macro.csv").write_text("architecture;acc\n00120210;93,5\n12000000;91\n")
    draft = generic.read(tmp_path / "macro.csv", "nasbench_macro", ["valid:percent=acc"])
    assert draft.columns["architecture"] == ["00120210", "12000000"]
    assert draft.columns["valid"].tolist() == [0.935, 0.91]
