"""Zero-cost scores of a table's architectures: from files of `archscout score`, or from its own columns."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from archscout.core import options
from archscout.core.errors import DataError, UsageError, nearest
from archscout.core.files import read_json, well_formed
from archscout.core.options import shown
from archscout.core.registry import names, parse_name
from archscout.core.sheet import read_sheet
from archscout.tables.table import Table

ALIASES = {"jacov": "jacob_cov", "nwot": "naswot"}
"""Scores that go by another name in published tables, and how `archscout score` calls them."""

SPARSE = 0.1
"""Share of the architectures without a value beyond which a score is sparse: the rest cannot count as its worst."""


class ScoreColumns:
    """Zero-cost scores from files of `archscout score`, or from the table's own columns.

    `sparse` gathers, of the columns that were asked for, where those have a value that are sparse.
    """

    def __init__(self, table: Table, rows: np.ndarray, files: Path | Sequence[Path] | None) -> None:
        self.table, self.rows = table, rows
        self.files = [_ScoreSheet(table, file) for file in _paths(files)]
        self.sparse: dict[str, np.ndarray] = {}

    def known(self) -> list[str]:
        """The names of all scores at hand; of the table's, those of the metric's own data set are not told apart."""
        own = [m for m in self.table.metrics if self.table.metric(m).kind in ("score", "cost")]
        return list(dict.fromkeys([*own, *(name for file in self.files for name in file.scores)]))

    def find(self, name: str) -> str | None:
        """The name under which a score is at hand, if it is."""
        known = self.known()
        others = {**ALIASES, **{ours: theirs for theirs, ours in ALIASES.items()}}
        return next((one for one in (name, others.get(name, name)) if one in known), None)

    def check_dense(self, name: str) -> None:
        """Raises `UsageError` for a sparse score."""
        there = self._look_up(name)[2]
        if _is_sparse(there):
            raise UsageError(f"'{name}' has values for {there.sum():,} of {len(there):,} architectures")

    def column(self, name: str) -> tuple[np.ndarray, float]:
        """The score of each architecture and the mean seconds that it takes; NaN where there is none, or not known."""
        values, seconds, there = self._look_up(name)
        if _is_sparse(there):
            self.sparse[name] = there
        return values, seconds

    def _look_up(self, name: str) -> tuple[np.ndarray, float, np.ndarray]:
        """The same, and where there is a value; a score that was computed and is undefined is one."""
        column = self.find(name)
        if column is None:
            if parse_name(name)[0] in names("estimator"):
                raise UsageError(
                    f"neither table '{self.table.name}' nor a file of scores has '{name}': compute it with 'archscout "
                    "score' and give the file with --scores, or leave it out."
                )
            if parse_name(name)[0] in {*names("strategy"), *names("method")}:
                raise UsageError(f"'{name}' is a search, no estimator: 'archscout study strategies' compares searches.")
            raise UsageError(
                f"neither table '{self.table.name}' nor a file of scores has '{name}', and no estimator is called so: "
                f"{nearest(name, {*self.known(), *names('estimator')})} (--scores takes a file of 'archscout score')."
            )
        file = next((file for file in self.files if column in file.scores), None)
        if file is not None:
            values, seconds, there = file.column(column, [self.table.canonical[row] for row in self.rows])
        else:
            values = np.asarray(self.table.values(column))[self.table.networks[self.rows]]
            seconds, there = np.nan, np.isfinite(values)
        if not np.isfinite(values).any():
            raise DataError(f"score '{name}' has no finite value for any architecture of table '{self.table.name}'.")
        return values, seconds, there


def of_others(table: Table, files: Path | Sequence[Path] | None) -> list[str]:
    """A sentence for each file of scores that is of other networks than the table's, or of other data.

    `archscout score` leaves beside a file how it was made; of a file without that nothing is known. Raises `DataError`
    where that is damaged.
    """
    return [
        f"the scores of '{file}' are of {' and of '.join(differing)}."
        for file in _paths(files)
        if (differing := _of_others(table, Path(f"{file}.json")))
    ]


def _paths(files: Any) -> list[Path]:
    """Files of scores: none, one or several. Raises `UsageError` for what are none."""
    if files is None:
        return []
    several = files if options.listed(files) else [files]
    return [options.path(file, "a file of scores") for file in several]


def _of_others(table: Table, settings: Path) -> list[str]:
    if not settings.is_file():
        return []
    advice = "score again, or remove it where the scores are known to be right."
    made_by = read_json(settings, advice)
    with well_formed(settings, advice):
        space, parts, task = str(made_by["space"]), made_by["space_parts"], str(made_by["task"])
        sentences = []
        if space != table.space.name:
            sentences.append(f"networks of '{space}' (the table's are of '{table.space.name}')")
        elif dict(parts) != dict(table.space.parts):
            sentences.append(f"an earlier form of space '{space}'")
        if table.task and task != table.task:
            sentences.append(f"data '{task}' (the table is about '{table.task}')")
    return sentences


class _ScoreSheet:
    """A file of `archscout score`, by the networks of a table's space; the mean of several rows of one network."""

    def __init__(self, table: Table, file: Path) -> None:
        self._columns: dict[str, Any] = dict(_read(file))
        self.scores = [name for name in self._columns if name != "architecture" and not name.endswith("_seconds")]
        self._place: dict[str, int] = {}
        try:
            forms = [table.space.canonical(table.space.parse(str(text))) for text in self._columns["architecture"]]
        except UsageError as error:
            raise DataError(
                f"'{file}' has scores of another space than table '{table.name}', which is of '{table.space.name}': "
                f"{error}"
            ) from error
        numbers = np.asarray([self._place.setdefault(form, len(self._place)) for form in forms], dtype=np.int64)
        for name, values in self._columns.items():
            if name != "architecture":
                self._columns[name] = _means(np.asarray(values, dtype=np.float64), numbers, len(self._place))

    def column(self, name: str, canonical: Sequence[str]) -> tuple[np.ndarray, float, np.ndarray]:
        """The score of each network, the mean seconds that it takes, and which of them the file has."""
        places = np.asarray([self._place.get(form, -1) for form in canonical])
        there = places >= 0
        seconds = self._columns.get(f"{name}_seconds")
        known = np.asarray([] if seconds is None else seconds, dtype=np.float64)
        known = known[np.isfinite(known)]
        each = float(known.mean()) if len(known) else np.nan
        # Place -1 is the last one: that of no network.
        return np.append(self._columns[name], np.nan)[places], each, there


