"""A package from outside adds methods by being installed: nothing of ours is touched."""

import contextlib
import inspect
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import onnxruntime
import pytest
import torch

import archscout
from archscout.cli.main import run
from archscout.core import registry
from archscout.core.estimator import Setting
from archscout.core.method import Method
from archscout.core.space import Space
from archscout.core.strategy import AskTell
from archscout.core.task import Task
from archscout.core.trial import Trial
from archscout.networks.body import Tapped
from archscout.networks.pick import build
from archscout.supernets.supernet import Supernet
from archscout.testing import MethodConformance, SpaceConformance, TaskConformance, tiny_task

PLUGIN = Path(__file__).parent / "plugin"


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the package is installed, beside and not in our environment."""
    work = tmp_path_factory.mktemp("plugin")
    source = shutil.copytree(PLUGIN, work / "source")
    target = work / "site"
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "--quiet"]
    held = [*pip, "--no-deps", "--no-build-isolation", "--no-index", "--target", str(target), str(source)]
    done = subprocess.run(held, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return target


def python(code: str, path: Path, cwd: Path) -> str:
    before = os.environ.get("PYTHONPATH")
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, (str(path), before)))}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, cwd=cwd)
    assert done.returncode == 0, done.stderr
    return done.stdout


LIST = "from archscout.cli.main import run; run(['list', '--json'])"


def test_the_command_line_lists_it_without_importing_it(
    installed: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["list", "--json"]) == 0
    before = {(entry["kind"], entry["name"]) for entry in json.loads(capsys.readouterr().out)}
    code = f"{LIST}; import sys; assert 'archscout_plugin_example' not in sys.modules"
    listed = json.loads(python(code, installed, tmp_path))
    new = [entry for entry in listed if (entry["kind"], entry["name"]) not in before]
    assert {(entry["kind"], entry["name"]) for entry in new} == {
        ("estimator", "convolutions"), ("strategy", "walk"), ("task", "fill"), ("task", "stains"), ("kind", "fill"),
        ("kind", "stains"), ("space", "ladder"), ("method", "shortlist"), ("task", "strips"), ("kind", "strips"),
    }  # fmt: skip
    assert {entry["source"] for entry in new} == {"archscout-plugin-example"}
    assert all(entry["summary"] == "Counts convolutions, and walks from neighbour to neighbour." for entry in new)


def test_the_command_line_scores_with_it_in_worker_processes(installed: Path, tmp_path: Path) -> None:
    code = (
        "from archscout.cli.main import run; raise SystemExit(run(['score', 'nasbench201', '--with', 'convolutions', "
        "'--sample', '6', '--workers', '1', '--json']))"
    )
    assert json.loads(python(code, installed, tmp_path))["rows"] == 6
    header, *rows = (tmp_path / "scores.csv").read_text().splitlines()
    assert header == "architecture,convolutions,convolutions_seconds"
    assert all(float(row.split(",")[1]) == row.split(",")[0].count("conv") for row in rows)


@pytest.fixture
def plugged(installed: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The package as if it were installed in this environment, for one test."""
    monkeypatch.syspath_prepend(str(installed))
    registry._installed.cache_clear()
    yield
    registry._installed.cache_clear()
    # Only what is of the package: a built-in module that was imported meanwhile is not run again to register.
    for key, factory in list(registry._registered.items()):
        if factory.__module__.startswith("archscout_plugin_example"):
            del registry._registered[key]


@pytest.mark.usefixtures("plugged")
def test_the_interface_makes_its_objects() -> None:
    space = archscout.space("nasbench201")
    loop = AskTell(archscout.strategy("walk"), space)
    first = loop.ask()
    loop.tell(Trial(0, first, space.canonical(first), "none", None, "completed", 1.0))
    second = loop.ask()
    assert sum(first[name] != second[name] for name in first) == 1
    (estimate,) = archscout.estimator("convolutions").estimate([first], Setting(space, tiny_task().sealed()))
    assert estimate.value == str(first).count("conv")
    assert archscout.method("walk").name == "walk"


@pytest.mark.usefixtures("plugged")
def test_a_segmentation_task_from_outside_is_a_file(tmp_path: Path) -> None:
    class Conformance(TaskConformance):
        def task(self) -> Task:
            return archscout.task("stains")

    keeps_the_contract(Conformance())


