"""A package from outside adds methods by being installed: nothing of ours is touched."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

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


def python(code: str, path: Path | None, cwd: Path) -> str:
    environment = os.environ | ({"PYTHONPATH": str(path)} if path else {})
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, cwd=cwd)
    assert done.returncode == 0, done.stderr
    return done.stdout


LIST = "from archscout.cli.main import run; run(['list', '--json'])"


def test_the_command_line_lists_it_without_importing_it(installed: Path, tmp_path: Path) -> None:
    before = {(entry["kind"], entry["name"]) for entry in json.loads(python(LIST, None, tmp_path))}
    code = f"{LIST}; import sys; assert 'archscout_plugin_example' not in sys.modules"
    listed = json.loads(python(code, installed, tmp_path))
    new = [entry for entry in listed if (entry["kind"], entry["name"]) not in before]
    assert [(entry["kind"], entry["name"], entry["source"]) for entry in new] == [
        ("estimator", "convolutions", "archscout-plugin-example"),
        ("strategy", "walk", "archscout-plugin-example"),
    ]
    assert all(entry["summary"] == "Counts convolutions, and walks from neighbour to neighbour." for entry in new)


def test_the_interface_makes_its_objects(installed: Path, tmp_path: Path) -> None:
    code = """
import archscout
from archscout.core.estimator import Setting
from archscout.core.strategy import AskTell
from archscout.core.trial import Trial
from archscout.testing.tasks import tiny_task
space = archscout.space("nasbench201")
loop = AskTell(archscout.strategy("walk"), space)
first = loop.ask()
loop.tell(Trial(0, first, space.canonical(first), "none", None, "completed", 1.0))
second = loop.ask()
print(sum(first[name] != second[name] for name in first))
estimate = archscout.estimator("convolutions").estimate([first], Setting(space, tiny_task().sealed()))[0]
print(estimate.value == str(first).count("conv"))
print(archscout.method("walk").name)
"""
    assert python(code, installed, tmp_path).split() == ["1", "True", "walk"]


def test_the_command_line_scores_with_it_in_worker_processes(installed: Path, tmp_path: Path) -> None:
    code = (
        "from archscout.cli.main import run; raise SystemExit(run(['score', 'nasbench201', '--with', 'convolutions', "
        "'--sample', '6', '--workers', '2', '--json']))"
    )
    assert json.loads(python(code, installed, tmp_path))["rows"] == 6
    header, *rows = (tmp_path / "scores.csv").read_text().splitlines()
    assert header == "architecture,convolutions,convolutions_seconds"
    assert all(float(row.split(",")[1]) == row.split(",")[0].count("conv") for row in rows)
