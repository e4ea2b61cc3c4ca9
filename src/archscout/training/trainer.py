"""The one trainer that everything uses.

It costs little more than the bare loop (`benchmarks/trainer_overhead.py`): the data lie in one tensor on the device,
batches are drawn and changed there, and the device is hardly ever waited for within an epoch. Interrupted anywhere, a
training continues to exactly the weights of an uninterrupted one.
"""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Generator, Tensor, nn

from archscout.core.errors import UsageError
from archscout.core.seeds import derive
from archscout.core.task import Split, Task
from archscout.training import checkpoint as checkpoints
from archscout.training.contexts import evaluation, norm_momentum, own_randomness, seed_modules
from archscout.training.optimizers import make_optimizer, restore_optimizer
from archscout.training.recipe import Recipe as Recipe
from archscout.training.recipe import default_epochs as default_epochs
from archscout.training.speed import Mode, choose, fast_layout, laid_out

EVALUATION_BATCH = 512
CHECKPOINT = "checkpoint.safetensors"
CHECKPOINT_SECONDS = 1.0
"""No more often than this is a checkpoint written: epochs of milliseconds are cheaper to repeat than to keep."""

CHECKED_STEPS = 50
"""After so many steps the loss is looked at: a training that diverged does not go on to the end of a long epoch."""

Row = dict[str, float]


@dataclass(frozen=True)
class Outcome:
    """What a training came to. The network has the weights of `best_epoch` (from 1; 0 where none was finished).

    `curve` has a row an epoch: `epoch`, `train_loss` and `train_<metric>` (of the batches as they were trained on:
    augmented, with weights that were still changing), `valid_loss`, `valid_<metric>`, `learning_rate` (of the last
    step), `seconds` (since the start, evaluation included, pauses not). `valid_metric` is that of the best epoch, as
    it was measured, NaN where none was finished. `diverged` says that a loss was no longer finite, `reason` in which
    epoch. `mode` is the number format and memory layout that it ran in.
    """

    curve: tuple[Row, ...]
    best_epoch: int
    valid_metric: float
    seconds: float
    diverged: bool = False
    reason: str = ""
    mode: Mode | None = None


def train(
    network: nn.Module,
    task: Task,
    recipe: Recipe,
    *,
    seed: int,
    device: str = "cpu",
    folder: Path | None = None,
    on_epoch: Callable[[Row], bool | None] | None = None,
    measured: Mapping[str, Split] | None = None,
) -> Outcome:
    """Train a network in place; it ends with the weights of the best epoch by the validation metric.

    Args:
        network: as built; it is moved to the device.
        task: its `train` split is fitted; `valid` chooses the epoch (equal metrics: the lower loss).
        recipe: how.
        seed: of the order of examples, augmentation and dropout; the same seed gives the same weights on one machine.
        device: where to train.
        folder: where a checkpoint is written after each epoch (of a second and more), and from which an interrupted
            training continues.
        on_epoch: called with each new row of the curve; the training stops early where it returns True.
        measured: further splits to measure after each epoch; the rows of the curve get `<name>_loss` and
            `<name>_<metric>`.

    Raises:
        UsageError: if the checkpoint in `folder` is of another training.
    """
    started = time.perf_counter()
    path = None if folder is None else folder / CHECKPOINT
    checkpoint = None if path is None else checkpoints.read(path, device)
    x, y = task.tensors(task.train, device)
    network.to(device)
    with own_randomness(device), norm_momentum(network, recipe.norm_momentum):
        mode = _mode(network, task, recipe, x, y, checkpoint)
    with laid_out(network, mode.memory_format), norm_momentum(network, recipe.norm_momentum), own_randomness(device):
        x = x.contiguous(memory_format=mode.memory_format)
        run = _Run(network, task, recipe, seed, device, x, y, mode, measured or {})
        before = 0.0 if path is None or checkpoint is None else run.restore(path, *checkpoint)
        kept = time.perf_counter()
        while run.epoch < recipe.epochs and not run.reason:
            row = run.advance()
            if row is None:
                break
            row["seconds"] = before + time.perf_counter() - started
            stop = on_epoch is not None and bool(on_epoch(dict(row)))
            now = time.perf_counter()
            if path is not None and (stop or run.epoch == recipe.epochs or now - kept >= CHECKPOINT_SECONDS):
                run.keep(path)
                kept = now
            if stop:
                break
        run.load_best()
        best = run.best_metric()
    seconds = before + time.perf_counter() - started
    return Outcome(tuple(run.curve), run.best_epoch, best, seconds, bool(run.reason), run.reason, mode)


