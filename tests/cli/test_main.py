import errno
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
import typer

import archscout as package
from archscout.cli import main, output
from archscout.core.errors import ArchscoutError, DataError, UsageError

Call = Callable[..., Any]


def test_version(archscout: Call) -> None:
    done = archscout("--version")
    assert (done.code, done.out) == (0, f"archscout {package.__version__}\n")


def test_python_runs_the_package_as_the_command() -> None:
    done = subprocess.run([sys.executable, "-m", "archscout", "--version"], capture_output=True, text=True, check=True)
    assert done.stdout == f"archscout {package.__version__}\n"


@pytest.mark.parametrize("arguments", [(), ("--help",), ("-h",)])
def test_help_names_every_command(archscout: Call, arguments: tuple[str, ...]) -> None:
    done = archscout(*arguments)
    assert done.code == 0
    for command in ("list", "search", "score", "train", "measure", "report", "predict"):
        assert f" {command} " in done.out


@pytest.mark.parametrize("command", ["list", "search", "score", "train", "measure", "report", "predict"])
def test_every_command_has_help_json_and_debug(archscout: Call, command: str) -> None:
    done = archscout(command, "--help")
    assert done.code == 0
    assert "--json" in done.out
    assert "--debug" in done.out


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("serach",), "'search'"),
        (("list", "--jsn"), "'--json'"),
        (("search", "--sapce", "nasbench201"), "'--space'"),
        (("search", "--space", "nasbench201"), "--data"),
        (("list", "spacs"), "'spaces'"),
        (("list", "spaces", "tasks"), "tasks"),
        (("search", "--space", "nasbench201", "--data", "digits", "--seed", "-1"), "--seed"),
        (("search", "--space", "nasbench201", "--data", "digits", "--seed", "one"), "integer"),
        (("--jsn",), "--"),
    ],
)
def test_wrong_usage_ends_with_2_and_a_hint(archscout: Call, arguments: tuple[str, ...], expected: str) -> None:
    done = archscout(*arguments)
    assert done.code == 2
    assert done.out == ""
    assert expected in done.sentence


@pytest.mark.parametrize(
    ("error", "code", "sentence"),
    [
        (UsageError("no."), 2, "no."),
        (DataError("bad row"), 2, "bad row."),
        (ArchscoutError("it failed."), 1, "it failed."),
        (output.Stopped("stopped: go on."), 130, "stopped: go on."),
        (KeyboardInterrupt(), 130, "stopped before it was done."),
        (PermissionError(13, "Permission denied", "/x"), 1, "'/x': Permission denied"),
        (MemoryError(), 1, "out of memory"),
        (KeyError("k"), 1, "unexpected KeyError ('k'): run the same command with --debug"),
    ],
)
def test_whatever_goes_wrong_is_one_sentence_and_an_exit_code(
    archscout: Call, monkeypatch: pytest.MonkeyPatch, error: BaseException, code: int, sentence: str
) -> None:
    def fail() -> None:
        raise error

    app = typer.Typer()
    app.command("fail")(fail)
    app.command("other")(lambda: None)
    monkeypatch.setattr(main, "app", app)
    done = archscout("fail")
    assert done.code == code
    assert sentence in done.sentence


@pytest.mark.parametrize(
    "arguments",
    [
        ("search", "--data", "digits", "--budget", ""),
        ("search", "--data", "digits", "--budget="),
        ("search", "--data", "digits", "--space", " "),
        ("study", "estimators", "--train-sizes", ""),
        ("train", ""),
    ],
)
def test_an_empty_word_is_no_default(archscout: Call, arguments: tuple[str, ...]) -> None:
    done = archscout(*arguments)
    assert done.code == 2
    assert "is empty: give a value, or leave it out." in done.err


def test_debug_shows_the_traceback(archscout: Call) -> None:
    done = archscout("list", "spacs", "--debug")
    assert done.code == 2
    assert "Traceback" in done.err
    assert done.err.rstrip().splitlines()[-1].startswith("Error: ")


def test_sigterm_is_left_as_it_was(archscout: Call) -> None:
    before = signal.getsignal(signal.SIGTERM)
    archscout("list")
    assert signal.getsignal(signal.SIGTERM) is before


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_with_130(number: signal.Signals) -> None:
    code = f"""
import os, signal, time, typer
from archscout.cli import main
def wait():
    os.kill(os.getpid(), {int(number)})
    time.sleep(10)
main.app = typer.Typer()
main.app.command("wait")(wait)
main.app.command("other")(lambda: None)
raise SystemExit(main.run(["wait"]))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 130
    assert done.stderr == "Error: stopped before it was done.\n"


def test_a_reader_that_leaves_is_no_traceback() -> None:
    code = "from archscout.cli.main import main; main()"
    shell = f"{sys.executable} -c '{code}' list --json | head -c 1"
    done = subprocess.run(["bash", "-c", shell], capture_output=True, text=True, timeout=60)
    assert done.stdout == "["
    assert "Traceback" not in done.stderr
    assert "Exception" not in done.stderr


def test_list_prints_what_is_registered(archscout: Call) -> None:
    found = json.loads(archscout("list", "--json").out)
    entry = next(entry for entry in found if entry["name"] == "nasbench201")
    assert (entry["kind"], entry["source"]) == ("space", "archscout")
    assert {entry["kind"] for entry in found} >= {"space", "task", "strategy"}
    only = json.loads(archscout("list", "spaces", "--json").out)
    assert only == [entry for entry in found if entry["kind"] == "space"]
    assert all(entry["summary"] for entry in found if entry["source"] == "archscout")
    table = archscout("list", "space").out
    assert "nasbench201" in table
    assert "mnist5k" not in table


@pytest.mark.parametrize(
    ("number", "advice"), [(errno.ENOSPC, "free some space there"), (errno.EROFS, "name another file or folder")]
)
def test_what_a_disk_refuses_is_said_with_what_helps(number, advice):
    message, code = main.explain(OSError(number, os.strerror(number), "runs/a/run.json"))
    assert message.startswith("'runs/a/run.json': ")
    assert advice in message
    assert code == main.FAILED


@pytest.mark.parametrize("name", ["a\nError: all is well", "a\x1b[2Jb", "a\rb", "a\x00b", "a\u2028b", "a\udc80b"])
def test_control_characters_of_what_is_quoted_are_not_printed(archscout, name):
    done = archscout("measure", name, "x", "--data", "digits", "--cost", "params")
    assert done.code == 2
    assert done.sentence.isprintable(), "one line, whatever was typed"
