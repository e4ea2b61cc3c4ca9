import functools
import importlib
import inspect
import json
import math
import re
import subprocess
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

import archscout
import archscout.api
from archscout.core.cost import Cost
from archscout.core.errors import DataError, UsageError
from archscout.core.estimator import Estimator
from archscout.core.files import write_json
from archscout.core.method import Method
from archscout.core.registry import ROOMS
from archscout.core.space import Space
from archscout.core.strategy import Strategy
from archscout.core.task import Task
from archscout.networks.pick import build
from archscout.report.page import write as write_page
from archscout.search.result import Result
from archscout.testing.tasks import tiny_task


class Net(nn.Module):
    """A module of the user's own."""

    def __init__(self) -> None:
        super().__init__()
        width = archscout.Width(4, 8, name="width")
        self.stem = archscout.Conv2d(1, width, archscout.Kernel(3, 5))
        self.norm = archscout.BatchNorm2d(width)
        self.head = archscout.Linear(width, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.norm(self.stem(x)).relu().mean((2, 3)))


def make_run(folder: Path, space: Space, text: str) -> tuple[nn.Module, Task]:
    """What a search leaves, by hand: an untrained network whose normalisation has seen data, and its description."""
    task = tiny_task()
    network = build(space, space.parse(text), task, seed=3)
    network(task.tensors(task.train)[0])
    deployed = task.deploy(network).eval()
    folder.mkdir(parents=True)
    save_file(
        {name: tensor.contiguous() for name, tensor in deployed.state_dict().items()}, folder / "network.safetensors"
    )
    description = {"format": 1, "space": space.name, "architecture": text, "task": task.describe(), "version": "0.1.0"}
    write_json(folder / "architecture.json", description)
    return deployed, task


CELL = "|nor_conv_3x3~0|+|none~0|avg_pool_3x3~1|+|skip_connect~0|none~1|nor_conv_1x1~2|"


@pytest.fixture
def run(tmp_path: Path) -> Path:
    make_run(tmp_path / "run", archscout.space("nasbench201:width=4"), CELL)
    return tmp_path / "run"


def test_each_kind_is_made_by_name() -> None:
    for made, kind in (
        (archscout.space("nasbench201"), Space),
        (archscout.task("digits"), Task),
        (archscout.estimator("naswot"), Estimator),
        (archscout.strategy("evolution"), Strategy),
        (archscout.method("cascade"), Method),
        (archscout.method("random"), Method),
        (archscout.cost("latency"), Cost),
    ):
        assert isinstance(made, kind)


@pytest.mark.parametrize("kind", ["space", "task", "estimator", "strategy", "method", "cost"])
def test_an_unknown_name_is_refused_with_the_nearest(kind: str) -> None:
    known = next(name for name in archscout.names(kind) if "@" not in name)
    with pytest.raises(UsageError, match=f"'{known}x'.*'{known}'"):
        getattr(archscout, kind)(f"{known}x")


def test_a_table_that_is_not_there() -> None:
    with pytest.raises(UsageError, match="there is no table or file 'nasbench201'"):
        archscout.table("nasbench201")


@pytest.mark.parametrize("kind", [*ROOMS, *ROOMS.values()])
def test_names_takes_singular_and_plural(kind: str) -> None:
    assert archscout.names(kind) == sorted(archscout.names(kind))


def test_parameters_reach_a_task() -> None:
    assert len(archscout.task("digits", train=100).train) == 100


