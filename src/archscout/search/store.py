"""The store of searches: every trial is committed before it counts, so that a search can be killed at any moment.

One SQLite file (or a PostgreSQL database, by the same calls) holds any number of runs. The design meets three
constraints: what is committed survives a kill of the process, several processes may read while one writes, and a
hundred thousand trials load in seconds, which is why rows are plain records and not objects of a mapper.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self, cast

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import ArgumentError, DBAPIError, IntegrityError, NoSuchModuleError

from archscout.core.architecture import Architecture
from archscout.core.cost import Measurement
from archscout.core.errors import ArchscoutError, DataError, UsageError, nearest
from archscout.core.trial import Status, Trial
from archscout.search import strict
from archscout.search.lock import run_lock as run_lock

SCHEMA_VERSION = 1
BUSY_SECONDS = 30
_BATCH = 5_000

_schema = sa.MetaData()
_id = sa.BigInteger().with_variant(sa.Integer(), "sqlite")  # only INTEGER is SQLite's own row number

_meta = sa.Table(
    "archscout_meta",
    _schema,
    sa.Column("key", sa.Text, primary_key=True),
    sa.Column("value", sa.Text, nullable=False),
)
_runs = sa.Table(
    "archscout_runs",
    _schema,
    sa.Column("id", _id, primary_key=True, autoincrement=True),
    sa.Column("name", sa.Text, nullable=False, unique=True),
    sa.Column("config", sa.Text, nullable=False),
    sqlite_autoincrement=True,
)


def _of_run(**options: Any) -> sa.Column[int]:
    return sa.Column("run", _id, sa.ForeignKey(_runs.c.id, ondelete="CASCADE"), nullable=False, **options)


_trials = sa.Table(
    "archscout_trials",
    _schema,
    sa.Column("id", _id, primary_key=True, autoincrement=True),
    _of_run(),
    sa.Column("key", sa.Text, nullable=False),
    sa.Column("number", sa.BigInteger, nullable=False),
    sa.Column("architecture", sa.Text, nullable=False),
    sa.Column("canonical", sa.Text, nullable=False),
    sa.Column("estimator", sa.Text, nullable=False),
    sa.Column("fidelity", sa.BigInteger),
    sa.Column("status", sa.Text, nullable=False),
    sa.Column("value", sa.Double),  # NULL is NaN, here and in seconds
    sa.Column("costs", sa.Text, nullable=False),
    sa.Column("seconds", sa.Double),
    sa.Column("std", sa.Text, nullable=False),  # JSON: no uncertainty (null) is not an undefined one (NaN)
    sa.Column("curve", sa.Text, nullable=False),
    sa.Column("phase", sa.Text, nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("seed", sa.BigInteger, nullable=False),
    sa.Column("extra", sa.Text, nullable=False),
    sa.UniqueConstraint("run", "key"),
)
_costs = sa.Table(
    "archscout_costs",
    _schema,
    _of_run(primary_key=True),
    sa.Column("canonical", sa.Text, primary_key=True),
    sa.Column("key", sa.Text, primary_key=True),
    sa.Column("value", sa.Double),
    sa.Column("spread", sa.Double),
    sa.Column("details", sa.Text, nullable=False),
)
_decisions = sa.Table(
    "archscout_decisions",
    _schema,
    _of_run(primary_key=True),
    sa.Column("key", sa.Text, primary_key=True),
    sa.Column("value", sa.Text, nullable=False),
)
_notes = sa.Table(
    "archscout_notes",
    _schema,
    _of_run(primary_key=True),
    sa.Column("key", sa.Text, primary_key=True),
    sa.Column("value", sa.Text, nullable=False),
)
_spent = sa.Table(
    "archscout_spent",
    _schema,
    _of_run(primary_key=True),
    sa.Column("phase", sa.Text, primary_key=True),
    sa.Column("seconds", sa.Double, nullable=False),
)


@dataclass(frozen=True, slots=True)
class StoredTrial:
    """A trial as a store keeps it: the architecture as text, and a `key` that is unique within its run.

    The search chooses the key from what is asked (phase, estimator, fidelity, canonical form), so that a resumed
    search finds what has been paid for.
    """

    key: str
    number: int
    architecture: str
    canonical: str
    estimator: str
    fidelity: int | None
    status: Status
    value: float = math.nan
    costs: Mapping[str, float] = field(default_factory=dict)
    seconds: float = 0.0
    std: float | None = None
    curve: tuple[Mapping[str, float], ...] = ()
    phase: str = ""
    reason: str = ""
    seed: int = 0
    extra: Mapping[str, Any] = field(default_factory=dict)

    def trial(self, architecture: Architecture) -> Trial:
        """The trial that strategies see; `architecture` is what the space parses from the text."""
        return Trial(
            number=self.number,
            architecture=architecture,
            canonical=self.canonical,
            estimator=self.estimator,
            fidelity=self.fidelity,
            status=self.status,
            value=self.value,
            costs=self.costs,
            seconds=self.seconds,
            std=self.std,
            curve=self.curve,
            phase=self.phase,
            reason=self.reason,
            seed=self.seed,
            extra=self.extra,
        )


class Store:
    """Runs with their trials, costs, decisions, notes and seconds. Made by `Store.open`; safe to use from threads."""

    def __init__(self, engine: sa.Engine, place: str) -> None:
        self._engine = engine
        self._writer = engine.execution_options(archscout_write=True)
        self.place = place

    @classmethod
    def open(cls, place: str | Path, create: bool = True) -> Self:
        """The store in a file, or behind a URL (`sqlite:///file`, `postgresql://user@host/database`).

        Args:
            place: a path or a URL.
            create: make the file, its folder and the tables where they do not exist.

        Raises:
            UsageError: no store there and `create` is false; a file that is no database or another program's; written
                by a newer version; a folder that cannot be written to; a URL of another kind.
            ArchscoutError: the database cannot be reached or is busy, or the disk is full.
        """
        url = _url(place)
        file = Path(url.database) if url.get_backend_name() == "sqlite" and url.database else None
        shown = str(file) if file else url.render_as_string(hide_password=True)
        is_new = file is not None and _check_file(file, create)
        store = cls(_engine(url, shown), shown)
        try:
            store._prepare(create)
        except BaseException:
            store.close()
            if is_new and file is not None and file.is_file() and not file.stat().st_size:
                file.unlink()  # SQLite makes the file before it finds that it cannot fill it
            raise
        return store

    def close(self) -> None:
        """Let go of the database; closing twice is allowed."""
        self._engine.dispose()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # --- runs -------------------------------------------------------------------------------------------------------

    def runs(self) -> list[str]:
        """The names of all runs, in the order in which they were begun."""
        with self._reading() as connection:
            return list(connection.scalars(sa.select(_runs.c.name).order_by(_runs.c.id)))

    def begin(self, run: str, config: Mapping[str, Any]) -> dict[str, Any]:
        """Start a run, or meet it again: returns the configuration with which it was first begun."""
        with self._writing() as connection:
            row = {"name": run, "config": strict.dumps(config)}
            connection.execute(self._insert(_runs).on_conflict_do_nothing(), row)
            stored = connection.scalar(sa.select(_runs.c.config).where(_runs.c.name == run))
        return cast(dict[str, Any], strict.loads(cast(str, stored)))

    def config(self, run: str) -> dict[str, Any]:
        """The configuration with which a run was begun."""
        with self._reading() as connection:
            self._id(connection, run)
            stored = connection.scalar(sa.select(_runs.c.config).where(_runs.c.name == run))
        return cast(dict[str, Any], strict.loads(cast(str, stored)))

    def delete(self, run: str) -> None:
        """Forget a run with all that belongs to it."""
        with self._writing() as connection:
            connection.execute(sa.delete(_runs).where(_runs.c.id == self._id(connection, run)))

    # --- trials -----------------------------------------------------------------------------------------------------

    def add(self, run: str, trials: Sequence[StoredTrial]) -> None:
        """Keep trials: all of them are committed when this returns, or none.

        Raises `ArchscoutError` if the run has a trial of the same key already.
        """
        if not trials:
            return
        rows = [_row(trial) for trial in trials]
        try:
            with self._writing() as connection:
                number = self._id(connection, run)
                for row in rows:
                    row["run"] = number
                for start in range(0, len(rows), _BATCH):
                    connection.execute(sa.insert(_trials), rows[start : start + _BATCH])
        except ArchscoutError as error:
            if not isinstance(error.__cause__, IntegrityError):
                raise
            raise ArchscoutError(
                f"a trial of run '{run}' in {self.place} would be stored twice ({self._double(run, trials)}): "
                "another search may be writing to this run, so stop one of them."
            ) from error.__cause__

    def trials(self, run: str) -> list[StoredTrial]:
        """All trials of a run in the order of their numbers."""
        columns = [_trials.c[name] for name in _FIELDS]
        with self._reading() as connection:
            chosen = sa.select(*columns).where(_trials.c.run == self._id(connection, run))
            rows = connection.execution_options(yield_per=_BATCH).execute(
                chosen.order_by(_trials.c.number, _trials.c.id)
            )
            words: dict[str, str] = {}
            return [_stored(row, words) for row in rows]

    def count(self, run: str, status: Status | None = None) -> int:
        """How many trials a run has, of one status or of any."""
        with self._reading() as connection:
            chosen = sa.select(sa.func.count()).where(_trials.c.run == self._id(connection, run))
            if status is not None:
                chosen = chosen.where(_trials.c.status == status)
            return connection.scalar(chosen) or 0

    # --- costs ------------------------------------------------------------------------------------------------------

    def add_costs(self, run: str, canonical: str, costs: Mapping[str, Measurement]) -> None:
        """Keep what was measured of one network, by key.

        The first measurement of a key stays, so that a resumed search rejects what the search rejected before.
        """
        if not costs:
            return
        with self._writing() as connection:
            number = self._id(connection, run)
            rows = [
                {
                    "run": number,
                    "canonical": canonical,
                    "key": key,
                    "value": _number(cost.value),
                    "spread": _number(cost.spread),
                    "details": strict.dumps(cost.details) if cost.details else "{}",
                }
                for key, cost in costs.items()
            ]
            connection.execute(self._insert(_costs).on_conflict_do_nothing(), rows)

    def costs(self, run: str) -> dict[str, dict[str, dict[str, Any]]]:
        """Canonical form -> key -> {"value", "spread", "details"}, the arguments of `Measurement`."""
        found: dict[str, dict[str, dict[str, Any]]] = {}
        columns = [_costs.c[name] for name in ("canonical", "key", "value", "spread", "details")]
        with self._reading() as connection:
            chosen = sa.select(*columns).where(_costs.c.run == self._id(connection, run))
            words: dict[str, str] = {}
            for canonical, key, value, spread, details in connection.execute(chosen):
                found.setdefault(canonical, {})[words.setdefault(key, key)] = {
                    "value": _nan(value),
                    "spread": _nan(spread),
                    "details": {} if details == "{}" else strict.loads(details),
                }
        return found

    # --- decisions, notes, seconds ----------------------------------------------------------------------------------

    def decide(self, run: str, key: str, value: Any) -> Any:
        """Write down a decision once: returns what is stored, which is what the first writer decided."""
        with self._writing() as connection:
            number = self._id(connection, run)
            row = {"run": number, "key": key, "value": strict.dumps(value)}
            connection.execute(self._insert(_decisions).on_conflict_do_nothing(), row)
            chosen = sa.select(_decisions.c.value).where(_decisions.c.run == number, _decisions.c.key == key)
            return strict.loads(cast(str, connection.scalar(chosen)))

    def decisions(self, run: str) -> dict[str, Any]:
        """All decisions of a run."""
        return self._values(run, _decisions)

    def note(self, run: str, key: str, value: Any) -> None:
        """Keep a value under a key, in place of the one that was there."""
        with self._writing() as connection:
            insert = self._insert(_notes)
            replace = insert.on_conflict_do_update(index_elements=["run", "key"], set_={"value": insert.excluded.value})
            row = {"run": self._id(connection, run), "key": key, "value": strict.dumps(value)}
            connection.execute(replace, row)

    def notes(self, run: str) -> dict[str, Any]:
        """All notes of a run."""
        return self._values(run, _notes)

    def spend(self, run: str, phase: str, seconds: float) -> None:
        """Add to the seconds that a phase has taken."""
        with self._writing() as connection:
            insert = self._insert(_spent)
            total = _spent.c.seconds + insert.excluded.seconds
            add = insert.on_conflict_do_update(index_elements=["run", "phase"], set_={"seconds": total})
            connection.execute(add, {"run": self._id(connection, run), "phase": phase, "seconds": float(seconds)})

    def spent(self, run: str) -> dict[str, float]:
        """Phase -> seconds, over all sittings of a run."""
        with self._reading() as connection:
            chosen = sa.select(_spent.c.phase, _spent.c.seconds).where(_spent.c.run == self._id(connection, run))
            return {row.phase: row.seconds for row in connection.execute(chosen)}

    # --- inside -----------------------------------------------------------------------------------------------------

    def _values(self, run: str, table: sa.Table) -> dict[str, Any]:
        with self._reading() as connection:
            chosen = sa.select(table.c.key, table.c.value).where(table.c.run == self._id(connection, run))
            return {key: strict.loads(value) for key, value in connection.execute(chosen)}

    def _id(self, connection: sa.Connection, run: str) -> int:
        number: int | None = connection.scalar(sa.select(_runs.c.id).where(_runs.c.name == run))
        if number is None:
            known = connection.scalars(sa.select(_runs.c.name))
            raise UsageError(f"there is no run '{run}' in {self.place}: {nearest(run, known)}")
        return number

    def _double(self, run: str, trials: Sequence[StoredTrial]) -> str:
        keys = [trial.key for trial in trials]
        if len(set(keys)) < len(keys):
            return f"key '{next(key for key in keys if keys.count(key) > 1)}', twice in one call"
        with self._reading() as connection:
            chosen = sa.select(_trials.c.key).where(_trials.c.run == self._id(connection, run))
            known = set(connection.scalars(chosen))
        return ", ".join(f"key '{key}'" for key in keys if key in known)[:200]

    def _insert(self, table: sa.Table) -> Any:
        """An insert that knows what to do in a conflict, which each database spells in its own way."""
        return postgresql.insert(table) if self._engine.dialect.name == "postgresql" else sqlite.insert(table)

    @contextmanager
    def _reading(self) -> Iterator[sa.Connection]:
        with _explained(self.place), self._engine.begin() as connection:
            yield connection

    @contextmanager
    def _writing(self) -> Iterator[sa.Connection]:
        with _explained(self.place), self._writer.begin() as connection:
            yield connection

    def _prepare(self, create: bool) -> None:
        with self._reading() as connection:
            known = self._version(connection)
        if known is None:
            if not create:
                raise UsageError(f"{self.place} holds no searches: name the store of a search.")
            with self._writing() as connection:
                if connection.dialect.name == "postgresql":  # two first openers must not both make the tables
                    connection.exec_driver_sql("SELECT pg_advisory_xact_lock(4919)")
                known = self._version(connection)
                if known is None:
                    _schema.create_all(connection)
                    row = {"key": "schema_version", "value": str(SCHEMA_VERSION)}
                    connection.execute(sa.insert(_meta), row)
                    known = SCHEMA_VERSION
        if known > SCHEMA_VERSION:
            raise UsageError(
                f"{self.place} was written by a newer Archscout (store version {known}, this one knows "
                f"{SCHEMA_VERSION}): upgrade Archscout, or give the search another name."
            )

    def _version(self, connection: sa.Connection) -> int | None:
        tables = set(sa.inspect(connection).get_table_names())
        if _meta.name not in tables:
            if tables and connection.dialect.name == "sqlite":
                raise UsageError(f"{self.place} is a database of another program: name another file for the store.")
            return None
        value = connection.scalar(sa.select(_meta.c.value).where(_meta.c.key == "schema_version"))
        if value is None or not value.isdecimal():
            raise DataError(f"{self.place} does not say which version wrote it: restore it from a copy or remove it.")
        return int(value)


_FIELDS = tuple(StoredTrial.__dataclass_fields__)


def _row(trial: StoredTrial) -> dict[str, Any]:
    return {
        "key": trial.key,
        "number": trial.number,
        "architecture": trial.architecture,
        "canonical": trial.canonical,
        "estimator": trial.estimator,
        "fidelity": trial.fidelity,
        "status": trial.status,
        "value": _number(trial.value),
        "costs": strict.dumps(trial.costs) if trial.costs else "{}",
        "seconds": _number(trial.seconds),
        "std": "null" if trial.std is None else strict.dumps(float(trial.std)),
        "curve": strict.dumps(trial.curve) if trial.curve else "[]",
        "phase": trial.phase,
        "reason": _printable(trial.reason),
        "seed": trial.seed,
        "extra": strict.dumps(trial.extra) if trial.extra else "{}",
    }


def _stored(row: Sequence[Any], words: dict[str, str]) -> StoredTrial:
    """A row as a trial; `words` lets the few names that recur in every row be one string in memory."""
    (key, number, architecture, canonical, estimator, fidelity, status, value) = row[:8]
    (costs, seconds, std, curve, phase, reason, seed, extra) = row[8:]
    return StoredTrial(
        key,
        number,
        architecture,
        architecture if canonical == architecture else canonical,
        words.setdefault(estimator, estimator),
        fidelity,
        cast(Status, words.setdefault(status, status)),
        _nan(value),
        {} if costs == "{}" else strict.loads(costs),
        _nan(seconds),
        None if std == "null" else strict.loads(std),
        () if curve == "[]" else tuple(strict.loads(curve)),
        words.setdefault(phase, phase),
        words.setdefault(reason, reason),
        seed,
        {} if extra == "{}" else strict.loads(extra),
    )


def _number(value: float) -> float | None:
    value = float(value)
    return None if math.isnan(value) else value


def _nan(value: float | None) -> float:
    return math.nan if value is None else value


def _printable(text: str) -> str:
    """A reason may quote any bytes; databases take only text without NUL."""
    return text.encode("utf-8", "backslashreplace").decode().replace("\0", "\\x00")


def _url(place: str | Path) -> sa.URL:
    if isinstance(place, Path) or "://" not in place:
        return sa.URL.create("sqlite", database=str(Path(place).expanduser()))
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


def _check_file(file: Path, create: bool) -> bool:
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


def _engine(url: sa.URL, shown: str) -> sa.Engine:
    try:
        engine = sa.create_engine(
            url, connect_args={} if url.get_backend_name() != "sqlite" else {"timeout": BUSY_SECONDS}
        )
    except ModuleNotFoundError as error:
        raise UsageError("PostgreSQL needs the extra: pip install 'archscout[postgres]'.") from error
    if engine.dialect.name == "sqlite":
        sa.event.listen(engine, "connect", _set_up_sqlite)
        sa.event.listen(engine, "begin", _begin_sqlite)
    return engine


def _set_up_sqlite(connection: Any, _: Any) -> None:
    connection.isolation_level = None  # the driver would begin late and not before making tables; _begin_sqlite does
    for pragma in ("journal_mode=WAL", "synchronous=NORMAL", "foreign_keys=ON"):
        connection.execute(f"PRAGMA {pragma}")


def _begin_sqlite(connection: sa.Connection) -> None:
    # A writer asks for the lock first: one that has read already could not wait for it.
    write = connection.get_execution_options().get("archscout_write", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if write else "BEGIN")


@contextmanager
def _explained(place: str) -> Iterator[None]:
    """Turns what a database says into one sentence for the user."""
    try:
        yield
    except (DBAPIError, OverflowError, UnicodeError) as error:
        raise _explanation(error, place) from error


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
        return ArchscoutError(f"{place} is held by another program: wait until it ends and run it again.")
    return ArchscoutError(f"the store {place} failed ({said}): check that it can be reached and written.")
