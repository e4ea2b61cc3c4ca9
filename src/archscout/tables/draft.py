"""A table in the making: what a reader of a published file hands over."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from archscout.core.errors import DataError
from archscout.core.space import Space
from archscout.tables.metric import Metric
from archscout.tables.table import Table, write


@dataclass
class Draft:
    """The columns of a table and what they mean.

    Args:
        space: the name of the space that the architectures are of.
        columns: `architecture`, the metrics and what else is carried along; all of one length.
        metrics: what the columns hold.
        default: the metric that is meant where none is named.
        name: of the table.
        task: what the networks were trained for.
        source: where the values come from, and under which licence.
        origin: the file and the column of it that the architectures were read from.
        rows: the row of that file that each row was read from, where it is not the same.
        notes: what whoever imports it should know (rows left out, ...).
    """

    space: str | Space
    columns: dict[str, Any]
    metrics: list[Metric]
    default: str
    name: str
    task: str
    source: str
    origin: tuple[Path, str]
    rows: Sequence[int] | None = None
    notes: list[str] = field(default_factory=list)

    def write(self, file: Path) -> Table:
        """Write the table, whole or not at all. Raises `DataError`, naming file, row and column, for bad data."""
        return write(
            file, self.space, self.columns, self.metrics, default=self.default, name=self.name, task=self.task,
            source=self.source, origin=self.origin, origin_rows=self.rows,
        )  # fmt: skip


def read_columns(file: Path, needed: Iterable[str], optional: Iterable[str] = ()) -> dict[str, list[Any]]:
    """Columns of a Parquet file, as lists. Raises `DataError` for another file, or one that lacks a needed column."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    if not file.is_file():
        raise DataError(f"there is no file '{file}': name the Parquet file to import.")
    try:
        present = set(pq.read_schema(file).names)
        for column in needed:
            if column not in present:
                raise DataError(
                    f"'{file}' has no column '{column}', which a table of this kind has (it has: "
                    f"{', '.join(sorted(present)[:8])}): name another file or kind."
                )
        wanted = [*needed, *(column for column in optional if column in present)]
        return pq.read_table(file, columns=wanted).to_pydict()  # type: ignore[no-any-return]
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"'{file}' is no readable Parquet file ({str(error).partition('.')[0]}).") from error


def numbers(values: Sequence[Any], file: Path, column: str) -> np.ndarray:
    """A column as float64, NaN where it is empty. Raises `DataError`, naming the row, for what is no number."""
    values_read = np.empty(len(values))
    for row, value in enumerate(values):
        try:
            values_read[row] = np.nan if value is None or value == "" else value
        except (TypeError, ValueError) as error:
            raise DataError(
                f"row {row} of '{file}', column '{column}', holds {value!r}: it must be a number."
            ) from error
    return values_read


def fractions(percent: np.ndarray) -> np.ndarray:
    """Accuracies in percent as fractions, without the digits that float32 added."""
    return np.asarray(np.round(percent / 100, 8))


def join(keys: Sequence[Any], other_keys: Sequence[Any], values: Mapping[str, Sequence[Any]]) -> dict[str, list[Any]]:
    """The values of another table in the order of these keys; None where it has none."""
    place = {key: row for row, key in enumerate(other_keys)}
    rows = [place.get(key) for key in keys]
    return {name: [None if row is None else column[row] for row in rows] for name, column in values.items()}