def _mode(
    network: nn.Module, task: Task, recipe: Recipe, x: Tensor, y: Tensor, checkpoint: tuple[Any, Any] | None
) -> Mode:
    """The mode in which a training was begun; for one that begins, the fastest."""
    if checkpoint is not None and "mode" in checkpoint[1]:
        return Mode(**checkpoint[1]["mode"])
    batches = math.ceil(len(x) / recipe.batch_size)
    size = math.ceil(len(x) / batches)
    return choose(
        network,
        x[:size],
        lambda network, x: task.loss(network(x), y[: len(x)], recipe.label_smoothing),
        steps=recipe.epochs * batches,
        precision=recipe.precision,
        layout=recipe.layout,
    )


def predict(
    network: nn.Module, task: Task, split: Split, *, device: str = "cpu", batch_size: int = EVALUATION_BATCH
) -> Tensor:
    """The outputs for every example of a split, in order; every module is left in the mode it was in."""
    x, _ = task.tensors(split, device)
    with fast_layout(network.to(device), x[:2]) as layout:
        return _outputs(network, x.contiguous(memory_format=layout), batch_size)


def _outputs(network: nn.Module, x: Tensor, batch_size: int = EVALUATION_BATCH) -> Tensor:
    with evaluation(network):
        return torch.cat([network(batch) for batch in torch.split(x, batch_size)])


