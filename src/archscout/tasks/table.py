"""Columns of a table as numbers: which are numbers, which categories, what is missing, and what is left out."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from archscout.core.errors import DataError
from archscout.tasks.decode import shown
from archscout.tasks.labels import text_of

MISSING = frozenset({"", "na", "n/a", "nan", "null", "none", "?", "-", "<na>", "nat"})
"""Cells that say nothing, in small or capital letters."""

MOSTLY = 0.9
"""Where so many cells of a column are numbers, one that is none is a mistake, not a category."""

MOST_CATEGORIES = 32
"""Of a column, the most frequent; the others count as one."""

OTHERS = "(others)"

_DECIMAL_COMMA = re.compile(r"[+-]?\d+,\d+")
_THOUSANDS = re.compile(r"[+-]?[1-9]\d{0,2}(?:,\d{3})+(?:\.\d*)?")
_DATE = re.compile(r"(?:\d{4}[-/.]\d{1,2}[-/.]\d{1,2}|\d{1,2}[-/.]\d{1,2}[-/.](?:\d{2}|\d{4}))(?:[ T].*)?")
_SENTINELS = (-99.0, -999.0, -9999.0, -99999.0, 999.0, 9999.0, 99999.0)
"""Numbers that stand for a missing one where cells may not be empty."""

_IDENTIFIERS = ("id", "index", "row", "row_id", "unnamed: 0")


@dataclass(frozen=True)
class Column:
    """A column that is learned from: numbers where it has no categories."""

    name: str
    categories: tuple[str, ...] = ()

    @property
    def width(self) -> int:
        """How many columns of numbers it is stored as."""
        return max(1, len(self.categories))


@dataclass
class Reading:
    """Cells of columns as numbers (N x columns, NaN for what is missing): numbers, or places among `categories`.

    `bad` are the rows that cannot be used, with what is wrong with each.
    """

    values: np.ndarray
    columns: tuple[Column, ...]
    notices: list[str]
    bad: dict[int, str]


def read(columns: Mapping[str, Sequence[Any]], source: str) -> Reading:
    """What columns of cells hold. Raises `DataError` where nothing can be learned from any of them."""
    values: list[list[float]] = []
    read_columns: list[Column] = []
    notices: list[str] = []
    bad: dict[int, str] = {}
    left: dict[str, list[str]] = {}
    gaps = 0
    for name, cells in columns.items():
        texts = ["" if (text := text_of(cell)).casefold() in MISSING else text for cell in cells]
        present = [text for text in texts if text]
        numbers, unsure = _numbers(texts)
        distinct = len(set(present))
        countable = sum(number is not None for number, text in zip(numbers, texts, strict=True) if text)
        if distinct < 2:
            left.setdefault("the same in every row", []).append(name)
            continue
        if distinct == len(texts) and name.strip().casefold() in _IDENTIFIERS:
            left.setdefault("a name of each row", []).append(name)
            continue
        if countable >= MOSTLY * len(present):
            _check_commas(unsure, name, source)
            for row, (number, text) in enumerate(zip(numbers, texts, strict=True)):
                if text and (number is None or not abs(number) <= 1e30):
                    bad.setdefault(row, f"has '{shown(text[:40])}' in column '{shown(name)}', which is no number there")
            column = Column(name)
            encoded = [math.nan if number is None else number for number in numbers]
            if not bad:
                check_precision(np.asarray(encoded), name, distinct)
            notices += _sentinel(np.asarray(encoded), name, source)
        else:
            if distinct > MOST_CATEGORIES and 2 * distinct > len(present):
                left.setdefault("a text of its own in most rows", []).append(name)
                continue
            if 2 * distinct > len(present):
                notices.append(
                    f"column '{shown(name)}' of {source} has {distinct} different texts in {len(present)} rows, each "
                    f"a category ('{shown(present[0][:40])}'): write numbers where they measure something."
                )
            counts = Counter(present)
            known = sorted(counts, key=lambda text: (-counts[text], text))[:MOST_CATEGORIES]
            if distinct > MOST_CATEGORIES:
                known[-1] = OTHERS
                notices.append(
                    f"column '{shown(name)}' of {source} has {distinct} different texts: all but the "
                    f"{MOST_CATEGORIES - 1} most frequent count as one."
                )
            column = Column(name, tuple(known))
            encoded = category_numbers(texts, column)
        gaps += len(texts) - len(present)
        values.append(encoded)
        read_columns.append(column)
    for reason, names in left.items():
        listed = ", ".join(f"'{shown(name)}'" for name in names[:5]) + (", ..." if len(names) > 5 else "")
        notices.append(f"{source} has columns that are left out, for they are {reason}: {listed}.")
    if not read_columns:
        raise DataError(f"{source} has no column to learn from: give columns of numbers or categories.")
    if gaps:
        notices.append(
            f"{gaps:,} cells of {source} are empty: of numbers, the mean stands there and a mark says so; a category "
            "that is missing is none of them."
        )
    return Reading(np.asarray(values, np.float64).T, tuple(read_columns), notices, bad)


def category_numbers(texts: Sequence[str], column: Column) -> list[float]:
    """The place of each text among the categories of a column; the others' where there is one, else NaN."""
    place = {text: float(number) for number, text in enumerate(column.categories)}
    other = place.get(OTHERS, math.nan)
    return [place.get(text, other) if text else math.nan for text in texts]


