"""From arrays to a task, by one road: checked, split, limited and resized."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F

from archscout.core.errors import UsageError
from archscout.core.task import Split
from archscout.tasks import checks, splits
from archscout.tasks.images import ImageClassification


@dataclass(frozen=True)
class Raw:
    """Images and labels of one split as they were read, with the names that messages call them by."""

    x: np.ndarray
    y: np.ndarray
    images: str
    labels: str


def assemble(
    name: str,
    source: str,
    raw: dict[str, Raw],
    class_names: Sequence[str] | None = None,
    *,
    train: int | None = None,
    size: int | None = None,
    flip: bool | None = None,
    drawn: Mapping[str, int] | None = None,
) -> ImageClassification:
    """The task of these splits (`train`, perhaps `valid` and `test`; what is missing is drawn from `train`).

    Args:
        name: of the task.
        source: what messages call the data, for example its file.
        raw: arrays as they were stored.
        class_names: one name for each class; the numbers where None.
        train: how many training examples to keep, in the proportions of the classes; all where None.
        size: height and width, in pixels, to which images are resized.
        flip: whether augmentation may mirror images. Where None: colour images are taken for pictures of the world,
            which may be, and grey ones for signs, which may not. Colour images get cutout too.
        drawn: how many examples a split has that is drawn from `train`; a fifth of them where not given.

    Raises:
        DataError: for data that cannot be used.
        UsageError: for parameters that do not fit the data.
    """
    if train is not None:
        checks.count(train, "train")
    if size is not None:
        checks.count(size, "size")
    if flip not in (None, True, False):
        raise UsageError(f"the parameter flip of a task must be true or false, not {flip!r}.")
    if class_names is not None and not len(class_names):
        class_names = None
    data: dict[str, Split] = {}
    for key, part in raw.items():
        x = checks.images(part.x, part.images)
        known = None if class_names is None else len(class_names)
        data[key] = Split(x, checks.labels(part.y, len(x), known, part.labels))
    checks.alike(data, source)
    if class_names is None:
        class_names = [str(label) for label in range(1 + max(int(split.y.max()) for split in data.values()))]
    checks.classes_present(data, source, class_names)
    for key, size_of_split in (drawn or {}).items():
        checks.count(size_of_split, key)
    data = splits.complete(data, source, class_names, drawn)
    if train is not None:
        data["train"] = _limited(data["train"], train, source, len(class_names))
        checks.classes_present(data, source, class_names)
    if size is not None:
        data = {key: Split(resize(split.x, size), split.y) for key, split in data.items()}

    height, width, channels = data["train"].x.shape[1:]
    colour = channels == 3
    shorter = min(height, width)
    return ImageClassification(
        name=name,
        input_shape=(channels, height, width),
        outputs=len(class_names),
        train=data["train"],
        valid=data["valid"],
        test=data["test"],
        class_names=tuple(class_names),
        flip=colour if flip is None else flip,
        shift=max(1, shorter // 8),
        cutout=shorter // 4 if colour else 0,
    )


def resize(x: np.ndarray, size: int) -> np.ndarray:
    """Images (N x H x W x C) at `size` x `size` pixels: bilinear, with smoothing where they shrink."""
    if x.shape[1:3] == (size, size):
        return x
    resized = np.empty((len(x), size, size, x.shape[3]), x.dtype)
    for start in range(0, len(x), 1024):
        block = torch.from_numpy(np.ascontiguousarray(x[start : start + 1024])).permute(0, 3, 1, 2)
        small = F.interpolate(block, (size, size), mode="bilinear", antialias=True)
        resized[start : start + 1024] = small.permute(0, 2, 3, 1).numpy()
    return resized


def _limited(split: Split, count: int, source: str, classes: int) -> Split:
    total = len(split)
    if count == total:
        return split
    if not classes <= count <= total - classes:
        raise UsageError(
            f"train={count} cannot be drawn from the {total} training examples of {source} in {classes} classes: "
            f"ask for {classes} to {total - classes}, or leave it out for all."
        )
    if np.bincount(split.y).min() < 2:
        raise UsageError(f"train={count} cannot be drawn from {source}, where a class has a single training example.")
    return splits.limit(split, count)
