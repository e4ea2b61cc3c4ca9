"""Searches that are killed: the same command resumes, loses nothing, repeats nothing, and ends the same."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from archscout.core.errors import UsageError
from archscout.search.result import Result
from archscout.search.search import search
from archscout.store.lock import run_lock
from archscout.store.store import Store
from archscout.testing import tiny_task

# A plain script without a main guard, as a newcomer would write it.
SCRIPT = """
import sys
from archscout.search.search import search
from archscout.testing import tiny_task

out, method, workers, trials = sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4]
result = search(
    "nasbench201:width=4,cells=1", tiny_task(examples=120), method=method, budget=f"{trials}trials",
    maximum={"params": "12k"}, workers=workers, out=out, name="run", epochs=3, seed=5,
)
print(result.architecture)
"""


def start(folder: Path, method: str, workers: int, trials: int) -> subprocess.Popen:
    script = folder / "script.py"
    script.write_text(SCRIPT)
    return subprocess.Popen(
        [sys.executable, str(script), str(folder), method, str(workers), str(trials)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )


def finish(process: subprocess.Popen) -> str:
    output, errors = process.communicate(timeout=600)
    assert process.returncode == 0, errors
    return output.strip()


def stored(folder: Path) -> dict[str, tuple]:
    file = folder / "run" / "search.sqlite"
    if not file.is_file():
        return {}
    with Store.open(file) as store:
        if "run" not in store.runs():
            return {}
        return {row.key: (row.value, row.status, row.number, row.extra.get("at")) for row in store.trials("run")}


def trained(rows: dict[str, tuple]) -> int:
    return sum(key.startswith("trained") for key in rows)


def wait_for(condition, process, seconds=600.0) -> None:
    end = time.monotonic() + seconds
    while not condition() and process.poll() is None:
        assert time.monotonic() < end, "it never came to that"
        time.sleep(0.02)


KILLS = ((signal.SIGKILL, 2), (signal.SIGTERM, 6), (signal.SIGKILL, 9))
"""Signals, each when so many trainings are stored."""


def here(folder: Path, method: str, trials: int) -> Result:
    """What the script does, in this process."""
    return search(
        "nasbench201:width=4,cells=1", tiny_task(examples=120), method=method, budget=f"{trials}trials",
        maximum={"params": "12k"}, workers=0, out=folder, name="run", epochs=3, seed=5,
    )  # fmt: skip


def test_a_killed_search_is_gone_on_with_in_another_process(tmp_path):
    """Killed with its worker at work, it ends as one that nothing disturbed."""
    method, trials = "cascade:pool=12", 5
    broken, whole = tmp_path / "broken", tmp_path / "whole"
    broken.mkdir()
    process = start(broken, method, 1, trials)
    wait_for(lambda: trained(stored(broken)) >= 2, process)
    process.kill()
    process.communicate(timeout=30)
    after = stored(broken)
    assert 2 <= trained(after) < 2 * trials
    result, expected = here(broken, method, trials), here(whole, method, trials)
    assert result.architecture == expected.architecture
    rows, reference = stored(broken), stored(whole)
    assert after.items() <= rows.items(), "what was finished is neither lost nor repeated"
    assert {key: row[:3] for key, row in rows.items()} == {key: row[:3] for key, row in reference.items()}


@pytest.mark.slow
@pytest.mark.timeout(1800)  # four processes, on a machine that may be busy with other things
@pytest.mark.parametrize(
    ("method", "workers", "trials", "kills"),
    [
        ("cascade:pool=40", 1, 14, KILLS),
        ("evolution", 1, 14, KILLS),
        ("cascade:pool=40", 2, 14, KILLS),
    ],
)
def test_a_killed_search_resumes_to_the_same_end(tmp_path, method, workers, trials, kills):
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    whole.mkdir()
    broken.mkdir()
    expected = finish(start(whole, method, workers, trials))

    for kill, least in kills:
        process = start(broken, method, workers, trials)
        wait_for(lambda least=least: trained(stored(broken)) >= least, process)
        before = stored(broken)
        process.send_signal(kill)
        process.communicate(timeout=30)
        after = stored(broken)
        assert before.items() <= after.items(), "a finished trial is not lost"

    assert finish(start(broken, method, workers, trials)) == expected
    rows, reference = stored(broken), stored(whole)
    assert after.items() <= rows.items(), "and not repeated"
    assert {key: row[:2] for key, row in rows.items()} == {key: row[:2] for key, row in reference.items()}
    if workers == 1:
        assert {key: row[2] for key, row in rows.items()} == {key: row[2] for key, row in reference.items()}


def test_two_searches_cannot_write_to_one_run(tmp_path):
    with run_lock(tmp_path / "run"), pytest.raises(UsageError, match=rf"another search \(process {os.getpid()}\)"):
        here(tmp_path, "random", 14)
    assert not (tmp_path / "run" / "search.sqlite").exists()


@pytest.mark.slow
def test_two_searches_of_two_processes_cannot_write_to_one_run(tmp_path):
    with run_lock(tmp_path / "run"):
        process = start(tmp_path, "random", 1, 14)
        _, errors = process.communicate(timeout=120)
    assert process.returncode != 0
    assert f"another search (process {os.getpid()})" in errors.splitlines()[-1]
    assert not (tmp_path / "run" / "search.sqlite").exists()


def test_a_store_that_is_no_database_is_named(tmp_path):
    file = tmp_path / "search.sqlite"
    file.write_bytes(b"this is no database, but it is long enough to be looked at" * 40)
    with pytest.raises((UsageError, Exception), match=r"search\.sqlite"):
        Store.open(file)
