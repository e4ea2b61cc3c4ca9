"""The trained network of a finished run, from its files."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from archscout.core.errors import DataError, DataNotice, UsageError
from archscout.core.files import read_json, well_formed
from archscout.core.registry import create, names
from archscout.core.space import Space
from archscout.core.task import Task
from archscout.costs.measured_form import form_of
from archscout.deploy.form import form
from archscout.deploy.precision import Form
from archscout.networks.pick import build
from archscout.spaces.load import load as load_space
from archscout.spaces.reducing import ReducingSpace
from archscout.spaces.replaced import ReplacedSpace
from archscout.spaces.trained import SIZE, BackboneSpace, TrainedSpace, from_factory
from archscout.store.intact import check
from archscout.tasks.image_task import Mirrored
from archscout.tasks.load import load as load_task
from archscout.tasks.load import undescribe
from archscout.training.onnx_network import OnnxNetwork

_AGAIN = "run the search again."


def load(
    folder: Path, *, space: Space | nn.Module | str | None = None, task: Task | None = None, folded: bool = False
) -> nn.Module:
    """The network as it was trained, or folded into its deployed form: `archscout.load`.

    Raises `UsageError` where there is no such run or space, `DataError` where its files are damaged.
    """
    saved = _read(folder / "architecture.json")
    network_file = folder / "network.safetensors"
    if not network_file.is_file():
        raise UsageError(f"'{folder}' holds no trained network (network.safetensors): finish its search first.")
    described = _described(saved, folder) if task is None else load_task(task)
    searched = _space_of(saved, folder, space, described)
    network: nn.Module = described.deploy(build(searched, searched.parse(saved["architecture"]), described))
    check(network_file)
    try:
        network.load_state_dict(load_file(network_file))
    except (SafetensorError, RuntimeError, OSError) as error:
        lines = [line.strip(" \t.") for line in str(error).splitlines()]
        reason = lines[1] if len(lines) > 1 and lines[0].startswith("Error(s) in loading") else lines[0]
        raise DataError(f"'{network_file}' does not hold the weights of its architecture ({reason}).") from error
    if folded:
        metrics = folder / "metrics.json"
        written = read_json(metrics, _AGAIN) if metrics.is_file() else {}
        with well_formed(metrics, _AGAIN):
            measured = form_of(written.get("form", {}))
        network = form(network, described.deployed_shape)
        network = network if measured == Form() else measured.applied(network)
    network.classes = described.class_names  # type: ignore[assignment]
    network.task = described  # type: ignore[assignment]
    return network.eval()


def load_for_answers(folder: Path) -> nn.Module:
    """The network of a run for its answers alone: where its space was a module of a user's own, from its ONNX file.

    Raises as `load` does, and `UsageError` where such a run has no ONNX file.
    """
    saved = _read(folder / "architecture.json")
    kind, _, source = str(saved["space"]).partition(":")
    if kind in names("space") and (kind != "trained" or source.partition(",")[0] in names("backbone")):
        return load(folder)
    file = folder / "network.onnx"
    if not file.is_file():
        raise UsageError(
            f"run '{folder}' searched a module of your own and has no network.onnx: load it in Python, with "
            "archscout.load(run, space=...)."
        )
    described = _described(saved, folder)
    check(file)
    network: nn.Module = OnnxNetwork(file)
    network.classes = described.class_names  # type: ignore[assignment]
    network.task = described  # type: ignore[assignment]
    return network.eval()


def load_for_integers(folder: Path, space: Space | nn.Module | str | None = None) -> nn.Module:
    """The network of a run as integers are made of it, in one pass: of a mean over an image and its mirror image, the
    network alone, which a `DataNotice` says. Raises as `load` does."""
    network = load(folder, space=space)
    if not isinstance(network, Mirrored):
        return network
    warnings.warn(
        "integers are made of one pass: this network answers for an image alone, without its mirror image.",
        DataNotice, stacklevel=2,
    )  # fmt: skip
    alone = network.network
    alone.classes = network.classes
    alone.task = dataclasses.replace(cast(Task, network.task), mirrored=False)  # type: ignore[assignment,call-arg]
    return alone


def data_of(folder: Path, described: Task, data: Any) -> Task:
    """The task of a run with its data. Raises `UsageError` where they are not named, or are of another task."""
    if data is None and described.name not in names("task"):
        raise UsageError(f"run '{folder}' does not hold its data: name them again, with --data or data=.")
    given = data if isinstance(data, Task) else load_task(described.name if data is None else data)
    was, now = (
        (each.kind, tuple(each.input_shape), tuple(each.class_names), each.outputs) for each in (described, given)
    )
    if was != now:
        differing = next(
            name
            for name, before, after in zip(
                ("kind differs", "input shape differs", "classes differ", "outputs differ"), was, now, strict=True
            )
            if before != after
        )
        raise UsageError(f"the data '{given.name}' are not those of run '{folder}': their {differing}.")
    return given


def _described(saved: dict[str, Any], folder: Path) -> Task:
    with well_formed(folder / "architecture.json", _AGAIN):
        return undescribe(saved["task"])


def _read(file: Path) -> dict[str, Any]:
    if not file.is_file():
        raise UsageError(f"'{file.parent}' is no finished run: it has no {file.name}; search or train first.")
    saved = read_json(file, "run the search again.")
    try:
        version = saved["format"]
        if version != 1:
            raise DataError(f"'{file}' was written by a newer version (format {version}): upgrade archscout.")
        if not all(isinstance(saved[key], str) for key in ("space", "architecture")):
            raise TypeError("its space and architecture must be text")
        saved["task"]
    except (KeyError, TypeError) as error:
        raise DataError(f"'{file}' is damaged ({error}): run the search again.") from error
    return cast("dict[str, Any]", saved)


def _space_of(saved: dict[str, Any], folder: Path, given: Space | nn.Module | str | None, task: Task) -> Space:
    if str(saved["space"]).startswith(("trained:", "replaced:")) and not isinstance(given, Space):
        if isinstance(given, str):
            if given.startswith(("trained:", "replaced:")):
                return load_space(given)
            given = from_factory(*given.partition(":")[::2])
        return space_of_run(str(saved["space"]), task.input_shape, given)
    if given is not None:
        return given if isinstance(given, Space) else load_space(given)
    name = str(saved["space"])
    if name.partition(":")[0] not in names("space"):
        raise UsageError(
            f"run '{folder}' searched space '{name}', which is not registered here: give it as load(run, space=...)."
        )
    return load_space(name)


def space_of_run(name: str, input_shape: Sequence[int], network: nn.Module | None = None) -> ReducingSpace:
    """The space of a finished run, for loading its network: structure is all that it needs.

    Args:
        name: of the space, as the run has it.
        input_shape: of the run's task.
        network: the network that the run began with, where it was the user's own.

    Raises:
        UsageError: the network was the user's own and is not given (a name in a file is no reason to run code).
    """
    kind, _, rest = name.partition(":")
    if kind == "replaced":
        original = space_of_run(f"trained:{rest}", input_shape, network)
        assert isinstance(original, TrainedSpace)
        return ReplacedSpace(original)
    if network is not None:
        return TrainedSpace(network, name, input_shape=input_shape)
    source, _, rest = name.removeprefix("trained:").partition(",")
    if source not in names("backbone"):
        raise UsageError(
            f"the run began with a network of your own ({source}): give it once more, as "
            "--network PACKAGE.MODULE:FACTORY, or in Python as space=network."
        )
    size = next((int(part[5:]) for part in rest.split(",") if part.startswith("size=") and part[5:].isdigit()), SIZE)
    return BackboneSpace(create("backbone", source), size, weights=False)
