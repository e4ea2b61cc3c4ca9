"""What integers cost, by scheme, algorithm, architecture and bits (the grid of MQBench, Li et al. 2021, 2111.03759)."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from archscout.core import options
from archscout.core.errors import UsageError
from archscout.core.seeds import derive
from archscout.core.space import Space
from archscout.core.task import Task
from archscout.deploy.quantise import Quantisation
from archscout.finished.algorithms import check_algorithm, check_images, simulated, to_integers, trains
from archscout.finished.examples import EXAMPLES, stored
from archscout.networks.pick import build
from archscout.study.record import Record, carry_out, setting_of
from archscout.study.summary import with_interval
from archscout.tasks.meters import meter_of
from archscout.training.recipe import Recipe, bits_of
from archscout.training.trainer import train

PAPERS = "papers"
"""The scheme whose values between layers stay as they are, with first and last layer of 8 bits (`simulation.academic`);
all others are of `archscout.deploy.schemes` and become integers."""

WHOLE = "w8a8"
"""Here only rounding to nearest is tried: there is hardly anything to recover."""

USUAL = ("resnet8", "stem16k3s1_inverted16x1k3e4_inverted32x1k3e4-stride")
"""Architectures of space `classic` where none is named: a residual network, and one of depthwise convolutions."""

TRAINED: dict[str, type] = {"architecture": str, "repeat": int, "float": float}
COLUMNS: dict[str, type] = TRAINED | {
    **dict.fromkeys(("scheme", "bits", "algorithm"), str), **dict.fromkeys(("value", "lost", "seconds"), float),
}  # fmt: skip
"""The types of what stands in a row, of a training and of a cell."""

_BATCH = 256


@dataclass(frozen=True)
class Grid:
    """What is compared.

    Args:
        architectures: of the space, or names of its reference designs.
        schemes: of `archscout.deploy.schemes`, or `papers`.
        algorithms: of `archscout.finished.algorithms`.
        bits: of weights and activations, as `w4a8`.
        repeats: trainings of each architecture, with other weights and orders.
        epochs: of these trainings.
        aware_epochs: of quantisation-aware ones.
        examples: of training, that ranges are taken from, and rounding is learned from.
        seed: of all random decisions.
    """

    architectures: tuple[str, ...]
    schemes: tuple[str, ...] = ("microcontroller", "academic", PAPERS)
    algorithms: tuple[str, ...] = ("nearest", "adaround", "qdrop", "lsq")
    bits: tuple[str, ...] = ("w8a8", "w4a4", "w3a8")
    repeats: int = 3
    epochs: int = 12
    aware_epochs: int = 3
    examples: int = EXAMPLES
    seed: int = 0

    def cells(self) -> list[tuple[str, str, str, str]]:
        """Architecture, scheme, bits and algorithm of each cell."""
        return [
            (architecture, scheme, bits, algorithm)
            for architecture in self.architectures
            for scheme in self.schemes
            for bits in self.bits
            for algorithm in (self.algorithms if bits != WHOLE else ("nearest",))
        ]


def compare(
    space: Space,
    task: Task,
    grid: Grid,
    folder: Path,
    *,
    workers: int = 0,
    fresh: bool = False,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> list[dict[str, Any]]:
    """Train every architecture and quantise it in every way, in `folder`; the same call goes on where it was stopped.

    Args:
        space: of the architectures.
        task: of images; the test split is measured on (validation where there is none).
        grid: what is compared.
        folder: of the study; the trained networks are kept there.
        workers: processes; 0 for this one.
        fresh: whether a study that the folder holds is set aside first.
        progress: told how many cells of how many are done.

    Returns:
        One row a cell and repeat: `architecture`, `scheme`, `bits`, `algorithm`, `repeat`, `float`, the metric in
        floating point, `value`, that in integers, `lost` (how much worse, in points where the metric is a share) and
        `seconds` of CPU time.

    Raises:
        UsageError: for unknown names or bits, a task not of images, and a folder of another study.
    """
    workers, grid = options.workers(workers), _checked(grid, space)
    check_images(task)
    space.check_task(task)
    setting = setting_of(space, task, "quantisation", asdict(grid), ("architectures", "schemes", "algorithms", "bits"))
    payload = (space, task, grid, folder)
    with Record.open(folder, setting, fresh) as record:
        (folder / "networks").mkdir(exist_ok=True)
        repeats = range(grid.repeats)
        trainings = [(architecture, repeat) for repeat in repeats for architecture in grid.architectures]
        carry_out(record, trainings, payload, train_one, workers, lambda done, total: None, TRAINED)
        jobs = [(" ".join((*cell[1:], cell[0])), repeat) for repeat in repeats for cell in grid.cells()]
        return carry_out(record, jobs, payload, measure, workers, progress, COLUMNS)


def _checked(grid: Grid, space: Space) -> Grid:
    names = {name: tuple(options.several(getattr(grid, name), name))
             for name in ("architectures", "schemes", "algorithms", "bits")}  # fmt: skip
    for name, values in names.items():
        if not values:
            raise UsageError(f"nothing is compared: name {name}.")
    for text in names["architectures"]:
        space.named(text)
    for algorithm in names["algorithms"]:
        check_algorithm(algorithm)
    for bits in names["bits"]:
        bits_of(bits)
    for scheme in names["schemes"]:
        how_of(scheme, WHOLE)
    numbers = {name: options.whole(getattr(grid, name), f"the number of {said}", 1) for name, said in (
        ("repeats", "repeats"), ("epochs", "epochs"), ("aware_epochs", "quantisation-aware epochs"),
        ("examples", "examples"))}  # fmt: skip
    return replace(grid, **names, **numbers, seed=options.seed(grid.seed))  # type: ignore[arg-type]


def how_of(scheme: str, bits: str) -> Quantisation:
    """The quantisation of a scheme's name at some bits. Raises `UsageError`."""
    return Quantisation("academic" if scheme == PAPERS else scheme, *bits_of(bits))


