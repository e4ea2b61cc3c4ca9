"""What would be read of some data, before anything is spent on it: counts, classes, sizes, splits, and every oddity."""

from __future__ import annotations

import hashlib
import warnings
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from archscout.core.errors import DataNotice
from archscout.core.files import replacing
from archscout.core.task import Split, Task
from archscout.tasks import inputs
from archscout.tasks.audio import AudioTask
from archscout.tasks.classification import Classification
from archscout.tasks.series import SeriesTask

_SHEET = 12
"""Pictures of each class on the contact sheet, at most; and classes, at most, are eight times as many."""

_WIDEST = 1200
"""Pixels of a contact sheet of what has no single class."""


@dataclass(frozen=True)
class Survey:
    """What a look at a task found. `oddities` are sentences; data without any are as expected."""

    task: Task
    kind: str
    splits: dict[str, dict[str, int]]
    oddities: tuple[str, ...]

    def as_json(self) -> dict[str, Any]:
        shape = self.task.train.x.shape
        return {
            "name": self.task.name.replace(",skip_bad=true", "")
            .replace("skip_bad=true,", "")
            .removesuffix(":skip_bad=true"),
            "kind": self.kind,
            "input_shape": list(self.task.input_shape),
            "stored": str(self.task.train.x.dtype),
            "values": [float(np.nanmin(self.task.train.x)), float(np.nanmax(self.task.train.x))] if shape[0] else [],
            "classes": list(self.task.class_names),
            "splits": self.splits,
            "bytes": sum(split.x.nbytes for split in _splits(self.task).values()),
            "oddities": list(self.oddities),
        }


def look(source: Any, **parameters: Any) -> Survey:
    """Read data as a search would, and look them over. Unreadable pictures are an oddity here, not an end.

    Raises `DataError` for data of which no task can be made, and `UsageError` for wrong parameters.
    """
    from archscout.tasks.load import load

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", DataNotice)
        task = _load(load, source, parameters)
    notices = [str(one.message) for one in caught if issubclass(one.category, DataNotice)]
    splits = {name: _of_classes(task, split) for name, split in _splits(task).items()}
    oddities = [*notices, *_duplicates(task, splits), *_balance(task, splits)]
    return Survey(task, _kind(task), {name: _counts(task, split) for name, split in splits.items()}, tuple(oddities))


def _of_classes(task: Task, split: Split) -> Split:
    """A split without the weights of its examples, or their numbers in trials."""
    weighted = (isinstance(task, Classification) and task.weighted) or getattr(task, "trials", None) is not None
    return Split(split.x, split.y[:, 0].astype(np.int64)) if weighted else split


