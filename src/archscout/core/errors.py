"""The errors that a user can cause; each message is one sentence: what was wrong, where, what to do."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class ArchscoutError(Exception):
    """Anything that went wrong while running; the command line prints it and exits with 1."""


class UsageError(ArchscoutError, ValueError):
    """A wrong name, option or value; the command line prints it and exits with 2."""


class DataError(ArchscoutError, ValueError):
    """Data that cannot be used; the message names the file and the row."""


class DataNotice(UserWarning):
    """Data are read otherwise than they are written, which is told, not refused: what, how many, what to change."""


class UndefinedScore(ArchscoutError):  # noqa: N818 - an outcome, not a fault
    """A score has no value for this architecture; it is reported as NaN and counted."""


def nearest(name: object, known: Iterable[str]) -> str:
    """The clause that suggests the nearest known names.

    >>> nearest("nasbench21", ["mobile", "nasbench201"])
    "did you mean 'nasbench201'?"
    """
    known = sorted(known)
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.5) if isinstance(name, str) else []
    if close:
        return f"did you mean '{close[0]}'?"
    return "known: " + ", ".join(known) if known else "none is known"


def reason_of(error: BaseException) -> str:
    """The first line of an error, without a full stop; the name of its class where it says nothing."""
    line = str(error).strip().partition("\n")[0].strip().rstrip(".")
    if isinstance(error, ArchscoutError) and line:
        return line
    return f"{type(error).__name__}: {line}" if line else type(error).__name__
