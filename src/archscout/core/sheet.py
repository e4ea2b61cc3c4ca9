"""Tables in text, as spreadsheets write them: one reader for every CSV file that people give us.

Commas, semicolons or tabs; UTF-8 with or without a mark, UTF-16, or the letters of Western Windows; any line ends,
empty lines, quotes and spaces. Cells stay text, so that leading zeros are kept; each row knows its line in the file.
"""

from __future__ import annotations

import codecs
import csv
import io
import re
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from archscout.core.errors import DataError, DataNotice, UsageError, nearest

_SEPARATORS = (",", ";", "\t")
_DECIMAL_COMMA = re.compile(r"[+-]?\d+,\d+(?:[eE][+-]?\d+)?")
_CONTROL = re.compile(r"[\x00-\x08\x0e-\x1f]")
"""Characters that no text has."""


@dataclass(frozen=True)
class Sheet:
    """Headings, and rows of as many cells. `lines` has the line that each row begins on, the first line being 1."""

    file: Path
    headings: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    lines: tuple[int, ...]
    separator: str = ","

    def column(self, heading: str) -> list[str]:
        """The cells below a heading. Raises `DataError` where there is none of that name, or two."""
        places = [place for place, name in enumerate(self.headings) if name == heading]
        if not places:
            known = nearest(heading, filter(None, self.headings))
            raise DataError(f"'{self.file}' has no column '{heading}': {known}")
        if len(places) > 1:
            raise DataError(f"'{self.file}' has {len(places)} columns '{heading}': rename all but one.")
        return [row[places[0]] for row in self.rows]

    def number(self, text: str) -> float:
        """A cell as a number; where semicolons part the cells, a comma may stand for the point.

        Raises `ValueError` for what is no number.
        """
        decimal = self.separator == ";" and _DECIMAL_COMMA.fullmatch(text)
        return float(text.replace(",", ".") if decimal else text)


def read_sheet(file: Path) -> Sheet:
    """The table in a CSV file.

    Raises:
        UsageError: there is no such file.
        DataError: it is no text, or a row has more cells than there are headings.
    """
    if not file.is_file():
        raise UsageError(f"there is no file '{file}': name a CSV file.")
    try:
        return parse_sheet(_text(file.read_bytes(), file), file)
    except OSError as error:
        raise DataError(f"'{file}' cannot be read: {error.strerror}.") from error


def parse_sheet(text: str, file: Path) -> Sheet:
    """The table in a text; `file` is what messages call it."""
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    first = next((line for line in text.split("\n") if line.strip()), "")
    separator = max(_SEPARATORS, key=lambda mark: (_unquoted(first).count(mark), -_SEPARATORS.index(mark)))
    reader = csv.reader(io.StringIO(text), delimiter=separator, skipinitialspace=True, strict=True)
    headings: tuple[str, ...] = ()
    rows, lines, begin = [], [], 1
    try:
        for cells in reader:
            line, begin = begin, reader.line_num + 1
            cells = [cell.strip() for cell in cells]
            if not any(cells):
                continue
            if not headings:
                headings = tuple(cells)
                continue
            if any(cells[len(headings) :]):
                raise DataError(
                    f"'{file}', line {line}: {len(cells)} cells below {len(headings)} headings: put quotes around "
                    f"cells that have a '{separator}' in them."
                )
            rows.append(tuple(_filled(cells, len(headings))))
            lines.append(line)
    except csv.Error as error:
        raise DataError(f"'{file}', line {reader.line_num}: this is no CSV ({error}): write it again.") from error
    if not headings:
        raise DataError(f"'{file}' is no readable CSV file, for it is empty: give a line of headings, and rows.")
    return Sheet(file, headings, tuple(rows), tuple(lines), separator)


def _filled(cells: Sequence[str], count: int) -> list[str]:
    return [*cells[:count], *[""] * (count - len(cells))]


def _unquoted(line: str) -> str:
    return re.sub(r'"[^"]*"', "", line)


def _text(content: bytes, file: Path) -> str:
    utf16 = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    encodings = ("utf-16",) if utf16 else ("utf-8-sig", "cp1252")
    for encoding in encodings:
        try:
            text = content.decode(encoding)
        except UnicodeDecodeError:
            continue
        if _CONTROL.search(text):
            break
        if encoding == "cp1252":
            what = "is not in UTF-8: its letters are read as those of Windows (cp1252)"
            warnings.warn(f"'{file}' {what}.", DataNotice, stacklevel=4)
        return text
    raise DataError(f"'{file}' is no CSV file, for it is no text: save it as CSV in UTF-8.")
