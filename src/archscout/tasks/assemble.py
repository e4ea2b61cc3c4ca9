"""From what a door found to a task, by one road: checked, divided, limited, decoded, resized."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from archscout.core.errors import DataNotice, UsageError
from archscout.core.task import Split
from archscout.tasks import checks, splits, targets
from archscout.tasks.contents import Contents
from archscout.tasks.contents import Raw as Raw
from archscout.tasks.decode import BACKGROUNDS, Reading, middle
from archscout.tasks.image_task import ImageTask
from archscout.tasks.pictures import Watch, decode_all


def check_options(
    *,
    train: int | None = None,
    size: int | None = None,
    flip: bool | None = None,
    fit: str = "stretch",
    background: str = "white",
    channels: int | None = None,
    skip_bad: bool = False,
    cache: bool | None = None,
    kind: str | None = None,
    unlabelled: int | None = None,
    links: bool = False,
    path: str | None = None,
    label: str | None = None,
    target: str | None = None,
    split: str | None = None,
    group: str | None = None,
) -> Reading:
    """How pictures are read, by the parameters of a task. Raises `UsageError`; no data are needed for that."""
    for name, count in (("train", train), ("size", size)):
        if count is not None:
            checks.count(count, name)
    for name, switch in (("flip", flip), ("skip_bad", skip_bad), ("cache", cache), ("links", links)):
        if switch not in (None, True, False):
            raise UsageError(f"the parameter {name} of a task must be true or false, not {switch!r}.")
    targets.check_kind(kind)
    if unlabelled is not None and (isinstance(unlabelled, bool) or not isinstance(unlabelled, int)):
        raise UsageError(f"the parameter unlabelled of a task must be a whole number, not {unlabelled!r}.")
    for name, column in (("path", path), ("label", label), ("target", target), ("split", split), ("group", group)):
        if column is not None and not isinstance(column, str):
            raise UsageError(f"the parameter {name} of a task must be the name of a column, not {column!r}.")
    return Reading(None if size is None else (size, size), fit, background, channels)


def assemble(
    name: str,
    source: str,
    contents: Contents | dict[str, Raw],
    *,
    train: int | None = None,
    flip: bool | None = None,
    drawn: Mapping[str, int] | None = None,
    skip_bad: bool = False,
    cache: bool | None = None,
    kind: str | None = None,
    unlabelled: int | None = None,
    watch: Watch | None = None,
    **reading_options: Any,
) -> ImageTask:
    """The task of these splits (`train`, perhaps `valid` and `test`; what is missing is drawn from `train`).

    Args:
        name: of the task.
        source: what messages call the data, for example its file.
        contents: what a door found, or only its splits.
        train: how many training examples to keep, in the proportions of the classes; all where None.
        flip: whether augmentation may mirror images. Where None: colour images are taken for pictures of the world,
            which may be, and grey ones for signs, which may not. Colour images get cutout and colour jitter too.
        drawn: how many examples a split has that is drawn from `train`; a fifth of them where not given.
        skip_bad: whether unreadable pictures are left out, and told, instead of refused.
        cache: whether decoded pictures are kept on the disk; where None, if they are much for this machine's memory.
        kind: of targets, one of `targets.KINDS`; where None, as they look.
        unlabelled: in masks, the value of pixels without a class (255 where None).
        watch: is told how many pictures are decoded.
        reading_options: `size`, `fit`, `background`, `channels`, as `check_options` takes them.

    Raises:
        DataError: for data that cannot be used.
        UsageError: for parameters that do not fit the data.

    What is read otherwise than it is written is told by `DataNotice` warnings.
    """
    reading = check_options(
        train=train, flip=flip, skip_bad=skip_bad, cache=cache, kind=kind, unlabelled=unlabelled, **reading_options
    )
    for key, count in (drawn or {}).items():
        checks.count(count, key)
    contents = contents if isinstance(contents, Contents) else Contents(contents)
    parts = {key: replace(part, x=checks.images(part.x, part.images) if isinstance(part.x, np.ndarray) else part.x)
             for key, part in contents.splits.items()}  # fmt: skip
    arrays = {key: part.x for key, part in parts.items() if isinstance(part.x, np.ndarray)}
    if "train" in arrays:
        checks.alike(arrays, source)
    found = targets.read(parts, contents.class_names, source, kind=kind or contents.kind, unlabelled=unlabelled)
    if found.kind == "segmentation" and reading.shape is not None:
        raise UsageError("masks are not resized: leave the parameter size out, or resize images and masks beforehand.")
    groups = {key: part.groups for key, part in parts.items() if part.groups is not None}
    checks.groups_apart(groups, source)

    names = found.strata_names
    rows = splits.complete(found.strata, source, names, drawn, groups.get("train"))
    if train is not None:
        strata = rows["train"].of(found.strata["train"])
        rows["train"] = rows["train"].narrowed(_limited(strata, train, source, len(names)))
    y = {key: part.of(found.y[part.part]) for key, part in rows.items()}
    data: dict[str, Split] = {}
    encoded = {}
    for key, part in rows.items():
        x = parts[part.part].x
        if isinstance(x, np.ndarray):
            x = part.of(x) if reading.shape is None else resize(part.of(x), reading)
            data[key] = Split(x, y[key])
        else:
            encoded[key] = x if part.rows is None else [x[row] for row in part.rows]
    notices = list(contents.notices)
    if found.kind == "classification" and parts["train"].y.ndim == 2 and parts["train"].y.shape[1] > 1:
        notices.append(f"{parts['train'].labels} marks one class in each row, and is read so (or say kind=multilabel).")
    if encoded or contents.bad:
        decoded = decode_all(encoded, reading, bad=contents.bad, skip_bad=skip_bad, cached=cache, watch=watch)
        reading = decoded.reading
        notices += decoded.notices
        data |= {key: Split(decoded.images[key], y[key][decoded.rows[key]]) for key in encoded}
    data = {key: data[key] for key in ("train", "valid", "test")}
    found.check({key: split.y for key, split in data.items()}, source)
    checks.alike({key: split.x for key, split in data.items()}, source)
    checks.varied({key: split.x for key, split in data.items()}, source)
    for notice in notices:
        warnings.warn(notice, DataNotice, stacklevel=2)

    height, width, channels = data["train"].x.shape[1:]
    colour = channels == 3
    shorter = min(height, width)
    task: ImageTask = found.task(
        name=name,
        input_shape=(channels, height, width),
        train=data["train"],
        valid=data["valid"],
        test=data["test"],
        drawn=tuple(key for key in ("valid", "test") if key not in contents.splits),
        flip=flip,
        colour=colour,
        shift=max(1, shorter // 8),
        cutout=shorter // 4 if colour else 0,
        fit=reading.fit,
        background=reading.background,
        span=(0.0, 255.0) if "train" in encoded else None,
    )
    return task


def resize(x: np.ndarray, reading: Reading) -> np.ndarray:
    """Images (N x H x W x C) at the shape of a reading: bilinear, with smoothing where they shrink."""
    assert reading.shape is not None
    height, width = reading.shape
    if x.shape[1:3] == (height, width):
        return x
    tall, wide = x.shape[1:3]
    if reading.fit == "crop":
        left, top, across, along = middle(wide, tall, width, height)
        x = x[:, top : top + along, left : left + across]
    inner = (height, width)
    if reading.fit == "pad":
        scale = min(height / tall, width / wide)
        inner = max(1, round(tall * scale)), max(1, round(wide * scale))
    top, left = (height - inner[0]) // 2, (width - inner[1]) // 2
    ground = BACKGROUNDS[reading.background] if x.dtype == np.uint8 or not BACKGROUNDS[reading.background] else x.max()
    resized = np.full((len(x), height, width, x.shape[3]), ground, x.dtype)
    for start in range(0, len(x), 1024):
        block = torch.from_numpy(np.ascontiguousarray(x[start : start + 1024])).permute(0, 3, 1, 2)
        small = F.interpolate(block, inner, mode="bilinear", antialias=True).permute(0, 2, 3, 1)
        resized[start : start + 1024, top : top + inner[0], left : left + inner[1]] = small.numpy()
    return resized


def _limited(y: np.ndarray, count: int, source: str, classes: int) -> np.ndarray:
    """The rows of `count` examples of these labels."""
    total = len(y)
    if count == total:
        return np.arange(total)
    if not classes <= count <= total - classes:
        raise UsageError(
            f"train={count} cannot be drawn from the {total} training examples of {source} in {classes} classes: "
            f"ask for {classes} to {total - classes}, or leave it out for all."
        )
    if np.bincount(y).min() < 2:
        raise UsageError(f"train={count} cannot be drawn from {source}, where a class has a single training example.")
    return splits.limit(y, count)
