"""What a run from a trained network keeps between sittings, and what it notes for its report."""

from __future__ import annotations

import copy
import dataclasses
import json
import math
import shutil
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from archscout.core.errors import UsageError
from archscout.core.files import write_json
from archscout.core.progress import Progress
from archscout.core.task import Split, Task
from archscout.estimators.final import parted
from archscout.search.continuing import grows
from archscout.shrink.planning import Clock
from archscout.shrink.tuning import fine_tune
from archscout.tasks.image_task import ImageTask
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

_EARLIER = {"replace": False, "recipe": "default"}
"""What runs of earlier versions did not note."""

_RAISED = "raised.json"
"""In the folder of what is kept: how often a finished run got a larger budget."""


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
        self.seconds: dict[str, float] = self.recall("seconds") or {}
        """Of each phase."""
        self.steps: list[dict[str, Any]] = []
        """Accuracy after each step, for the report."""
        self.value = math.nan
        """Of the network as it is now, on validation."""
        self.curve: Sequence[Mapping[str, float]] = ()
        """Of the last training."""
        self.mode: Mode | None = None
        """In which a backbone is trained, once it has been timed."""
        self.raised = int(self.recall(Path(_RAISED).stem) or 0)
        """How often the run was finished, and got a larger budget."""
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

    def finish(self) -> None:
        """What a larger budget would go on from stays; checkpoints of trainings that ended go."""
        self.spend()
        for folder in self.files.iterdir():
            if folder.is_dir():
                shutil.rmtree(folder, ignore_errors=True)

    def phase(self, name: str, since: float) -> None:
        """Note that a phase took the time since then."""
        self.seconds[name] = self.seconds.get(name, 0.0) + self.clock() - since
        write_json(self.files / "seconds.json", self.seconds)

    def has_weights(self, key: str) -> bool:
        """Whether weights of this key are kept."""
        return (self.files / f"{key}.safetensors").is_file()

    def all_seconds(self) -> dict[str, float]:
        """Of each phase, and of what is none: reading, timing, measuring."""
        rest = self.clock() - self.began - sum(self.seconds.values())
        return {**self.seconds, "other": rest} if rest > 0 else self.seconds

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

    def improve(
        self,
        what: str,
        network: nn.Module,
        train: Callable[[], None],
        shipped: Callable[[nn.Module], nn.Module] = lambda network: network,
    ) -> None:
        """Train a network further, in place; what leaves it worse on validation than chance explains is undone.

        Args:
            what: the name of the step.
            network: whose weights change.
            train: changes them.
            shipped: the form in which it is measured.
        """
        before, accuracy = copy.deepcopy(network.state_dict()), self.value
        train()
        self.step(what, shipped(network))
        metric = self.task.metric
        if worse(metric.oriented(self.value), metric.oriented(accuracy), len(self.learned.valid)):
            network.load_state_dict(before)
            self.step(f"{what}, undone", shipped(network))

    def longer(
        self,
        network: nn.Module,
        train: Callable[[str], None],
        shipped: Callable[[nn.Module], nn.Module] = lambda network: network,
    ) -> None:
        """Train on, once for each larger budget; `train` takes the phase's name. For the rest see `improve`."""
        for number in range(1, self.raised + 1):
            self.improve("trained longer", network, partial(train, f"longer-{number}"), shipped)

    def step(self, what: str, network: nn.Module) -> None:
        """Note what the network is worth on the validation split after a step."""
        network.eval()
        key, before = f"valid_{self.task.metric}", len(self.steps)
        noted: list[dict[str, Any]] = self.recall("steps") or []
        if before < len(noted) and noted[before]["step"] == what:  # an earlier sitting looked
            self.value = noted[before][key]
            self.steps.append(noted[before])
            return
        valid = self.learned.valid
        outputs = predict(network, self.learned, valid, device=self.device)
        _, targets = self.learned.tensors(valid)  # numbers are standardised, as outputs are
        self.value = self.task.measure(outputs, targets[:])
        self.steps.append({"step": what, key: self.value, "seconds": self.clock() - self.began})
        write_json(self.files / "steps.json", self.steps)
        self.watch.say(f"{what}: {self.task.metric} {self.value:.4g} on validation.")

    def train(
        self,
        phase: str,
        network: nn.Module,
        seconds: float,
        teacher: nn.Module | None = None,
        labels: bool = True,
        part: Callable[[], tuple[nn.Module, Task]] | None = None,
        goes_on: bool = False,
        least: float | None = None,
    ) -> None:
        """Fine-tune a network, or a part of it that has a task of its own; what comes of it is kept.

        Args:
            phase: its name.
            network: whose weights change.
            seconds: how long.
            teacher, labels: as `fine_tune` has them.
            part: the part that is trained, with its task.
            goes_on: whether this is the rest of the training before it: their curves are one.
            least: passes over the examples that are made whether they fit or not; by default one of a whole network.
        """
        start = self.clock()
        passes = least if least is not None else 1 if part is None else 0

        def note(row: dict[str, float]) -> None:
            metric = row.get(f"valid_{self.task.metric}")
            self.watch.update(phase, row["epoch"], None, metric, max(0.0, self.left))
            self.spend()

        def make() -> None:
            trained, task = (network, self.learned) if part is None else part()
            outcome = fine_tune(
                trained, task, seconds - (self.clock() - start), seed=self.seed, clock=self.clock, teacher=teacher,
                labels=labels, least=passes, mode=self.mode, folder=self.files / phase,
                device=self.device, on_epoch=note,
            )  # fmt: skip
            write_json(self.files / f"{phase}-curve.json", [dict(row) for row in outcome.curve])

        self.weights(phase, network, make)
        rows: list[dict[str, float]] = self.recall(f"{phase}-curve") or []
        before = self.curve if goes_on else ()
        self.curve = [*before, *({**row, "epoch": row["epoch"] + len(before)} for row in rows)]
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
    # What inputs and numbers are normalised by stays, for the network has it built in.
    fixed: dict[str, Any] = {"statistics": (task.mean, task.std)} if isinstance(task, ImageTask) else {}
    if hasattr(task, "target_scale"):
        fixed["scale"] = task.target_scale
    return dataclasses.replace(sealed, train=joined, valid=held, **fixed)


