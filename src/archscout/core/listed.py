"""Several architectures: those that a file lists (a line each, or a column of a table), and those at hand in Python."""

from __future__ import annotations

from collections.abc import Iterator, Set
from pathlib import Path
from typing import Any

from archscout.core import options
from archscout.core.architecture import Architecture
from archscout.core.errors import DataError, UsageError
from archscout.core.sheet import read_sheet
from archscout.core.space import Space


def at_hand(given: Any, space: Space, what: str, refusal: str) -> list[Architecture]:
    """Architectures in any natural form: one or several, as such or as text; a table of pandas with a column of them.

    Args:
        given: by a user.
        space: that they are of.
        what: they are called, where one of them is wrong.
        refusal: the sentence for what is nothing of the kind.

    Raises `UsageError`.
    """
    if isinstance(given, Architecture):
        given = [given]
    elif hasattr(given, "columns") and "architecture" in given.columns:
        given = list(given["architecture"])  # of pandas
    elif isinstance(given, Set):
        given = sorted(given, key=str)  # sets have another order in each process
    elif not options.listed(given):
        raise UsageError(refusal)
    architectures = []
    for number, one in enumerate(given, start=1):
        if not isinstance(one, str | Architecture):
            raise UsageError(f"place {number} of {what} is no architecture ({options.shown(one)}): give its text.")
        try:
            architectures.append(space.named(one if isinstance(one, str) else one.text))
        except UsageError as error:
            raise UsageError(f"place {number} of {what}: {error}") from error
    return architectures


def read_architectures(file: Path, space: Space) -> list[Architecture]:
    """The architectures of a text file (one a line) or of the column `architecture` of a CSV or Parquet file.

    Raises `DataError` for a file that cannot be read, and for a malformed architecture, with its row.
    """
    if not file.is_file():
        raise DataError(
            f"there is no file '{file}': give a text file with one architecture a line, a CSV or a Parquet."
        )
    kind = file.suffix.lower()
    try:
        if kind == ".parquet":
            numbered = _parquet_column(file)
        else:
            numbered = _csv_column(file) if kind == ".csv" else _lines(file)
        architectures = []
        for number, written in numbered:
            if written.strip():
                try:
                    architectures.append(space.parse(written.strip()))
                except UsageError as error:
                    raise DataError(f"row {number} of '{file}': {error}") from error
    except UnicodeDecodeError as error:
        raise DataError(f"'{file}' is not a text file in UTF-8: save it as such, or as CSV or Parquet.") from error
    if not architectures:
        raise DataError(f"'{file}' has no architecture in it: write one a line.")
    return architectures


def _lines(file: Path) -> Iterator[tuple[int, str]]:
    return enumerate(file.read_text(encoding="utf-8-sig").splitlines(), start=1)


def _csv_column(file: Path) -> Iterator[tuple[int, str]]:
    sheet = read_sheet(file)
    if "architecture" not in sheet.headings:
        raise DataError(f"'{file}' has no column 'architecture': name the column of the architectures so.")
    return zip(sheet.lines, sheet.column("architecture"), strict=True)


def _parquet_column(file: Path) -> Iterator[tuple[int, str]]:
    import pyarrow as arrow
    import pyarrow.parquet as parquet

    try:
        table = parquet.read_table(file, columns=["architecture"])
    except (arrow.ArrowException, OSError) as error:
        raise DataError(f"'{file}' is no Parquet file with a column 'architecture': check it.") from error
    if not table.num_columns:
        raise DataError(f"'{file}' has no column 'architecture': name the column of the architectures so.")
    return ((number, str(text or "")) for number, text in enumerate(table.column(0).to_pylist(), start=1))
