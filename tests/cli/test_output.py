import json
import math
import os
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
