"""The one trainer that everything uses.

It costs little more than the bare loop (`benchmarks/training/trainer_overhead.py`): the data lie in one tensor on the
device, batches are drawn and changed there, and the device is hardly ever waited for within an epoch.
"""

from __future__ import annotations

import dataclasses
import hashlib
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Generator, Tensor, nn

from archscout.core.errors import UsageError
from archscout.core.metric import Meter
from archscout.core.task import Answers, Split, Task
from archscout.networks.outputs import joined, precise
from archscout.tasks.meters import Gathered, meter_of
from archscout.training import checkpoint as checkpoints
from archscout.training.contexts import evaluation, norm_momentum, own_randomness
from archscout.training.course import CHECKPOINT as CHECKPOINT
from archscout.training.course import Course, Data, Examples, mixed
from archscout.training.course import OnStep as OnStep
from archscout.training.course import Outcome as Outcome
from archscout.training.course import Row as Row
from archscout.training.objective import Objective, Step
from archscout.training.on_grid import OnGrid
from archscout.training.recipe import Recipe as Recipe
from archscout.training.recipe import default_epochs as default_epochs
from archscout.training.recipe import sparsity_of
from archscout.training.sparsity import Sparsity
from archscout.training.speed import Mode, choose, fast_layout, laid_out

EVALUATION_BATCH = 512


def train(
    network: nn.Module,
    task: Task,
    recipe: Recipe,
    *,
    seed: int,
    device: str = "cpu",
    folder: Path | None = None,
    on_epoch: Callable[[Row], bool | None] | None = None,
    on_step: OnStep | None = None,
    measured: Mapping[str, Split] | None = None,
    objective: Objective | None = None,
    start: Mapping[str, Tensor] | None = None,
) -> Outcome:
    """Train a network in place; it ends with the weights of the best epoch by the validation metric.

    Args:
        network: as built; it is moved to the device.
        task: its `train` split is fitted; `valid` chooses the epoch (equal metrics: the lower loss), unless it is
            fitted too (`Recipe.fit_on`).
        recipe: how.
        seed: of the order of examples, augmentation and dropout; the same seed gives the same weights on one machine.
        device: where to train.
        folder: where a checkpoint is written after each epoch (of a second and more; after fewer where writing takes
            long), and from which an interrupted training continues.
        on_epoch: called with each new row of the curve; the training stops early where it returns True.
        on_step: called after each step (`OnStep`); the epoch ends there where it returns True, and is measured.
        measured: further splits to measure after each epoch; the rows of the curve get `<name>_loss` and
            `<name>_<metric>`.
        objective: what weights are trained for; the loss of the task where None.
        start: weights to start from, by name; what of the network they do not fit starts as it is.

    Raises:
        UsageError: if the checkpoint in `folder` is of another training, or no weight of `start` fits.
    """
    started = time.perf_counter()
    objective = objective or Objective()
    if recipe.sparsity:
        sparsity = Sparsity(*sparsity_of(recipe.sparsity), rule=recipe.sparsity_rule)
        objective = Objective(*objective.terms, sparsity, task_weight=objective.task_weight)
    if recipe.bits:
        objective = Objective(*objective.terms, OnGrid(recipe.bits), task_weight=objective.task_weight)
    path = None if folder is None else folder / CHECKPOINT
    checkpoint = None if path is None else checkpoints.read(path, device)
    network.to(device)
    if start is not None:
        load_start(network, start)
    data = Data(task, recipe, device, measured or {})
    with own_randomness(device), norm_momentum(network, recipe.norm_momentum):
        x, y = (part[: data.batch_size] for part in data.fitted)
        if checkpoint is not None and "mode" in checkpoint[1]:
            mode = Mode(**checkpoint[1]["mode"])
        else:
            mode = choose(
                network,
                x,
                lambda network, x: task.loss(network(x), y[: len(x)], recipe.label_smoothing),
                steps=recipe.epochs * data.steps,
                precision=recipe.precision,
                layout=recipe.layout,
            )
        with laid_out(network, mode.memory_format):
            data.lay_out(mode.memory_format)
            with objective.attached(network, data.fitted.x[:2], device):
                course = _Single(
                    network,
                    task,
                    recipe,
                    [seed],
                    device,
                    data,
                    mode,
                    objective,
                    {"start": start and weights_digest(start)},
                )
                before = 0.0 if path is None or checkpoint is None else course.restore(path, *checkpoint)
                course.run(path, before, started, on_epoch, on_step)
                course.load_best()
                outcome = course.outcomes()[0]
    return dataclasses.replace(outcome, seconds=before + time.perf_counter() - started)