@pytest.mark.usefixtures("plugged")
def test_a_regression_task_from_outside_goes_the_whole_way(tmp_path: Path) -> None:
    """It once was searched, exported and reported, and then could not be loaded."""

    class Conformance(TaskConformance):
        def task(self) -> Task:
            return archscout.task("fill")

    keeps_the_contract(Conformance())
    result = archscout.search("ladder", "fill", method="shortlist", budget="2trials", epochs=4, workers=0, out=tmp_path)
    network = archscout.load(result.folder)
    task = archscout.task("fill")
    assert task.test is not None
    with torch.no_grad():
        error = float((network(torch.from_numpy(task.test.x)) - torch.from_numpy(task.test.y)).abs().mean())
    assert result.metrics["test_mean_absolute_error"] == pytest.approx(error, abs=1e-5)
    assert result.metrics["valid_mean_absolute_error"] == min(row["value"] for row in result.metrics["finalists"])
    page = (result.folder / "report.html").read_text(encoding="utf-8")
    assert "A mean absolute error of" in page
    assert "<h3>The worst answer</h3>" in page
    # A method with a panel of its own is a file, too.
    assert "<h3>The shortlist</h3>" in page
    assert "What the method tells" in page


@pytest.mark.usefixtures("plugged")
def test_a_task_from_outside_whose_examples_differ_in_length_goes_the_whole_way(tmp_path: Path) -> None:
    class Conformance(TaskConformance):
        def task(self) -> Task:
            return archscout.task("strips")

    keeps_the_contract(Conformance())
    result = archscout.search(
        "ladder", "strips", method="shortlist", budget="1trials", epochs=4, workers=0, out=tmp_path
    )
    task = archscout.task("strips")
    assert task.test is not None
    x, y = torch.from_numpy(task.test.x), torch.from_numpy(task.test.y)
    network = archscout.load(result.folder)
    with torch.no_grad():
        outputs = network(x)
    assert result.metrics["test_accuracy"] == pytest.approx(float((outputs.argmax(1) == y).float().mean()))
    session = onnxruntime.InferenceSession(result.folder / "network.onnx")
    assert session.get_inputs()[0].shape[1:] == [2, 8, 24]
    assert torch.allclose(torch.from_numpy(session.run(None, {"input": task.test.x})[0]), outputs, atol=1e-4)
    report = json.loads((result.folder / "report.json").read_text(encoding="utf-8"))
    (panel,) = (panel for panel in report["panels"] if panel["title"].startswith("How well strips"))
    lengths = (task.test.x[:, 1, 0] > 0).sum(1)
    assert [row[0] for row in panel["rows"]] == sorted(set(lengths.tolist())) == [8, 16, 24]


@pytest.mark.usefixtures("plugged")
def test_an_elastic_space_with_taps_from_outside_is_a_file(tmp_path: Path) -> None:
    class Conformance(SpaceConformance):
        def space(self) -> Space:
            return archscout.space("ladder")

    keeps_the_contract(Conformance())
    space, task = archscout.space("ladder"), archscout.task("stains")
    supernet = Supernet(space, task)
    x, _ = task.tensors(task.train)
    for architecture in space.extremes():
        alone = build(space, architecture, task)
        assert isinstance(alone, Tapped)
        assert supernet.select(architecture)(x).shape == alone(x).shape == (len(x), 2, 8, 8)


@pytest.mark.usefixtures("plugged")
def test_a_method_from_outside_keeps_the_contract_of_methods(tmp_path: Path) -> None:
    class Conformance(MethodConformance):
        budget = 5

        def method(self) -> Method:
            return archscout.method("shortlist")

    keeps_the_contract(Conformance(), tmp_path)


def keeps_the_contract(suite: object, folder: Path | None = None) -> None:
    """Run every test of a conformance suite; those that keep files do so below a folder."""
    for name in dir(suite):
        if name.startswith("test_"):
            test = getattr(suite, name)
            needed = [folder / name] if folder and inspect.signature(test).parameters else []
            for place in needed:
                place.mkdir()
            with contextlib.suppress(pytest.skip.Exception):  # what a suite has no case for here
                test(*needed)