def contact_sheet(task: Task, file: Path) -> None:
    """A PNG of some training examples, a row a class; of what has no single class, the first ones.

    Nothing is written for what cannot be drawn.
    """
    x, y = task.train.x, _of_classes(task, task.train).y
    drawn = _drawing(task)
    if drawn is None or not len(x):
        return
    height, width, _ = drawn(x[0]).shape
    if y.ndim == 1:
        chosen = [np.flatnonzero(y == label)[:_SHEET] for label in range(min(len(task.class_names), 8 * _SHEET))]
    else:
        across = max(1, min(_SHEET, _WIDEST // width))
        chosen = np.array_split(np.arange(min(len(x), _SHEET * across)), range(across, len(x), across))[:_SHEET]
    sheet = np.full((len(chosen) * (height + 2), _SHEET * (width + 2), 3), 255, np.uint8)
    for row, places in enumerate(chosen):
        for column, place in enumerate(places):
            top, left = row * (height + 2), column * (width + 2)
            sheet[top : top + height, left : left + width] = drawn(x[place])
    with replacing(file) as partial:
        Image.fromarray(sheet).save(partial, format="PNG")


def _drawing(task: Task) -> Callable[[np.ndarray], np.ndarray] | None:
    """What makes a drawing (height x width x 3, bytes) of a stored example, where there is such a thing."""
    if isinstance(task, AudioTask | SeriesTask):
        return task.sketch
    if task.train.x.ndim != 4:
        return None
    x = task.train.x
    low, high = float(x.min()), float(x.max())

    def drawn(image: np.ndarray) -> np.ndarray:
        pixels = image[..., :3] if x.shape[3] >= 3 else np.repeat(image[..., :1], 3, 2)
        return pixels if x.dtype == np.uint8 else ((pixels - low) * (255 / max(high - low, 1e-12))).astype(np.uint8)

    return drawn


def _load(load: Any, source: Any, parameters: Mapping[str, Any]) -> Task:
    from archscout.core import registry

    name = str(source).partition(":")[0]
    if isinstance(source, str) and name in registry.names("task"):
        return load(source, **parameters)  # type: ignore[no-any-return]
    return load(source, **{**parameters, "skip_bad": True})  # type: ignore[no-any-return]


def _splits(task: Task) -> dict[str, Split]:
    parts = {"train": task.train, "valid": task.valid, "test": task.test}
    return {name: split for name, split in parts.items() if split is not None}


def _kind(task: Task) -> str:
    return str(task.describe().get("kind", type(task).__name__))


def _counts(task: Task, split: Split) -> dict[str, int]:
    """How many examples a split has of each class, or in all."""
    if split.y.ndim != 1 or split.y.dtype.kind not in "iu" or not task.class_names:
        return {"examples": len(split)}
    counts = np.bincount(split.y, minlength=len(task.class_names))
    return dict(zip(task.class_names, counts.tolist(), strict=True))


def _duplicates(task: Task, splits: Mapping[str, Split]) -> Iterable[str]:
    """The same example in two splits, within one, or with two labels."""
    noun, nouns = (inputs.noun(task), inputs.nouns(task)) if inputs.takes_files(task) else ("example", "examples")

    def are(count: int) -> str:
        return f"1 {noun} is" if count == 1 else f"{count:,} {nouns} are"

    places: dict[bytes, list[tuple[str, int, bytes]]] = defaultdict(list)
    for name, split in splits.items():
        for row in range(len(split)):
            key = hashlib.blake2b(np.ascontiguousarray(split.x[row]).tobytes(), digest_size=16).digest()
            places[key].append((name, row, np.asarray(split.y[row]).tobytes()))
    several = [copies for copies in places.values() if len(copies) > 1]
    across = [copies for copies in several if len({name for name, _, _ in copies}) > 1]
    if across:
        first = ", ".join(f"{name} {row}" for name, row, _ in across[0][:4])
        yield f"{are(len(across))} in more than one split, so that results flatter (the first: {first})."
    disagreeing = [copies for copies in several if len({label for _, _, label in copies}) > 1]
    if disagreeing:
        first = ", ".join(f"{name} {row}" for name, row, _ in disagreeing[0][:4])
        yield f"{are(len(disagreeing))} given with different labels (the first: {first})."
    within = Counter(name for copies in several for name in {n for n, _, _ in copies}
                     if sum(name == other for other, _, _ in copies) > 1)  # fmt: skip
    for name, count in within.items():
        yield f"{are(count)} in the {name} split more than once."


def _balance(task: Task, splits: Mapping[str, Split]) -> Iterable[str]:
    """Classes that are rare, and splits that are too small to tell networks apart."""
    train = splits["train"]
    if train.y.ndim != 1 or train.y.dtype.kind not in "iu" or not task.class_names:
        return
    counts = np.bincount(train.y, minlength=len(task.class_names))
    present = np.flatnonzero(counts)  # where two are compared, training lacks the classes of other splits
    least = int(present[counts[present].argmin()])
    if counts.max() > 10 * counts[least]:
        most = int(counts.argmax())
        yield (
            f"classes are of very different sizes: {counts[most]:,} training examples of '{task.class_names[most]}', "
            f"{counts[least]:,} of '{task.class_names[least]}'."
        )
    for name in ("valid", "test"):
        if name in splits and len(splits[name]) < 50:
            yield f"the {name} split has {len(splits[name])} examples: one of them is {100 / len(splits[name]):.1f} %."


def lines(survey: Survey) -> Sequence[tuple[str, ...]]:
    """A row a class and one for all: the counts of each split, as text."""
    names = list(survey.splits)
    classes = list(dict.fromkeys(key for counts in survey.splits.values() for key in counts))
    rows = [(key, *(f"{survey.splits[name].get(key, 0):,}" for name in names)) for key in classes]
    return [*rows, ("all", *(f"{sum(survey.splits[name].values()):,}" for name in names))]
