"""Fine-tuning for the time there is: a schedule that fills it, and another where steps take otherwise than timed."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable
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
from archscout.training.asked import recipe_for
from archscout.training.objective import Distillation, Objective, Teacher
from archscout.training.quick import quick_convolutions
from archscout.training.recipe import Recipe
from archscout.training.speed import Mode, choose
from archscout.training.trainer import Outcome, train

CHOSEN = 1000
"""Validation examples that tell the best epoch; with fewer, chance would choose, and the last one is taken."""

LEAST = 0.1
"""Passes over the examples that a training has, whether they fit or not."""

_FILLED = 0.97
"""Of the time, what a schedule is planned to take."""

_EARLY = 0.9
"""A training that would end before this share of its time goes on with a longer schedule."""

_STRETCHES = 4
"""Schedules of one training, at most."""

_LOOKS = 8
"""Times in an epoch that the clock is looked at, if it has twice as many steps or is much of the time (`_MANY`)."""

_MANY = 20
"""Epochs above which one with few steps is too short to be looked at."""

_FEW = 3


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
    least: float = LEAST,
    mode: Mode | None = None,
    folder: Path | None = None,
    device: str = "cpu",
    on_epoch: Callable[[dict[str, float]], bool | None] | None = None,
) -> Outcome:
    """Train on for the epochs that fill a time (AdamW, cosine, shifts and flips), in place.

    The best epoch is kept where enough validation examples tell it (`CHOSEN`), otherwise the last. A training that
    turns out slower than it was timed, or quicker, goes on with another schedule from where it is.

    Args:
        network: with trained weights; batch normalisation that is folded stays as it was.
        task: what it is trained for; of kept features in several copies, an epoch has as many as there are examples.
        seconds: how long, by `clock`.
        seed: of batches and augmentation.
        clock: tells the time in seconds.
        learning_rate: the highest.
        teacher: whose answers it learns as well.
        labels: whether the task's own loss counts too (without a teacher it must).
        least: passes over the examples; where fewer fit, so many are made (`LEAST`), or, where that is 0, none.
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
        own = Recipe(
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
            epoch_share=plan["share"] / _copies(gentle),
            layout=plan["layout"],
            precision=plan["precision"],
        )
        # The plan says how long: of a recipe with a name, too.
        recipe = dataclasses.replace(
            recipe_for(gentle, own.epochs, own), epochs=own.epochs, epoch_share=own.epoch_share
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
    least: float,
    mode: Mode | None,
) -> dict[str, Any]:
    """Number format and layout, how many epochs fit, and of which share of the examples."""
    began = clock()
    mode, took = timed(network, task, clock, teacher, device, mode)
    passes = max(least, min(MOST_PASSES, _FILLED * (seconds - (clock() - began)) / took))
    epochs, share = _epochs(passes) if passes >= LEAST else (0, 1.0)
    return {"epochs": epochs, "share": share, "precision": mode.precision, "layout": mode.layout}


def _epochs(passes: float) -> tuple[int, float]:
    """Passes over the examples as whole epochs, and the share of the examples that each of these has."""
    epochs = max(1, math.ceil(passes - 0.05))
    return epochs, min(1.0, passes / epochs)


def _copies(task: Task) -> int:
    return task.copies if isinstance(task, KeptFeatures) else 1


