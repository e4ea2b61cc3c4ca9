"""The training of a search's winner: on all examples that may be learned from, for the seconds that are left."""

from __future__ import annotations

import dataclasses
import itertools
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from torch import Tensor, nn

from archscout.core.architecture import Architecture
from archscout.core.digest import digest
from archscout.core.estimator import Estimator, Setting
from archscout.core.files import write_text
from archscout.core.seeds import derive, stream
from archscout.core.task import Split, Task
from archscout.core.trial import Estimate, Trial
from archscout.networks.pick import build
from archscout.training import checkpoint
from archscout.training.asked import recipe_for
from archscout.training.course import takes_smaller
from archscout.training.recipe import Recipe
from archscout.training.trainer import Outcome, predict, train

HELD_OUT = 0.2
"""Of validation examples that were drawn from training examples, what stays apart to tell how good the network is."""

RECENT = 3
"""Epochs that tell how fast the machine is now."""

AVERAGED = 1 / 6
"""Share of the epochs, the last ones, whose weights are averaged."""

LATE = 1.02
"""By what factor a training may be slower than was planned before its schedule is shortened."""

EARLY = 0.98
"""By what share of its seconds a training may end before them, without its schedule being lengthened."""

SETTLED = 0.9
"""Share of the epochs after which a schedule is not lengthened: the learning rate has fallen."""

LEAST = 0.1
"""Of an epoch, the least that a training ends with where no whole one fits."""

TELLING = 0.05
"""Of an epoch, the least that tells the pace of one that is under way."""

SLIGHT = 0.05
"""Of an epoch, what is not worth an epoch more: epochs of less than all examples fill the time to its end."""

_HELD = "held_out"

FINAL = "final training"
"""The name that trials of it carry."""


