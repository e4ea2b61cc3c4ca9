"""What the benchmarks of trained starts have in common: rows in docs/results/shrink.json, progress as lines, a cut."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from archscout.core.estimator import Setting
from archscout.core.files import write_text
from archscout.core.registry import create
from archscout.core.task import Task
from archscout.shrink.record import Record
from archscout.shrink.reduction import DEEP, Cutting, Reduced, reduce
from archscout.spaces.trained import TrainedSpace
from archscout.training.speed import Mode
from archscout.training.trainer import predict
from benchmarks.common import RESULTS, machine

FILE = RESULTS / "shrink.json"


class Lines:
    """Progress of a run as lines, each with the processor seconds since it began."""

    def __init__(self) -> None:
        self.began = time.process_time()

    def say(self, text: str) -> None:
        print(f"{time.process_time() - self.began:7.1f}  {text}", flush=True)

    def update(self, phase: str, done: float, total: object, best: float | None, left: float | None) -> None:
        self.say(f"{phase}: {done:g}, {best}")

    def close(self) -> None:
        pass


def read(file: Path = FILE) -> list[dict[str, Any]]:
    """The rows that are there."""
    rows: list[dict[str, Any]] = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else []
    return rows


def add(kind: str, row: Mapping[str, Any], file: Path = FILE) -> None:
    """Add a row, with the machine's name and how busy it was."""
    rows = [*read(file), {"kind": kind, **row, "conditions": machine()}]
    write_text(file, json.dumps(rows, indent=1) + "\n")


def begun(folder: Path, task: Task, seconds: float, seed: int) -> Record:
    """A record with so many processor seconds from now on."""
    folder.mkdir(parents=True, exist_ok=True)
    now = time.process_time()
    return Record(
        folder, task, seed=seed, device="cpu", watch=Lines(), clock=time.process_time, end=now + seconds, began=now,
        shared=None,
    )  # fmt: skip


def cut_to(
    folder: Path, network: nn.Module, space: TrainedSpace, task: Task, limit: float, seconds: float, seed: int,
    mode: Mode | None = None, deep: float = DEEP,
) -> Reduced:  # fmt: skip
    """Cut to a limit in milliseconds, and recovered, in so many seconds; below a share of the latency in two rounds."""
    record = begun(folder, task, seconds, seed)
    record.mode = mode
    costs = {"latency": create("cost", "latency")}
    way = Cutting(record, network, space, Setting(space, task.sealed(), seed=seed), costs, deep)
    return reduce(record, way, costs, {"latency": limit}, True)


def accuracy(network: nn.Module, task: Task) -> float:
    """On the test split."""
    assert task.test is not None
    return task.measure(predict(network, task, task.test), torch.as_tensor(task.test.y))