class _Run:
    """A training under way: what changes from epoch to epoch."""

    def __init__(
        self,
        network: nn.Module,
        task: Task,
        recipe: Recipe,
        seed: int,
        device: str,
        x: Tensor,
        y: Tensor,
        mode: Mode,
        measured: Mapping[str, Split],
    ) -> None:
        self.network, self.task, self.recipe, self.seed, self.device = network, task, recipe, seed, device
        self.x, self.y, self.mode = x, y, mode
        self.splits = {}
        for name, split in {"valid": task.valid, **measured}.items():
            inputs, targets = task.tensors(split, device)
            self.splits[name] = inputs.contiguous(memory_format=mode.memory_format), targets
        self.steps = math.ceil(len(self.x) / recipe.batch_size)
        self.parameters = [parameter for parameter in network.parameters() if parameter.requires_grad]
        self.optimizer = make_optimizer(network, task.outputs, recipe, mode)
        self.generator = Generator(device)
        self.state = {name: tensor.detach() for name, tensor in network.state_dict().items()}
        self.best = {name: tensor.clone() for name, tensor in self.state.items()}
        self.curve: list[Row] = []
        self.best_epoch = 0
        self.reason = ""

    @property
    def epoch(self) -> int:
        return len(self.curve)

    def advance(self) -> Row | None:
        """Train and evaluate for one epoch; None where it diverged."""
        train_loss, train_metric = self._train_epoch()
        if not math.isfinite(train_loss):
            self.reason = f"the training loss was {train_loss} in epoch {self.epoch + 1}"
            return None
        measures: Row = {}
        for name, (x, y) in self.splits.items():
            outputs = self._outputs(x)
            measures[f"{name}_loss"] = float(self.task.loss(outputs, y))
            measures[f"{name}_{self.task.metric}"] = self.task.measure(outputs, y)
        valid_loss = measures["valid_loss"]
        if not math.isfinite(valid_loss):
            self.reason = f"the validation loss was {valid_loss} in epoch {self.epoch + 1}"
            return None
        metric = f"valid_{self.task.metric}"
        row: Row = {
            "epoch": self.epoch + 1,
            "train_loss": train_loss,
            f"train_{self.task.metric}": train_metric,
            **measures,
            "learning_rate": self.optimizer.param_groups[0]["lr"],
            "seconds": 0.0,
        }
        self.curve.append(row)
        best = self.curve[self.best_epoch - 1]
        oriented = self.task.metric.oriented
        if not self.best_epoch or (oriented(row[metric]), -valid_loss) > (oriented(best[metric]), -best["valid_loss"]):
            self.best_epoch = self.epoch
            for name, tensor in self.state.items():
                self.best[name].copy_(tensor)
        return row

    def _train_epoch(self) -> tuple[float, float]:
        """One pass over the training examples; the mean loss, as far as it is finite, and the metric."""
        recipe, task, network, optimizer = self.recipe, self.task, self.network, self.optimizer
        seed_modules(derive(self.seed, "network", self.epoch), self.device)
        self.generator.manual_seed(derive(self.seed, "batches", self.epoch))
        order = torch.randperm(len(self.x), generator=self.generator, device=self.device)
        losses: list[Tensor] = []
        answers: list[Tensor] = []
        network.train()
        batches = order.tensor_split(self.steps)
        for step, rows in enumerate(batches):
            rate = recipe.rate(self.epoch * self.steps + step, self.steps)
            for group in optimizer.param_groups:
                group["lr"] = rate
            x, y = self.x[rows], self.y[rows]
            if recipe.augment:
                x = task.augment(x, self.generator)
            with self.mode.autocast(self.device):
                outputs = network(x.contiguous(memory_format=self.mode.memory_format))
                loss = task.loss(outputs, y, recipe.label_smoothing)
            optimizer.zero_grad()
            loss.backward()
            if recipe.gradient_clip:
                nn.utils.clip_grad_norm_(self.parameters, recipe.gradient_clip)
            optimizer.step()
            losses.append(loss.detach())
            answers.append(outputs.detach())
            if step % CHECKED_STEPS == 0 and not losses[-1].isfinite():
                break
        values: list[float] = torch.stack(losses).tolist()
        loss_of_all = sum(len(rows) * value for rows, value in zip(batches, values, strict=False)) / len(order)
        seen = torch.cat(answers)
        return loss_of_all, task.measure(seen, self.y[order[: len(seen)]])

    def _outputs(self, x: Tensor) -> Tensor:
        with self.mode.autocast(self.device):
            outputs = _outputs(self.network, x)
        return outputs.float() if self.mode.mixed else outputs

    def best_metric(self) -> float:
        """The validation metric of the best epoch, in single precision, as the network will be used."""
        if not self.best_epoch:
            return math.nan
        if not self.mode.mixed:
            return self.curve[self.best_epoch - 1][f"valid_{self.task.metric}"]
        x, y = self.splits["valid"]
        return self.task.measure(_outputs(self.network, x), y)

    def load_best(self) -> None:
        if self.best_epoch:
            for name, tensor in self.state.items():
                tensor.copy_(self.best[name])

    # -- checkpoints ----------------------------------------------------------------------------------------------

    def _identity(self) -> dict[str, Any]:
        return {"recipe": dataclasses.asdict(self.recipe), "seed": self.seed, "task": self.task.digest}

    def keep(self, path: Path) -> None:
        tensors = {f"network.{name}": tensor for name, tensor in self.state.items()}
        tensors |= {f"best.{name}": tensor for name, tensor in self.best.items()}
        for position, state in self.optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer.{position}.{name}": t for name, t in state.items() if isinstance(t, Tensor)}
        notes = {"mode": self.mode.notes(), "curve": self.curve, "best_epoch": self.best_epoch}
        checkpoints.write(path, tensors, {**self._identity(), **notes})

    def restore(self, path: Path, tensors: Mapping[str, Tensor], notes: Mapping[str, Any]) -> float:
        """Continue where the checkpoint ended; the seconds spent until then."""
        network, best = checkpoints.part(tensors, "network"), checkpoints.part(tensors, "best")
        same_network = {n: t.shape for n, t in network.items()} == {n: t.shape for n, t in self.state.items()}
        if not same_network or any(notes.get(key) != value for key, value in self._identity().items()):
            raise UsageError(f"the checkpoint '{path}' is of another training: delete it, or choose another folder.")
        for name, tensor in self.state.items():
            tensor.copy_(network[name])
            self.best[name].copy_(best[name])
        restore_optimizer(self.optimizer, checkpoints.part(tensors, "optimizer"))
        self.curve, self.best_epoch = notes["curve"], notes["best_epoch"]
        return float(self.curve[-1]["seconds"])
