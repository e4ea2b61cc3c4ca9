"""How the options of searches, trainings, scorings and studies are read, for Python and for the command line alike.

Three rules hold for all: what Python and NumPy count as a number is one, truth values are not; every number has ends
beyond which it is refused; and a refusal is one sentence that says what was given and what to give.
"""

from __future__ import annotations

import math
import operator
import os
import re
from collections.abc import Iterable, Mapping, Sequence, Set
from contextlib import suppress
from datetime import timedelta
from decimal import Decimal
from numbers import Real
from pathlib import Path
from typing import Any

import numpy as np

from archscout.core.cores import usable_cores
from archscout.core.errors import UsageError, nearest
from archscout.core.progress import Progress, Silent

LONGEST = 64
"""Characters of a number as text; longer ones are refused unread."""

MOST_SEED = 2**63 - 1
MOST_EPOCHS = 1_000_000
MOST_WORKERS = 4_096
_SHOWN = 40
_LONGEST_TEXT = 1_000
_LONGEST_NAME = 255


def whole(value: Any, what: str, least: int = 0, most: int = 2**31 - 1) -> int:
    """A whole number, also one of NumPy. Raises `UsageError` for any other type, and outside of [least, most].

    >>> whole(5, "seed")
    5
    """
    limits = f"of {least} or more"
    if _is_number(value):
        try:
            number = operator.index(value)
        except TypeError:
            pass
        else:
            if least <= number <= most:
                return number
            limits = limits if number < least else f"up to {most}"
    raise UsageError(f"{what} must be a whole number {limits}, not {shown(value)}.")


def number(value: Any, what: str) -> float:
    """A finite number, also one of NumPy. Raises `UsageError` for anything else."""
    if _is_number(value) and (isinstance(value, Real | Decimal) or hasattr(value, "ndim")):
        try:
            plain = float(value)
        except (TypeError, ValueError, OverflowError):
            plain = math.nan
        if math.isfinite(plain):
            return plain
    raise UsageError(f"{what} must be a finite number, not {shown(value)}.")


def duration(value: Any, what: str) -> float | None:
    """The seconds of a `timedelta` of Python, NumPy or pandas; None for what is no length of time.

    Raises `UsageError` for one without a known length: months, years, and what is no time at all (NaT).

    >>> duration(timedelta(minutes=2), "the budget")
    120.0
    """
    if isinstance(value, timedelta) and value == value:
        return value.total_seconds()
    kind = getattr(value, "dtype", None)
    if getattr(kind, "kind", "") == "m" and getattr(value, "ndim", None) == 0:
        units = np.timedelta64(1, "s")
        with suppress(TypeError):  # months have no seconds
            if math.isfinite(seconds := float(np.timedelta64(value) / units)):
                return seconds
    elif not isinstance(value, timedelta):
        return None
    raise UsageError(f"{what} must be a length of time in seconds, not {shown(value)}.")


def seed(value: Any) -> int:
    """The seed of all random decisions. Raises `UsageError`."""
    return whole(value, "the seed", most=MOST_SEED)


def switch(value: Any, what: str) -> bool:
    """A truth value, also one of NumPy. Raises `UsageError` for anything else: the text "no" would be true."""
    if not _is_truth(value):
        raise UsageError(f"{what} must be True or False, not {shown(value)}.")
    return bool(value)


def watch(value: Any) -> Progress:
    """Who is told how it goes; nobody where it is None. Raises `UsageError` for what cannot be told anything."""
    if value is None:
        return Silent()
    methods = (getattr(value, name, None) for name in ("say", "update", "close"))
    if isinstance(value, type) or not all(map(callable, methods)):
        raise UsageError(f"the progress must be an object with say, update and close, not {shown(value)}.")
    return value  # type: ignore[no-any-return]


def epochs(value: Any) -> int | None:
    """A length of training; None where it is not given. Raises `UsageError`."""
    return None if value is None else whole(value, "the number of epochs", 1, MOST_EPOCHS)


def workers(value: Any) -> int:
    """The number of worker processes, by default one a core; 0 works in this process. Raises `UsageError`."""
    return usable_cores() if value is None else whole(value, "the number of workers", 0, MOST_WORKERS)


def text(value: Any, what: str) -> str:
    """A text of one line. Raises `UsageError`."""
    if not isinstance(value, str) or not value.strip():
        raise UsageError(f"{what} must be a text, not {shown(value)}.")
    if len(value) > _LONGEST_TEXT or not value.isprintable():
        raise UsageError(
            f"{what} must be one line of printable characters, {_LONGEST_TEXT:,} at most, not {shown(value)}."
        )
    return value


