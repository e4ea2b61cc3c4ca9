"""The course of a training: epochs, what each of them came to, the best weights, and the state it continues from.

One network (`archscout.training.trainer`) and many at once (`archscout.training.batched`) take the same course: what
differs between them is how a batch is drawn, what its losses are and where weights lie. Interrupted anywhere, a
training continues to exactly the weights of an uninterrupted one: no generator state is kept, for every random decision
of an epoch comes from a stream named by the seed and the epoch.
"""

from __future__ import annotations

import dataclasses
import json
import math
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn

from archscout.core.errors import UsageError
from archscout.core.seeds import derive
from archscout.core.task import Split, Task
from archscout.networks.outputs import precise
from archscout.training import checkpoint
from archscout.training.contexts import evaluation, seed_modules
from archscout.training.objective import Objective
from archscout.training.optimizers import descend, make_optimizer, optimizer_tensors, restore_optimizer, set_rate
from archscout.training.recipe import Recipe
from archscout.training.speed import Mode

CHECKPOINT = "checkpoint.safetensors"
CHECKPOINT_SECONDS = 1.0
"""No more often than this is a checkpoint written: epochs of milliseconds are cheaper to repeat than to keep."""

QUICKLY_WRITTEN = 0.01
"""Seconds of writing a checkpoint; of one that takes so many times as long there are so many times fewer."""

CHECKED_STEPS = 50
"""After so many steps the loss is looked at: a training that diverged does not go on to the end of a long epoch."""

Row = dict[str, float]
OnStep = Callable[[float, float], bool]
"""Asked after a step with the epochs that are done, of the one under way its share, and the seconds since the training
began."""


@dataclass(frozen=True)
class Outcome:
    """What a training came to. The network has the weights of `best_epoch` (from 1; 0 where none was finished).

    `curve` has a row an epoch: `epoch`, `train_loss` and `train_<metric>` (of the batches as they were trained on:
    augmented, with weights that were still changing), `valid_loss`, `valid_<metric>` (not where the validation split is
    trained on), `learning_rate` (of the last step), `seconds` (since the start, evaluation included, pauses not).
    `valid_metric` is that of the best epoch, as it was measured, NaN where none was finished or measured. `diverged`
    says that a loss was no longer finite, `reason` in which epoch. `mode` is the number format and memory layout that
    it ran in.
    """

    curve: tuple[Row, ...]
    best_epoch: int
    valid_metric: float
    seconds: float
    diverged: bool = False
    reason: str = ""
    mode: Mode | None = None


class Examples(NamedTuple):
    """Inputs and targets of a split, as the network takes them."""

    x: Tensor
    y: Tensor


class Data:
    """What a training fits, and what it measures after each epoch."""

    def __init__(self, task: Task, recipe: Recipe, device: str, measured: Mapping[str, Split]) -> None:
        self.fitted = Examples(*task.tensors(task.train, device))
        self.measured = {name: Examples(*task.tensors(split, device)) for name, split in measured.items()}
        valid = Examples(*task.tensors(task.valid, device))
        if recipe.fit_on == "train":
            self.measured = {"valid": valid, **self.measured}
        else:
            self.fitted = Examples(*(torch.cat(parts) for parts in zip(self.fitted, valid, strict=True)))
        self.count = max(1, round(recipe.epoch_share * len(self.fitted.x)))
        self.steps = math.ceil(self.count / recipe.batch_size)
        self.batch_size = math.ceil(self.count / self.steps)

    def lay_out(self, memory_format: torch.memory_format) -> None:
        """Put all inputs into a memory layout."""
        self.fitted = Examples(self.fitted.x.contiguous(memory_format=memory_format), self.fitted.y)
        self.measured = {
            name: Examples(x.contiguous(memory_format=memory_format), y) for name, (x, y) in self.measured.items()
        }


