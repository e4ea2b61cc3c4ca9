"""Text in cells of the CSV files that we write: a spreadsheet must not take it for a formula."""

from __future__ import annotations

_FORMULAS = ("=", "+", "-", "@", "\t", "\r")


def cell(value: object) -> object:
    """What stands in a cell: numbers as they are, text that a spreadsheet would compute behind an apostrophe.

    >>> cell("=HYPERLINK(1)"), cell("cat"), cell(-1.5), cell("-1.5")
    ("'=HYPERLINK(1)", 'cat', -1.5, '-1.5')
    """
    if isinstance(value, str) and value.startswith(_FORMULAS) and not _is_number(value):
        return f"'{value}"
    return value


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
