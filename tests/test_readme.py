"""The README's programs, taken from its text, run."""

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import archscout
from archscout.core import registry
from archscout.core.estimator import Setting
from archscout.networks.pick import build
from archscout.testing.tasks import tiny_task
from benchmarks.front_door import readme_figures

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
HELLO, OWN_MODEL, OWN_METHOD = re.findall(r"```python\n(.*?)```", README, re.DOTALL)


def cheaper(code: str) -> str:
    """With a budget that does not depend on how busy the machine is."""
    changed, count = re.subn(r'budget="\w+"', 'budget="1trials", epochs=2', code)
    assert count == 1
    return changed


def run(code: str, folder: Path) -> str:
    """As a user runs it: a file, without a guard around it."""
    (folder / "program.py").write_text(code, encoding="utf-8")
    done = subprocess.run([sys.executable, "program.py"], capture_output=True, text=True, cwd=folder, timeout=800)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_first_program_is_short() -> None:
    assert len([line for line in HELLO.splitlines() if line.strip()]) < 10


def test_the_first_program_finds_and_uses_a_network(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    code = cheaper(HELLO).replace("epochs=2", "epochs=1, workers=0, method='random'").replace('"digits"', "DIGITS")
    exec(code, {"__name__": "readme", "DIGITS": "digits:train=200"})
    finds_and_uses_a_network(capsys.readouterr().out, tmp_path)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_first_program_is_a_file_that_runs(tmp_path: Path) -> None:
    finds_and_uses_a_network(run(cheaper(HELLO), tmp_path), tmp_path)


def finds_and_uses_a_network(printed: str, tmp_path: Path) -> None:
    assert "% on validation" in printed
    labels = re.findall(r"'(\d)'", printed.splitlines()[-1])
    assert len(labels) == 5
    assert len(list((tmp_path / "runs").glob("*/network.onnx"))) == 1


def test_the_model_is_a_space_as_it_stands() -> None:
    names: dict[str, object] = {"__name__": "readme"}
    exec(OWN_MODEL.partition("result =")[0], names)
    model = names["Net"]
    assert isinstance(model, type)
    space = archscout.space(model())
    assert space.size() == 3 * 2 * 2
    network = build(space, space.sample(np.random.default_rng(0)), archscout.task("digits"))
    assert isinstance(network, nn.Module)
    assert network(torch.zeros(2, 1, 8, 8)).shape == (2, 10)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_model_is_searched_and_loaded(tmp_path: Path) -> None:
    printed = run(cheaper(OWN_MODEL) + "\nprint(network.classes, result.metrics['costs']['params'])\n", tmp_path)
    classes, _, params = printed.strip().rpartition(" ")
    assert classes == str(tuple("0123456789"))
    assert float(params) <= 5000


def test_the_method_works(monkeypatch: pytest.MonkeyPatch) -> None:
    space = archscout.space("nasbench201")  # known before the copy is made, for the copy goes away
    monkeypatch.setattr(registry, "_registered", dict(registry._registered))
    exec(OWN_METHOD, {"__name__": "readme"})
    sample = [space.sample(np.random.default_rng(seed)) for seed in range(5)]
    estimates = archscout.estimator("convolutions").estimate(sample, Setting(space, tiny_task().sealed()))
    assert [estimate.value for estimate in estimates] == [str(architecture).count("conv") for architecture in sample]


def test_every_file_that_is_linked_is_there() -> None:
    for link in re.findall(r"\]\(([^)#]+)\)", README):
        if not link.startswith("http") and not link.endswith(".png"):
            assert (ROOT / link).exists(), link


@pytest.mark.parametrize("line", re.findall(r"^(archscout [^#\n]+)", README, re.MULTILINE))
def test_every_command_line_is_one(line: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Its command and options exist: nothing is run, for `--help` comes last."""
    import shlex

    from archscout.cli.main import run as run_command

    words = shlex.split(line)[1:]
    commands = words[:2] if words[0] in {"device", "study", "table"} else words[:1]
    help_text = _help(run_command, commands, capsys)
    for word in words:
        if word.startswith("--"):
            assert re.search(rf"{word}\b", help_text), word


def _help(run_command: object, commands: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    assert callable(run_command)
    assert run_command([*commands, "--help"]) == 0
    return capsys.readouterr().out


def test_figures_are_those_of_the_results() -> None:
    assert readme_figures.stale(README) == []


def test_a_stale_figure_is_noticed() -> None:
    figure = re.search(r"<!--([\w.]+)-->(.+?)<!--/-->", README)
    assert figure is not None
    stale = README.replace(figure[0], figure[0].replace(f">{figure[2]}<", ">.11<"))
    assert stale != README and readme_figures.current(stale) == README
    assert len(readme_figures.stale(stale)) == stale.count(f"<!--{figure[1]}-->.11<")
