"""A file of rows as columns: CSV, JSON lines or Parquet."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from archscout.core.errors import DataError
from archscout.core.sheet import read_sheet
from archscout.tasks.decode import shown
from archscout.tasks.doors.archive import regular

LONGEST = 2**20
"""No line of JSON is longer, in characters."""

Columns = dict[str, list[Any]]


def read_columns(file: Path) -> tuple[Columns, Sequence[int] | None]:
    """The columns of a file, and the line of each row where it has lines."""
    regular(file)
    suffix = file.suffix.lower()
    if suffix == ".parquet":
        return _parquet(file), None
    if suffix in (".csv", ".tsv"):
        sheet = read_sheet(file)
        return {name: list(sheet.column(name)) for name in sheet.headings if name}, sheet.lines
    return _json_lines(file)


def _parquet(file: Path) -> Columns:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return pq.read_table(file).to_pydict()  # type: ignore[no-any-return]
    except (pa.ArrowException, OSError, MemoryError, ValueError, TypeError, NotImplementedError) as error:
        raise DataError(f"'{shown(file)}' is no readable Parquet file: copy or make it again.") from error


def _json_lines(file: Path) -> tuple[Columns, Sequence[int]]:
    columns: Columns = {}
    lines: list[int] = []
    try:
        with file.open(encoding="utf-8-sig") as stream:
            for number, line in enumerate(iter(lambda: stream.readline(LONGEST), ""), start=1):
                if not line.strip():
                    continue
                row = _json_object(line, f"'{shown(file)}', line {number}")
                if row is None:
                    raise DataError(f"'{shown(file)}', line {number}: this is no JSON object: write one a line.")
                for name in dict.fromkeys([*columns, *row]):
                    columns.setdefault(name, [None] * len(lines)).append(row.get(name))
                lines.append(number)
    except UnicodeDecodeError as error:
        raise DataError(f"'{shown(file)}' is no text in UTF-8: save it as such.") from error
    return columns, lines


def _json_object(line: str, called: str) -> dict[str, Any] | None:
    """The object of a line, None where it is none. Raises `DataError` for one with two values of one name."""

    def of_pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        row = dict(pairs)
        if len(row) < len(pairs):
            twice = next(name for place, (name, _) in enumerate(pairs) if name in dict(pairs[:place]))
            raise DataError(f"{called}: the name '{shown(twice)}' is given twice: leave one of them.")
        return row

    try:
        row = json.loads(line, object_pairs_hook=of_pairs)
    except DataError:
        raise
    except (ValueError, RecursionError):
        return None
    return row if isinstance(row, dict) else None