class FinalTraining(Estimator):
    """Trains one architecture for so many epochs (the fidelity), or for what the seconds allow.

    Args:
        seconds: that the training may take; where it turns out slower than planned, the remaining epochs become fewer,
            where it turns out quicker, more, and the learning rate falls to zero in these.
        everything: whether four fifths of the validation examples are learned from as well; what is left of them
            tells the value. Meant for tasks whose validation examples were drawn from the training examples.
        known: the architecture's trial of cross-validation; then nothing is left out of what is learned from, and its
            value is the value.
        most: epochs that it may become; as planned, or fewer, where None.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"inputs", "targets", "gradients", "training"})
    keeps_time: ClassVar[bool] = True

    def __init__(
        self,
        seconds: float = math.inf,
        everything: bool = False,
        known: Trial | None = None,
        most: int | None = None,
    ) -> None:
        self.name = FINAL
        self.seconds, self.everything, self.known, self.most = seconds, everything, known, most

    def together(self, architectures: Sequence[Architecture], setting: Setting) -> int:
        return 1

    def estimate(
        self, architectures: Sequence[Architecture], setting: Setting, *, fidelity: int | None = None
    ) -> list[Estimate]:
        return [self._train(architecture, setting, fidelity or 1) for architecture in architectures]

    def _train(self, architecture: Architecture, setting: Setting, epochs: int) -> Estimate:
        canonical = setting.space.canonical(architecture)
        parts = self.everything and self.known is None
        task, held = parted(setting.task, setting.seed) if parts else (setting.task, None)
        recipe = recipe_for(task, epochs)
        whole = held is not None or self.known is not None
        if whole:
            # Nothing chooses the epoch then: the mean of the last ones is kept.
            averaged = max(1, round(AVERAGED * epochs))
            recipe = dataclasses.replace(recipe, fit_on="train+valid", averaged_epochs=averaged)
        seed = derive(setting.seed, "final training", canonical)
        network = build(setting.space, architecture, task, seed=seed, device=setting.device)
        folder = None
        if setting.folder is not None:
            file = final_weights(setting.folder, canonical, epochs)
            folder = file.with_suffix("")
            finished = checkpoint.read(file)
            if finished is not None:
                return _estimate(finished[1]["outcome"], finished[1]["done"], task)
        outcome = self._paced(network, task, held, recipe, seed, setting.device, folder)
        if held is not None and outcome["best_epoch"]:
            outputs = predict(network, task, held, device=setting.device)
            outcome["valid_metric"] = task.measure(outputs, task.tensors(held, setting.device)[1])
        if self.known is not None and outcome["best_epoch"]:
            outcome["valid_metric"] = task.metric.oriented(self.known.value)
        done = {
            "planned_epochs": epochs,
            "epochs": max(min(1, len(outcome["curve"])), round(outcome["passes"])),
            "examples": len(task.train) + (len(task.valid) if whole else 0),
            "valid_examples": len(task.valid if held is None else held),
        }
        if self.known is not None:
            done |= {"valid_examples": sum(self.known.extra["fold_sizes"]), "cross_validated": True}
            done |= {name: self.known.extra[name] for name in ("folds", "fold_sizes")}
        if setting.folder is not None and outcome["best_epoch"]:
            notes = {"outcome": outcome, "done": done}
            checkpoint.write(final_weights(setting.folder, canonical, epochs), network.state_dict(), notes)
        return _estimate(outcome, done, task)

    def _paced(
        self,
        network: nn.Module,
        task: Task,
        held: Split | None,
        recipe: Recipe,
        seed: int,
        device: str,
        folder: Path | None,
    ) -> dict[str, Any]:
        """Train as planned; where that would take too long, end with a shorter schedule from where the training is, and
        where time would be left, with a longer one.

        As often as need be: a machine that became slow may become slower still.
        """
        measured = {} if held is None else {_HELD: held}
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)
        x, _ = task.tensors(task.train.head(2), device)
        side = recipe.smaller_side if takes_smaller(network.to(device), x, recipe) else 1.0
        before: dict[str, Any] | None = None
        weights: dict[str, Tensor] | None = None
        for part in itertools.count():
            plan = None if folder is None else _read_part(folder / f"part{part + 1}", device)
            if plan is None:
                place = None if folder is None else folder if not part else folder / f"part{part}"
                timer = _Timer(
                    recipe, side, self.seconds, 0.0 if before is None else before["seconds"],
                    0.0 if self.most is None else self.most - (0.0 if before is None else before["passes"]),
                )  # fmt: skip
                outcome = train(
                    network, task, recipe, seed=derive(seed, "part", part) if part else seed, device=device,
                    folder=place, start=weights, on_epoch=timer.replans, on_step=timer.overruns, measured=measured,
                )  # fmt: skip
                row = _plain(outcome) if before is None else _joined(before, _plain(outcome))
                row["passes"] = (timer.done or len(outcome.curve)) * recipe.epoch_share
                row["passes"] += 0.0 if before is None else before["passes"]
                passes = 0.0 if outcome.diverged or not outcome.curve else timer.remaining()
                if not passes:
                    return row
                share = max(recipe.rate(timer.done, 1) / (recipe.learning_rate or 1.0), 1e-3)
                state = {name: tensor.clone() for name, tensor in network.state_dict().items()}
                epochs = max(1, math.ceil(passes - SLIGHT))
                each = min(1.0, passes / epochs) * recipe.epoch_share
                plan = {"epochs": epochs, "each": each, "share": share, "before": row}, state
                if folder is not None:
                    _write_part(folder / f"part{part + 1}", *plan)
            notes, weights = plan
            before, side = notes["before"], 1.0
            recipe = dataclasses.replace(
                recipe,
                epochs=notes["epochs"],
                epoch_share=notes.get("each", 1.0),
                warmup_epochs=0.0,
                smaller_side=1.0,
                learning_rate=notes["share"] * recipe.learning_rate,
                sgd_learning_rate=notes["share"] * recipe.sgd_learning_rate,
            )
        raise AssertionError


class _Timer:
    """Whether a training keeps to its seconds, at the pace of its last epochs.

    Args:
        recipe: of the training, or of a part of it.
        side: of the smallest images, as a share of their own.
        seconds: that the whole training may take.
        before: that earlier parts took.
        most: epochs of all examples that it may be lengthened to.
    """

    def __init__(self, recipe: Recipe, side: float, seconds: float, before: float, most: float = 0.0) -> None:
        self.recipe, self.side, self.seconds, self.before = recipe, side, seconds, before
        self.most = max(recipe.epochs, most / recipe.epoch_share)
        self.whole = recipe.work(recipe.epochs, side)
        self.marks = [(0.0, before)]
        self.once: float | None = None
        """Seconds until the first step was done, which another part would take again; 0 where it was done earlier."""
        self.cut: float | None = None
        """Epochs that were done when the one under way was cut."""
        self.done = 0.0
        """Epochs that are trained."""

    def overruns(self, done: float, seconds: float) -> bool:
        """Whether the epoch under way would end too late, and is to be cut here: looked at from half-way."""
        now = self.before + seconds
        if done == int(done):
            return False
        if self.once is None:
            self.once, self.marks[-1] = seconds if done < 1 else 0.0, (self._work(done), now)
        if now < 0.5 * self.seconds:
            return False
        here, end = self._work(done), self.recipe.work(math.ceil(done), self.side)
        if here - self.marks[-1][0] < TELLING and now <= self.seconds:
            return False
        if now + pace_of(self.marks[-1], (here, now)) * (end - here) <= LATE * self.seconds:
            return False
        self.cut = done
        return True

    def replans(self, row: dict[str, float]) -> bool:
        """Whether the epochs that are left would overrun, or leave time for more: looked at from half-way."""
        now = self.before + row["seconds"]
        self.done = row["epoch"] if self.cut is None else self.cut
        self.marks.append((self._work(self.done), now))
        if self.cut is not None:
            return True
        if now < 0.5 * self.seconds or row["epoch"] >= self.recipe.epochs:
            return False
        end = now + self._pace() * (self.whole - self.marks[-1][0])
        return end > LATE * self.seconds or self._early(end)

    def remaining(self) -> float:
        """Epochs of full size that fit yet, parts of one included; 0 where the training is at its end."""
        left = self.seconds - self.marks[-1][1] - (self.once or 0.0)
        if self.done >= self.recipe.epochs or left <= 0:
            return 0.0
        fitting = min(self.most - self.done, left / self._pace())
        return fitting if fitting >= LEAST else 0.0

    def _early(self, end: float) -> bool:
        """Whether a training that ends then should be longer, while its learning rate is high enough for that."""
        small = self.recipe.side(math.floor(self.done), self.side) < 1
        if small or self.done > SETTLED * self.recipe.epochs or self.most - self.recipe.epochs < LEAST:
            return False
        return end < EARLY * self.seconds

    def _work(self, epochs: float) -> float:
        """Of the first epochs, and of a share of the next."""
        whole = int(epochs)
        before, after = self.recipe.work(whole, self.side), self.recipe.work(whole + 1, self.side)
        return before + (epochs - whole) * (after - before)

    def _pace(self) -> float:
        # The first epoch includes what every training does once.
        first = 1 if len(self.marks) > 2 else 0
        return pace_of(self.marks[max(first, len(self.marks) - 1 - RECENT)], self.marks[-1])


def _write_part(folder: Path, notes: Mapping[str, Any], weights: Mapping[str, Tensor]) -> None:
    """Remember how a training goes on; complete once its notes are there."""
    checkpoint.write(folder.with_suffix(".safetensors"), weights, {})
    write_text(folder.with_suffix(".json"), json.dumps(notes))


def _read_part(folder: Path, device: str) -> tuple[dict[str, Any], dict[str, Tensor]] | None:
    notes = folder.with_suffix(".json")
    if not notes.is_file():
        return None
    kept = checkpoint.read(folder.with_suffix(".safetensors"), device)
    return None if kept is None else (json.loads(notes.read_text(encoding="utf-8")), dict(kept[0]))


def pace_of(before: tuple[float, float], now: tuple[float, float]) -> float:
    """Seconds an epoch of full size took between two marks of work and time."""
    return (now[1] - before[1]) / max(now[0] - before[0], 1e-9)


def final_weights(folder: Path, canonical: str, epochs: int) -> Path:
    """Where the weights of a final training lie, apart from those of the search."""
    return folder / f"{digest(FINAL, canonical, epochs)}.safetensors"


def parted(task: Task, seed: int) -> tuple[Task, Split | None]:
    """The task with those of its validation examples that are learned from, and those that stay apart.

    Where there are too few to part, the task as it is.
    """
    count = len(task.valid)
    apart = max(1, round(HELD_OUT * count))
    order = stream(seed, "held out").permutation(count)
    held, learned = np.sort(order[:apart]), np.sort(order[apart:])
    if not len(learned):
        return task, None
    valid = Split(task.valid.x[learned], task.valid.y[learned])
    return dataclasses.replace(task, valid=valid), Split(task.valid.x[held], task.valid.y[held])


def untouched(task: Task, winner: Trial, seed: int) -> Split | None:
    """The validation examples that a trained network has not learned from: all, or those that `parted` leaves apart.

    None where cross-validation told its value: then it has learned from all of them.

    Args:
        task: of the search.
        winner: the network's training.
        seed: of the search.
    """
    if winner.extra.get("cross_validated", False):
        return None
    if winner.extra.get("valid_examples", len(task.valid)) == len(task.valid):
        return task.valid
    held = parted(task, seed)[1]
    return task.valid if held is None else held


def _plain(outcome: Outcome) -> dict[str, Any]:
    """As JSON; what was measured on the examples that stayed apart is what validation says."""
    rows = [{name.replace(_HELD, "valid"): value for name, value in row.items()} for row in outcome.curve]
    return {
        "curve": rows,
        "best_epoch": outcome.best_epoch,
        "valid_metric": outcome.valid_metric,
        "seconds": outcome.seconds,
        "reason": outcome.reason,
    }


def _joined(before: dict[str, Any], after: dict[str, Any]) -> dict[str, Any]:
    """Of a training in parts, what it came to: the weights are those of the last."""
    offset, seconds = len(before["curve"]), before["seconds"]
    rows = [{**row, "epoch": row["epoch"] + offset, "seconds": row["seconds"] + seconds} for row in after["curve"]]
    return {
        **after,
        "curve": [*before["curve"], *rows],
        "best_epoch": after["best_epoch"] + offset if after["best_epoch"] else before["best_epoch"],
        "seconds": seconds + after["seconds"],
    }


def _estimate(outcome: dict[str, Any], done: dict[str, Any], task: Task) -> Estimate:
    curve, best, reason = outcome["curve"], outcome["best_epoch"], outcome["reason"]
    value = outcome["valid_metric"]
    if math.isnan(value) and best:
        value = curve[best - 1][f"valid_{task.metric}"]
    value = task.metric.oriented(value)
    return Estimate(
        value=value,
        seconds=outcome["seconds"],
        curve=tuple(curve),
        extra={"best_epoch": best, **done},
        reason=f"the training diverged: {reason}." if math.isnan(value) else "",
    )
