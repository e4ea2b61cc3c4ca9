"""The store of searches: every trial is committed before it counts, so that a search can be killed at any moment.

One SQLite file (or a PostgreSQL database, by the same calls) holds any number of runs. The design meets three
constraints: what is committed survives a kill of the process, several processes may read while one writes, and a
hundred thousand trials load in seconds, which is why rows are plain records and not objects of a mapper.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self, cast

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import IntegrityError

from archscout.core.architecture import Architecture
from archscout.core.cost import Measurement
from archscout.core.errors import ArchscoutError, DataError, UsageError, nearest
from archscout.core.trial import Status, Trial
from archscout.store import database, schema, strict
from archscout.store.lock import run_lock as run_lock

_BATCH = 5_000


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
        self.lost: dict[str, str] = {}
        """Runs whose lease another process has taken (`archscout.store.lease`), and what is to be said of it."""

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
        url = database.parse(place)
        file = Path(url.database) if url.get_backend_name() == "sqlite" and url.database else None
        is_new = file is not None and database.make_room(file, create)
        store = cls(database.connect(url), database.shown(place))
        try:
            store._prepare(create)
        except BaseException as error:
            store.close()
            # SQLite makes the file before it finds that it cannot fill it; one that is busy is being filled by another.
            ours = is_new and file is not None and not isinstance(error, database.Busy)
            if ours and file is not None and file.is_file() and not file.stat().st_size:
                file.unlink()
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
            return list(connection.scalars(sa.select(schema.runs.c.name).order_by(schema.runs.c.id)))

    def begin(self, run: str, config: Mapping[str, Any]) -> dict[str, Any]:
        """Start a run, or meet it again: returns the configuration with which it was first begun."""
        with self._writing() as connection:
            row = {"name": run, "config": strict.dumps(config)}
            connection.execute(self._insert(schema.runs).on_conflict_do_nothing(), row)
            stored = connection.scalar(sa.select(schema.runs.c.config).where(schema.runs.c.name == run))
        return cast(dict[str, Any], strict.loads(cast(str, stored)))

    def config(self, run: str) -> dict[str, Any]:
        """The configuration with which a run was begun."""
        with self._reading() as connection:
            self._id(connection, run)
            stored = connection.scalar(sa.select(schema.runs.c.config).where(schema.runs.c.name == run))
        return cast(dict[str, Any], strict.loads(cast(str, stored)))

    def configure(self, run: str, config: Mapping[str, Any], forget: Iterable[str] = ()) -> None:
        """Go on with a run under another configuration, and forget decisions that hung on the first one, by key."""
        with self._writing() as connection:
            number = self._id(connection, run)
            changed = sa.update(schema.runs).where(schema.runs.c.id == number)
            connection.execute(changed.values(config=strict.dumps(config)))
            for key in forget:
                of_run = (schema.decisions.c.run == number, schema.decisions.c.key == key)
                connection.execute(sa.delete(schema.decisions).where(*of_run))

    def rename(self, run: str, name: str) -> None:
        """Give a run another name. Raises `UsageError` where the store has a run of that name."""
        with self._writing() as connection:
            number = self._id(connection, run)
            if connection.scalar(sa.select(schema.runs.c.id).where(schema.runs.c.name == name)) is not None:
                raise UsageError(f"{self.place} has a run '{name}' already: choose another name.")
            connection.execute(sa.update(schema.runs).where(schema.runs.c.id == number).values(name=name))

    def clear(self, run: str) -> None:
        """Forget all that a run has found and decided; it has begun nevertheless."""
        with self._writing() as connection:
            number = self._id(connection, run)
            for table in (schema.trials, schema.costs, schema.decisions, schema.notes, schema.spent):
                connection.execute(sa.delete(table).where(table.c.run == number))

    def delete(self, run: str) -> None:
        """Forget a run with all that belongs to it."""
        with self._writing() as connection:
            connection.execute(sa.delete(schema.runs).where(schema.runs.c.id == self._id(connection, run)))

    # --- trials -----------------------------------------------------------------------------------------------------

    def add(self, run: str, trials: Sequence[StoredTrial]) -> None:
        """Keep trials: all of them are committed when this returns, or none.

        Raises `ArchscoutError` if the run has a trial of the same key already.
        """
        if run in self.lost:
            raise ArchscoutError(self.lost[run])
        if not trials:
            return
        rows = [_row(trial) for trial in trials]
        try:
            with self._writing() as connection:
                number = self._id(connection, run)
                for row in rows:
                    row["run"] = number
                for start in range(0, len(rows), _BATCH):
                    connection.execute(sa.insert(schema.trials), rows[start : start + _BATCH])
        except ArchscoutError as error:
            if not isinstance(error.__cause__, IntegrityError):
                raise
            raise ArchscoutError(
                f"a trial of run '{run}' in {self.place} would be stored twice ({self._double(run, trials)}): "
                "another search may be writing to this run, so stop one of them."
            ) from error.__cause__

    def trials(self, run: str) -> list[StoredTrial]:
        """All trials of a run in the order of their numbers."""
        columns = [schema.trials.c[name] for name in _FIELDS]
        with self._reading() as connection:
            chosen = sa.select(*columns).where(schema.trials.c.run == self._id(connection, run))
            rows = connection.execution_options(yield_per=_BATCH).execute(
                chosen.order_by(schema.trials.c.number, schema.trials.c.id)
            )
            words: dict[str, str] = {}
            return [_stored(row, words) for row in rows]

    def count(self, run: str, status: Status | None = None) -> int:
        """How many trials a run has, of one status or of any."""
        with self._reading() as connection:
            chosen = sa.select(sa.func.count()).where(schema.trials.c.run == self._id(connection, run))
            if status is not None:
                chosen = chosen.where(schema.trials.c.status == status)
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
            connection.execute(self._insert(schema.costs).on_conflict_do_nothing(), rows)

    def costs(self, run: str) -> dict[str, dict[str, dict[str, Any]]]:
        """Canonical form -> key -> {"value", "spread", "details"}, the arguments of `Measurement`."""
        rows: dict[str, dict[str, dict[str, Any]]] = {}
        columns = [schema.costs.c[name] for name in ("canonical", "key", "value", "spread", "details")]
        with self._reading() as connection:
            chosen = sa.select(*columns).where(schema.costs.c.run == self._id(connection, run))
            words: dict[str, str] = {}
            for canonical, key, value, spread, details in connection.execute(chosen):
                rows.setdefault(canonical, {})[words.setdefault(key, key)] = {
                    "value": _nan(value),
                    "spread": _nan(spread),
                    "details": {} if details == "{}" else strict.loads(details),
                }
        return rows

    # --- decisions, notes, seconds ----------------------------------------------------------------------------------

    def decide(self, run: str, key: str, value: Any) -> Any:
        """Write down a decision once: returns what is stored, which is what the first writer decided."""
        with self._writing() as connection:
            number = self._id(connection, run)
            row = {"run": number, "key": key, "value": strict.dumps(value)}
            connection.execute(self._insert(schema.decisions).on_conflict_do_nothing(), row)
            chosen = sa.select(schema.decisions.c.value).where(
                schema.decisions.c.run == number, schema.decisions.c.key == key
            )
            return strict.loads(cast(str, connection.scalar(chosen)))

    def decisions(self, run: str) -> dict[str, Any]:
        """All decisions of a run."""
        return self._values(run, schema.decisions)

    def note(self, run: str, key: str, value: Any) -> None:
        """Keep a value under a key, in place of the one that was there."""
        with self._writing() as connection:
            insert = self._insert(schema.notes)
            replace = insert.on_conflict_do_update(index_elements=["run", "key"], set_={"value": insert.excluded.value})
            row = {"run": self._id(connection, run), "key": key, "value": strict.dumps(value)}
            connection.execute(replace, row)

    def notes(self, run: str) -> dict[str, Any]:
        """All notes of a run."""
        return self._values(run, schema.notes)

    def spend(self, run: str, phase: str, seconds: float) -> None:
        """Add to the seconds that a phase has taken."""
        with self._writing() as connection:
            insert = self._insert(schema.spent)
            total = schema.spent.c.seconds + insert.excluded.seconds
            add = insert.on_conflict_do_update(index_elements=["run", "phase"], set_={"seconds": total})
            connection.execute(add, {"run": self._id(connection, run), "phase": phase, "seconds": float(seconds)})

    def spent(self, run: str) -> dict[str, float]:
        """Phase -> seconds, over all sittings of a run."""
        with self._reading() as connection:
            chosen = sa.select(schema.spent.c.phase, schema.spent.c.seconds).where(
                schema.spent.c.run == self._id(connection, run)
            )
            return {row.phase: row.seconds for row in connection.execute(chosen)}

    # --- inside -----------------------------------------------------------------------------------------------------

    def _values(self, run: str, table: sa.Table) -> dict[str, Any]:
        with self._reading() as connection:
            chosen = sa.select(table.c.key, table.c.value).where(table.c.run == self._id(connection, run))
            return {key: strict.loads(value) for key, value in connection.execute(chosen)}

    def _id(self, connection: sa.Connection, run: str) -> int:
        number: int | None = connection.scalar(sa.select(schema.runs.c.id).where(schema.runs.c.name == run))
        if number is None:
            known = connection.scalars(sa.select(schema.runs.c.name))
            raise UsageError(f"there is no run '{run}' in {self.place}: {nearest(run, known)}")
        return number

    def _double(self, run: str, trials: Sequence[StoredTrial]) -> str:
        keys = [trial.key for trial in trials]
        if len(set(keys)) < len(keys):
            return f"key '{next(key for key in keys if keys.count(key) > 1)}', twice in one call"
        with self._reading() as connection:
            chosen = sa.select(schema.trials.c.key).where(schema.trials.c.run == self._id(connection, run))
            known = set(connection.scalars(chosen))
        return ", ".join(f"key '{key}'" for key in keys if key in known)[:200]

    def _insert(self, table: sa.Table) -> Any:
        """An insert that knows what to do in a conflict, which each database spells in its own way."""
        return postgresql.insert(table) if self._engine.dialect.name == "postgresql" else sqlite.insert(table)

    @contextmanager
    def _reading(self) -> Iterator[sa.Connection]:
        with database.explained(self.place), self._engine.begin() as connection:
            yield connection

    @contextmanager
    def _writing(self) -> Iterator[sa.Connection]:
        with database.explained(self.place), self._writer.begin() as connection:
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
                    schema.tables.create_all(connection)
                    row = {"key": "schema_version", "value": str(schema.SCHEMA_VERSION)}
                    connection.execute(sa.insert(schema.meta), row)
                    known = schema.SCHEMA_VERSION
        if known > schema.SCHEMA_VERSION:
            raise UsageError(
                f"{self.place} was written by a newer Archscout (store version {known}, this one knows "
                f"{schema.SCHEMA_VERSION}): upgrade Archscout, or give the search another name."
            )

    def _version(self, connection: sa.Connection) -> int | None:
        tables = set(sa.inspect(connection).get_table_names())
        if schema.meta.name not in tables:
            if tables and connection.dialect.name == "sqlite":
                raise UsageError(f"{self.place} is a database of another program: name another file for the store.")
            return None
        value = connection.scalar(sa.select(schema.meta.c.value).where(schema.meta.c.key == "schema_version"))
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
