"""What a run from a trained network keeps between sittings, and what it notes for its report."""

from __future__ import annotations

import dataclasses
import json
import math
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from archscout.core.errors import UsageError
from archscout.core.files import write_json
from archscout.core.progress import Progress
from archscout.core.task import Split, Task
from archscout.estimators.final import parted
from archscout.shrink.planning import Clock
from archscout.shrink.tuning import fine_tune
from archscout.tasks.images import ImageClassification
from archscout.training import checkpoint
from archscout.training.speed import Mode
from archscout.training.trainer import predict

SETTING = "shrink.json"
"""In a run's folder: what was asked for."""

WORK = "work"
"""A folder in it: what is kept between sittings."""

TRANSFER_SHARE = 0.4
"""Of the time, what goes to fine-tuning before anything is cut, where the head is new."""

COMMON = ("probe", "fine-tuning")
"""Weights that runs which differ in limits alone have in common."""

_EARLIER = {"replace": False}
"""What runs of earlier versions did not note."""


class Record:
    """A run under way: its time, its files, and what came of each step.

    Args:
        folder: of the run.
        task: as the user has it; `learned` is what weights learn from.
        seed, device: of the run.
        watch: who is told how it goes.
        clock: tells the time in seconds; `end` is when the budget ends, `began` when it began.
        shared: a folder for what runs that differ in limits alone have in common.
        reserve: seconds before `end` when training must be over; `end` is then that moment.
        transfer_share: of the time, what goes to fine-tuning before anything is cut.
    """

    def __init__(
        self,
        folder: Path,
        task: Task,
        *,
        seed: int,
        device: str,
        watch: Progress,
        clock: Clock,
        end: float,
        began: float,
        shared: Path | None,
        reserve: float = 0.0,
        transfer_share: float = TRANSFER_SHARE,
    ) -> None:
        self.folder, self.task, self.seed, self.device, self.watch = folder, task, seed, device, watch
        self.clock, self.end, self.began, self.reserve = clock, end - reserve, began, reserve
        self.files = folder / WORK
        self.files.mkdir(exist_ok=True)
        self.shared, self.transfer_share = shared, transfer_share
        self.learned = learned(task, seed)
        self.seconds: dict[str, float] = {}
        """Of each phase."""
        self.steps: list[dict[str, Any]] = []
        """Accuracy after each step, for the report."""
        self.value = math.nan
        """Of the network as it is now, on validation."""
        self.curve: Sequence[Mapping[str, float]] = ()
        """Of the last training."""
        self.mode: Mode | None = None
        """In which a backbone is trained, once it has been timed."""
        spent = self.recall("spent", float)
        if spent is not None:
            self.end -= spent
            self.began -= spent

    @property
    def left(self) -> float:
        """Seconds."""
        return self.end - self.clock()

    def keep_free(self, seconds: float) -> None:
        """Training ends so much earlier, for what comes after it."""
        self.end -= seconds

    def recall(self, key: str, kind: Callable[[Any], Any] = lambda value: value) -> Any:
        """A value that was kept; None where there is none."""
        file = self.files / f"{key}.json"
        return kind(json.loads(file.read_text(encoding="utf-8"))) if file.is_file() else None

    def once(self, key: str, make: Callable[[], Any]) -> Any:
        """A JSON value that is made once, whatever the number of sittings."""
        value = self.recall(key)
        if value is None:
            value = make()
            write_json(self.files / f"{key}.json", value)
            self.spend()
        return value

    def spend(self) -> None:
        """Note how much of the budget is gone."""
        write_json(self.files / "spent.json", self.clock() - self.began)

    def phase(self, name: str, since: float) -> None:
        """Note that a phase took the time since then."""
        self.seconds[name] = self.seconds.get(name, 0.0) + self.clock() - since

    def weights(self, key: str, network: nn.Module, make: Callable[[], Any]) -> None:
        """Weights that are made once: `make` changes the network in place, and what comes of it is kept."""
        common = self.shared is not None and key in COMMON
        file = (self.shared if common and self.shared is not None else self.files) / f"{key}.safetensors"
        kept = checkpoint.read(file, self.device)
        if kept is None:
            make()
            checkpoint.write(file, network.state_dict(), {})
            self.spend()
        else:
            network.load_state_dict(kept[0])

    def step(self, what: str, network: nn.Module) -> None:
        """Note what the network is worth on the validation split after a step."""
        network.eval()
        valid = self.learned.valid
        outputs = predict(network, self.learned, valid, device=self.device)
        self.value = self.task.measure(outputs, torch.as_tensor(valid.y))
        self.steps.append({"step": what, f"valid_{self.task.metric}": self.value, "seconds": self.clock() - self.began})
        self.watch.say(f"{what}: {self.task.metric} {self.value:.4g} on validation.")

    def train(
        self,
        phase: str,
        network: nn.Module,
        seconds: float,
        teacher: nn.Module | None = None,
        labels: bool = True,
        part: Callable[[], tuple[nn.Module, Task]] | None = None,
    ) -> None:
        """Fine-tune a network, or a part of it that has a task of its own; what comes of it is kept.

        Args:
            phase: its name.
            network: whose weights change.
            seconds: how long.
            teacher, labels: as `fine_tune` has them.
            part: the part that is trained, with its task.
        """
        start = self.clock()

        def note(row: dict[str, float]) -> None:
            metric = row.get(f"valid_{self.task.metric}")
            self.watch.update(phase, row["epoch"], None, metric, max(0.0, self.left))
            self.spend()

        def make() -> None:
            trained, task = (network, self.learned) if part is None else part()
            outcome = fine_tune(
                trained, task, seconds - (self.clock() - start), seed=self.seed, clock=self.clock, teacher=teacher,
                labels=labels, least=1 if part is None else 0, mode=self.mode, folder=self.files / phase,
                device=self.device, on_epoch=note,
            )  # fmt: skip
            write_json(self.files / f"{phase}-curve.json", [dict(row) for row in outcome.curve])

        self.weights(phase, network, make)
        self.curve = self.recall(f"{phase}-curve") or []
        self.phase(phase, start)


