"""What the command line prints: the answer on stdout, and only the answer; everything else on stderr."""

from __future__ import annotations

import contextlib
import json
import math
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from archscout.core.errors import ArchscoutError
from archscout.core.written import significant


class Stopped(ArchscoutError):  # noqa: N818 - the user's wish, not a fault
    """The user stopped a command (Ctrl-C or SIGTERM); exit code 130."""


_LONGEST = 1_000
"""Characters of an error; what it quotes may be as long as a file."""


def complete() -> None:
    """Have three standard streams that take any text, whatever the process was started with.

    A closed one would give its number to the next file that is opened, and what is printed would end in that file.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # gets the lowest number that is free, which is this one
    if sys.stdout is None:
        sys.stdout = os.fdopen(1, "w", encoding="utf-8", closefd=False)
    if sys.stderr is None:
        sys.stderr = os.fdopen(2, "w", encoding="utf-8", closefd=False)
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # a terminal of ASCII gets "\\u00e9", not a traceback
            stream.reconfigure(errors="backslashreplace")


def shortened(text: str) -> str:
    """A message of a length that can be read; the end, which says what to do, stays.

    >>> len(shortened("x" * 10**6)) < 1_100
    True
    """
    if len(text) <= _LONGEST:
        return text
    return f"{text[: _LONGEST // 2]} [... {len(text) - _LONGEST:,} characters ...] {text[-_LONGEST // 2 :]}"


def one_line(text: str) -> str:
    """A message without the control characters of what it quotes, which could move the cursor or forge a line.

    >>> one_line("no 'a\\nb\\x1b[31m'")
    "no 'a\\\\nb\\\\x1b[31m'"
    """
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def say(text: str) -> None:
    """One line on stderr."""
    print(text, file=sys.stderr, flush=True)  # noqa: T201


def print_text(text: object) -> None:
    """The answer for a person, on stdout."""
    print(text)  # noqa: T201


def print_json(answer: object) -> None:
    """The answer for a program, on stdout; what is no number (NaN, infinity) becomes null."""
    print(json.dumps(_plain(answer), indent=2, allow_nan=False, ensure_ascii=False))  # noqa: T201


def print_table(headings: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """The answer as a table; in a pipe, nothing is cut or coloured."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    table = Table(*headings, box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, header_style="bold")
    for row in rows:
        table.add_row(*(number(cell) if isinstance(cell, float) else str(cell) for cell in row))
    terminal = sys.stdout.isatty()
    Console(file=sys.stdout, width=None if terminal else 1000, highlight=False, markup=False).print(table)


def number(value: float) -> str:
    """A number as people read it.

    >>> number(15625.0), number(0.98312), number(float("nan"))
    ('15,625', '0.9831', 'undefined')
    """
    if not math.isfinite(value):
        return "undefined"
    return significant(value, 4)


@contextlib.contextmanager
def only_the_answer() -> Iterator[None]:
    """What libraries and worker processes print on stdout goes to stderr meanwhile.

    Both levels are turned: Python's `sys.stdout`, and the file descriptor that child processes inherit.
    """
    sys.stdout.flush()
    try:
        saved = os.dup(1)
    except OSError:  # a process without a standard output
        saved = None
    try:
        if saved is not None:
            os.dup2(2, 1)
        with contextlib.redirect_stdout(sys.stderr):
            yield
    finally:
        if saved is not None:
            os.dup2(saved, 1)
            os.close(saved)


@contextlib.contextmanager
def resumable(advice: str) -> Iterator[None]:
    """Turns Ctrl-C and SIGTERM into one sentence that says how to go on."""
    try:
        yield
    except KeyboardInterrupt as stop:
        raise Stopped(f"stopped: {advice}") from stop


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, Path):
        return str(value)
    if hasattr(value, "item") and not isinstance(value, (str, bytes)):  # a number of NumPy
        value = value.item()
    return None if isinstance(value, float) and not math.isfinite(value) else value


def tenths(done: int, total: int) -> None:
    """A line on stderr at every tenth."""
    if done == total or done == 0 or 10 * done // total > 10 * (done - 1) // total:
        say(f"{done} of {total} done")
