"""One search at a time writes to a run of a store, whatever folder or machine it runs on."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from archscout.core.errors import ArchscoutError, UsageError
from archscout.store import schema
from archscout.store.lease import run_lease
from archscout.store.store import Store
from archscout.testing.store import plain_trial

HOLD = """
import sys
from archscout.store.lease import run_lease
from archscout.store.store import Store
with Store.open(sys.argv[1]) as store:
    store.begin("r", {})
    with run_lease(store, "r"):
        print("held", flush=True)
        sys.stdin.read()
"""


@pytest.fixture
def place(tmp_path: Path) -> str:
    """A database that several can reach: PostgreSQL where the variable names one."""
    return os.environ.get("ARCHSCOUT_TEST_POSTGRES") or str(tmp_path / "trials.sqlite")


@pytest.fixture
def store(place: str) -> Iterator[Store]:
    with Store.open(place) as opened:
        if "r" in opened.runs():
            opened.delete("r")
        opened.begin("r", {})
        yield opened


@pytest.fixture
def holder(store: Store, place: str) -> Iterator[subprocess.Popen[bytes]]:
    command = [sys.executable, "-c", HOLD, place]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"held\n"
        yield process
        process.kill()


def _change(store: Store, **values: Any) -> None:
    with store._writing() as connection:
        connection.execute(sa.update(schema.leases).values(**values))


def test_a_run_that_another_process_holds_is_refused_in_a_sentence(store: Store, holder: Any) -> None:
    with pytest.raises(UsageError, match=f"another search .process {holder.pid} on .*writing to run 'r'"):
        run_lease(store, "r").__enter__()
    store.begin("other", {})
    with run_lease(store, "other"):
        pass


def test_it_is_free_when_its_holder_ends(store: Store, holder: Any) -> None:
    holder.communicate(b"")
    with run_lease(store, "r"), pytest.raises(UsageError, match=f"process {os.getpid()}"), run_lease(store, "r"):
        pass
    with run_lease(store, "r"):
        pass


def test_a_holder_that_was_killed_here_is_seen_at_once(store: Store, holder: Any) -> None:
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    with run_lease(store, "r"):
        pass


def test_a_holder_elsewhere_is_believed_until_it_has_been_silent_for_long(store: Store, holder: Any) -> None:
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    _change(store, host="another machine")
    with pytest.raises(UsageError, match=r"process [0-9]+ on another"):
        run_lease(store, "r").__enter__()
    with run_lease(store, "r", stale=0.0):
        pass


def test_a_clock_that_was_set_back_blocks_nobody_for_a_day(store: Store, holder: Any) -> None:
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    _change(store, host="another machine", beat=time.time() + 86_400)
    with run_lease(store, "r", beat=0.01):
        pass


def test_a_holder_whose_clock_is_ahead_keeps_its_run_while_it_lives(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = iter(time.time() + 86_400 + sign for sign in range(1_000))
    with run_lease(store, "r", beat=1_000):
        _change(store, host="another machine", beat=next(clock))
        monkeypatch.setattr("archscout.store.lease.time.sleep", lambda seconds: _change(store, beat=next(clock)))
        with pytest.raises(UsageError, match=r"process [0-9]+ on another"):
            run_lease(store, "r").__enter__()


def test_signs_of_life_keep_a_run(store: Store) -> None:
    with run_lease(store, "r", beat=0.05):
        _change(store, host="another machine")
        time.sleep(0.5)
        with pytest.raises(UsageError, match="is writing to run 'r'"):
            run_lease(store, "r", stale=0.3).__enter__()


def test_who_was_held_up_while_another_took_the_run_writes_no_more(store: Store, place: str) -> None:
    with Store.open(place) as other, run_lease(store, "r", beat=0.05):
        store.add("r", [plain_trial(0)])
        _change(store, owner="another", host="another machine")
        deadline = time.monotonic() + 10
        while "r" not in store.lost and time.monotonic() < deadline:
            time.sleep(0.02)
        with pytest.raises(ArchscoutError, match="another search has taken run 'r'"):
            store.add("r", [plain_trial(1)])
        other.add("r", [plain_trial(1)])
        assert len(store.trials("r")) == 2