def test_data_of_the_users_own_is_a_task(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    np.savez(tmp_path / "d.npz", x_train=rng.integers(0, 255, (60, 8, 8, 3), np.uint8), y_train=np.arange(60) % 3)
    task = archscout.task(tmp_path / "d.npz")
    assert (task.input_shape, task.outputs) == ((3, 8, 8), 3)


def test_a_module_is_a_space() -> None:
    space = archscout.space(Net())
    assert space.size() == 4
    with pytest.raises(UsageError, match="contains no choice"):
        archscout.space(nn.Linear(2, 2))


def test_what_is_offered_exists_and_nothing_else() -> None:
    for name in archscout.__all__:
        assert getattr(archscout, name) is not None
    assert set(archscout.__all__) <= set(dir(archscout))
    with pytest.raises(AttributeError, match="'archscout' has no attribute 'serach'"):
        _ = archscout.serach  # type: ignore[attr-defined]


def test_search_is_a_call_before_and_after_its_package_is_imported() -> None:
    """Importing `archscout.search` binds that name in `archscout`: what is bound must still be the search."""
    code = """
import archscout
assert callable(archscout.search)
import archscout.core.budget
from archscout.core.budget import Budget
assert archscout.core.budget.Budget is Budget
try:
    archscout.search("nasbench21", "digits")
except Exception as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "did you mean 'nasbench201'?" in done.stdout
    module = importlib.import_module("archscout.search.search")
    assert isinstance(archscout.search, types.ModuleType)
    assert "maximum" in inspect.signature(module.search).parameters


def test_a_loaded_network_answers_as_the_saved_one(tmp_path: Path) -> None:
    saved, task = make_run(tmp_path / "run", archscout.space("nasbench201:width=4"), CELL)
    loaded = archscout.load(tmp_path / "run")
    images = torch.from_numpy(task.test.x).permute(0, 3, 1, 2).float()
    assert not loaded.training
    assert torch.equal(loaded(images), saved(images))
    folded = archscout.load(tmp_path / "run", folded=True)
    assert len(folded.state_dict()) < len(saved.state_dict())
    torch.testing.assert_close(folded(images), saved(images), rtol=1e-4, atol=1e-5)
    (tmp_path / "run" / "metrics.json").write_text('{"form": {"precision": "bfloat16", "layout": "channels_last"}}')
    half = archscout.load(tmp_path / "run", folded=True)
    assert {parameter.dtype for parameter in half.parameters()} == {torch.bfloat16}
    torch.testing.assert_close(half(images), saved(images), rtol=0.1, atol=0.1)
    assert loaded.classes == task.class_names


def test_a_run_of_a_module_loads_with_the_module(tmp_path: Path) -> None:
    saved, task = make_run(tmp_path / "run", archscout.space(Net()), "width=8,stem.kernel=5")
    images = torch.from_numpy(task.test.x).permute(0, 3, 1, 2).float()
    for space in (Net(), archscout.space(Net())):
        assert torch.equal(archscout.load(tmp_path / "run", space=space)(images), saved(images))
    with pytest.raises(UsageError, match=r"space 'Net'.*load\(run, space=\.\.\.\)"):
        archscout.load(tmp_path / "run")


def test_the_weights_of_another_architecture_are_refused(run: Path, tmp_path: Path) -> None:
    make_run(tmp_path / "other", archscout.space("nasbench201:width=6"), CELL)
    (run / "network.safetensors").write_bytes((tmp_path / "other" / "network.safetensors").read_bytes())
    with pytest.raises(DataError, match=r"network\.safetensors' does not hold the weights"):
        archscout.load(run)


def test_damaged_weights_are_refused(run: Path) -> None:
    (run / "network.safetensors").write_bytes(b"nothing")
    with pytest.raises(DataError, match=r"network\.safetensors"):
        archscout.load(run)


def test_a_run_without_a_network_is_refused(run: Path, tmp_path: Path) -> None:
    (run / "network.safetensors").unlink()
    with pytest.raises(UsageError, match="no trained network"):
        archscout.load(run)
    with pytest.raises(UsageError, match="no finished run"):
        archscout.load(tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": 2}, "newer version"),
        ({"architecture": 7}, "damaged"),
        ({"task": {}}, "damaged"),
        ({"architecture": "|none~0|"}, "nodes"),
    ],
)
def test_a_wrong_description_is_refused(run: Path, change: dict[str, object], message: str) -> None:
    file = run / "architecture.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | change))
    with pytest.raises((DataError, UsageError), match=message):
        archscout.load(run)


@pytest.mark.parametrize("content", ["", "{", "[]", '{"format": 1}', "7"])
def test_a_damaged_description_is_refused(run: Path, content: str) -> None:
    (run / "architecture.json").write_text(content)
    with pytest.raises(DataError, match=r"architecture\.json' is damaged"):
        archscout.load(run)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"algorithm": None}, "the algorithm must be a text"),
        ({"algorithm": ["lsq"]}, "the algorithm must be a text"),
        ({"algorithm": "LSQ"}, "no quantisation algorithm 'LSQ'"),
        ({"epochs": 0}, "number of epochs must be"),
        ({"epochs": "3"}, "number of epochs must be"),
        ({"examples": 0}, "number of examples must be"),
        ({"examples": 1.5}, "number of examples must be"),
        ({"examples": True}, "number of examples must be"),
        ({"seed": None}, "the seed must be"),
        ({"seed": -1}, "the seed must be"),
        ({"scheme": 3}, "the scheme must be a text"),
        ({"scheme": []}, "the scheme must be a text"),
        ({"observer": max}, "the observer must be a text"),
        ({"weight_bits": "4"}, "weight_bits must be a whole number"),
        ({"weight_bits": 4.0}, "weight_bits must be a whole number"),
        ({"weight_bits": [4]}, "weight_bits must be a whole number"),
        ({"activation_bits": math.nan}, "activation_bits must be a whole number"),
        ({"bias_correction": "no"}, "bias_correction must be True or False"),
        ({"bias_correction": np.array([1, 2])}, "bias_correction must be True or False"),
        ({"layers": 3}, "layers must be a dict"),
        ({"layers": {"a": "b"}}, "layers must be a dict of presets"),
    ],
)
def test_options_of_quantisation_are_read_before_the_run(given: dict[str, Any], message: str, tmp_path: Path) -> None:
    for call in (archscout.quantise, functools.partial(archscout.deploy, device="cortex-m4", out=tmp_path / "c")):
        with pytest.raises(UsageError, match=message):
            call(tmp_path / "nowhere", **given)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"device": 3}, "the device must be a text"),
        ({"device": ["cortex-m4"]}, "the device must be a text"),
        ({"device": torch.device("cpu")}, "the device must be a text"),
        ({"out": None}, "the folder for the code must be a path"),
        ({"out": ""}, "the folder for the code must be a path"),
        ({"vectors": 0}, "number of vectors must be"),
        ({"vectors": "3"}, "number of vectors must be"),
        ({"patches": (2, 2)}, "number of patches along a side must be"),
        ({"patches": 9}, "number of patches along a side must be a whole number up to 8"),
        ({"patches": None}, "number of patches along a side must be"),
    ],
)
def test_options_of_deployment_are_read_before_the_run(given: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=message):
        archscout.deploy(tmp_path / "nowhere", **({"device": "cortex-m4", "out": tmp_path / "c"} | given))


class Unshown:
    """Cannot be printed."""

    def __repr__(self) -> str:
        raise RuntimeError


def test_odd_forms_of_a_run_and_its_parts(run: Path) -> None:
    result = Result(run, {})
    assert archscout.load(result).classes == archscout.load(run, task=tiny_task()).classes
    for given in (3, None, b"run", [run]):
        for call in (archscout.load, archscout.quantise, write_page):
            with pytest.raises(UsageError, match="the run must be a path"):
                call(given)
    for option, message in (
        ({"folded": "no"}, "folded must be True or False"),
        ({"task": "digit"}, "did you mean 'digits'"),
        ({"task": 3}, "data cannot be of type int"),
        ({"space": Net}, "make an object of the class"),
        ({"space": 3}, "name a space, or give a module"),
        ({"task": np.array(3)}, "data cannot be one number"),
        ({"task": Unshown()}, "data cannot be of type Unshown"),
        ({"device": "raspi4"}, "networks cannot run on the device 'raspi4'"),
        ({"device": 0}, "the device must be a text"),
    ):
        with pytest.raises(UsageError, match=message):
            archscout.load(run, **option)
    for option, message in (
        ({"form": "x"}, "written as qdq or qoperator, not as 'x'"),
        ({"form": np.array([1, 2])}, "written as qdq or qoperator, not as array"),
        ({"bits_method": np.array([1, 2])}, "the method to choose bits must be a text"),
    ):
        with pytest.raises(UsageError, match=message):
            archscout.quantise(run, **option)


INNER = {
    "search": "archscout.search.search",
    "train": "archscout.search.search",
    "shrink": "archscout.shrink.run",
    "simulate": "archscout.study.simulated",
}
OF_TESTS = {"began", "clock", "shared", "spent", "transfer_share"}
"""Options of `shrink` that are for tests, for `shrink_front`, and for searches that begin with it."""


def defaults(function: Callable[..., Any]) -> dict[str, tuple[Any, Any]]:
    return {name: (each.kind, each.default) for name, each in inspect.signature(function).parameters.items()}


@pytest.mark.parametrize("name", INNER)
def test_the_options_of_the_api_are_those_of_what_it_calls(name: str) -> None:
    outer = defaults(getattr(archscout.api, name))
    inner = defaults(getattr(importlib.import_module(INNER[name]), name))
    assert outer.pop("unknown")[0] is inspect.Parameter.VAR_KEYWORD
    assert list(outer.items()) == [item for item in inner.items() if item[0] not in OF_TESTS]
    documented = re.findall(
        r"^ {4}(\w+): ", (inspect.getdoc(getattr(archscout.api, name)) or "").partition("Args:")[2], re.MULTILINE
    )
    assert documented[: len(outer) + 1] == [*outer, "unknown"], "each option has its meaning, in the order of the call"
    assert all(each.annotation for each in inspect.signature(getattr(archscout.api, name)).parameters.values())


ONLY_TYPED = {"skip_bad", "as_json", "load", "debug", "table", "metric", "limits", "precision"}
"""Options of the command line alone: its output, how data are read, and `simulate`, `shrink_front` and `quantise`."""
ONLY_PYTHON = {"progress", "unknown"}
CALLED = {"arch": "architecture", "objective": "objectives"}
LEFT_OUT = (None, (), "5m")
"""Defaults that the command line leaves out so that it can tell whether they were given."""


@pytest.mark.parametrize("name", ["search", "train", "shrink"])
def test_the_command_line_has_the_options_of_the_api(name: str) -> None:
    command = defaults(getattr(importlib.import_module(f"archscout.cli.{name}"), name))
    typed = {CALLED.get(option, option): each[1] for option, each in command.items() if option not in ONLY_TYPED}
    known = {option: default for option, (_, default) in defaults(getattr(archscout.api, name)).items()}
    assert set(typed) == set(known) - ONLY_PYTHON
    for option, default in typed.items():
        if known[option] is not inspect.Parameter.empty:
            assert str(default) == str(known[option]) or (default is None and known[option] in LEFT_OUT), option


def test_what_is_called_shows_its_options() -> None:
    assert "maximum" in inspect.signature(archscout.search).parameters
    assert "keep" in inspect.signature(archscout.shrink).parameters
    with pytest.raises(UsageError, match="did you mean 'keep'"):
        archscout.shrink("efficientnet_lite0", "digits", keeep=["stem"])  # type: ignore[call-arg]
