"""What is carried to a device to be measured there, and the times that come back."""

from __future__ import annotations

import json
import math
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from archscout.core.architecture import Architecture
from archscout.core.errors import DataError, UsageError
from archscout.core.estimator import Setting
from archscout.core.files import MOST_JSON, parse_json, read_json, replacing, replacing_folder
from archscout.core.registry import create
from archscout.core.sheet import read_sheet
from archscout.core.space import Space
from archscout.deploy.form import form
from archscout.networks.pick import build
from archscout.tasks.load import undescribe
from archscout.training.export import to_int8, to_onnx

FORMAT = 1

_AGAIN = "write the bundle again."
UNITS: Mapping[str, float] = {"latency_ms": 1.0, "latency_us": 1e-3, "latency_s": 1e3}
"""The columns that may hold latencies, and what one of each unit is in milliseconds."""

_SCRIPT = Path(__file__).with_name("stand_alone.py")
_LINES = """\
# {count} networks to measure on device '{name}'

1. Copy this folder to the device. It needs Python 3.8 or newer with `onnxruntime` and `numpy`
   (`pip install onnxruntime numpy`); nothing is sent anywhere.
2. Close other programs, and run `python measure.py` (about a second for each network).
3. Bring the file `times.csv` back, and run

       {then}

The networks are those of space `{space}` for inputs of shape {shape}, in {precision}, to be run with a batch of
{batch} on {threads} thread(s). Where the device cannot run Python, measure the files in `networks/` by its own tools,
and write a CSV file with the columns `architecture` (as in `bundle.json`) and `latency_ms` (or `latency_us`,
`latency_s`).
"""


@dataclass(frozen=True)
class Bundle:
    """What a bundle says of itself: the networks' space and input, how they are measured, and which they are."""

    space: str
    task: Mapping[str, Any]
    conditions: Mapping[str, Any]
    architectures: tuple[str, ...]

    def setting(self) -> Setting:
        """The space, and the task without its data. Raises `UsageError` where the space is not registered."""
        return Setting(create("space", self.space), undescribe(self.task))


def write(
    name: str,
    path: Path,
    setting: Setting,
    architectures: Sequence[Architecture],
    conditions: Mapping[str, Any],
    then: str = "",
) -> None:
    """Write a bundle: a folder, or a zip file where the path ends in `.zip`.

    Args:
        name: of the device.
        path: of the folder, which must not exist or be empty, or of the zip file.
        setting: the space and the task whose networks are measured.
        architectures: those to measure.
        conditions: `batch`, `threads`, `precision`.
        then: the command that takes the times; by default the one that adds the device.

    Raises:
        UsageError: the path cannot be written, or something is there already.
        ArchscoutError: a network cannot be written as ONNX.
    """
    packed = path.suffix == ".zip"
    if path.exists() and (packed or not path.is_dir() or any(path.iterdir())):
        raise UsageError(f"'{path}' exists already: name another place for the bundle.")
    then = then or f"archscout device add {name} --bundle {path} --times times.csv"
    try:
        if packed:
            with tempfile.TemporaryDirectory() as root:
                folder = Path(root) / "bundle"
                folder.mkdir()
                _fill(name, folder, then, setting, architectures, conditions)
                archive = shutil.make_archive(f"{root}/packed", "zip", folder)
                with replacing(path) as partial:
                    shutil.copyfile(archive, partial)
        else:
            with replacing_folder(path) as partial:
                _fill(name, partial, then, setting, architectures, conditions)
    except OSError as error:
        raise UsageError(f"cannot write '{path}': {error.strerror or error}; name another place.") from error


def _fill(
    name: str,
    folder: Path,
    then: str,
    setting: Setting,
    architectures: Sequence[Architecture],
    conditions: Mapping[str, Any],
) -> None:
    shape = setting.task.deployed_shape
    (folder / "networks").mkdir()
    rows = []
    examples = np.random.default_rng(0).random((8, *shape), dtype=np.float32)
    for number, architecture in enumerate(architectures, start=1):
        network = build(setting.space, architecture, setting.task, seed=setting.seed)
        content = to_onnx(form(setting.task.deploy(network), shape), shape, quick=True)
        if conditions["precision"] == "int8":
            content = to_int8(content, examples)
        file = f"networks/{number:03d}.onnx"
        (folder / file).write_bytes(content)
        rows.append({"file": file, "architecture": architecture.text})
    about = {
        "format": FORMAT,
        "device": name,
        "space": setting.space.name,
        "task": setting.task.describe(),
        "input_shape": list(shape),
        "conditions": dict(conditions),
        "networks": rows,
    }
    (folder / "bundle.json").write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")
    shutil.copyfile(_SCRIPT, folder / "measure.py")
    text = _LINES.format(
        name=name, count=len(rows), then=then, space=setting.space.name, shape=tuple(shape), **conditions
    )
    (folder / "README.md").write_text(text, encoding="utf-8")


