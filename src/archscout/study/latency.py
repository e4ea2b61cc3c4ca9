"""Latency models compared on times of many devices: what each predicts of networks that it was not fitted to."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from archscout.core import options
from archscout.core.architecture import Architecture
from archscout.core.digest import digest
from archscout.core.errors import DataError, UsageError, nearest
from archscout.core.estimator import Setting
from archscout.core.identity import identity
from archscout.core.seeds import stream
from archscout.core.space import Space
from archscout.core.task import Task
from archscout.costs.models.base import LEAST, Measured
from archscout.costs.named_models import FROM_OTHERS, NAMES, POOL, named
from archscout.study.metrics import kendall
from archscout.study.record import Record, carry_out
from archscout.study.summary import with_interval
from archscout.tasks.doors.tables import read_columns

COLUMN = "architecture"
TESTED = 500
"""Networks that are predicted, at most."""

CLOSE = 0.1
"""A prediction that is off by no more than this share of the time is close."""

COLUMNS: dict[str, type] = {
    "model": str, "device": str, "train": int, "repeat": int,
    **dict.fromkeys(("kendall", "within", "error", "seconds"), float),
}  # fmt: skip
"""The types of what stands in a row."""


@dataclass(frozen=True)
class Times:
    """Milliseconds of some architectures on some devices: of each device as many as there are architectures, NaN where
    it was not measured."""

    architectures: tuple[Architecture, ...]
    ms: dict[str, np.ndarray]

    def rows(self, device: str) -> np.ndarray:
        """Places of the architectures that a device has measured."""
        return np.flatnonzero(np.isfinite(self.ms[device]))


@dataclass(frozen=True)
class Contest:
    """What is compared: models by name, on which devices, fitted to how many networks, how often."""

    models: tuple[str, ...]
    devices: tuple[str, ...]
    sizes: tuple[int, ...]
    repeats: int = 5
    seed: int = 0


def read_times(file: Path, space: Space) -> Times:
    """A CSV or Parquet file with a column `architecture`, and one of milliseconds for each device.

    An architecture that stands there twice counts by its median; an empty cell is no measurement. Columns that hold
    other things than numbers are left alone. Raises `DataError` for a file of another form.
    """
    columns, lines = read_columns(file)
    if COLUMN not in columns:
        raise DataError(f"'{file}' has no column '{COLUMN}': name it so, beside one of milliseconds for each device.")
    texts = [str(value) for value in columns.pop(COLUMN)]
    by_device = {name: numbers for name, values in columns.items() if (numbers := _numbers(values)) is not None}
    if not by_device:
        raise DataError(f"'{file}' has no column of milliseconds: give one for each device.")
    for name, values in by_device.items():
        wrong = np.flatnonzero(values <= 0)
        if len(wrong):
            where = f"line {lines[wrong[0]]}" if lines is not None else f"row {wrong[0]}"
            raise DataError(f"'{file}', {where}: {values[wrong[0]]:g} ms on '{name}' is no time: leave the cell empty.")
    places: dict[str, list[int]] = {}
    known: dict[str, Architecture] = {}
    for row, text in enumerate(texts):
        architecture = space.parse(text)
        known.setdefault(architecture.text, architecture)
        places.setdefault(architecture.text, []).append(row)
    with np.errstate(all="ignore"):
        ms = {
            name: np.asarray([_median(values[rows]) for rows in places.values()]) for name, values in by_device.items()
        }
    return Times(tuple(known.values()), ms)


def _numbers(values: Sequence[Any]) -> np.ndarray | None:
    """A column of numbers (NaN where a cell is empty); None for any other, and where nothing is in it."""
    try:
        numbers = np.asarray([math.nan if value in (None, "") else float(value) for value in values])
    except (TypeError, ValueError):
        return None
    return numbers if np.isfinite(numbers).any() else None


def _median(values: np.ndarray) -> float:
    values = values[np.isfinite(values)]
    return float(np.median(values)) if len(values) else math.nan


def compare(
    space: Space,
    task: Task,
    times: Times,
    contest: Contest,
    folder: Path,
    *,
    workers: int = 0,
    fresh: bool = False,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> list[dict[str, Any]]:
    """Fit every model to some networks of every device and let it predict others, in `folder`.

    The same call goes on where it was stopped. All models of a repeat are fitted to the same networks. Those that learn
    from other devices get the other columns of the times.

    Returns:
        One row a model, device, size and repeat: `kendall` (rank correlation), `within` (share of predictions that are
        off by 10 % at most), `error` (median relative error), `seconds` (of CPU time, to fit and predict).

    Raises:
        UsageError: for an unknown model or device, too few networks for a size, and a folder of another study.
    """
    workers, contest = options.workers(workers), _checked(contest, times)
    space.check_task(task)
    about = {"study": "latency", "times": digest([a.text for a in times.architectures], times.ms), "seed": contest.seed}
    setting = identity(space, task, **about)
    payload = (Setting(space, task.sealed(), contest.seed), times)
    jobs = [(f"{model} {size} {device}", repeat) for repeat in range(contest.repeats) for device in contest.devices
            for size in contest.sizes for model in contest.models]  # fmt: skip
    with Record.open(folder, setting, fresh) as record:
        return carry_out(record, jobs, payload, measure, workers, progress, COLUMNS)


def _checked(contest: Contest, times: Times) -> Contest:
    for model in contest.models:
        if model not in NAMES:
            raise UsageError(f"there is no latency model '{model}': {nearest(model, NAMES)}")
        if model in FROM_OTHERS and len(times.ms) < 2:
            raise UsageError(f"latency model '{model}' learns from other devices: give times of two devices at least.")
    for device in contest.devices:
        if device not in times.ms:
            raise UsageError(f"there are no times of device '{device}': {nearest(device, times.ms)}")
        for size in contest.sizes:
            if not LEAST <= size <= len(times.rows(device)) - 2:
                raise UsageError(
                    f"{size} networks cannot be learned from: '{device}' has {len(times.rows(device))} times, of which "
                    f"two at least are predicted; ask for {LEAST} or more."
                )
    return contest


def measure(payload: tuple[Setting, Times], name: str, repeat: int) -> list[dict[str, Any]]:
    """One model on one device, fitted to so many of its times."""
    setting, times = payload
    model, size, device = name.split(" ", 2)
    rows = stream(setting.seed, "latency study", device, repeat).permutation(times.rows(device))
    # The tested networks are those of the end: the same whatever is learned from.
    seen, asked = rows[: int(size)], rows[int(size) :][-TESTED:]
    fitted, ms = [times.architectures[row] for row in seen], times.ms[device]
    others = [other for other in times.ms if other != device]
    pool = stream(setting.seed, "pool of known devices", device, repeat).permutation(
        [row for row in times.rows(device) if all(np.isfinite(times.ms[other][row]) for other in others)]
    )[:POOL]
    place = {architecture.text: row for row, architecture in enumerate(times.architectures)}

    def known(architectures: Sequence[Architecture]) -> list[Measured]:
        rows = [place[each.text] for each in architectures]
        return [Measured(other, architectures, times.ms[other][rows]) for other in others
                if np.isfinite(times.ms[other][rows]).all()]  # fmt: skip

    started = time.process_time()
    made = named(
        model, setting, fitted, ms[seen].tolist(), known, pool=[times.architectures[row] for row in pool.tolist()]
    )
    made.fit(setting.space, fitted, ms[seen])
    predicted = made.predict([times.architectures[row] for row in asked])[0]
    seconds = time.process_time() - started
    errors = np.abs(predicted / ms[asked] - 1)
    return [{
        "model": model, "device": device, "train": int(size), "repeat": repeat,
        "kendall": kendall(ms[asked], predicted), "within": float((errors <= CLOSE).mean()),
        "error": float(np.median(errors)), "seconds": seconds,
    }]  # fmt: skip


def summary(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """An entry a model and size, the most close ones first: means over devices and repeats, with 95 % intervals over
    devices (over repeats, where there is one device)."""
    entries = []
    devices = {row["device"] for row in rows}
    for model, size in sorted({(row["model"], row["train"]) for row in rows}):
        some = [row for row in rows if (row["model"], row["train"]) == (model, size)]
        entry: dict[str, Any] = {"model": model, "train": size, "devices": len(devices)}
        for name in ("kendall", "within", "error"):
            values = [row[name] for row in some]
            if len(devices) > 1:
                values = [float(np.mean([row[name] for row in some if row["device"] == d])) for d in sorted(devices)]
            entry |= with_interval(name, values)
        entry["seconds"] = float(np.mean([row["seconds"] for row in some]))
        entries.append(entry)
    return sorted(entries, key=lambda entry: (entry["train"], -entry["within"]))
