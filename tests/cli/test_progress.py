import io
import os
import pty
import subprocess
import sys

import pytest

from archscout.cli.progress import Bar, Lines, progress

PROGRAM = """
from archscout.cli.progress import progress
shown = progress()
shown.say("48 of 48 meet [the limits]")
for phase in ("scores", "training"):
    for done in range(3):
        shown.update(phase, done, 3, 0.98765, 62.4)
shown.close()
"""


def test_outside_a_terminal_a_phase_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    shown = progress()
    assert isinstance(shown, Lines)
    shown.say("48 of 48")
    for done in range(5):
        shown.update("scores", done, 5, None, None)
        shown.update("scores", done, None, 0.5, 10)
    shown.update("training", 0, None, 0.98765, 3725)
    shown.close()
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err == "48 of 48\nscores ...\ntraining ... best 0.9877 1:02:05 left\n"


def test_in_a_terminal_there_is_a_bar_on_stderr_alone() -> None:
    ours, theirs = pty.openpty()
    environment = os.environ | {"TERM": "xterm", "COLUMNS": "100"}
    done = subprocess.run([sys.executable, "-c", PROGRAM], stdout=subprocess.PIPE, stderr=theirs, env=environment)
    os.close(theirs)
    shown = os.read(ours, 100_000).decode()
    os.close(ours)
    assert done.returncode == 0
    assert done.stdout == b""
    assert "48 of 48 meet [the limits]" in shown
    assert "training" in shown
    assert "best 0.9877" in shown
    assert "1:02 left" in shown


def test_time_left_goes_on_while_nothing_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    bar = Bar()
    bar.update("final training", 0, 1, None, 90.0)
    (task,), column = bar.bar.tasks, bar.bar.columns[-1]
    now = task.fields["until"] - 90.0
    for passed, shown in ((0.0, "1:30 left"), (28.0, "1:02 left"), (200.0, "0:00 left")):
        monkeypatch.setattr("archscout.cli.progress.time.monotonic", lambda passed=passed: now + passed)
        assert str(column.render(task)) == shown
    bar.update("finish", 0, None, None, None)
    assert str(column.render(bar.bar.tasks[0])) == ""
    bar.close()


def test_a_bar_without_a_total_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    bar = Bar()
    bar.update("search", 7, None, None, None)
    assert bar.bar.tasks[0].fields["count"] == "7"
    assert bar.bar.tasks[0].total is None
    bar.close()