def read(path: Path) -> Bundle:
    """What a bundle (folder or zip file) says of itself. Raises `UsageError` where there is none, `DataError`."""
    import zipfile

    try:
        if path.is_dir():
            about = read_json(path / "bundle.json", _AGAIN)
        else:
            with zipfile.ZipFile(path) as archive:
                if archive.getinfo("bundle.json").file_size > MOST_JSON:
                    raise DataError(
                        f"the bundle.json of '{path}' is damaged (it is longer than any such file): {_AGAIN}"
                    )
                about = parse_json(archive.read("bundle.json"), f"the bundle.json of '{path}'", _AGAIN)
    except (OSError, KeyError, zipfile.BadZipFile) as error:
        raise UsageError(
            f"'{path}' is no bundle: name the folder or zip file that 'archscout device add' wrote."
        ) from error
    try:
        networks = tuple(str(row["architecture"]) for row in about["networks"])
        return Bundle(str(about["space"]), dict(about["task"]), dict(about["conditions"]), networks)
    except (KeyError, TypeError, AttributeError) as error:
        raise DataError(f"the bundle.json of '{path}' is damaged ({error}): {_AGAIN}") from error


def read_times(file: Path, space: Space, known: Sequence[str] = ()) -> tuple[list[Architecture], list[float]]:
    """The architectures and their milliseconds in a CSV file.

    It has the columns `architecture` and one of `latency_ms`, `latency_us` and `latency_s`; others are left alone.

    Args:
        file: the CSV file.
        space: what the architectures belong to.
        known: the architectures that may occur; none: all of the space.

    Raises:
        UsageError: there is no such file.
        DataError: a column is missing, a latency is no number, or an architecture is another.
    """
    if not file.is_file():
        raise UsageError(f"there is no file '{file}': name the CSV file of times that measure.py wrote.")
    sheet = read_sheet(file)
    column = _column(file, sheet.headings)
    architectures, ms = [], []
    for line, written, time in zip(sheet.lines, sheet.column("architecture"), sheet.column(column), strict=True):
        where = f"'{file}', line {line}"
        try:
            architecture = space.parse(written)
        except UsageError as error:
            raise DataError(f"{where}: no architecture of space '{space.name}' ({error})") from error
        if known and architecture.text not in known:
            raise DataError(
                f"{where}: '{architecture}' is none of the {len(known)} networks of the bundle: give times of those."
            )
        try:
            milliseconds = sheet.number(time) * UNITS[column]
        except ValueError as error:
            raise DataError(
                f"{where}: '{time}' is no number: give plain numbers, all in the unit of the column {column}."
            ) from error
        if not (math.isfinite(milliseconds) and milliseconds > 0):
            raise DataError(
                f"{where}: a latency of {time} is not above zero: measure this network again, or leave it out."
            )
        architectures.append(architecture)
        ms.append(milliseconds)
    return architectures, ms


def _column(file: Path, columns: Sequence[str]) -> str:
    """The column of latencies."""
    if "architecture" not in columns:
        raise DataError(f"'{file}' has no column 'architecture' (it has {', '.join(columns) or 'none'}): name it so.")
    latencies = [name for name in columns if name in UNITS]
    if len(latencies) > 1:
        raise DataError(f"'{file}' has latencies in {len(latencies)} units ({', '.join(latencies)}): leave one column.")
    if not latencies:
        unit = [name for name in columns if name.lower() in ("latency", "time", "ms", "us", "s", "seconds")]
        said = f"column '{unit[0]}' does not say its unit" if unit else "there is no column of latencies"
        raise DataError(f"'{file}': {said}: name it {', '.join(UNITS)}.")
    return latencies[0]
