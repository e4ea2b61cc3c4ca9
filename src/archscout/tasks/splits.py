"""Stratified splits that are the same every time: every result depends on which examples they choose."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from archscout.core.errors import DataError, UsageError
from archscout.core.seeds import stream

ALIASES = {
    "train": ("train", "training", "fit"),
    "valid": ("valid", "val", "validation", "validate", "dev", "development"),
    "test": ("test", "testing", "tests", "eval", "evaluation", "holdout"),
}
"""What a split may be called in a file or a folder, in small or capital letters."""

ONE_IN = 5
"""A split that has to be drawn takes one example in so many."""

MOST = 5_000
"""No drawn split has more examples: beyond that they serve better in training."""

_SPLIT = {alias: split for split, aliases in ALIASES.items() for alias in aliases}


def split_of(name: str) -> str | None:
    """`train`, `valid` or `test` for any of their names, None for every other.

    >>> split_of("Validation"), split_of("TRAIN"), split_of("cat")
    ('valid', 'train', None)
    """
    return _SPLIT.get(name.strip().casefold())


def by_split(names: Sequence[str], source: str, what: str) -> dict[str, str]:
    """Of these names, those of splits: `{"train": "Training"}`.

    Raises `DataError` where two mean the same split: to take one and drop the other would be a guess.

    Args:
        names: of folders, arrays or values.
        source: what messages call the data.
        what: what messages call the names ("folders").
    """
    by_name: dict[str, str] = {}
    for name in names:
        split = split_of(name)
        if split is not None and by_name.setdefault(split, name) != name:
            raise DataError(
                f"{source} has the {what} '{by_name[split]}' and '{name}', which both name the {split} split: merge "
                "them, or rename one."
            )
    return by_name


def split_folders(path: Path) -> dict[str, Path]:
    """The folders in a folder that are named as splits are. Raises `DataError` as `by_split` does."""
    folders = {entry.name: entry for entry in path.iterdir() if entry.is_dir()}
    called = str(path).encode("utf-8", "backslashreplace").decode("utf-8")
    return {split: folders[name] for split, name in by_split(sorted(folders), f"'{called}'", "folders").items()}


@dataclass(frozen=True)
class Rows:
    """Some rows of one of the splits that were given (`part`); all of them where `rows` is None."""

    part: str
    rows: np.ndarray | None = None

    def of(self, values: np.ndarray) -> np.ndarray:
        return values if self.rows is None else values[self.rows]

    def narrowed(self, chosen: np.ndarray) -> Rows:
        return Rows(self.part, chosen if self.rows is None else self.rows[chosen])


def complete(
    labels: Mapping[str, np.ndarray],
    source: str,
    class_names: Sequence[str],
    sizes: Mapping[str, int] | None = None,
    groups: np.ndarray | None = None,
) -> dict[str, Rows]:
    """`train`, `valid` and `test`, where missing ones are drawn from `train`, with so many examples if `sizes` says so.

    Args:
        labels: of the splits that there are.
        source: what messages call the data.
        class_names: of all classes.
        sizes: how many examples to draw; a fifth of `train` where not said.
        groups: of the examples of `train`: none of them is divided.

    Raises:
        UsageError: a size that was asked for cannot be drawn.
        DataError: a class has too few examples to be divided, or there are too few examples at all.
    """
    rows = {name: Rows(name) for name in labels}
    usual = min(math.ceil(len(labels["train"]) / ONE_IN), MOST)
    classes = len(class_names)
    for name in ("test", "valid"):
        if name in rows:
            continue
        y = rows["train"].of(labels["train"])
        asked = (sizes or {}).get(name)
        size = usual if asked is None else asked
        if not classes <= size <= len(y) - classes:
            if asked is not None:
                raise UsageError(f"{name}={size} cannot be drawn from the {len(y)} examples of {source} that are left.")
            measured = ", or say kind=regression if they are numbers that measure something"
            raise DataError(
                f"{source} has {len(labels['train'])} examples in {classes} classes, too few to draw a {name} split "
                f"from: give at least {classes * (ONE_IN + 1)}, or your own validation and test splits"
                f"{measured if 2 * classes > len(labels['train']) else ''}."
            )
        _check_counts(y, size, source, class_names)
        if groups is None:
            kept, drawn = _stratified(y, len(y) - size)
        else:
            kept, drawn = _grouped(y, rows["train"].of(groups), size, source)
        rows[name], rows["train"] = rows["train"].narrowed(drawn), rows["train"].narrowed(kept)
    return rows


def by_class(labels: Mapping[str, np.ndarray], source: str) -> dict[str, Rows]:
    """As `complete`, with classes of their own for the splits that are drawn: a fifth of all, two at least.

    Raises `DataError` where fewer than two would be left.
    """
    splits = {name: Rows(name) for name in labels}
    total = len(np.unique(labels["train"]))
    count = max(2, round(total / ONE_IN))
    for name in ("test", "valid"):
        if name in splits:
            continue
        y = splits["train"].of(labels["train"])
        classes = np.unique(y)
        if len(classes) < count + 2:
            raise DataError(
                f"{source} has examples of {total} classes, too few to draw splits with classes of their own: give "
                "at least 6, or your own validation and test splits."
            )
        drawn = np.isin(y, stream(0, "classes of drawn splits", name).permutation(classes)[:count])
        rows = splits["train"]
        splits[name], splits["train"] = rows.narrowed(np.flatnonzero(drawn)), rows.narrowed(np.flatnonzero(~drawn))
    return splits


def limit(y: np.ndarray, count: int) -> np.ndarray:
    """The rows of `count` of the examples, with the classes in the same proportions."""
    return _stratified(y, count)[0]


def _check_counts(y: np.ndarray, size: int, source: str, class_names: Sequence[str]) -> None:
    counts = np.bincount(y, minlength=len(class_names))
    rarest = int(counts.argmin())
    if counts[rarest] * size < len(y):
        raise DataError(
            f"class '{class_names[rarest]}' has {counts[rarest]} examples to split in {source}, too few: give at least "
            f"{math.ceil(len(y) / size)} of each class, or your own validation and test splits."
        )


def _stratified(y: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    from sklearn.model_selection import train_test_split  # a second of import that data with splits can do without

    kept, drawn = train_test_split(np.arange(len(y)), train_size=count, random_state=0, stratify=y)
    return np.sort(kept), np.sort(drawn)


def _grouped(y: np.ndarray, groups: np.ndarray, size: int, source: str) -> tuple[np.ndarray, np.ndarray]:
    """As `_stratified`, as nearly as whole groups allow."""
    from sklearn.model_selection import StratifiedGroupKFold

    folds = max(2, round(len(y) / size))
    distinct = len(np.unique(groups))
    rarest = int(np.bincount(y)[np.unique(y)].min())
    if distinct < folds:
        raise DataError(
            f"{source} has {distinct} groups, too few to draw splits that divide none: give your own validation and "
            "test splits."
        )
    folding = StratifiedGroupKFold(min(folds, rarest), shuffle=True, random_state=0)
    kept, drawn = next(iter(folding.split(np.empty(len(y)), y, groups)))
    return np.sort(kept), np.sort(drawn)