def name_of(value: Any, what: str, kind: type) -> str:
    """A name: a text as it is, or that of an object of a class. Raises `UsageError`."""
    return text(getattr(value, "name", None) if isinstance(value, kind) else value, what)


def several(value: Any, what: str, kinds: type | tuple[type, ...] = ()) -> list[Any]:
    """Names, or objects of these classes, in a list; one alone is a list of one. Raises `UsageError`."""
    if isinstance(value, (str, kinds)):
        return several([value], what, kinds)
    if value is None:
        return []
    if not listed(value):
        raise UsageError(f"{what} must be names, not {shown(value)}.")
    names = [each if isinstance(each, kinds) else text(each, what) for each in value]
    return sorted(names, key=_called) if isinstance(value, Set) else names  # sets have another order in each process


def _called(value: Any) -> str:
    return str(getattr(value, "name", value))


def listed(value: Any) -> bool:
    """Whether a value is several in a row: no text, dict, nor array of other than one dimension."""
    dimensions: Any = getattr(value, "ndim", 1)
    return isinstance(value, Iterable) and not isinstance(value, str | bytes | Mapping) and dimensions == 1


def wholes(value: Any, what: str, least: int = 0) -> tuple[int, ...]:
    """Whole numbers, also in an array; one alone is a tuple of one. Raises `UsageError`."""
    if not listed(value):
        value = [value]
    return tuple(whole(each, what, least) for each in value)


def path(value: Any, what: str) -> Path:
    """A file or folder, also of somebody's home (`~`). Raises `UsageError`."""
    place = os.fspath(value) if isinstance(value, str | os.PathLike) else None
    if not isinstance(place, str) or "\0" in place or not place.strip():
        raise UsageError(f"{what} must be a path, not {shown(value)}.")
    try:
        expanded = Path(place).expanduser()
    except RuntimeError:
        raise UsageError(f"{what} is in a home that there is not: {shown(place)}.") from None
    try:
        longest = max((len(os.fsencode(part)) for part in expanded.parts), default=0)
    except UnicodeEncodeError:
        raise UsageError(f"{what} has characters that no file name has: {shown(place)}.") from None
    if longest > _LONGEST_NAME:
        raise UsageError(f"{what} has a name of more than {_LONGEST_NAME} bytes, which no disk has: {shown(place)}.")
    return expanded


def run(value: Any) -> Path:
    """The folder of a run, which its result has, too. Raises `UsageError`."""
    return path(getattr(value, "folder", value), "the run")


def folder_name(text: str) -> str:
    """A text as the name of one folder, whatever characters it has: never a path, nor hidden.

    >>> folder_name("study-../../my table")
    'study-..-..-my-table'
    """
    return re.sub(r"[^A-Za-z0-9._=-]+", "-", text).strip("-.")[:200] or "unnamed"


def mapping(value: Any, what: str, example: str) -> dict[Any, Any]:
    """A dict; an empty one where it is not given. Raises `UsageError`."""
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise UsageError(f"{what} must be a dict such as {example}, not {shown(value)}.")
    return dict(value)


def check_names(given: Iterable[str], known: Sequence[str], what: str) -> None:
    """Raises `UsageError` for the first option that there is none of, with the nearest known one."""
    for name in given:
        if name not in known:
            raise UsageError(f"{what} has no option '{name}': {nearest(name, known)}")


def shown(value: Any) -> str:
    """A value as an error shows it: on one line, and never longer than some words.

    >>> shown("x" * 100)
    "'xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx ...'"
    """
    if isinstance(value, str):
        return repr(value if len(value) <= _SHOWN else value[: _SHOWN - 2] + " ...")
    if isinstance(value, int) and value.bit_length() > 200:  # Python refuses to write the longest ones
        return "a number of more than 60 digits"
    try:
        written = " ".join(repr(value).split())
    except Exception:  # the repr of anybody's object
        written = f"a {type(value).__name__}"
    return written if len(written) <= _SHOWN else f"a {type(value).__name__}"


def _is_truth(value: Any) -> bool:
    return isinstance(value, bool) or type(value).__name__ in ("bool", "bool_")


def _is_number(value: Any) -> bool:
    """Whether a value, or an array or tensor of no dimension, may be a number: no truth value, no length of time."""
    kind = str(getattr(value, "dtype", ""))
    return not (_is_truth(value) or getattr(value, "ndim", 0) != 0 or "bool" in kind or "time" in kind)
