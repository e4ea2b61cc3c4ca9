"""Files are written whole or not at all, and files that are damaged are told from files that are not there.

Whatever a run, a study, a scoring or a table leaves goes through `replacing`: a temporary file beside it, handed to the
disk, then renamed. Whoever reads sees the old file or the new one, and a full disk or a kill leaves the old one.
"""

from __future__ import annotations

import contextlib
import glob
import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from archscout.core.errors import ArchscoutError, DataError, UsageError
from archscout.core.processes import is_gone, machine

PARTIAL = ".partial"
"""How the names of temporary files end; they begin with a dot."""

_SWAPS = 5
"""How often a folder is put into its place while others do the same."""

MOST_JSON = 256 * 2**20
"""Bytes of a JSON file that is read."""


@contextlib.contextmanager
def replacing(file: Path, *, sweep: bool = True) -> Iterator[Path]:
    """A temporary file to write, which takes the place of `file` when the block ends; it is removed when that fails.

    The folder is made if need be. With `sweep`, what killed processes of this machine left beside the file is removed;
    not so where a folder has very many files, which all are looked at for it. Raises `OSError` where nothing can be
    written.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    for left in _left_behind(file) if sweep else ():
        with contextlib.suppress(OSError):  # a folder, which `replacing_folder` sees to
            left.unlink()
    partial = file.with_name(f".{file.name[:200]}.{_here()}-{os.getpid()}{PARTIAL}")
    try:
        yield partial
        with partial.open("rb") as stream:
            os.fsync(stream.fileno())
        partial.replace(file)
    finally:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)


@contextlib.contextmanager
def replacing_folder(folder: Path) -> Iterator[Path]:
    """A new folder to fill, which takes the place of `folder` when the block ends; it is removed when that fails.

    Of several who do so at once the last one's stays, whole. What killed processes of this machine left beside it is
    removed. Raises `UsageError` for the folder that the process is in, `OSError` where nothing can be written.
    """
    folder = folder.resolve()
    if folder == Path.cwd():
        raise UsageError(f"'{folder}' is the folder that this command runs in: name another one.")
    folder.parent.mkdir(parents=True, exist_ok=True)
    for left in _left_behind(folder):
        if left.is_dir():
            shutil.rmtree(left, ignore_errors=True)
    own = f"{_here()}-{os.getpid()}{PARTIAL}"
    partial = folder.with_name(f".{folder.name[:200]}.{own}")
    before = folder.with_name(f".{folder.name[:200]}.old.{own}")
    try:
        partial.mkdir()
        yield partial
        for attempt in range(_SWAPS):
            try:
                if folder.exists():
                    folder.replace(before)
                partial.replace(folder)
                break
            except OSError:  # another process was quicker, before or between the two
                shutil.rmtree(before, ignore_errors=True)
                if attempt == _SWAPS - 1:
                    raise
    finally:
        for each in (partial, before):
            shutil.rmtree(each, ignore_errors=True)


def _left_behind(place: Path) -> Iterator[Path]:
    """The temporary files and folders beside a place whose process ran on this machine and does not any more."""
    for left in place.parent.glob(f".{glob.escape(place.name[:200])}.*{PARTIAL}"):
        where, _, process = left.name.removesuffix(PARTIAL).rpartition(".")[2].rpartition("-")
        if where == _here() and process.isdecimal() and is_gone(machine(), int(process)):
            yield left


@cache
def _here() -> str:
    """This machine as a part of a name: of a shared folder, others know the numbers of their own processes."""
    return hashlib.sha256(machine().encode()).hexdigest()[:8]


def write_bytes(file: Path, content: bytes, *, sweep: bool = True) -> None:
    """Write a file whole or not at all, as `replacing` does. Raises `OSError`."""
    with replacing(file, sweep=sweep) as partial:
        partial.write_bytes(content)


def write_text(file: Path, text: str) -> None:
    """Write a text file in UTF-8, whole or not at all. Raises `OSError`."""
    write_bytes(file, text.encode("utf-8"))


def write_json(file: Path, value: Any) -> None:
    """Write JSON so that a reader sees the old file or the new one, never half of it. NaN becomes null."""
    write_text(file, json.dumps(_plain(value), indent=1, allow_nan=False) + "\n")


def checksum(file: Path) -> str:
    """The SHA-256 of a file's content. Raises `OSError` where it cannot be read."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def append_line(file: Path, line: str) -> None:
    """Add a line to a text file; it is on the disk when this returns. Raises `OSError`.

    A line that was cut off before, by a kill or a full disk, is ended first: the file never becomes shorter.
    """
    with file.open("ab+") as stream:
        size = stream.seek(0, os.SEEK_END)
        whole = True
        if size:
            stream.seek(size - 1)
            whole = stream.read(1) == b"\n"
        stream.write(("" if whole else "\n").encode() + line.encode("utf-8") + b"\n")
        stream.flush()
        os.fsync(stream.fileno())


def sweep(folder: Path) -> None:
    """Remove the temporary files that a killed process left in a folder; only for who holds its lock."""
    for partial in folder.glob(f".*{PARTIAL}"):
        with contextlib.suppress(OSError):  # a folder, which `replacing_folder` sees to
            partial.unlink(missing_ok=True)


def read_json(file: Path, advice: str) -> Any:
    """The value in a JSON file.

    Raises `DataError` for one that is damaged: cut off, no JSON, nested too deep, too long, or with endless numbers;
    `advice` says what to do then. Raises `OSError` where it cannot be read.
    """
    if file.stat().st_size > MOST_JSON:
        raise DataError(f"'{file}' is damaged (it is longer than any such file): {advice}")
    return parse_json(file.read_bytes(), f"'{file}'", advice)


def parse_json(text: str | bytes, what: str, advice: str) -> Any:
    """The value of a text in JSON. Raises `DataError`, as `read_json` does; `what` says where the text stands."""
    if len(text) > MOST_JSON:
        raise DataError(f"{what} is damaged (it is longer than any such text): {advice}")
    try:
        return json.loads(text if isinstance(text, str) else text.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise DataError(f"{what} is damaged ({what_is_wrong(error)}): {advice}") from error


@contextlib.contextmanager
def well_formed(file: Path, advice: str) -> Iterator[None]:
    """While the block uses what a JSON file holds: a value that is missing or of another type makes it damaged.

    Raises `DataError` then; `advice` says what to do.
    """
    try:
        yield
    except ArchscoutError:
        raise
    except (LookupError, TypeError, AttributeError, ValueError, ArithmeticError) as error:
        what = f"it has no {error}" if isinstance(error, KeyError) else "a value in it is of another type than it was"
        raise DataError(f"'{file}' is damaged ({what}): {advice}") from error


def what_is_wrong(error: Exception) -> str:
    """In some words, why a text is no JSON that we read."""
    match error:
        case RecursionError():
            return "it is nested too deep"
        case UnicodeDecodeError():
            return "it is no text in UTF-8"
        case json.JSONDecodeError():
            return f"line {error.lineno}: {error.msg}"
    return "it has a number of too many digits"


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, float) and (value != value or value in (float("inf"), float("-inf"))):
        return None
    return value
