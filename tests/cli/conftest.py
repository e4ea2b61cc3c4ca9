"""Running the command line as a user does, in this process or in its own."""

from __future__ import annotations

import io
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from archscout.cli.main import run
from archscout.testing.tasks import tiny_task
from archscout.workers import engines


@dataclass(frozen=True)
class Done:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def sentence(self) -> str:
        """What stands on stderr, if it is one line that starts as an error does and ends as a sentence does."""
        lines = self.err.strip().splitlines()
        assert len(lines) == 1, self.err
        assert lines[0].startswith("Error: ")
        assert lines[0].endswith((".", "?"))
        return lines[0]


@pytest.fixture
def archscout(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Callable[..., Done]:
    """Carries out a command line in this process, in an empty folder."""
    monkeypatch.chdir(tmp_path)

    def call(*arguments: object) -> Done:
        capfd.readouterr()
        code = run([str(argument) for argument in arguments])
        captured = capfd.readouterr()
        return Done(code, captured.out, captured.err)

    return call


@pytest.fixture
def in_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Jobs for worker processes are carried out in this one: to start another takes seconds."""
    monkeypatch.setattr(engines, "LocalEngine", lambda workers, payload, **_: engines.InlineEngine(payload))


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Starts a command line in a process of its own, in an empty folder."""
    with ExitStack() as stack:

        def begin(*arguments: object) -> subprocess.Popen[str]:
            process = subprocess.Popen(
                [sys.executable, "-c", "from archscout.cli.main import main; main()", *map(str, arguments)],
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                cwd=tmp_path,
            )
            stack.enter_context(process)
            stack.callback(process.kill)
            return process

        yield begin


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data set that a network learns in a second."""
    task = tiny_task()
    file = tmp_path_factory.mktemp("data") / "patterns.npz"
    arrays = {"train": task.train, "valid": task.valid, "test": task.test}
    named = {f"{kind}_{name}": getattr(split, kind) for name, split in arrays.items() for kind in ("x", "y")}
    np.savez(file, **named, class_names=np.array(task.class_names))
    return file


CELL = "|nor_conv_3x3~0|+|none~0|avg_pool_3x3~1|+|skip_connect~0|none~1|nor_conv_1x1~2|"


@pytest.fixture(scope="session")
def trained(data: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Done]:
    """A finished run, made once by the command line, and how that ended."""
    out = tmp_path_factory.mktemp("out")
    command = ["train", "nasbench201:width=4", CELL, "--data", str(data), "--epochs", "4", "--name", "one", "--json"]
    shown, told = io.StringIO(), io.StringIO()
    with redirect_stdout(shown), redirect_stderr(told):
        code = run([*command, "--out", str(out)])
    return out / "one", Done(code, shown.getvalue(), told.getvalue())
