"""Features that the frozen beginning of a network gives, computed once: what comes after it is trained on these."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Generator, Tensor, nn

from archscout.core.digest import digest
from archscout.core.metric import Meter
from archscout.core.seeds import derive
from archscout.core.task import Split, Task
from archscout.training.contexts import evaluation
from archscout.training.speed import Mode
from archscout.training.trainer import weights_digest

BATCH = 64


@dataclass(frozen=True)
class KeptFeatures(Task):
    """A task whose inputs are features of another's (half precision); nothing changes them.

    Args:
        base: the task of the images: loss and metric are its own.
        key: what tells these features from others.
        copies: of each training example, one behind the other.
    """

    base: Task = None  # type: ignore[assignment]
    key: str = ""
    copies: int = 1

    def __post_init__(self) -> None:
        object.__setattr__(self, "metric", self.base.metric)

    @cached_property
    def digest(self) -> str:
        return digest(type(self), self.base.digest, self.key, self.copies)

    def first(self, copies: int) -> KeptFeatures:
        """The same with the first copies alone."""
        rows = len(self.train) // self.copies * copies
        return dataclasses.replace(self, train=self.train.head(rows), copies=copies)

    def tensors(self, split: Split, device: Any = "cpu") -> tuple[Tensor, Tensor]:
        return torch.from_numpy(split.x).to(device), torch.from_numpy(split.y).to(device)

    def head(self, channels: Any) -> nn.Module:
        return self.base.head(channels)  # type: ignore[no-any-return]

    def loss(self, outputs: Any, targets: Any, smoothing: float = 0.0) -> Any:
        return self.base.loss(outputs, targets, smoothing)

    def meter(self) -> Meter | None:
        return self.base.meter()

    def measure(self, outputs: Any, targets: Any) -> float:
        return self.base.measure(outputs, targets)

    def deploy(self, network: Any) -> Any:
        return network


class Rest(nn.Sequential):
    """The last parts of a network, on features in half precision."""

    def forward(self, x: Tensor) -> Any:
        return super().forward(x.float())  # type: ignore[no-untyped-call]


def kept_features(
    beginning: nn.Module, task: Task, copies: int, *, seed: int, mode: Mode, device: str = "cpu"
) -> KeptFeatures:
    """What the beginning of a network makes of the training examples, in several copies, and of validation.

    The first copy is of the images as they are, the second mirrored where the task allows it, all others as the task
    augments them.

    Args:
        beginning: takes inputs of the task; in evaluation mode while it is used.
        task: without cutout, if that is not wanted.
        copies: of each training example, at least 1.
        seed: of the augmentation.
        mode: number format and layout of the computation.
        device: where.
    """
    x, _ = task.tensors(task.train, device)
    versions = [_features(beginning, x, mode)]
    if copies > 1 and getattr(task, "flip", False):
        versions.append(_features(beginning, x.flip(3), mode))
    while len(versions) < copies:
        generator = Generator(device).manual_seed(derive(seed, "kept features", len(versions)))
        changed = [task.augment(part, generator) for part in torch.split(x, BATCH)]
        versions.append(_features(beginning, torch.cat(changed), mode))
    valid = _features(beginning, task.tensors(task.valid, device)[0], mode)
    train = Split(np.concatenate(versions), np.concatenate([task.train.y] * len(versions)))
    key = f"{weights_digest(beginning.state_dict())} {seed} {mode.notes()}"
    shape = tuple(train.x.shape[1:])
    return KeptFeatures(
        task.name, shape, task.outputs, _channels_last(train), _channels_last(Split(valid, task.valid.y)), None,
        task.class_names, base=task, recipe=task.recipe, key=key, copies=copies,
    )  # fmt: skip


def _channels_last(split: Split) -> Split:
    """Features that lie in memory as the layers want them."""
    if split.x.ndim != 4:
        return split
    return Split(np.ascontiguousarray(split.x.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2), split.y)


def _features(network: nn.Module, x: Tensor, mode: Mode) -> np.ndarray:
    parts: list[Tensor] = []
    network.to(memory_format=mode.memory_format)  # type: ignore[call-overload]
    with evaluation(network):
        for batch in torch.split(x, BATCH):
            with mode.autocast(x.device.type):
                parts.append(network(batch.contiguous(memory_format=mode.memory_format)).half().cpu())
    network.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
    return np.concatenate([part.numpy() for part in parts])