def train_one(payload: tuple[Space, Task, Grid, Path], architecture: str, repeat: int) -> list[dict[str, Any]]:
    """Train an architecture in floating point, and keep its weights."""
    space, task, grid, folder = payload
    seed = derive(grid.seed, "study", "quantisation", architecture, repeat)
    network = build(space, space.named(architecture), task, seed=seed)
    train(network, task, Recipe.default(task, grid.epochs), seed=seed)
    save_file(network.state_dict(), _weights(folder, grid, architecture, repeat))
    return [{"architecture": architecture, "repeat": repeat, "float": metric_of(task, network.eval())}]


def measure(payload: tuple[Space, Task, Grid, Path], name: str, repeat: int) -> list[dict[str, Any]]:
    """The row of a cell: scheme, bits, algorithm and architecture, with a blank between them."""
    space, task, grid, folder = payload
    scheme, bits, algorithm, architecture = name.split(" ", 3)
    network = build(space, space.named(architecture), task)
    network.load_state_dict(load_file(_weights(folder, grid, architecture, repeat)))
    network.eval()
    exact, began = metric_of(task, network), time.process_time()
    seed, how = derive(grid.seed, "study", "quantisation", "cell", repeat), how_of(scheme, bits)
    deployed = task.deploy(network).eval()
    if scheme == PAPERS:
        simulation = simulated(
            deployed, task, how, algorithm=algorithm, epochs=grid.aware_epochs, count=grid.examples, seed=seed,
            track="academic",
        )  # fmt: skip
        seconds, value = time.process_time() - began, metric_of(task, simulation)
    else:
        quantised = to_integers(
            deployed, task, how, algorithm=algorithm, epochs=grid.aware_epochs if trains(algorithm) else None,
            count=grid.examples, seed=seed,
        )  # fmt: skip
        seconds, value = time.process_time() - began, metric_of(task, quantised.run, as_stored=True)
    points = 100.0 if task.metric.percentage else 1.0
    lost = points * (task.metric.oriented(exact) - task.metric.oriented(value))
    return [{
        "architecture": architecture, "scheme": scheme, "bits": bits, "algorithm": algorithm, "repeat": repeat,
        "float": exact, "value": value, "lost": lost, "seconds": seconds,
    }]  # fmt: skip


def metric_of(task: Task, network: Callable[[Any], Any], *, as_stored: bool = False) -> float:
    """The metric on the test split (validation where there is none), of inputs as the task gives or stores them."""
    split = task.valid if task.test is None else task.test
    x, y = task.tensors(split)
    if as_stored:
        x = stored(task, split)
    meter = meter_of(task)
    with torch.no_grad():
        for part, targets in zip(x.split(_BATCH), y.split(_BATCH), strict=True):
            meter.update(network(part), targets)
    return meter.value()


def _weights(folder: Path, grid: Grid, architecture: str, repeat: int) -> Path:
    return folder / "networks" / f"{derive(grid.seed, architecture, repeat):016x}.safetensors"


def summary(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """One entry a cell: means over repeats with 95 % bootstrap intervals; `lost` is what integers cost."""
    keys = ("architecture", "scheme", "bits", "algorithm")
    entries = []
    for cell in dict.fromkeys(tuple(row[key] for key in keys) for row in rows):
        own = [row for row in rows if tuple(row[key] for key in keys) == cell]
        entry: dict[str, Any] = dict(zip(keys, cell, strict=True)) | {"repeats": len(own)}
        for key in ("float", "value", "lost", "seconds"):
            entry |= with_interval(key, [row[key] for row in own])
        entries.append(entry)
    return entries
