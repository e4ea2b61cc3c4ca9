"""Engines in programs as people write them: without a main guard, interrupted, killed; nothing is left behind."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc to see what is left of a program")

PLAIN = """
import os
from archscout.core.errors import ArchscoutError
from archscout.workers.engines import engine

print("main runs")

class Mine:
    def __init__(self, x):
        self.x = x

def work(payload, x):
    print("this may not reach standard output")
    os.system("echo nor may this")
    return Mine(payload.x + x)

def die(payload):
    os._exit(3)

with engine("local", 2, Mine(10)) as workers:
    print([workers.submit(work, i).result().x for i in range(3)])
    try:
        workers.submit(die).result()
    except ArchscoutError as error:
        print(error)
    jobs = [workers.submit(work, i) for i in range(6)]
    print([type(job.result()) is Mine for job in jobs])
"""
PRINTED = "main runs\n[10, 11, 12]\nits worker process ended: exit code 3.\n[True, True, True, True, True, True]\n"

BUSY = """
import sys, time
from archscout.workers.engines import engine

def sleeps(payload):
    time.sleep(600)

def computes(payload):
    import torch
    x = torch.rand(500, 500)
    while True:
        x = x @ x / 100

def loops(payload):
    while True:
        pass

with engine("local", 3, None) as workers:
    if sys.argv[1] == "running":
        workers.submit(str).result()
    jobs = [workers.submit(job) for job in (sleeps, computes, loops, sleeps, sleeps)]
    if sys.argv[1] == "running":
        time.sleep(0.3)
    try:
        print("ready", flush=True)
        jobs[0].result()
    except KeyboardInterrupt:
        print("interrupted", flush=True)
        workers.close()
        sys.exit(130)
"""

FORGOTTEN = """
from archscout.workers.engines import engine
import time
workers = engine("local", 2, None)
print(workers.submit(lambda payload: 1).result())
running = workers.submit(lambda payload: time.sleep(600))
"""


PROMPT = 8.0
"""Seconds; a machine that does nothing else needs a tenth of one."""

IMPORT = 60.0
"""Seconds that a fork server may need to import torch, which nobody can hurry, before it sees that it is alone."""


def left(session: int) -> list[str]:
    """What still runs of a program that was started in a session of its own."""
    found = []
    for status in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            state, _, _, of = status.read_text().rpartition(")")[2].split()[:4]
            if int(of) == session and state != "Z":
                found.append((status.parent / "cmdline").read_text().replace("\0", " "))
    return found


def gone(session: int, seconds: float) -> list[str]:
    """What is left after at most so many seconds."""
    end = time.monotonic() + seconds
    while left(session) and time.monotonic() < end:
        time.sleep(0.02)
    return left(session)


@contextmanager
def program(*arguments: str) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, *arguments]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True, start_new_session=True) as process:
        try:
            yield process
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


@pytest.mark.parametrize("way", ["file", *(pytest.param(way, marks=pytest.mark.slow) for way in ("-c", "stdin", "-m"))])
def test_a_script_needs_no_main_guard(tmp_path: Path, way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "script.py").write_text(PLAIN)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    ways = {"file": [str(tmp_path / "script.py")], "-c": ["-c", PLAIN], "stdin": ["-"], "-m": ["-m", "script"]}
    with program(*ways[way]) as process:
        out, err = process.communicate(PLAIN if way == "stdin" else None, timeout=60)
        assert out == PRINTED
        rest = err.replace("this may not reach standard output", "").replace("nor may this", "")
        assert (len(err) > len(rest), rest.strip()) == (True, "")
        assert process.returncode == 0
        assert gone(process.pid, PROMPT) == []


@pytest.mark.parametrize("when", [pytest.param("starting", marks=pytest.mark.slow), "running"])
def test_ctrl_c_reaches_only_the_parent(tmp_path: Path, when: str) -> None:
    (tmp_path / "busy.py").write_text(BUSY)
    with program(str(tmp_path / "busy.py"), when) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        before = time.monotonic()
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to the whole group
        assert process.wait(timeout=30) == 130
        assert time.monotonic() - before < PROMPT
        assert gone(process.pid, PROMPT if when == "running" else IMPORT) == []
        assert process.communicate() == ("interrupted\n", "")


@pytest.mark.parametrize("when", ["starting", pytest.param("running", marks=pytest.mark.slow)])
def test_workers_do_not_outlive_a_killed_parent(tmp_path: Path, when: str) -> None:
    (tmp_path / "busy.py").write_text(BUSY)
    with program(str(tmp_path / "busy.py"), when) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.kill()
        process.wait()
        assert gone(process.pid, PROMPT if when == "running" else IMPORT) == []
        assert process.communicate() == ("", ""), "no complaint about leaked semaphores"


def test_an_engine_that_is_never_closed_ends_with_its_program() -> None:
    with program("-c", FORGOTTEN) as process:
        assert process.communicate(timeout=60) == ("1\n", "")
        assert process.returncode == 0
        assert gone(process.pid, PROMPT) == []


def test_the_users_own_processes_stay_as_they_were(tmp_path: Path) -> None:
    """With their main module, their standard output, their Ctrl-C and their threads."""
    (tmp_path / "both.py").write_text(
        "import multiprocessing, os, signal\n"
        "from archscout.workers.engines import engine\n"
        "def mine(queue):\n"
        "    print('mine', flush=True)\n"
        "    heard = signal.pthread_sigmask(signal.SIG_BLOCK, [])\n"
        "    queue.put((heard, signal.getsignal(signal.SIGINT).__name__, os.environ.get('OMP_NUM_THREADS')))\n"
        "if __name__ == '__main__':\n"
        "    with engine('local', 1, None) as workers:\n"
        "        assert workers.submit(lambda payload: 5).result() == 5\n"
        "        for method in ('spawn', 'forkserver'):\n"
        "            context = multiprocessing.get_context(method)\n"
        "            queue = context.Queue()\n"
        "            process = context.Process(target=mine, args=(queue,))\n"
        "            process.start()\n"
        "            process.join()\n"
        "            print(queue.get())\n"
    )
    with program(str(tmp_path / "both.py")) as process:
        told = f"mine\n(set(), 'default_int_handler', {os.environ.get('OMP_NUM_THREADS')!r})\n"
        assert process.communicate(timeout=60) == (2 * told, "")
