"""A table of the user's own: columns of a Parquet or CSV file, and what they mean."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from archscout.core.errors import DataError, UsageError, nearest
from archscout.core.sheet import Sheet, read_sheet
from archscout.core.space import Space
from archscout.tables.draft import Draft, fractions, numbers, read_columns
from archscout.tables.metric import HIGHER, Metric

PERCENT = "percent"
"""An accuracy as a percentage; all other kinds are those of `Metric`."""


def read(file: Path, space: str | Space, columns: Sequence[str]) -> Draft:
    """A table from a file of the user's own.

    Args:
        file: Parquet, or CSV with a line of headings.
        space: what the architectures are of.
        columns: what is read, each `METRIC[:KIND]=COLUMN`; the kind is accuracy (a fraction; if none is given),
            percent, loss, seconds, cost or score, and `architecture=COLUMN` says where the architectures are if not in
            `architecture`. The first metric is the default. A column of lists is a curve.

    Raises:
        UsageError: a text that is not of this form, an unknown kind.
        DataError: a column that is not there, or holds what is no number (with its row).

    >>> read(Path("mine.csv"), "nasbench201", ["valid:percent=acc", "time:seconds=t"])    # doctest: +SKIP
    """
    wanted = [_parse(text) for text in columns]
    where = next((column for name, _, column in wanted if name == "architecture"), "architecture")
    chosen = [(name, kind, column) for name, kind, column in wanted if name != "architecture"]
    if not chosen:
        raise UsageError("say which columns to import, each with --column METRIC=COLUMN (as in --column valid=acc).")
    twice = {name for name, _, _ in chosen if sum(name == other for other, _, _ in chosen) > 1}
    if twice:
        raise UsageError(f"metric '{min(twice)}' is named twice: give one --column for each.")
    needed = list(dict.fromkeys([where, *(column for _, _, column in chosen)]))
    source = _csv(file, where, needed) if file.suffix.lower() == ".csv" else read_columns(file, needed)
    content: dict[str, Any] = {"architecture": source[where]}
    for name, kind, column in chosen:
        content[name] = _values(source[column], file, column, kind)
    return Draft(
        space=space,
        columns=content,
        metrics=[Metric(name, "accuracy" if kind == PERCENT else kind) for name, kind, _ in chosen],
        default=chosen[0][0],
        name=file.stem,
        task="",
        source=f"imported from {file.name}",
        origin=(file, where),
    )


def _parse(text: str) -> tuple[str, str, str]:
    left, sign, column = text.partition("=")
    name, _, kind = left.strip().partition(":")
    kind = kind.strip() or "accuracy"
    if not sign or not name.strip() or not column.strip():
        raise UsageError(
            f"'--column {text}' is not of the form METRIC[:KIND]=COLUMN, as in --column valid:percent=acc."
        )
    if kind not in (*HIGHER, PERCENT):
        raise UsageError(f"'--column {text}' names no kind of metric: {nearest(kind, [*HIGHER, PERCENT])}")
    return name.strip(), kind, column.strip()


def _values(values: list[Any], file: Path, column: str, kind: str) -> Any:
    if any(isinstance(value, list) for value in values):
        lengths = {len(value) for value in values if value}
        for row, value in enumerate(values):
            if value and len(value) != max(lengths):
                raise DataError(
                    f"row {row} of '{file}', column '{column}', is a curve of {len(value)} epochs where others have "
                    f"{max(lengths)}: make all of one length."
                )
        curves = [None if value is None else numbers(value, file, column) for value in values]
        rows = [np.empty(0) if curve is None else curve for curve in curves]
        _check_accuracies(rows, file, column, kind)
        return [fractions(c) if kind == PERCENT and c is not None else c for c in curves]
    plain = numbers(values, file, column)
    _check_accuracies(plain[:, None], file, column, kind)
    return fractions(plain) if kind == PERCENT else plain


def _check_accuracies(rows: Sequence[np.ndarray] | np.ndarray, file: Path, column: str, kind: str) -> None:
    """Raises `DataError` where what is called a fraction looks like a percentage, or the other way round."""
    if kind not in ("accuracy", PERCENT):
        return
    most = 100.0 if kind == PERCENT else 1.0
    highest = 0.0
    for row, values in enumerate(rows):
        known = values[~np.isnan(values)]
        wrong = known[(known < 0) | (known > most)]
        if len(wrong):
            raise DataError(
                f"row {row} of '{file}', column '{column}', holds {wrong[0]:g}, which is no accuracy as a "
                + ("percentage." if kind == PERCENT else f"fraction: if it is a percentage, say :{PERCENT}.")
            )
        highest = max(highest, float(known.max(initial=0.0)))
    if kind == PERCENT and 0 < highest <= 1:
        raise DataError(
            f"column '{column}' of '{file}' holds {highest:g} at most, which is 1 % or less as a percentage: if these "
            f"are fractions, leave :{PERCENT} out."
        )


def _csv(file: Path, where: str, needed: Sequence[str]) -> dict[str, list[Any]]:
    if not file.is_file():
        raise DataError(f"there is no file '{file}': name the file to import.")
    sheet = read_sheet(file)
    columns = {column: sheet.column(column) for column in needed}
    return {name: cells if name == where else [_cell(sheet, text) for text in cells] for name, cells in columns.items()}


def _cell(sheet: Sheet, text: str) -> str:
    """A number with a point in it; architectures are left as they are, so that those of digits keep leading zeros."""
    try:
        number = sheet.number(text)
    except ValueError:
        return text
    return text.replace(",", ".") if "," in text and math.isfinite(number) else text