def worse(after: float, before: float, examples: int) -> bool:
    """Whether a metric (higher is better) fell by more than chance makes it fall on so many validation examples."""
    return not after >= before - abs(before) / math.sqrt(max(1, examples))


def same_call(folder: Path, config: Mapping[str, Any], name: str) -> bool:
    """Whether there is the result of this very call.

    The run's folder is of this call, or of one with a smaller budget, which goes on, or new, or of a run that ended
    before any weights were kept. Raises `UsageError` where it is not.
    """
    file, result = folder / SETTING, folder / "metrics.json"
    finished = result.is_file() and json.loads(result.read_text(encoding="utf-8")).get("budget")
    if not file.is_file():
        if finished:
            raise UsageError(f"run '{name}' is of another command: choose another --name.")
        write_json(file, config)
        return False
    before = _EARLIER | json.loads(file.read_text(encoding="utf-8"))
    changed = [key for key, value in config.items() if before.get(key) != value]
    there = any((folder / WORK).rglob("*.safetensors")) or bool(finished and (folder / WORK / "steps.json").is_file())
    if changed == ["budget"] and there and grows(before["budget"], config["budget"]):
        if finished == before["budget"]:
            raised = folder / WORK / _RAISED
            write_json(raised, 1 + (json.loads(raised.read_text(encoding="utf-8")) if raised.is_file() else 0))
    elif changed and not finished and not there:
        shutil.rmtree(folder / WORK, ignore_errors=True)  # refused or stopped: there is nothing to lose
    elif changed:
        raise UsageError(_refusal(name, changed, before, config, there))
    write_json(file, config)
    return bool(finished and finished == config.get("budget"))


def _refusal(
    name: str, changed: Sequence[str], before: Mapping[str, Any], config: Mapping[str, Any], there: bool
) -> str:
    other = next((key for key in changed if key != "budget"), None)
    if other is not None:
        return (
            f"run '{name}' was started with {other} = {before.get(other)}, not {config[other]}: repeat the first "
            "command to resume it, or start another with --name."
        )
    old, new = before["budget"], config["budget"]
    if there:
        return (
            f"run '{name}' has had a budget of {old}, and {new} is no more than that: give more to go on with it, or "
            "start another with --name."
        )
    return (
        f"run '{name}' had a budget of {old}, and nothing is left of what it was trained with: start another with "
        "--name."
    )
