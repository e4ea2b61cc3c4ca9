"""The classes of masks: which values of their pixels are classes, and which one says that a pixel has none."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from archscout.core.errors import DataError
from archscout.tasks.contents import Raw

UNLABELLED = 255
"""The usual value of a pixel without a class."""

NONE = -1
"""What stands for such a pixel from here on; masks may have it already."""

LARGEST = 1000
"""No class has a larger number."""


@dataclass(frozen=True)
class MaskClasses:
    """Masks of each split (N x height x width, -1 without a class), in as few bytes as the classes need; the names of
    classes, and what is told."""

    y: dict[str, np.ndarray]
    names: tuple[str, ...]
    notices: tuple[str, ...]


def read_masks(
    parts: Mapping[str, Raw], names: tuple[str, ...] | None, source: str, unlabelled: int | None = None
) -> MaskClasses:
    """The masks of all splits with classes numbered from 0.

    The value 255 is no class, unless it is the only other one: masks of 0 and 255 are of two classes. Values of which
    most are left out (0, 128, 254) are classes in their order, if these have no names.

    Args:
        parts: the splits as they were read.
        names: of the classes, where the data have them; the last may be that of pixels without a class.
        source: what messages call the data.
        unlabelled: the value of pixels without a class; 255 where None.

    Raises `DataError` for what are no masks, for classes without a name, and where there is one class only.
    """
    mark = UNLABELLED if unlabelled is None else unlabelled
    y = {split: _checked(part, mark) for split, part in parts.items()}
    if names is not None and unlabelled == len(names) - 1:
        names = names[:-1]
    counts = {split: pixels_of(masks, LARGEST + 1) for split, masks in y.items()}
    present = np.flatnonzero(sum(counts.values()))
    notices: list[str] = []
    if not len(present):
        return MaskClasses(y, names or ("0", "1"), ())  # which the targets' own check refuses
    marked = {split: _marked(masks, parts[split], mark) for split, masks in y.items()} if len(present) == 1 else {}
    if unlabelled is None and any(mask.any() for mask in marked.values()):
        value = int(present[0])
        for split, masks in y.items():
            y[split] = np.where(marked[split], np.int8(1), np.where(masks == value, np.int8(0), np.int8(NONE)))
        names = names if names is not None and len(names) == 2 else (str(value), str(mark))
        notices.append(
            f"the masks of {source} have the values {value} and {mark} alone, and are read as two classes "
            f"(unlabelled={mark} for pixels without one)."
        )
        return MaskClasses(y, names, tuple(notices))
    if len(present) == 1:
        raise DataError(
            f"every pixel of the masks of {source} that has a class has class {present[0]}, and {mark} is none "
            "(unlabelled=N): give masks of two classes or more."
        )
    count = 1 + int(present.max())
    if names is None and count > 2 * len(present):
        notices.append(
            f"the masks of {source} have the values {_listed(present.tolist())}, which are read as {len(present)} "
            "classes: number those from 0 if there are more."
        )
        place = np.full(LARGEST + 2, NONE, np.int16)  # the last is that of pixels without a class
        place[present] = np.arange(len(present))
        y = {split: place[masks] for split, masks in y.items()}
        names = tuple(map(str, present.tolist()))
        counts = {split: some[present] for split, some in counts.items()}
    elif names is None:
        names = tuple(map(str, range(count)))
    elif count > len(names):
        raise DataError(f"{source} has masks with class {count - 1} and {len(names)} names: name all classes.")
    y = {split: masks.astype(fewest_bytes(len(names)), copy=False) for split, masks in y.items()}
    return MaskClasses(y, names, (*notices, *_unlearned(counts, names, source)))


def fewest_bytes(classes: int) -> type[np.signedinteger]:
    """The smallest type for the numbers of so many classes, and for `NONE`.

    >>> fewest_bytes(11).__name__, fewest_bytes(150).__name__
    ('int8', 'int16')
    """
    return next(kind for kind in (np.int8, np.int16, np.int32) if classes - 1 <= np.iinfo(kind).max)


def pixels_of(masks: np.ndarray, classes: int) -> np.ndarray:
    """How many pixels each class has, (classes,); of one mask at a time, for counting takes eight bytes a pixel."""
    counts = np.zeros(classes, np.int64)
    for mask in masks:
        counts += np.bincount(mask[mask != NONE], minlength=classes)
    return counts


def _checked(part: Raw, mark: int) -> np.ndarray:
    """Masks with -1 where they have the mark of no class. Raises `DataError` for what are none."""
    y = part.y[..., 0] if part.y.ndim == 4 and part.y.shape[3] == 1 else part.y
    if y.ndim != 3 or y.dtype.kind not in "bui":
        raise DataError(f"{part.labels} is {y.dtype} of shape {y.shape}: masks are N x height x width whole numbers.")
    if isinstance(part.x, np.ndarray) and part.x.shape[1:3] != y.shape[1:]:
        raise DataError(
            f"{part.labels} has masks of {y.shape[1]} x {y.shape[2]} pixels for images of {part.x.shape[1]} x "
            f"{part.x.shape[2]}: make them alike."
        )
    masks = np.empty(y.shape, np.int16)
    for row, stored in enumerate(y):  # one at a time: what is written by others has up to eight bytes a pixel
        known = np.minimum(stored, np.iinfo(np.int64).max) if stored.dtype == np.uint64 else stored
        mask = np.where(stored == mark, NONE, known.astype(np.int64))
        if mask.size and (mask.min() < NONE or mask.max() > LARGEST):
            raise DataError(
                f"{part.labels} has pixels of class {int(mask.min())} to {int(mask.max())} in row {row}: "
                "number the classes from 0, and say which value is unlabelled (unlabelled=N)."
            )
        masks[row] = mask
    return masks


def _marked(masks: np.ndarray, part: Raw, mark: int) -> np.ndarray:
    """Where pixels have the mark itself, which padding has not."""
    marked: np.ndarray = (masks == NONE) & (part.y.reshape(masks.shape) == mark)
    return marked


def _unlearned(counts: Mapping[str, np.ndarray], names: Sequence[str], source: str) -> list[str]:
    """A sentence for each split with classes that no training mask has."""
    sentences = []
    for split, some in counts.items():
        if split == "train":
            continue
        strange = [names[place] for place in np.flatnonzero((some > 0) & (counts["train"] == 0)).tolist()]
        if strange:
            sentences.append(
                f"the {split} masks of {source} have {'a class' if len(strange) == 1 else 'classes'} that no training "
                f"mask has, and that cannot be learned ({_listed(strange)})."
            )
    return sentences


def _listed(values: Sequence[object]) -> str:
    few = ", ".join(str(value) for value in values[:8])
    return few + (f" and {len(values) - 8} more" if len(values) > 8 else "")