def learned(task: Task, seed: int) -> Task:
    """The task as weights learn it: of validation examples that were drawn from the training examples, most too."""
    sealed = task.sealed()
    if "valid" not in task.drawn:
        return sealed
    parts, held = parted(sealed, seed)
    if held is None:
        return sealed
    joined = Split(np.concatenate([task.train.x, parts.valid.x]), np.concatenate([task.train.y, parts.valid.y]))
    # What inputs are normalised by stays, for the network has it built in.
    fixed: dict[str, Any] = {"statistics": (task.mean, task.std)} if isinstance(task, ImageClassification) else {}
    return dataclasses.replace(sealed, train=joined, valid=held, **fixed)


def same_call(folder: Path, config: Mapping[str, Any], name: str) -> None:
    """The run's folder is of this very call, or new, or of a run that ended before any weights were kept.

    Raises `UsageError` where it is not.
    """
    file = folder / SETTING
    finished = (folder / "metrics.json").is_file()
    if file.is_file():
        before = json.loads(file.read_text(encoding="utf-8"))
        before = _EARLIER | before
        for key, value in config.items():
            if before.get(key) != value:
                if not finished and not any((folder / WORK).rglob("*.safetensors")):
                    shutil.rmtree(folder / WORK, ignore_errors=True)  # refused or stopped: there is nothing to lose
                    break
                raise UsageError(
                    f"run '{name}' was started with {key} = {before.get(key)}, not {value}: repeat the first command "
                    "to resume it, or start another with --name."
                )
    elif finished:
        raise UsageError(f"run '{name}' is of another command: choose another --name.")
    write_json(file, config)
