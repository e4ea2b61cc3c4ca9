"""A search on a Ray cluster whose machines share nothing: neither folders, nor the user's code."""

import json
import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import pytest

import archscout
from archscout.workers.folder import SIGN, Folder

MODEL = """
from torch import nn
from archscout import Conv2d, Linear, Width


class Own(nn.Module):
    def __init__(self):
        super().__init__()
        width = Width(4, 5, 6, 7, 8, 9, 10, 12, name="width")
        self.body = nn.Sequential(Conv2d(1, width, 3), nn.ReLU(), nn.Flatten())
        self.head = Linear(width * 64, 10)

    def forward(self, x):
        return self.head(self.body(x))
"""

SEARCH = """
import json
import archscout
from archscout.core.progress import Silent
from own_model import Own


class Told(Silent):
    def say(self, text):
        print(text, flush=True)


result = archscout.search(
    Own(), "digits", method="random", budget="8trials", epochs=3, engine="ray", name="apart", progress=Told()
)
print(json.dumps(result.metrics))
"""


def test_a_folder_that_is_seen_is_used_itself(tmp_path: Path) -> None:
    folder = Folder.of(tmp_path / "work")
    result, files = folder.use(lambda place: (place / "weights").write_bytes(b"w"))
    assert (result, files) == (1, {})
    assert (tmp_path / "work" / "weights").read_bytes() == b"w"


@pytest.mark.parametrize("there", ["nothing", "another folder"])
def test_what_is_written_where_the_folder_is_not_seen_travels_back(there: str, tmp_path: Path) -> None:
    here, elsewhere = Folder.of(tmp_path / "here"), tmp_path / "elsewhere"
    if there == "another folder":  # of the same path, on another disk
        Folder.of(elsewhere)
    distant = Folder(str(elsewhere), here.sign)

    def work(place: Path) -> Path:
        (place / "under way").mkdir()
        (place / "under way" / "checkpoint").write_bytes(b"c")
        (place / "weights").write_bytes(b"w")
        return place

    place, files = distant.use(work)
    assert files == {"weights": b"w"}
    assert not place.exists()
    here.take({**files, "../outside": b"no"})
    names = {file.name for file in (tmp_path / "here").iterdir()}
    assert names == {"weights", "outside", SIGN}
    assert not (tmp_path / "outside").exists()


# -- three machines, of which one is killed ---------------------------------------------------------------------------


def _until(condition: Callable[[], bool], seconds: float, process: subprocess.Popen[str] | None = None) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it took too long"
        assert process is None or process.poll() is None, "it has ended"
        time.sleep(0.2)


def _stop(process: subprocess.Popen[Any]) -> None:
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("unshare") is None, reason="file systems of one's own need Linux's unshare")
@pytest.mark.timeout(1800)
def test_a_search_on_machines_that_share_nothing_of_which_one_is_killed(tmp_path: Path) -> None:
    pytest.importorskip("ray")
    driver = tmp_path / "driver"
    driver.mkdir()
    (driver / "own_model.py").write_text(MODEL)
    (driver / "run_search.py").write_text(SEARCH)
    hidden = ["unshare", "-rm", "sh", "-c", 'mount -t tmpfs none "$0" && exec "$@"', str(driver)]
    if subprocess.run([*hidden, "true"], capture_output=True).returncode:
        pytest.skip("this system lets nobody have a file system of one's own")
    with socket.socket() as free:
        free.bind(("", 0))
        port = free.getsockname()[1]
    source = str(Path(archscout.__file__).parents[1])
    environment = {**os.environ, "PYTHONPATH": source, "OMP_NUM_THREADS": "1"}
    environment.pop("RAY_ADDRESS", None)
    ray = [sys.executable, "-m", "ray.scripts.scripts", "start", "--block", "--disable-usage-stats"]

    with ExitStack() as stack:
        # A folder of its own, in a short path: Ray notes there where its newest cluster is.
        ray_folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="ray-", ignore_cleanup_errors=True))

        def machine(name: str, *command: str) -> subprocess.Popen[str]:
            folder = tmp_path / name
            folder.mkdir()
            with (folder / "log").open("w") as log:
                process = subprocess.Popen(
                    command, cwd=folder, env=environment, stdout=log, stderr=log, text=True, start_new_session=True
                )
            stack.callback(_stop, process)
            return process

        def started(name: str, *command: str) -> subprocess.Popen[str]:
            """A machine of the cluster; Ray gives up on one that needs more than half a minute, so some tries."""
            for attempt in range(4):
                process = machine(f"{name}-{attempt}", *command)
                log = tmp_path / f"{name}-{attempt}" / "log"
                while process.poll() is None:
                    if "Ray runtime started" in log.read_text():
                        return process
                    time.sleep(0.2)
            raise AssertionError(log.read_text())

        # The first one computes nothing; the search is on it.
        head = ["--head", f"--port={port}", "--num-cpus=0", "--include-dashboard=False", f"--temp-dir={ray_folder}"]
        started("first", *ray, *head)
        others = [
            started(f"other{n}", *hidden, *ray, f"--address=127.0.0.1:{port}", f"--node-ip-address=127.0.0.{n}",
                    "--num-cpus=1")
            for n in (2, 3)
        ]  # fmt: skip
        environment["RAY_ADDRESS"] = f"127.0.0.1:{port}"
        with (tmp_path / "errors").open("w") as errors:
            search = subprocess.Popen(
                [sys.executable, "run_search.py"], cwd=driver, env=environment, stdout=subprocess.PIPE, stderr=errors,
                text=True, start_new_session=True,
            )  # fmt: skip
        stack.callback(_stop, search)

        def begun() -> bool:
            try:
                with sqlite3.connect(driver / "runs" / "apart" / "search.sqlite") as store:
                    return bool(store.execute("SELECT COUNT(*) FROM archscout_trials").fetchone()[0])
            except sqlite3.Error:
                return False

        _until(begun, 400, search)
        os.killpg(others[0].pid, signal.SIGKILL)
        said, _ = search.communicate(timeout=600)
        assert search.returncode == 0, (tmp_path / "errors").read_text()
        *told, last = said.splitlines()
        metrics = json.loads(last)
        assert not [line for line in told if "trained again" in line]
        assert (metrics["trials"], metrics["failed_trials"]) == (8, 0)
        assert metrics["conditions"]["workers"] == 2  # all cores of the cluster, as it was
        alone = archscout.load(driver / "runs" / "apart", space=_own_space(driver))
        assert sum(parameter.numel() for parameter in alone.parameters()) > 0


def _own_space(driver: Path) -> Any:
    scope: dict[str, Any] = {}
    exec((driver / "own_model.py").read_text(), scope)
    return scope["Own"]()
