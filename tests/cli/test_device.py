"""`archscout device add` as a user types it: a device elsewhere in two steps, and what is wrong with the commands."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from archscout.costs import devices

Call = Callable[..., Any]
CELL = "|nor_conv_3x3~0|+|none~0|avg_pool_3x3~1|+|skip_connect~0|none~1|nor_conv_1x1~2|"
SPACE = "nasbench201:width=4"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(devices.FOLDER_VARIABLE, str(tmp_path / "own"))
    return tmp_path


def test_a_device_elsewhere_in_two_steps(archscout: Call, data: Path, folder: Path) -> None:
    first = archscout("device", "add", "board", "--space", SPACE, "--data", data, "--bundle", "there", "--networks", 4)
    assert first.code == 0, first.err
    assert "archscout device add board --bundle there --times times.csv" in first.out
    subprocess.run([sys.executable, "-I", "measure.py"], cwd=folder / "there", check=True, capture_output=True)
    times = folder / "there/times.csv"
    second = archscout("device", "add", "board", "--bundle", "there", "--times", times, "--json")
    assert second.code == 0, second.err
    answer = json.loads(second.out)
    assert (answer["device"], answer["measured"]) == ("board", 4)
    assert Path(answer["file"]) == folder / "own/board.json"

    listed = archscout("list", "devices").out
    assert "board (your own): latency of nasbench201 (1 x 8 x 8)" in listed
    command = ("measure", SPACE, CELL, "--data", data, "--device", "board", "--cost", "latency,params")
    table = archscout(*command).out
    assert "predicted; 90 %:" in table
    costs = json.loads(archscout(*command, "--json").out)
    assert list(costs["costs"]) == ["latency@board_ms", "params"]
    details = costs["details"]["latency@board_ms"]
    assert details["low"] < costs["costs"]["latency@board_ms"] < details["high"]


def test_times_without_a_bundle(archscout: Call, data: Path, folder: Path) -> None:
    cells = [
        CELL.replace("nor_conv_1x1", option) for option in ("nor_conv_1x1", "nor_conv_3x3", "none", "skip_connect")
    ]
    rows = [f"{cell},{number + 1}" for number, cell in enumerate(cells)]
    (folder / "mine.csv").write_text("\n".join(["architecture,latency_us", *rows]))
    command = ("device", "add", "board", "--space", SPACE, "--data", data, "--times", "mine.csv")
    done = archscout(*command)
    assert done.code == 0, done.err
    assert "--max latency@board=20ms" in done.out

    fit = ("device", "fit", "board", "--space", SPACE, "--data", data)
    answer = json.loads(archscout(*fit, "--model", "linear,bayesian", "--json").out)
    assert [check["model"] for check in answer["checks"]] == ["linear", "bayesian"]
    assert json.loads((folder / "own/board.json").read_text())["latency"][0]["model"] == answer["taken"]
    assert archscout(*fit, "--model", "liner").code == 2


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ((), "say where the device is"),
        (("--here",), "give --space and --data"),
        (("--bundle", "there", "--space", SPACE), "give --space and --data"),
        (("--bundle", "nowhere", "--times", "t.csv"), "'nowhere' is no bundle"),
        (("--space", SPACE, "--data", "DATA", "--times", "gone.csv"), "there is no file 'gone.csv'"),
        (("--space", SPACE, "--data", "DATA", "--times", "two.csv"), "3 different architectures and more"),
        (("--space", SPACE, "--data", "DATA", "--times", "unit.csv"), "does not say its unit"),
        (("--space", "mobile", "--data", "DATA", "--times", "two.csv"), "line 2: no architecture of space 'mobile'"),
        (("--here", "--space", SPACE, "--data", "DATA", "--precision", "int4"), "no precision 'int4'"),
        (("--bundle", "there", "--space", SPACE, "--data", "DATA", "--runtime", "torch"), "measured by ONNX Runtime"),
        (("--bundle", "own", "--space", "mobil", "--data", "DATA"), "did you mean 'mobile'?"),
    ],
)
def test_what_is_wrong_is_one_sentence(
    archscout: Call, data: Path, folder: Path, arguments: tuple[str, ...], expected: str
) -> None:
    other = CELL.replace("nor_conv_3x3", "nor_conv_1x1")
    (folder / "two.csv").write_text(f"architecture,latency_ms\n{CELL},1\n{other},2\n")
    (folder / "unit.csv").write_text(f"architecture,latency\n{CELL},1\n")
    done = archscout("device", "add", "board", *(str(data) if each == "DATA" else each for each in arguments))
    assert done.code == 2
    assert expected in done.sentence
    assert not (folder / "own").exists()


@pytest.mark.slow
def test_a_search_for_a_device_elsewhere_in_three_commands(archscout: Call, data: Path, folder: Path) -> None:
    """A device, a search whose finalists are measured there, and the search again with what it took."""
    add = ("device", "add", "board", "--space", SPACE, "--data", data)
    assert archscout(*add, "--bundle", "there", "--networks", 4).code == 0
    about = json.loads((folder / "there/bundle.json").read_text())
    cells = [row["architecture"] for row in about["networks"]]
    rows = [f"{cell},{5 + cell.count('conv_3x3')}" for cell in cells]
    (folder / "first.csv").write_text("\n".join(["architecture,latency_ms", *rows]))
    assert archscout("device", "add", "board", "--bundle", "there", "--times", "first.csv").code == 0
    command = (
        "search", "--space", SPACE, "--data", data, "--max", "latency@board=9ms", "--method", "random",
        "--budget", "4trials", "--epochs", 1, "--workers", 1, "--name", "r",
    )  # fmt: skip
    done = archscout(*command)
    assert done.code == 0, done.err
    assert "repeat this command with --times board=times.csv" in done.out
    place = folder / "runs/r/finalists-board"
    subprocess.run([sys.executable, "-I", "measure.py"], cwd=place, check=True, capture_output=True)
    again = archscout(*command, "--times", f"board={place / 'times.csv'}", "--json")
    assert again.code == 0, again.err
    won = json.loads(again.out)
    assert won["cost_details"]["latency@board_ms"]["elsewhere"]
    assert won["measure_next"] == []
    assert "is not of the form DEVICE=CSV" in archscout(*command, "--times", "times.csv").sentence


def test_times_of_a_search_have_a_device_and_a_file(archscout: Call, data: Path) -> None:
    done = archscout("search", "--space", SPACE, "--data", data, "--budget", "4trials", "--times", "times.csv")
    assert done.code == 2
    assert "is not of the form DEVICE=CSV" in done.sentence


def test_a_name_that_cannot_be(archscout: Call) -> None:
    assert "cannot be the name of a device" in archscout("device", "add", "My Board", "--here").sentence
