import json
import math
import os
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from archscout.cli import output


def test_json_is_strict(capsys: pytest.CaptureFixture[str]) -> None:
    output.print_json({"a": math.nan, "b": [math.inf, 1.5], "c": np.float64(2.5), "d": (Path("x"), None, True)})
    assert json.loads(capsys.readouterr().out) == {"a": None, "b": [None, 1.5], "c": 2.5, "d": ["x", None, True]}


def test_a_table_in_a_pipe_cuts_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    output.print_table(("name", "value"), [("x" * 300, 1234567.0), ("[bold]", math.nan)])
    printed = capsys.readouterr().out
    assert "x" * 300 in printed
    assert "1,234,567" in printed
    assert "[bold]" in printed
    assert "undefined" in printed


def test_only_the_answer_reaches_stdout() -> None:
    """Prints of libraries, of child processes, and straight to the file descriptor end on stderr."""
    code = """
import os, subprocess, sys
from archscout.cli.output import only_the_answer
with only_the_answer():
    print("library")
    os.write(1, b"descriptor\\n")
    subprocess.run([sys.executable, "-c", "print('child')"])
print("answer")
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=os.environ)
    assert done.stdout == "answer\n"
    assert all(word in done.stderr for word in ("library", "descriptor", "child"))


def test_a_stop_says_how_to_go_on() -> None:
    with pytest.raises(output.Stopped, match="stopped: repeat it"), output.resumable("repeat it."):
        raise KeyboardInterrupt


@pytest.mark.parametrize("closed", [">&-", "2>&-", ">&- 2>&-", "<&-", "<&- >&- 2>&-"])
def test_a_closed_stream_neither_ends_a_command_nor_gets_a_file(tmp_path: Path, closed: str) -> None:
    """What is opened first would get the number of the closed stream, and what is printed would end in it."""
    code = (
        "import sys, os; from archscout.cli import output; output.complete()\n"
        "file = open('trials', 'w'); print('an answer'); print('a note', file=sys.stderr)\n"
        "sys.stdout.flush(); sys.stderr.flush(); assert file.fileno() > 2\n"
    )
    done = subprocess.run(
        f"{shlex.quote(sys.executable)} -c {shlex.quote(code)} {closed}", shell=True, cwd=tmp_path, check=False
    )
    assert done.returncode == 0
    assert (tmp_path / "trials").read_text() == ""


def test_an_ascii_terminal_gets_what_it_can_show(tmp_path: Path) -> None:
    code = "from archscout.cli import output; output.complete(); output.print_text('3 µs ± 1'); output.say('größer')"
    environment = {**os.environ, "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, env=environment, check=True)
    assert done.stdout.decode("ascii").strip() == "3 \\xb5s \\xb1 1"
    assert done.stderr.decode("ascii").strip() == "gr\\xf6\\xdfer"


def test_a_message_of_a_megabyte_is_cut_in_the_middle() -> None:
    short = output.shortened("what was wrong: " + "x" * 10**6 + ": do this.")
    assert len(short) < 1_100
    assert short.startswith("what was wrong")
    assert short.endswith("do this.")