def _means(values: np.ndarray, networks: np.ndarray, count: int) -> np.ndarray:
    """The mean of the values of each network, leaving NaN out."""
    known = ~np.isnan(values)
    totals = np.bincount(networks[known], values[known], count)
    numbers = np.bincount(networks[known], minlength=count)
    return np.where(numbers > 0, totals / np.maximum(numbers, 1), np.nan)


def _is_sparse(there: np.ndarray) -> bool:
    return bool((~there).mean() > SPARSE)


def _read(file: Path) -> dict[str, Sequence[Any]]:
    if not file.is_file():
        raise UsageError(f"there is no file '{file}': name a CSV or Parquet file of 'archscout score'.")
    read: Callable[[Any], float] = float
    if file.suffix.lower() == ".parquet":
        import pyarrow as pa
        import pyarrow.parquet as pq

        try:
            columns: dict[str, Sequence[Any]] = pq.read_table(file).to_pydict()
        except (pa.ArrowException, OSError) as error:
            raise DataError(f"'{file}' is no readable Parquet file: give one of 'archscout score'.") from error
    else:
        sheet = read_sheet(file)
        read, columns = sheet.number, {name: sheet.column(name) for name in sheet.headings}
    if "architecture" not in columns:
        raise DataError(f"'{file}' has no column 'architecture': name a file of 'archscout score'.")
    return {
        name: values if name == "architecture" else [_number(value, file, name, read) for value in values]
        for name, values in columns.items()
        if name == "architecture" or not _is_text(values, read)
    }


def _is_text(values: Sequence[Any], read: Callable[[Any], float]) -> bool:
    """Whether a column is none of scores: something stands in it, and none of that is a number."""
    filled = [value for value in values if value not in (None, "")]
    for value in filled:
        with suppress(TypeError, ValueError, OverflowError):
            read(value)
            return False
    return bool(filled)


def _number(value: Any, file: Path, column: str, read: Callable[[Any], float]) -> float:
    try:
        return math.nan if value in (None, "") else read(value)
    except (TypeError, ValueError, OverflowError) as error:
        raise DataError(
            f"'{file}', column '{column}', holds {shown(value)}, which is no number: leave the cell empty where there "
            "is no score."
        ) from error
