"""A backbone on a task: a new head on features that are computed once, then fine-tuning for the time there is."""

from __future__ import annotations

import copy
import dataclasses
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from archscout.backbones.adapted import Adapted
from archscout.backbones.base import available
from archscout.core.task import Task
from archscout.training.contexts import evaluation
from archscout.training.objective import Distillation, Objective, Teacher
from archscout.training.recipe import Recipe
from archscout.training.trainer import Outcome, train

BATCH = 32
MOST_EPOCHS = 30
PENALTIES = (0.001, 0.003, 0.01, 0.03, 0.1)
"""Inverse strengths of the logistic regression's penalty, on features of unit variance."""

SIZES = (48, 64, 80, 96, 112, 128, 160, 192, 224)
"""Heights and widths that a backbone may get its images at."""

FEWEST_EPOCHS = 3.0
"""Of fine-tuning, at the size that a budget of time is to allow."""

_MACS_PER_SECOND = 1.6e10
"""Multiply-adds a second of a backbone's forward pass on one core, where nothing has been timed; three times these are
what a step of training takes."""

Clock = Callable[[], float]


@dataclass(frozen=True)
class Outlook:
    """What transfer can be expected to give in so many seconds: a backbone, its image size, epochs of fine-tuning."""

    backbone: str
    size: int
    epochs: float
    seconds: float
    """What the probe alone takes; with less, there is no result."""

    @property
    def worth(self) -> bool:
        """Whether the probe and one epoch are paid for."""
        return self.epochs >= 1


def outlook(task: Task, seconds: float) -> Outlook | None:
    """Whether a backbone is installed that takes a task's images, and what it reaches in so many seconds of one core.

    None where there is none, or where the inputs are no images.
    """
    names = available()
    if not names or len(task.input_shape) != 3 or task.input_shape[0] not in (1, 3) or not hasattr(task, "mean"):
        return None
    size = size_for(task, seconds)
    forward = _forward_seconds(size)
    probe = (2 * len(task.train) + len(task.valid)) * forward + 5
    epoch = len(task.train) * 4 * forward
    return Outlook(names[0], size, max(0.0, (seconds - probe) / epoch), probe)


def size_for(task: Task, seconds: float) -> int:
    """The largest size of images at which a time pays for the probe and three epochs of fine-tuning.

    Images are enlarged to three times their own size at most: 32 pixels have nothing to show at 224.
    """
    most = 3 * max(task.input_shape[1:])
    best = SIZES[0]
    for size in SIZES:
        forward = _forward_seconds(size)
        needed = forward * (2 * len(task.train) + len(task.valid) + FEWEST_EPOCHS * 4 * len(task.train))
        if size <= most and needed <= seconds:
            best = size
    return best


def _forward_seconds(size: int) -> float:
    return 0.39e9 * (size / 224) ** 2 / _MACS_PER_SECOND


def probe(network: Adapted, head: str, task: Task, *, device: str = "cpu") -> float:
    """Fit the head by logistic regression on features of the training images (mirrored ones too, where these may be).

    The strength of the penalty is chosen by the validation split; the head gets the weights in place.

    Returns:
        The accuracy on the validation split.
    """
    from sklearn.linear_model import LogisticRegression

    x, y = task.tensors(task.train, device)
    valid_x, valid_y = task.tensors(task.valid, device)
    parts = [x, x.flip(3)] if getattr(task, "flip", False) else [x]
    features = torch.cat([_features(network, head, part) for part in parts])
    valid = _features(network, head, valid_x)
    mean, std = features.mean(0), features.std(0).clamp(min=1e-3)
    targets = np.concatenate([y.cpu().numpy()] * len(parts))
    best, fitted = -1.0, None
    for penalty in PENALTIES:
        with np.errstate(all="ignore"):
            model = _fit(LogisticRegression(C=penalty, max_iter=100), ((features - mean) / std).numpy(), targets)
        accuracy = float(model.score(((valid - mean) / std).numpy(), valid_y.cpu().numpy())) if len(valid) else 0.0
        if accuracy > best:
            best, fitted = accuracy, model
        elif accuracy < best - 0.01:
            break
    assert fitted is not None
    weight = torch.zeros(task.outputs, features.shape[1])
    bias = torch.full((task.outputs,), -10.0)  # a class that no training image has
    rows = torch.as_tensor(fitted.classes_)
    coefficients, intercepts = fitted.coef_, fitted.intercept_
    if len(rows) == 2:  # scikit-learn keeps one row for two classes
        coefficients, intercepts = np.stack([-coefficients[0], coefficients[0]]) / 2, np.array([-1, 1]) * intercepts / 2
    weight[rows] = torch.as_tensor(coefficients, dtype=torch.float32) / std
    bias[rows] = torch.as_tensor(intercepts, dtype=torch.float32)
    layer = network.network.get_submodule(head)
    with torch.no_grad():
        layer.weight.copy_(weight)  # type: ignore[operator]
        layer.bias.copy_(bias - weight @ mean)  # type: ignore[operator]
    return best