def timed(
    network: nn.Module, task: Task, clock: Clock, teacher: nn.Module | None, device: str, mode: Mode | None = None
) -> tuple[Mode, float]:
    """The quickest number format and layout, unless they are given, and the seconds of a pass over the examples."""
    x, y = task.tensors(task.train.head(BATCH), device)
    x, y = x[:BATCH].clone(), y[:BATCH]
    network.to(device)
    steps = max(60, len(task.train) // BATCH)
    mode = mode or choose(network, x, lambda network, x: task.loss(network(x), y[: len(x)]), steps=steps)
    return mode, _pass_seconds(network, task, mode, clock, teacher, device)


def _pass_seconds(
    network: nn.Module, task: Task, mode: Mode, clock: Clock, teacher: nn.Module | None, device: str
) -> float:
    """What a pass over the examples and the validation after it take by `clock`, by two steps."""
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
    count = len(task.train) // _copies(task)
    return max(1e-6, (min(times[1:]) * 1.1 * count + forward * len(task.valid)) / len(x))


@dataclass(frozen=True)
class _Training:
    """What the stretches of a training, each with a schedule of its own, have in common."""

    network: nn.Module
    task: Task
    seed: int
    device: str
    objective: Objective | None
    on_epoch: Callable[[dict[str, float]], bool | None] | None

    def paced(self, recipe: Recipe, end: float, clock: Clock, folder: Path | None) -> Outcome:
        """Train as planned; what would end late, or leave much of the time, goes on with a schedule that fits."""
        now: dict[str, Any] = _recall(folder, "stretch") or {
            "number": 0, "epochs": recipe.epochs, "share": recipe.epoch_share, "rate": recipe.learning_rate,
            "curve": [], "seconds": 0.0,
        }  # fmt: skip
        if folder is not None and now["number"]:
            kept = checkpoint.read(folder / "stretch.safetensors", self.device)
            assert kept is not None
            self.network.load_state_dict(kept[0])
        while True:
            number, before = now["number"], now["curve"]
            planned = dataclasses.replace(
                recipe, epochs=now["epochs"], epoch_share=now["share"], learning_rate=now["rate"],
                warmup_epochs=0.0 if number else recipe.warmup_epochs,
            )  # fmt: skip
            watched = _Watched(planned, end, clock, number == _STRETCHES - 1, len(before), self.on_epoch)
            place = folder if folder is None or not number else folder / f"stretch-{number}"
            outcome = self.stretch(planned, place, watched)
            curve = [*before, *({**row, "epoch": row["epoch"] + len(before)} for row in outcome.curve)]
            seconds, best = now["seconds"] + outcome.seconds, outcome.best_epoch + len(before)
            whole = dataclasses.replace(outcome, curve=tuple(curve), seconds=seconds, best_epoch=best)
            if not watched.off_plan:
                return whole
            passes = _FILLED * (end - clock()) / watched.pace * planned.epoch_share * _copies(self.task)
            if watched.cut is not None and passes < LEAST:
                return whole
            epochs, share = _epochs(min(max(passes, LEAST), MOST_PASSES))  # at least so that the rate falls
            rate = max(0.02 * recipe.learning_rate, planned.rate(watched.cut or len(outcome.curve), 1))
            now = {"number": number + 1, "epochs": epochs, "share": share / _copies(self.task), "rate": rate,
                   "curve": curve, "seconds": seconds}  # fmt: skip
            if folder is not None:
                checkpoint.write(folder / "stretch.safetensors", self.network.state_dict(), {})
            _remember(folder, "stretch", now)

    def stretch(self, recipe: Recipe, folder: Path | None, watched: _Watched) -> Outcome:
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
            on_epoch=lambda row: watched(renamed(row)), on_step=watched.overruns,
            objective=self.objective, measured=measured,
        )  # fmt: skip
        if not by_last:
            return outcome
        curve = tuple(renamed(row) for row in outcome.curve)
        best = curve[outcome.best_epoch - 1].get(f"valid_{metric}", math.nan) if outcome.best_epoch else math.nan
        return dataclasses.replace(outcome, curve=curve, valid_metric=best)


class _Watched:
    """Whether a stretch of training keeps to its time: asked after each epoch, it stops what does not.

    Args:
        recipe: of the stretch.
        end: when training must be over.
        clock: tells the time.
        last: whether the stretch goes on, however long it takes.
        before: epochs of earlier stretches.
        on_epoch: who else is asked.
    """

    def __init__(
        self,
        recipe: Recipe,
        end: float,
        clock: Clock,
        last: bool,
        before: int,
        on_epoch: Callable[[dict[str, float]], bool | None] | None,
    ) -> None:
        self.recipe, self.end, self.clock, self.last = recipe, end, clock, last
        self.before, self.on_epoch = before, on_epoch
        self.marks = [clock()]
        self.off_plan = False
        """Whether it was stopped for another schedule."""
        self.cut: float | None = None
        """Epochs that were done when the one under way was cut."""
        self._steps = 0

    def overruns(self, done: float, seconds: float) -> bool:
        """Whether the epoch under way would end after the time, and is to be cut here: looked at from half-way."""
        share = done % 1
        self._steps = self._steps or round(1 / (share or 1))
        long = self._steps >= 2 * _LOOKS or self.recipe.epochs <= _MANY
        looks = share and round(share * self._steps) % max(1, self._steps // _LOOKS) == 0
        if not (long and looks) or (now := self.clock()) < 0.5 * (self.marks[0] + self.end):
            return False
        finish = now if self.last else now + (now - self.marks[-1]) * (1 - share) / share
        if finish <= self.end:
            return False
        self.cut = done
        return True

    def _latest(self) -> float:
        """Seconds of the last epoch where epochs are few: the mean would not tell that the machine became slow."""
        return self.marks[-1] - self.marks[-2] if self.recipe.epochs <= _FEW else 0.0

    @property
    def pace(self) -> float:
        """Seconds an epoch, of the last ones."""
        if self.cut is not None:
            return max(1e-9, (self.marks[-1] - self.marks[-2]) / (self.cut % 1))
        recent = self.marks[-4:]
        return max(1e-9, (recent[-1] - recent[0]) / (len(recent) - 1), self._latest())

    def __call__(self, row: dict[str, float]) -> bool:
        self.marks.append(self.clock())
        if self.on_epoch is not None and self.on_epoch({**row, "epoch": row["epoch"] + self.before}):
            return True
        if self.cut is not None:
            self.off_plan = not self.last and self.marks[-1] < self.end
            return True
        left = self.recipe.epochs - row["epoch"]
        finish = self.marks[-1] + left * self.pace
        early = row["epoch"] <= left and finish < self.marks[0] + _EARLY * (self.end - self.marks[0])
        longer = early and self.before + self.recipe.epochs < MOST_PASSES
        self.off_plan = not self.last and left > 0 and (finish > self.end or longer)
        return self.off_plan


def _recall(folder: Path | None, name: str) -> dict[str, Any] | None:
    file = None if folder is None else folder / f"{name}.json"
    noted: dict[str, Any] | None = json.loads(file.read_text(encoding="utf-8")) if file and file.is_file() else None
    return noted


def _remember(folder: Path | None, name: str, value: dict[str, Any]) -> None:
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
        write_text(folder / f"{name}.json", json.dumps(value))