class Course(ABC):
    """A training under way, of one network or several side by side (`seeds` has one for each).

    Args:
        model: what is trained: the network, or the stack.
        task, recipe, seeds, device: as in `trainer.train`.
        data: what is fitted and measured.
        mode: number format and memory layout; the model and the data are in that layout already.
        objective: what weights are trained for.
        identity: what else a checkpoint must agree in.
    """

    def __init__(
        self,
        model: nn.Module,
        task: Task,
        recipe: Recipe,
        seeds: Sequence[int],
        device: str,
        data: Data,
        mode: Mode,
        objective: Objective,
        identity: Mapping[str, Any],
    ) -> None:
        self.model, self.task, self.recipe, self.seeds, self.device = model, task, recipe, list(seeds), device
        self.data, self.mode, self.objective = data, mode, objective
        self.transforming = task.lighter() if recipe.lighter else task
        self.identity = {
            "recipe": dataclasses.asdict(recipe), "seeds": self.seeds, "task": task.digest,
            "objective": objective.identity(), **identity,
        }  # fmt: skip
        self.smaller_side = recipe.smaller_side if takes_smaller(model, self.inputs(data.fitted.x[:2]), recipe) else 1.0
        self.parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
        self.optimizer = make_optimizer(model, task.outputs, recipe, mode, objective.parameters())
        self.epoch = 0
        self.curves: list[list[Row]] = [[] for _ in seeds]
        self.best_epochs = [0] * len(seeds)
        self.reasons = [""] * len(seeds)
        self.best = self.snapshot()

    # -- what differs between one network and many ---------------------------------------------------------------

    @abstractmethod
    def state(self) -> dict[str, Tensor]:
        """All weights and buffers as they are now, not copied."""

    def snapshot(self) -> dict[str, Tensor]:
        """A copy of the state, as `keep_best` and `load_best` have it."""
        return {name: tensor.clone() for name, tensor in self.state().items()}

    @abstractmethod
    def inputs(self, x: Tensor) -> Tensor:
        """Inputs of the model from examples for all networks alike."""

    @abstractmethod
    def draw(self, rows: Sequence[Tensor], generators: Sequence[Generator]) -> Examples:
        """A batch of inputs and targets, transformed where the recipe says so; `rows` has examples for each seed."""

    @abstractmethod
    def losses(self, x: Tensor, y: Tensor) -> tuple[Tensor, Any]:
        """The loss of each network in a step of training (M; of one network, no dimension), and the outputs.

        The outputs are as `answered` takes them.
        """

    @abstractmethod
    def answered(self, outputs: Any, y: Tensor) -> None:
        """Remember, for the metric of the epoch, the outputs for a batch that was trained on and its targets."""

    @abstractmethod
    def train_metrics(self) -> list[float]:
        """The metric of each network over all that was answered since the last call."""

    @abstractmethod
    def clip(self, longest: float) -> None:
        """Shorten the gradient of each network that is longer than this."""

    @abstractmethod
    def measure(self, examples: Examples, mode: Mode) -> list[tuple[float, float]]:
        """Loss and metric of each network on a split."""

    @abstractmethod
    def keep_best(self, better: Sequence[bool]) -> None:
        """Take the state of those networks for which `better` is true into `best`, by `self.share`."""

    # -- epochs ---------------------------------------------------------------------------------------------------

    @property
    def going(self) -> bool:
        """Whether there is an epoch left, and a network that has not diverged."""
        return self.epoch < self.recipe.epochs and not all(self.reasons)

    def run(
        self,
        path: Path | None,
        before: float,
        started: float,
        on_epoch: Callable[[Row], bool | None] | None = None,
        on_step: OnStep | None = None,
    ) -> None:
        """Train to the end, or until `on_epoch`, called with each new row of the first network, returns True.

        Args:
            path: of the checkpoint.
            before: seconds that the training took until its checkpoint.
            started: when it was begun or continued, by `time.perf_counter`.
            on_epoch: see above.
            on_step: called after each step; the epoch ends there where it returns True.
        """

        def cut(share: float) -> bool:
            return on_step is not None and on_step(self.epoch + share, before + time.perf_counter() - started)

        written, pause = time.perf_counter(), CHECKPOINT_SECONDS
        while self.going:
            self._advance(lambda: (before + time.perf_counter() - started) / len(self.seeds), cut)
            stop = on_epoch is not None and not self.reasons[0] and bool(on_epoch(dict(self.curves[0][-1])))
            now = time.perf_counter()
            if path is not None and (stop or not self.going or now - written >= pause):
                self.write(path, before + now - started)
                written = time.perf_counter()
                pause = CHECKPOINT_SECONDS * max(1.0, (written - now) / QUICKLY_WRITTEN)
            if stop:
                break

    def _advance(self, seconds: Callable[[], float], cut: Callable[[float], bool]) -> None:
        """Train and evaluate for one epoch, or for the share of its steps after which `cut` is true."""
        trained = self._train_epoch(cut)
        self.epoch += 1
        for i, (loss, _) in enumerate(trained):
            self._check(i, "training", loss)
        if all(self.reasons):
            return
        measures = {name: self.measure(examples, self.mode) for name, examples in self.data.measured.items()}
        better = [False] * len(self.seeds)
        for i, (curve, (train_loss, train_metric)) in enumerate(zip(self.curves, trained, strict=True)):
            if "valid" in measures:
                self._check(i, "validation", measures["valid"][i][0])
            if self.reasons[i]:
                continue
            row: Row = {"epoch": self.epoch, "train_loss": train_loss, f"train_{self.task.metric}": train_metric}
            for name, values in measures.items():
                row[f"{name}_loss"], row[f"{name}_{self.task.metric}"] = values[i]
            row["learning_rate"] = self.optimizer.param_groups[0]["lr"]
            row["seconds"] = seconds()
            curve.append(row)
            if not self.best_epochs[i] or self._rank(row) > self._rank(curve[self.best_epochs[i] - 1]):
                self.best_epochs[i] = self.epoch
                better[i] = True
        self.keep_best(better)

    @property
    def share(self) -> float:
        """Of the weights after this epoch in those that are kept: all, but where the last ones are averaged."""
        if "valid" in self.data.measured:
            return 1.0
        first = self.recipe.epochs - min(self.recipe.epochs, self.recipe.averaged_epochs)
        return 1 / max(1, self.epoch - first)

    def _check(self, i: int, name: str, loss: float) -> None:
        if not self.reasons[i] and not math.isfinite(loss):
            self.reasons[i] = f"the {name} loss was {loss} in epoch {self.epoch}"

    def _rank(self, row: Row) -> tuple[float, float]:
        """By which the best epoch is chosen: the metric, then the loss; the last where nothing is measured."""
        if "valid_loss" not in row:
            return (row["epoch"], 0.0)
        return (self.task.metric.oriented(row[f"valid_{self.task.metric}"]), -row["valid_loss"])

    def _train_epoch(self, cut: Callable[[float], bool]) -> list[tuple[float, float]]:
        """One pass over the examples; of each network the mean loss, as far as it is finite, and the metric."""
        recipe, data, optimizer = self.recipe, self.data, self.optimizer
        seeds = self.seeds[:1] if len(set(self.seeds)) == 1 else self.seeds
        generators = [Generator(self.device).manual_seed(derive(seed, "batches", self.epoch)) for seed in seeds]
        examples, count = len(data.fitted.x), data.count
        orders = [torch.randperm(examples, generator=g, device=self.device)[:count] for g in generators]
        side = recipe.side(self.epoch, self.smaller_side)
        losses: list[Tensor] = []
        seed_modules(derive(self.seeds[0], "network", self.epoch), self.device)
        self.model.train()
        self.objective.train()
        clip = partial(self.clip, recipe.gradient_clip) if recipe.gradient_clip else None
        batches = list(zip(*(order.tensor_split(data.steps) for order in orders), strict=True))
        for step, rows in enumerate(batches):
            rate = recipe.rate(self.epoch * data.steps + step, data.steps)
            set_rate(optimizer, rate)
            x, y = self.draw(rows, generators)
            if side < 1:
                x = smaller(x, side)
            with self.mode.autocast(self.device):
                loss, outputs = self.losses(x, y)
            # Small networks notice each operator: one loss is not summed.
            descend(optimizer, (loss.sum() if loss.ndim else loss).backward, clip)
            self.objective.after_step()
            losses.append(loss.detach())
            self.answered(precise(outputs), y)
            if step % CHECKED_STEPS == 0 and not losses[-1].isfinite().any():
                break
            if cut((step + 1) / data.steps):
                break
        sizes = [len(rows[0]) for rows in batches[: len(losses)]]
        results = []
        columns = torch.stack(losses).view(len(losses), -1).T.tolist()
        for column, metric in zip(columns, self.train_metrics(), strict=True):
            # Alone it would have ended here; what came afterwards is nobody's.
            end = next((s + 1 for s in range(0, len(column), CHECKED_STEPS) if not math.isfinite(column[s])), None)
            mean = sum(n * value for n, value in zip(sizes, column[:end], strict=False)) / sum(sizes)
            results.append((mean, metric))
        return results

    def outcomes(self) -> list[Outcome]:
        """What each network came to; the model has the best weights by now. Their seconds are those of the last row."""
        metrics = [math.nan] * len(self.seeds)
        if "valid" in self.data.measured:
            name = f"valid_{self.task.metric}"
            metrics = [
                curve[best - 1][name] if best else math.nan
                for curve, best in zip(self.curves, self.best_epochs, strict=True)
            ]
            if self.mode.mixed:  # in single precision, as the networks will be used
                mode = dataclasses.replace(self.mode, precision="float32")
                measured = self.measure(self.data.measured["valid"], mode)
                metrics = [v if best else math.nan for best, (_, v) in zip(self.best_epochs, measured, strict=True)]
        return [
            Outcome(tuple(curve), best, metric, curve[-1]["seconds"] if curve else 0.0, bool(reason), reason, self.mode)
            for curve, best, metric, reason in zip(self.curves, self.best_epochs, metrics, self.reasons, strict=True)
        ]

    def load_best(self) -> None:
        """Put the weights of the best epochs into the model."""
        for name, tensor in self.state().items():
            tensor.copy_(self.best[name])

    # -- checkpoints ----------------------------------------------------------------------------------------------

    def write(self, path: Path, seconds: float) -> None:
        """Write all that it takes to go on from here."""
        tensors = {f"network.{name}": tensor for name, tensor in self.state().items()}
        tensors |= {f"best.{name}": tensor for name, tensor in self.best.items()}
        tensors |= {f"objective.{name}": tensor for name, tensor in self.objective.state().items()}
        tensors |= optimizer_tensors(self.optimizer, "optimizer")
        notes = {
            "mode": self.mode.notes(), "epoch": self.epoch, "seconds": seconds, "curves": self.curves,
            "best_epochs": self.best_epochs, "reasons": self.reasons,
        }  # fmt: skip
        checkpoint.write(path, tensors, {**self.identity, **notes})

    def restore(self, path: Path, tensors: Mapping[str, Tensor], notes: Mapping[str, Any]) -> float:
        """Continue where the checkpoint ended; the seconds spent until then.

        Raises:
            UsageError: if it is of another training.
        """
        state = self.state()
        network, best = checkpoint.part(tensors, "network"), checkpoint.part(tensors, "best")
        same_network = {n: t.shape for n, t in network.items()} == {n: t.shape for n, t in state.items()}
        identity = json.loads(json.dumps(self.identity))
        if not same_network or any(notes.get(key) != value for key, value in identity.items()):
            raise UsageError(f"the checkpoint '{path}' is of another training: delete it, or choose another folder.")
        with torch.no_grad():
            for name, tensor in state.items():
                tensor.copy_(network[name])
                self.best[name].copy_(best[name])
            for name, tensor in self.objective.state().items():
                tensor.copy_(checkpoint.part(tensors, "objective")[name])
        restore_optimizer(self.optimizer, checkpoint.part(tensors, "optimizer"))
        self.epoch, self.curves = notes["epoch"], notes["curves"]
        self.best_epochs, self.reasons = notes["best_epochs"], notes["reasons"]
        return float(notes["seconds"])


def mixed(before: Tensor, now: Tensor, share: float) -> Tensor:
    """The weighted mean of two states of a weight, `share` of the second; counts are not averaged."""
    return torch.lerp(before, now, share) if share < 1 and now.is_floating_point() else now


def smaller(x: Tensor, side: float) -> Tensor:
    """Images (N x C x H x W) with their sides shrunk to this share."""
    size = [max(1, round(side * pixels)) for pixels in x.shape[2:]]
    layout = torch.channels_last if x.is_contiguous(memory_format=torch.channels_last) else torch.contiguous_format
    small = F.interpolate(x, size, mode="bilinear", antialias=True)
    return small.contiguous(memory_format=layout)


def takes_smaller(model: nn.Module, x: Tensor, recipe: Recipe) -> bool:
    """Whether the model answers smaller images with as many outputs, where the recipe has some."""
    if recipe.smaller_side == 1 or recipe.smaller_epochs == 0 or x.ndim != 4:
        return False
    try:
        with evaluation(model):
            return bool(model(smaller(x, recipe.smaller_side)).shape == model(x).shape)
    except RuntimeError:
        return False
