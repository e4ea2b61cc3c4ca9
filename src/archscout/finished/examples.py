"""Which training examples ranges are taken from, and how the integer program of a network takes them."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from archscout.core.errors import UsageError
from archscout.core.seeds import stream
from archscout.core.task import Split, Task
from archscout.tasks.audio import AudioTask
from archscout.tasks.image_task import ImageTask

EXAMPLES = 256
"""Training examples that ranges are taken from, where no other number is given."""


def stored(task: Task, split: Split) -> Tensor:
    """The inputs of a split as the integer program takes them: N x C x H x W, float32.

    Images are in stored units; of recordings they are the spectrograms, before they are normalised.

    Raises `UsageError` for a task of neither.
    """
    if isinstance(task, AudioTask):
        return task.spectrograms(split.x[:])
    if not isinstance(task, ImageTask):
        raise UsageError(f"integers are made of networks for images and recordings, and task '{task.name}' has none.")
    return torch.from_numpy(np.ascontiguousarray(split.x[:])).permute(0, 3, 1, 2).float().contiguous()


def calibration(task: Task, count: int = EXAMPLES, seed: int = 0) -> Tensor:
    """The inputs of `calibration_split`, as stored."""
    return stored(task, calibration_split(task, count, seed))


def calibration_split(task: Task, count: int = EXAMPLES, seed: int = 0) -> Split:
    """Training examples to take ranges from, drawn by the seed.

    Raises:
        UsageError: the examples are of one class where there are several, all of them are alike, or there are none.
    """
    if count < 1:
        raise UsageError(f"ranges are taken from one example or more, not from {count}.")
    rows = np.sort(stream(seed, "calibration").permutation(len(task.train))[:count])
    labels = task.train.y[rows]
    if not len(rows):
        raise UsageError("there is no training example to take ranges from: name data with --data.")
    if labels.ndim == 1 and np.issubdtype(labels.dtype, np.integer) and len(task.class_names) > 1:
        classes = np.unique(labels)
        if len(classes) == 1:
            raise UsageError(
                f"all {len(rows)} calibration examples are of class '{task.class_names[int(classes[0])]}': ranges of "
                "one class do not hold for the others; give more examples, or data with all classes."
            )
    x = task.train.x[rows]
    if len(x) > 1 and bool((x == x[:1]).all()):
        raise UsageError(
            f"all {len(x)} calibration examples are the same: no ranges can be taken from them; look the data over "
            "with 'archscout data check'."
        )
    return Split(x, labels)


def span(task: Task) -> tuple[float, float] | None:
    """The least and the largest number of a stored pixel, where the type of the pixels says it."""
    return (0.0, 255.0) if task.train.x.dtype == np.uint8 else None
