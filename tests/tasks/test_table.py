"""What columns of a table mean beyond what they say: it is told, or refused, in one sentence."""

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import archscout
from archscout.core.errors import DataError, DataNotice
from archscout.core.task import Task


def rows_of(tmp_path: Path, head: str, line: Callable[[int], str], **options: Any) -> tuple[Task, list[str]]:
    """The task of a table of 60 rows, and what is told of it."""
    file = tmp_path / "table.csv"
    file.write_text("\n".join([head, *map(line, range(60))]))
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always", DataNotice)
        task = archscout.task(file, **options)
    return task, [str(notice.message) for notice in told]


@pytest.mark.parametrize(
    ("cell", "said"),
    [
        (lambda i: "-999" if i % 7 == 0 else str(i % 5), "has -999 in 9 rows, far from all other numbers (0 to 4)"),
        (lambda i: f"2024-01-{1 + i % 28:02d}", "holds dates, and splits are drawn at random"),
        (lambda i: f"{1 + i % 28}.{1 + i // 28}.2024 7:30", "holds dates, and splits are drawn at random"),
    ],
    ids=["number for a missing one", "dates", "dates that are left out"],
)
def test_columns_that_mean_more_than_they_say_are_told(tmp_path: Path, cell: Callable[[int], str], said: str) -> None:
    _, told = rows_of(tmp_path, "a,b,label", lambda i: f"{cell(i)},{i % 11},{'xyz'[i % 3]}")
    assert sum(said in text for text in told) == 1, told


def test_numbers_that_are_far_once_and_those_beside_others_are_not_told(tmp_path: Path) -> None:
    task, told = rows_of(tmp_path, "a,b,label", lambda i: f"{999 if i == 4 else i},{100 * i - 999},{'xyz'[i % 3]}")
    assert told == [] and task.input_shape == (2,)


@pytest.mark.parametrize("name", ["fold", "split"])
def test_a_column_of_folds_is_told(tmp_path: Path, name: str) -> None:
    _, told = rows_of(tmp_path, f"a,{name},label", lambda i: f"{i},{i % 5},{'xyz'[i % 3]}")
    assert f"column '{name}'" in told[0] and f"say group={name}" in told[0]
    _, told = rows_of(tmp_path, f"a,{name},label", lambda i: f"{i},{i % 5},{'xyz'[i % 3]}", group=name)
    assert told == []


def test_labels_that_are_one_number_or_missing_are_told(tmp_path: Path) -> None:
    _, told = rows_of(tmp_path, "a,label", lambda i: f"{i},{('1', '1.0', 'n/a', '2')[i % 4]}")
    assert "'1' and '1.0'" in told[0]
    assert "'n/a'" in told[1] and "that the label is missing" in told[1]


@pytest.mark.parametrize(("odd", "said"), [("high", "'high'"), ("inf", "'inf'"), ("1,5", "'1,5'")])
def test_a_target_that_is_no_number_among_numbers_is_refused(tmp_path: Path, odd: str, said: str) -> None:
    with pytest.raises(DataError, match=rf"line 11 of .* has a target that is no number \({said}\)"):
        rows_of(tmp_path, "a,target", lambda i: f'{i},"{odd if i == 9 else i / 8}"')
    _, told = rows_of(tmp_path, "a,target", lambda i: f"{i},{('low', '1', '2')[i % 3]}")
    assert "is read as classes" in told[0]
