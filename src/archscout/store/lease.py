"""One search at a time writes to a run of a store, from whatever machine.

The lock in a run's folder (`lock.py`) knows one machine; a store that several reach keeps a row a run, the lease: who
holds it, and when that process last gave a sign of life. One that gave none for a while has lost its lease, so that
what was killed blocks nobody for long; where it ran on this machine, that it is gone is seen at once.
"""

from __future__ import annotations

import os
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import sqlalchemy as sa

from archscout.core.errors import ArchscoutError, UsageError
from archscout.core.processes import is_gone, machine
from archscout.store import schema
from archscout.store.store import Store

BEAT, STALE = 10.0, 60.0
"""Seconds between two signs of life, and after which one who gives none has lost the run."""


@contextmanager
def run_lease(store: Store, run: str, beat: float = BEAT, stale: float = STALE) -> Iterator[None]:
    """Hold a run, which has begun, while the block runs.

    Raises `UsageError` at once where another process holds it. Where another takes it, because this one gave no sign of
    life for `stale` seconds, the store refuses this one's next trials.
    """
    owner = uuid.uuid4().hex
    ahead = _take(store, run, owner, stale)
    if ahead is not None:
        time.sleep(2 * beat)
        _take(store, run, owner, stale, ahead)
    ended = threading.Event()

    def live() -> None:
        while not ended.wait(beat):
            with suppress(ArchscoutError):  # a store that is busy or away for a moment: the next sign will do
                if not _sign(store, run, owner):
                    store.lost[run] = (
                        f"another search has taken run '{run}' of {store.place} while this one was held up: "
                        "stop one of them, and run it again."
                    )
                    return

    thread = threading.Thread(target=live, name=f"lease of {run}", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
        with suppress(ArchscoutError):  # it ends by itself, a little later
            _release(store, owner)


def _take(store: Store, run: str, owner: str, stale: float, ahead: float | None = None) -> float | None:
    """Take a run. Raises `UsageError` where another process holds it.

    Where the last sign of life lies far in the future, for a clock was set back, it is returned instead: only whether
    another one follows tells if the holder lives. `ahead` is that sign, after a while.
    """
    with store._writing() as connection:
        schema.leases.create(connection, checkfirst=True)
        number = store._id(connection, run)
        now = _now(connection)
        mine = {"run": number, "owner": owner, "host": machine(), "process": os.getpid(), "beat": now}
        connection.execute(store._insert(schema.leases).on_conflict_do_nothing(), mine)
        of_run = schema.leases.c.run == number
        row: Any = connection.execute(sa.select(schema.leases).where(of_run).with_for_update()).one()
        if row.owner == owner:
            return None
        silent = now - row.beat
        if silent < -stale and ahead is None and not is_gone(row.host, row.process):
            return float(row.beat)
        if silent < stale and row.beat != ahead and not is_gone(row.host, row.process):
            where = f"process {row.process} on {row.host.partition(' ')[0]}"
            raise UsageError(
                f"another search ({where}) is writing to run '{run}' in {store.place}: wait for its end, stop it (the "
                f"run is free {stale:.0f} s after its last sign of life, {silent:.0f} s ago), or choose another name."
            )
        connection.execute(sa.update(schema.leases).where(of_run).values(mine))
        return None


def _sign(store: Store, run: str, owner: str) -> bool:
    """Write a sign of life; whether the run is still held."""
    with store._writing() as connection:
        still = sa.update(schema.leases).where(schema.leases.c.owner == owner).values(beat=_now(connection))
        return bool(connection.execute(still).rowcount)


def _release(store: Store, owner: str) -> None:
    with store._writing() as connection:
        connection.execute(sa.delete(schema.leases).where(schema.leases.c.owner == owner))


def _now(connection: sa.Connection) -> float:
    """Seconds, by the clock of the database where it has one: those of two machines may differ."""
    if connection.dialect.name == "postgresql":
        return float(connection.scalar(sa.select(sa.func.extract("epoch", sa.func.clock_timestamp()))) or 0.0)
    return time.time()
