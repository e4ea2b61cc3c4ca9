"""Kinds of tasks are registered like all else, so that a network of a stranger's kind loads."""

import dataclasses
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch

import archscout
from archscout.core import registry
from archscout.core.errors import DataError
from archscout.core.files import write_json
from archscout.core.registry import factory, names, register
from archscout.networks.pick import build
from archscout.tasks.images import ImageClassification
from archscout.tasks.load import undescribe
from archscout.testing import tiny_task
from archscout.training import checkpoint


@dataclasses.dataclass(frozen=True)
class Weather(ImageClassification):
    """Weather from pictures of the sky."""

    kind: ClassVar[str] = "weather"
    stations: tuple[str, ...] = ()


def task() -> Weather:
    tiny = tiny_task()
    fields: Mapping[str, Any] = {field.name: getattr(tiny, field.name) for field in dataclasses.fields(tiny)}
    return Weather(**fields, stations=("north", "south"))


@pytest.fixture
def registered() -> Iterator[None]:
    register("kind", "weather")(Weather)
    yield
    del registry._registered["kind", "weather"]


def saved(folder: Path) -> torch.nn.Module:
    space = archscout.space("nasbench201:width=4")
    architecture = next(iter(space))
    network: torch.nn.Module = task().deploy(build(space, architecture, task())).eval()
    folder.mkdir()
    checkpoint.write(folder / "network.safetensors", network.state_dict(), {})
    written = {"format": 1, "space": space.name, "architecture": architecture.text, "task": task().describe()}
    write_json(folder / "architecture.json", written)
    return network


def test_every_kind_has_a_class_that_knows_its_name() -> None:
    assert {"image classification", "node classification", "next character"} <= set(names("kinds"))
    for name in names("kind"):
        assert factory("kind", name).kind == name  # type: ignore[attr-defined]


@pytest.mark.usefixtures("registered")
def test_a_network_of_a_strangers_kind_loads_with_the_fields_of_its_task(tmp_path: Path) -> None:
    network = saved(tmp_path / "run")
    loaded = archscout.load(tmp_path / "run")
    assert type(loaded.task) is Weather
    assert loaded.task.stations == ("north", "south")
    x = torch.rand(2, *task().input_shape) * 255
    assert torch.equal(loaded(x), network(x))


def test_one_of_a_kind_that_is_nowhere_registered_needs_the_task(tmp_path: Path) -> None:
    network = saved(tmp_path / "run")
    with pytest.raises(DataError, match=r"kind 'weather' is not known here .*image classification.* or give the task"):
        archscout.load(tmp_path / "run")
    x = torch.rand(2, *task().input_shape) * 255
    assert torch.equal(archscout.load(tmp_path / "run", task=task())(x), network(x))


@pytest.mark.parametrize("wrong", [None, 3, {}, {"kind": 5}, {"kind": "dance"}])
def test_what_describes_no_task_is_refused(wrong: Any) -> None:
    with pytest.raises(DataError, match="kind"):
        undescribe(wrong)
