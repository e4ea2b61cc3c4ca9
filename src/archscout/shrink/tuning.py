"""Fine-tuning for the time there is: as many epochs as fit, and a shorter schedule where they turn out not to."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from archscout.core.files import write_text
from archscout.core.task import Split, Task
from archscout.shrink.kept import KeptFeatures
from archscout.shrink.planning import BATCH, MOST_PASSES, Clock
from archscout.training import checkpoint
from archscout.training.objective import Distillation, Objective, Teacher
from archscout.training.quick import quick_convolutions
from archscout.training.recipe import Recipe
from archscout.training.speed import Mode, choose
from archscout.training.trainer import Outcome, train

CHOSEN = 1000
"""Validation examples that tell the best epoch; with fewer, chance would choose, and the last one is taken."""

_LATE = 1.03


def fine_tune(
    network: nn.Module,
    task: Task,
    seconds: float,
    *,
    seed: int,
    clock: Clock,
    learning_rate: float = 5e-4,
    teacher: nn.Module | None = None,
    labels: bool = True,
    least: int = 1,
    mode: Mode | None = None,
    folder: Path | None = None,
    device: str = "cpu",
    on_epoch: Callable[[dict[str, float]], bool | None] | None = None,
) -> Outcome:
    """Train on for the epochs that fit into a time (AdamW, cosine, shifts and flips), in place.

    The best epoch is kept where enough validation examples tell it (`CHOSEN`), otherwise the last. A training that
    turns out too slow ends with a shorter schedule from where it is.

    Args:
        network: with trained weights; batch normalisation that is folded stays as it was.
        task: what it is trained for; of kept features in several copies, an epoch has as many as there are examples.
        seconds: how long, by `clock`.
        seed: of batches and augmentation.
        clock: tells the time in seconds.
        learning_rate: the highest.
        teacher: whose answers it learns as well.
        labels: whether the task's own loss counts too (without a teacher it must).
        least: epochs, whether they fit or not.
        mode: number format and layout, where they were timed before.
        folder: where a checkpoint is kept, and how many epochs were planned.
        device: where.
        on_epoch: called with each row of the curve; the training stops where it returns True.
    """
    gentle = dataclasses.replace(task, cutout=0) if getattr(task, "cutout", 0) else task  # type: ignore[call-arg]
    began = clock()
    objective = None
    if teacher is not None:
        temperature = 2.0 if task.outputs > 1 else None
        objective = Objective(
            Distillation(Teacher(teacher), temperature=temperature), task_weight=1.0 if labels else 0.0
        )
    with quick_convolutions():
        plan = _recall(folder, "plan")
        if plan is None:
            plan = _planned(network, gentle, seconds, clock, teacher, device, least, mode)
            _remember(folder, "plan", plan)
        recipe = Recipe(
            max(1, plan["epochs"]),
            BATCH,
            optimizer="adamw",
            learning_rate=learning_rate,
            relative_rate=True,
            weight_decay=0.05,
            warmup_epochs=min(0.3, plan["epochs"] / 4),
            label_smoothing=0.1,
            gradient_clip=5.0,
            norm_momentum=0.1,
            epoch_share=1 / gentle.copies if isinstance(gentle, KeptFeatures) else 1.0,
            layout=plan["layout"],
            precision=plan["precision"],
        )
        if not plan["epochs"]:
            return Outcome((), 0, math.nan, 0.0)
        training = _Training(network, gentle, seed, device, objective, on_epoch)
        return training.paced(recipe, began + seconds, clock, folder)


def _planned(
    network: nn.Module,
    task: Task,
    seconds: float,
    clock: Clock,
    teacher: nn.Module | None,
    device: str,
    least: int,
    mode: Mode | None,
) -> dict[str, Any]:
    """Number format and layout, and how many epochs fit."""
    began = clock()
    x, y = task.tensors(task.train.head(BATCH), device)
    x, y = x[:BATCH].clone(), y[:BATCH]
    network.to(device)
    steps = max(60, len(task.train) // BATCH)
    mode = mode or choose(network, x, lambda network, x: task.loss(network(x), y[: len(x)]), steps=steps)
    took = _pass_seconds(network, task, mode, clock, teacher, device)
    passes = max(float(least), min(MOST_PASSES, (seconds - (clock() - began)) / took))
    return {"epochs": int(passes), "precision": mode.precision, "layout": mode.layout}


def _pass_seconds(
    network: nn.Module, task: Task, mode: Mode, clock: Clock, teacher: nn.Module | None, device: str
) -> float:
    """What a pass over the examples and the validation after it take, by two steps."""
    x, y = task.tensors(task.train.head(BATCH), device)
    x, y = x[:BATCH].contiguous(memory_format=mode.memory_format), y[:BATCH]
    training = network.training
    network.to(memory_format=mode.memory_format)  # type: ignore[call-overload]
    network.train()
    times = []
    for _ in range(3):
        start = clock()
        with mode.autocast(device):
            loss = task.loss(network(x), y)
        loss.backward()
        if teacher is not None:
            with torch.no_grad(), mode.autocast(device):
                teacher(x)
        times.append(clock() - start)
    network.eval()
    with torch.no_grad(), mode.autocast(device):
        start = clock()
        network(x)
        forward = clock() - start
    network.zero_grad(set_to_none=True)
    network.train(training)
    network.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
    count = len(task.train) // (task.copies if isinstance(task, KeptFeatures) else 1)
    return max(1e-6, (min(times[1:]) * 1.1 * count + forward * len(task.valid)) / len(x))


@dataclass(frozen=True)
class _Training:
    """What a training in one or two stretches has in common."""

    network: nn.Module
    task: Task
    seed: int
    device: str
    objective: Objective | None
    on_epoch: Callable[[dict[str, float]], bool | None] | None

    def paced(self, recipe: Recipe, end: float, clock: Clock, folder: Path | None) -> Outcome:
        """Train as planned; where that would overrun, end with a shorter schedule from where the training is."""
        marks: list[float] = [clock()]
        stopped: list[bool] = []

        def late(row: dict[str, float]) -> bool:
            marks.append(clock())
            if self.on_epoch is not None and self.on_epoch(row):
                stopped.append(True)
            left = recipe.epochs - row["epoch"]
            return bool(stopped) or (left > 0 and marks[-1] + left * _pace(marks) > marks[0] + _LATE * (end - marks[0]))

        shortened = _recall(folder, "shortened")
        file = None if folder is None else folder / "shortened.safetensors"
        if shortened is None:
            outcome = self.stretch(recipe, folder, late)
            done = len(outcome.curve)
            if stopped or outcome.diverged or not done or done >= recipe.epochs:
                return outcome
            epochs = int((end - clock()) / _pace(marks))
            if epochs < 1:
                return outcome
            rate = max(0.02, recipe.rate(done, 1) / recipe.learning_rate) * recipe.learning_rate
            shortened = {"epochs": epochs, "rate": rate, "curve": list(outcome.curve), "seconds": outcome.seconds}
            if file is not None:
                checkpoint.write(file, self.network.state_dict(), {})
            _remember(folder, "shortened", shortened)
        elif file is not None and (kept := checkpoint.read(file, self.device)) is not None:
            self.network.load_state_dict(kept[0])
        before = shortened["curve"]
        rest = dataclasses.replace(
            recipe, epochs=shortened["epochs"], warmup_epochs=0.0, learning_rate=shortened["rate"]
        )
        ending = self.stretch(rest, None if folder is None else folder / "shortened", self.on_epoch)
        rows = [{**row, "epoch": row["epoch"] + len(before)} for row in ending.curve]
        return dataclasses.replace(ending, curve=(*before, *rows), seconds=shortened["seconds"] + ending.seconds)

    def stretch(
        self, recipe: Recipe, folder: Path | None, on_epoch: Callable[[dict[str, float]], bool | None] | None
    ) -> Outcome:
        task, measured = self.task, dict[str, Split]()
        by_last = len(task.valid) < CHOSEN
        if by_last:
            measured = {"held": task.valid} if len(task.valid) else {}
            task = dataclasses.replace(task, valid=Split(task.valid.x[:0], task.valid.y[:0]))
            recipe = dataclasses.replace(recipe, fit_on="train+valid")
        metric = str(task.metric)

        def renamed(row: dict[str, float]) -> dict[str, float]:
            return {name.replace("held_", "valid_"): value for name, value in row.items()}

        outcome = train(
            self.network, task, recipe, seed=self.seed, device=self.device, folder=folder,
            on_epoch=None if on_epoch is None else lambda row: on_epoch(renamed(row)),
            objective=self.objective, measured=measured,
        )  # fmt: skip
        if not by_last:
            return outcome
        curve = tuple(renamed(row) for row in outcome.curve)
        best = curve[outcome.best_epoch - 1].get(f"valid_{metric}", math.nan) if outcome.best_epoch else math.nan
        return dataclasses.replace(outcome, curve=curve, valid_metric=best)


def _pace(marks: Sequence[float]) -> float:
    """Seconds an epoch, of the last ones."""
    recent = marks[-4:]
    return (recent[-1] - recent[0]) / (len(recent) - 1)


def _recall(folder: Path | None, name: str) -> dict[str, Any] | None:
    file = None if folder is None else folder / f"{name}.json"
    found: dict[str, Any] | None = json.loads(file.read_text(encoding="utf-8")) if file and file.is_file() else None
    return found


def _remember(folder: Path | None, name: str, value: dict[str, Any]) -> None:
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
        write_text(folder / f"{name}.json", json.dumps(value))
