"""`archscout shrink`: what cannot be is one sentence; a whole run from a network of one's own (slow)."""

import json
import sys
from pathlib import Path

import pytest

from archscout.cli.main import run

MODULE = """
import torch
from torch import nn

def make():
    torch.manual_seed(0)
    body = [nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    return nn.Sequential(*body, nn.Linear(16, 10))
"""


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["resnet", "--data", "digits"], "there is no backbone 'resnet'"),
        (["nowhere:make", "--data", "digits"], "'nowhere:make' gives no network"),
        (["nowhere:make", "--data", "digits", "--max", "params"], "is not of the form COST=VALUE"),
        (["nowhere:make", "--data", "digits", "--budget", "5trials"], "takes a budget of time"),
        (["nowhere:make", "--data", "digits", "--limits", "5ms,5ms"], "are no limits of latency"),
    ],
)
def test_bad_input_is_one_sentence(
    arguments: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["shrink", *arguments, "--out", str(tmp_path)]) == 2
    answer = capsys.readouterr()
    assert answer.out == "" and message in answer.err and len(answer.err.splitlines()) == 1
    assert not list(tmp_path.glob("*/metrics.json"))


@pytest.mark.slow
def test_a_network_of_ones_own_from_the_command_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "network_of_mine.py").write_text(MODULE)
    monkeypatch.syspath_prepend(str(tmp_path))
    arguments = ["network_of_mine:make", "--data", "digits", "--max", "params=60%", "--budget", "10s"]
    assert run(["shrink", *arguments, "--out", str(tmp_path), "--name", "run", "--json"]) == 0
    metrics = json.loads(capsys.readouterr().out)
    assert metrics["costs"]["params"] <= 0.6 * metrics["original"]["costs"]["params"]
    assert run(["quantise", str(tmp_path / "run"), "--network", "network_of_mine:make", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["quantised"]["weight_bits"] == 8
    assert run(["quantise", str(tmp_path / "run")]) == 2
    assert "--network PACKAGE.MODULE:FACTORY" in capsys.readouterr().err
    sys.modules.pop("network_of_mine", None)