def _fit(model: Any, x: np.ndarray, y: np.ndarray) -> Any:
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that it has not converged: more iterations change no answer
        return model.fit(x, y)


def _features(network: Adapted, head: str, x: Tensor) -> Tensor:
    """What the head is given, of every image."""
    kept: list[Tensor] = []
    layer = network.network.get_submodule(head)
    handle = layer.register_forward_pre_hook(lambda _, inputs: kept.append(inputs[0].detach().float().cpu()))
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    try:
        with evaluation(network):
            for batch in torch.split(x, 2 * BATCH):
                network(batch.contiguous(memory_format=torch.channels_last))
    finally:
        handle.remove()
        network.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
    return torch.cat(kept)


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
    epochs: int | None = None,
    folder: Path | None = None,
    device: str = "cpu",
    on_epoch: Callable[[dict[str, float]], bool | None] | None = None,
) -> Outcome:
    """Train on for the epochs that fit into a time (AdamW, cosine, shifts and flips), in place; the best are kept.

    Args:
        network: with trained weights; batch normalisation that is folded stays as it was.
        task: what it is trained for.
        seconds: how long, by `clock`.
        seed: of batches and augmentation.
        clock: tells the time in seconds.
        learning_rate: the highest.
        teacher: whose answers it learns as well.
        labels: whether the task's own loss counts too (without a teacher it must).
        epochs: instead of as many as fit.
        folder: where a checkpoint is kept, and how many epochs were planned.
        device: where.
        on_epoch: called with each row of the curve.
    """
    gentle = dataclasses.replace(task, cutout=0) if getattr(task, "cutout", 0) else task  # type: ignore[call-arg]
    began = clock()
    if epochs is None:
        took = _epoch_seconds(network, gentle, clock, teacher, device)
        epochs = max(1, min(MOST_EPOCHS, int((seconds - (clock() - began)) / took)))
    recipe = Recipe(
        epochs,
        BATCH,
        optimizer="adamw",
        learning_rate=learning_rate,
        weight_decay=0.05,
        warmup_epochs=min(0.3, epochs / 4),
        label_smoothing=0.1,
        gradient_clip=5.0,
        norm_momentum=0.1,
        layout="channels_last" if len(task.input_shape) == 3 else "auto",
        precision="float32",
    )
    objective = None
    if teacher is not None:
        temperature = 2.0 if task.outputs > 1 else None
        objective = Objective(
            Distillation(Teacher(teacher), temperature=temperature), task_weight=1.0 if labels else 0.0
        )
    late = began + 1.15 * seconds

    def note(row: dict[str, float]) -> bool:
        stop = on_epoch is not None and bool(on_epoch(row))
        return stop or (math.isfinite(seconds) and clock() > late)

    try:
        return train(
            network, gentle, recipe, seed=seed, device=device, folder=folder, on_epoch=note, objective=objective
        )
    except RuntimeError as error:
        if "view size" not in str(error) and "memory format" not in str(error):
            raise
        plain = dataclasses.replace(recipe, layout="contiguous")
        return train(
            network, gentle, plain, seed=seed, device=device, folder=folder, on_epoch=note, objective=objective
        )


def _epoch_seconds(network: nn.Module, task: Task, clock: Clock, teacher: nn.Module | None, device: str) -> float:
    """What an epoch of training and the validation after it take, by two steps of a copy."""
    copied = copy.deepcopy(network).to(device).train()
    layout = torch.channels_last if len(task.input_shape) == 3 else torch.contiguous_format
    x, y = task.tensors(task.train.head(BATCH), device)
    try:
        copied.to(memory_format=layout)  # type: ignore[call-overload]
        copied(x.contiguous(memory_format=layout))
    except RuntimeError:
        layout = torch.contiguous_format
        copied.to(memory_format=layout)  # type: ignore[call-overload]
    x = x.contiguous(memory_format=layout)
    times = []
    for _ in range(3):
        start = clock()
        task.loss(copied(x), y).backward()
        if teacher is not None:
            with torch.no_grad():
                teacher(x)
        times.append(clock() - start)
    with torch.no_grad():
        copied.eval()
        start = clock()
        copied(x)
        forward = clock() - start
    step = float(np.median(times[1:]))
    return max(1e-6, (step * 1.1 * len(task.train) + forward * len(task.valid)) / len(x))