def stored(values: np.ndarray, columns: Sequence[Column]) -> np.ndarray:
    """Cells as `read` gives them (N x columns) as networks take them: categories are columns of 0 and 1, float32."""
    blocks = [
        values[:, [place]] if not column.categories else values[:, [place]] == np.arange(len(column.categories))
        for place, column in enumerate(columns)
    ]
    return np.concatenate(blocks, 1).astype(np.float32)


def dates(columns: Mapping[str, Sequence[Any]]) -> list[str]:
    """Names of the columns that hold dates, as far as they are written in numbers.

    >>> dates({"day": ["2024-01-31", ""], "hour": ["31.1.24 7:00", "1.2.24"], "version": ["1.2", "1.2.3"]})
    ['day', 'hour']
    """
    texts = {name: [text for cell in cells if (text := text_of(cell))] for name, cells in columns.items()}
    return [name for name, some in texts.items() if some and all(map(_DATE.fullmatch, some))]


def _sentinel(numbers: np.ndarray, name: str, source: str) -> list[str]:
    """What is to be told of a number that stands far from all others, again and again."""
    known = numbers[np.isfinite(numbers)]
    notices = []
    for sentinel in _SENTINELS:
        count, others = int((known == sentinel).sum()), known[known != sentinel]
        if count < 2 or not len(others):
            continue
        least, most = float(others.min()), float(others.max())
        if max(least - sentinel, sentinel - most) > most - least:
            notices.append(
                f"column '{shown(name)}' of {source} has {sentinel:g} in {count:,} rows, far from all other numbers "
                f"({least:g} to {most:g}): leave cells empty where it means that a number is missing."
            )
    return notices


def check_precision(numbers: np.ndarray, column: str, several: int) -> None:
    """Raises `DataError` where single precision cannot tell most of several numbers apart, as seconds since 1970."""
    with np.errstate(over="ignore", invalid="ignore"):
        left = len(np.unique(numbers[np.isfinite(numbers)].astype(np.float32)))
    if 2 * left < several:
        raise DataError(
            f"column '{shown(column)}' has {several:,} different numbers that are so alike that 32 bits, in which they "
            f"are kept, tell {left:,} of them apart: subtract their least from all, or leave the column out."
        )


def cells_of(table: Mapping[str, Sequence[Any]], columns: Sequence[Column], source: str) -> np.ndarray:
    """The rows of another table, stored as those of these columns. Raises `DataError` where one is missing or odd."""
    values = []
    for column in columns:
        if column.name not in table:
            raise DataError(f"{source} has no column '{shown(column.name)}', which the network was trained on.")
        texts = ["" if (text := text_of(cell)).casefold() in MISSING else text for cell in table[column.name]]
        if column.categories:
            values.append(category_numbers(texts, column))
            continue
        read_numbers, unsure = _numbers(texts)
        _check_commas(unsure, column.name, source)
        numbers = [number if text else math.nan for number, text in zip(read_numbers, texts, strict=True)]
        odd = next((row for row, number in enumerate(numbers) if number is None or abs(number) > 1e30), None)
        if odd is not None:
            raise DataError(
                f"row {odd} of {source} has '{shown(texts[odd][:40])}' in column '{shown(column.name)}': write a "
                "number, or leave the cell empty."
            )
        values.append([float(number) for number in numbers if number is not None])
    return stored(np.asarray(values, np.float64).T, columns)


def _numbers(texts: Sequence[str]) -> tuple[list[float | None], str]:
    """Texts as numbers, None for what is none, and a text of which a comma may mean one thing or another.

    A comma stands for the point, or parts thousands: what it does in one cell of a column it does in all.

    >>> _numbers(["0,5", "1,250"])[0], _numbers(["1,250,000", "1,250"])[0], _numbers(["1,250", "7"])
    ([0.5, 1.25], [1250000.0, 1250.0], ([1.25, 7.0], '1,250'))
    """
    decimal = {text for text in texts if _DECIMAL_COMMA.fullmatch(text)}
    thousands = {text for text in texts if _THOUSANDS.fullmatch(text)}
    either = min(decimal & thousands, default="")
    grouped = bool(thousands - decimal) and not decimal - thousands
    unsure = either if bool(thousands - decimal) == bool(decimal - thousands) else ""
    return [_number(text.replace(",", "") if grouped and text in thousands else text) for text in texts], unsure


def is_written(text: str) -> bool:
    """Whether a text is a number in whatever way it is written: with commas, or infinite.

    >>> [is_written(text) for text in ("1,5", "1,250,000.5", "inf", "high")]
    [True, True, True, False]
    """
    return _number(text.replace(",", "") if _THOUSANDS.fullmatch(text) else text) is not None


def _check_commas(unsure: str, column: str, source: str) -> None:
    """Raises `DataError` where a comma may be one or another sign."""
    if unsure:
        raise DataError(
            f"'{unsure}' in column '{shown(column)}' of {source} may be {unsure.replace(',', '')} or "
            f"{unsure.replace(',', '.')}: write numbers with a point, and nothing between thousands."
        )


def _number(text: str) -> float | None:
    """A text as a number, perhaps with a decimal comma; None for no number, as one with underscores is."""
    if _DECIMAL_COMMA.fullmatch(text):
        text = text.replace(",", ".")
    try:
        return None if "_" in text else float(text)
    except ValueError:
        return None
