"""Reaching the database of a store, SQLite or PostgreSQL, and saying in one sentence why that cannot be done."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError

from archscout.core import options
from archscout.core.errors import ArchscoutError, DataError, UsageError

BUSY_SECONDS = 30
"""How long one who writes waits for another."""

_PAUSE_SECONDS = 0.01


class Busy(ArchscoutError):  # noqa: N818 - an outcome, not a fault
    """Another process has held the database for longer than we wait."""


def parse(place: str | Path) -> sa.URL:
    """The URL of a place, which is one or is the path of a file."""
    if isinstance(place, Path) or "://" not in place:
        return sa.URL.create("sqlite", database=str(options.path(place, "the store")))
    try:
        url = sa.make_url(place)
        backend = url.get_backend_name()
    except (ArgumentError, NoSuchModuleError, ValueError):
        raise UsageError(
            "the store's URL cannot be read: write sqlite:///FILE or postgresql://HOST/DATABASE."
        ) from None
    if backend in ("postgres", "postgresql"):
        return url.set(drivername="postgresql+psycopg")
    if backend != "sqlite":
        raise UsageError(f"a store cannot be kept in '{backend}': use a file, sqlite:///FILE or postgresql://HOST/DB.")
    if url.database in (None, "", ":memory:"):
        raise UsageError("a store in memory would be lost at the end: name a file, sqlite:///FILE.")
    return url


def shown(place: str | Path) -> str:
    """A place as people may see it: the path of a file, or the URL without its password, nor its query, where
    secrets may stand too.

    >>> shown("postgresql://joe:secret@host/db?sslpassword=secret")
    'postgresql+psycopg://joe:***@host/db'
    """
    url = parse(place)
    if url.get_backend_name() == "sqlite":
        return str(url.database)
    return url.set(query={}).render_as_string(hide_password=True)


def make_room(file: Path, create: bool) -> bool:
    """Make the folder of a file; whether the file is still to be made."""
    if file.is_dir():
        raise UsageError(f"{file} is a folder: name a file for the store.")
    if file.exists():
        return False
    if not create:
        raise UsageError(f"there is no store {file}: check the name of the run.")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"the folder {file.parent} cannot be made ({error.strerror}): name another one.") from error
    return True


def connect(url: sa.URL) -> sa.Engine:
    """Ready to be used; nothing is opened yet. Transactions of an engine with `archscout_write` lock at their start."""
    try:
        options = {"timeout": BUSY_SECONDS} if url.get_backend_name() == "sqlite" else {}
        engine = sa.create_engine(url, connect_args=options)
    except ModuleNotFoundError as error:
        raise UsageError("PostgreSQL needs the extra: pip install 'archscout[postgres]'.") from error
    if engine.dialect.name == "sqlite":
        sa.event.listen(engine, "connect", _set_up_sqlite)
        sa.event.listen(engine, "begin", _begin_sqlite)
    return engine


def _set_up_sqlite(connection: Any, _: Any) -> None:
    connection.isolation_level = None  # the driver would begin late and not before making tables; _begin_sqlite does
    _write_ahead(connection)
    for pragma in ("synchronous=NORMAL", "foreign_keys=ON"):
        connection.execute(f"PRAGMA {pragma}")


def _write_ahead(connection: Any) -> None:
    """Choose the write-ahead log. SQLite does not wait by itself where two processes choose it at the same moment."""
    end = time.monotonic() + BUSY_SECONDS
    while True:
        try:
            connection.execute("PRAGMA journal_mode=WAL")
            return
        except sqlite3.OperationalError as error:
            # The first byte is the kind: SQLITE_BUSY_RECOVERY and others of its kind are waits as well.
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > end:
                raise
        time.sleep(_PAUSE_SECONDS)


def _begin_sqlite(connection: sa.Connection) -> None:
    # A writer asks for the lock first: one that has read already could not wait for it.
    write = connection.get_execution_options().get("archscout_write", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if write else "BEGIN")


@contextmanager
def explained(place: str) -> Iterator[None]:
    """Turns what a database says into one sentence for the user."""
    try:
        yield
    except (DBAPIError, OverflowError, UnicodeError) as error:
        raise _explanation(error, place) from error
    except TypeError as error:  # a driver that knows no such option, as the query of a URL may name
        raise UsageError(f"{place} cannot be opened ({error}): check the options in its URL.") from error


def _explanation(error: Exception, place: str) -> ArchscoutError:
    said = str(getattr(error, "orig", None) or error).strip().partition("\n")[0]
    if "file is not a database" in said or "file is encrypted" in said:
        return UsageError(f"{place} is no database: name another file for the store, or remove this one.")
    if "malformed" in said:
        return DataError(f"{place} is damaged ({said}): restore it from a copy, or remove it and search again.")
    if "readonly" in said or "unable to open database file" in said or "Permission denied" in said:
        return UsageError(f"{place} cannot be written ({said}): choose a folder that you may write to.")
    if "is full" in said or "disk I/O error" in said:
        return ArchscoutError(f"{place} cannot be written ({said}): free some space on the disk and run it again.")
    if "locked" in said:
        return Busy(f"{place} is held by another program: wait until it ends and run it again.")
    return ArchscoutError(f"the store {place} failed ({said}): check that it can be reached and written.")