def load_start(network: nn.Module, start: Mapping[str, Tensor]) -> None:
    """Put given weights into a network; those that it has under another name or shape stay as they are.

    Raises:
        UsageError: if none of them fits.
    """
    state = network.state_dict()
    fitting = {name: tensor for name, tensor in start.items() if name in state and state[name].shape == tensor.shape}
    if not fitting:
        raise UsageError("none of the weights to start from fits the network by name and shape: they are of another.")
    network.load_state_dict(fitting, strict=False)


def weights_digest(weights: Mapping[str, Tensor] | None) -> str | None:
    """A hash of tensors and their names; None of none."""
    if weights is None:
        return None
    sha = hashlib.sha256()
    for name, tensor in sorted(weights.items()):
        sha.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        sha.update(tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().data)
    return sha.hexdigest()[:16]


def predict(
    network: nn.Module, task: Task, split: Split, *, device: str = "cpu", batch_size: int = EVALUATION_BATCH
) -> Any:
    """The outputs for every example of a split, in order; every module is left in the mode it was in."""
    x, _ = task.tensors(split, device)
    network = task.answering(network)
    with fast_layout(network.to(device), x[:2]) as layout:
        return _outputs(network, x.contiguous(memory_format=layout), batch_size)


def _outputs(network: nn.Module, x: Tensor, batch_size: int = EVALUATION_BATCH) -> Any:
    with evaluation(network):
        return joined([network(batch) for batch in torch.split(x, batch_size)])


def answers(network: nn.Module, task: Task, split: Split, *, batch_size: int = EVALUATION_BATCH) -> Iterator[Answers]:
    """The outputs for a split with their targets and stored inputs, batch by batch, on the processor."""
    network = task.answering(network).to("cpu")
    for start in range(0, len(split), batch_size):
        part = Split(split.x[start : start + batch_size], split.y[start : start + batch_size])
        x, y = task.tensors(part)
        with fast_layout(network, x[:2]) as layout, evaluation(network):
            outputs = network(x.contiguous(memory_format=layout))
        yield outputs, y, part.x


class _Single(Course):
    """The course of one network."""

    _meter: Meter | None = None
    """Of the epoch that is under way."""

    def state(self) -> dict[str, Tensor]:
        return {name: tensor.detach() for name, tensor in self.model.state_dict().items()}

    def inputs(self, x: Tensor) -> Tensor:
        return x

    def draw(self, rows: Sequence[Tensor], generators: Sequence[Generator]) -> Examples:
        chosen = rows[0]
        x, y = self.data.fitted.x[chosen], self.data.fitted.y[chosen]
        if self.recipe.augment:
            x, y = self.transforming.transform(x, y, generators[0])
        return Examples(x.contiguous(memory_format=self.mode.memory_format), y)

    def losses(self, x: Tensor, y: Tensor) -> tuple[Tensor, Any]:
        outputs = self.model(x)
        if self.objective.plain:
            return self.task.loss(outputs, y, self.recipe.label_smoothing), outputs
        return self.objective.loss(self.task, self.recipe.label_smoothing, Step(self.model, x, y, outputs)), outputs

    def answered(self, outputs: Any, y: Tensor) -> None:
        self._meter = self._meter or Gathered(meter_of(self.task))
        self._meter.update(outputs, y)

    def train_metrics(self) -> list[float]:
        meter, self._meter = self._meter, None
        return [math.nan if meter is None else meter.value()]

    def clip(self, longest: float) -> None:
        nn.utils.clip_grad_norm_(self.parameters, longest)

    def measure(self, examples: Examples, mode: Mode) -> list[tuple[float, float]]:
        """Batch by batch, so that memory does not grow with the split."""
        meter = meter_of(self.task)
        loss = torch.zeros((), dtype=torch.float64, device=self.device)
        with evaluation(self.model):
            for x, y in zip(*(torch.split(part, EVALUATION_BATCH) for part in examples), strict=True):
                with mode.autocast(self.device):
                    outputs = self.model(x)
                outputs = precise(outputs)
                loss += self.task.loss(outputs, y).double() * len(x)
                meter.update(outputs, y)
        return [(float(loss) / len(examples.x), meter.value())]

    def keep_best(self, better: Sequence[bool]) -> None:
        if better[0]:
            for name, tensor in self.state().items():
                self.best[name].copy_(mixed(self.best[name], tensor, self.share))
