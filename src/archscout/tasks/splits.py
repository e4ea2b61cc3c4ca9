"""Stratified splits that are the same every time: every result depends on which examples they choose."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from archscout.core.errors import DataError, UsageError
from archscout.core.task import Split

ONE_IN = 5
"""A split that has to be drawn takes one example in so many."""

MOST = 5_000
"""No drawn split has more examples: beyond that they serve better in training."""


def complete(
    splits: dict[str, Split], source: str, class_names: Sequence[str], sizes: Mapping[str, int] | None = None
) -> dict[str, Split]:
    """`train`, `valid` and `test`, where missing ones are drawn from `train`, with so many examples if `sizes` says so.

    Raises `DataError` for a class with too few examples for that.
    """
    splits = dict(splits)
    usual = min(math.ceil(len(splits["train"]) / ONE_IN), MOST)
    for name in ("test", "valid"):
        if name not in splits:
            train = splits["train"]
            size = (sizes or {}).get(name, usual)
            if not len(class_names) <= size <= len(train) - len(class_names):
                raise UsageError(
                    f"{name}={size} cannot be drawn from the {len(train)} examples of {source} that are left."
                )
            _check_counts(train.y, size, source, class_names)
            kept, drawn = _stratified(train.y, len(train) - size)
            splits["train"] = Split(train.x[kept], train.y[kept])
            splits[name] = Split(train.x[drawn], train.y[drawn])
    return splits


def limit(split: Split, count: int) -> Split:
    """`count` of the examples, with the classes in the same proportions."""
    kept = _stratified(split.y, count)[0]
    return Split(split.x[kept], split.y[kept])


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
