"""What the targets of some data make of it: one class, several labels, numbers, or a class for each pixel.

The kind is told by shape and values (N whole numbers; N x K of 0 and 1; N x K of others; N x height x width), or said
by the parameter `kind`. Every kind is a class of tasks of its own; this file only reads targets for it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from archscout.core.errors import DataError, UsageError, nearest
from archscout.core.options import shown
from archscout.tasks import checks, transcripts
from archscout.tasks.contents import Raw
from archscout.tasks.labels import are_texts, numbered, text_of
from archscout.tasks.mask_classes import read_masks

if TYPE_CHECKING:
    from archscout.tasks.heads import Head

VERIFIED = ("verification", "retrieval")
"""Kinds whose classes need not be in all splits: what is asked is whether two examples are of one."""

EMBEDDING = 64
"""Numbers of an embedding of those."""

KINDS = ("classification", "ordinal", "multilabel", "regression", "segmentation", "heads", "lines", *VERIFIED)
"""The kinds by the names that the parameter `kind` takes."""

_DIVISIBLE = 8
"""Examples of a stratum that are enough to be in all of three splits."""


@dataclass(frozen=True)
class Targets:
    """The targets of each split, as their kind wants them.

    `strata` has a number for each example: splits are drawn so that each number is in all of them in proportion.
    `notices` are sentences about what was read otherwise than it is written.
    """

    kind: str
    y: dict[str, np.ndarray]
    names: tuple[str, ...]
    strata: dict[str, np.ndarray]
    heads: tuple[Head, ...] = ()
    notices: tuple[str, ...] = ()

    @staticmethod
    def classes(y: np.ndarray) -> np.ndarray:
        """The class of each example, of targets that may have weights beside it."""
        return y if y.ndim == 1 else y[:, 0].astype(np.int64)

    @property
    def outputs(self) -> int:
        """How many numbers a network gives."""
        if self.kind == "lines":
            return len(self.names) + 1  # the blank
        if self.kind == "ordinal":
            return len(self.names) - 1  # the thresholds between them
        return sum(len(head.names) for head in self.heads) or len(self.names)

    @property
    def strata_names(self) -> tuple[str, ...]:
        if self.kind in ("classification", "ordinal"):
            return self.names
        return tuple(f"stratum {number}" for number in range(1 + int(self.strata["train"].max(initial=0))))

    def check(self, y: Mapping[str, np.ndarray], source: str) -> None:
        """Raises `DataError` where a split lacks what every split needs."""
        if self.kind in ("classification", "ordinal"):
            checks.classes_present(y, source, self.names)
        elif self.kind in VERIFIED:
            for split, labels in y.items():
                counts = np.bincount(labels)
                if (counts > 0).sum() < 2 or counts.max() < 2:
                    raise DataError(
                        f"the {split} split of {source} has no pairs of one class and of two: every split needs two "
                        "classes, and two examples of one of them."
                    )
        elif self.kind == "segmentation":
            empty = next((split for split, masks in y.items() if not (masks >= 0).any()), None)
            if empty is not None:
                raise DataError(f"no pixel of the {empty} masks of {source} has a class: say which value has none "
                                "(unlabelled=N), or repair them.")  # fmt: skip
        elif self.kind in ("regression", "lines"):
            if len(y["train"]) > 1 and (y["train"] == y["train"][0]).all():
                raise DataError(f"all training targets of {source} are the same: there is nothing to learn.")
        elif self.kind == "multilabel":
            for split, values in y.items():
                lacking = values.astype(bool).any(0).argmin()
                if not values[:, lacking].any():
                    raise DataError(
                        f"no image of the {split} split of {source} has the label '{self.names[lacking]}': every split "
                        "needs every label."
                    )


def read(
    parts: Mapping[str, Raw],
    names: Sequence[str] | None,
    source: str,
    *,
    kind: str | None = None,
    unlabelled: int | None = None,
    noun: str = "image",
    nouns: str = "images",
    heads: tuple[Head, ...] = (),
    order: Sequence[str] = (),
) -> Targets:
    """The targets of all splits, checked.

    Args:
        parts: the splits as they were read.
        names: of classes, labels or numbers, where the data have them.
        source: what messages call the data.
        kind: one of `KINDS`; told by the targets where None.
        unlabelled: of masks, the value of pixels without a class; 255 where None.
        noun, nouns: what messages call an example, and several.
        heads: the questions, where there are several.
        order: of ordinal targets, the names of the classes from the lowest on; as they are where these are numbers.

    Raises:
        UsageError: there is no such kind.
        DataError: targets that are none of that kind.
    """
    check_kind(kind)
    said = kind is not None
    kind = kind or kind_of(parts["train"].y)
    given = None if names is None or not len(names) else tuple(names)
    if kind in ("classification", *VERIFIED) and any(are_texts(part.y) for part in parts.values()):
        parts, given = _named(parts, given)
    if kind == "heads":
        return _several(parts, heads, source, nouns)
    if kind == "ordinal":
        return _ordered(_classes(parts, given, source, noun, nouns), order, source)
    if kind in VERIFIED:
        return _verified(kind, parts, given, source, noun, nouns)
    if kind == "lines":
        y, characters = transcripts.read(parts, given, source)
        return Targets(kind, y, tuple(characters), {split: np.zeros(len(each), np.int64) for split, each in y.items()})
    if kind not in ("segmentation", "multilabel", "regression"):
        return _classes(parts, given, source, noun, nouns)
    for part in parts.values():
        if len(part.y) != len(part.x):
            raise DataError(f"{part.labels} has {len(part.y)} targets for {len(part.x)} {nouns}: give one for each.")
    notices = () if said else _guessed(kind, parts["train"])
    targets = _masks(parts, given, source, unlabelled) if kind == "segmentation" else _rows(kind, parts, given, source)
    checks.class_names(targets.names, source)
    targets.check(targets.y, source)
    return replace(targets, notices=(*targets.notices, *notices))


def check_kind(kind: object) -> None:
    """Raises `UsageError` for what is no kind of task."""
    if kind is not None and kind not in KINDS:
        raise UsageError(f"the parameter kind of a task cannot be {kind!r}: {nearest(str(kind), KINDS)}")


def kind_of(y: np.ndarray) -> str:
    """The kind that targets are of, as far as their shape and values tell.

    >>> kind_of(np.array([2, 0])), kind_of(np.eye(3)), kind_of(np.tri(3)), kind_of(np.ones((4, 2)) * 0.5)
    ('classification', 'classification', 'multilabel', 'regression')
    """
    if y.ndim == 2 and y.shape[1] > 1 and y.dtype.kind in "buif":
        if not ((y == 0) | (y == 1)).all():
            return "regression"
        return "classification" if _is_one_hot(y) else "multilabel"
    masks = y.ndim == 3 or (y.ndim == 4 and y.shape[3] == 1)
    whole = y.dtype.kind in "bui" or (y.dtype.kind == "f" and y.shape[1:3] > (1, 1))  # others are refused as masks
    return "segmentation" if masks and whole else "classification"


def _guessed(kind: str, part: Raw) -> tuple[str, ...]:
    """What is to be told of targets of several columns that are nearly of another kind than they look."""
    y = part.y
    if kind == "regression" and (y >= 0).all() and np.allclose(y.sum(1), 1, atol=1e-3):
        return (f"the rows of {part.labels} add up to 1, as shares of classes do, and are read as {y.shape[1]} "
                "numbers: give the class of each example (numpy.argmax(y, 1)) to learn classes.",)  # fmt: skip
    if kind == "multilabel" and (y.sum(1) <= 1).all() and 2 * int((y.sum(1) == 0).sum()) < len(y):
        row = int((y.sum(1) == 0).argmax())
        return (f"the rows of {part.labels} mark one class at most, and row {row} none, so that they are read as "
                "labels of which an example may have any number: give each row a class to learn one.",)  # fmt: skip
    return ()


def _is_one_hot(y: np.ndarray) -> bool:
    """Whether each row marks exactly one class."""
    return y.ndim == 2 and y.shape[1] > 1 and bool((((y == 0) | (y == 1)).all(1) & (y.sum(1) == 1)).all())


def _named(parts: Mapping[str, Raw], names: tuple[str, ...] | None) -> tuple[dict[str, Raw], tuple[str, ...]]:
    """The splits with numbers in place of labels that are names of classes, and those names."""
    texts = {split: [text_of(label) for label in part.y.ravel().tolist()] for split, part in parts.items()}
    known = list(names or numbered([text for each in texts.values() for text in each])[1])
    place = {name: number for number, name in enumerate(known)}
    numbers = {}
    for split, each in texts.items():
        row = next((row for row, text in enumerate(each) if text not in place), None)
        if row is not None:
            raise DataError(
                f"{parts[split].labels} has the label {shown(each[row])} in row {row}, which class_names lacks: "
                f"{nearest(each[row], known)}"
            )
        numbers[split] = np.asarray([place[text] for text in each], np.int64).reshape(parts[split].y.shape)
    return {split: replace(part, y=numbers[split]) for split, part in parts.items()}, tuple(known)


def _classes(parts: Mapping[str, Raw], names: tuple[str, ...] | None, source: str, noun: str, nouns: str) -> Targets:
    known = None if names is None else len(names)
    y = {}
    for split, part in parts.items():
        numbers = part.y.argmax(1) if _is_one_hot(part.y) else part.y
        y[split] = checks.labels(numbers, len(part.x), known, part.labels, noun, nouns)
    if names is None:
        names = tuple(str(label) for label in range(1 + max(int(labels.max()) for labels in y.values())))
    checks.class_names(names, source)
    checks.classes_present(y, source, names)
    return Targets("classification", y, names, y)


def _ordered(targets: Targets, order: Sequence[str], source: str) -> Targets:
    """Classes that are numbered from the lowest to the highest. Raises `UsageError` where their order is not known."""
    names = targets.names
    if len(names) < 3:
        raise DataError(f"{source} has two classes, which have no order to learn: use kind=classification.")
    if not order:
        if not all(_is_number(name) for name in names):
            raise UsageError(
                f"the classes of {source} have no order of their own ({', '.join(names[:5])}): say it with "
                f"order={'|'.join(names[:3])}, the lowest first."
            )
        order = sorted(names, key=float)
    if sorted(order) != sorted(names):
        odd = sorted(set(order) ^ set(names)) or sorted({name for name in order if list(order).count(name) > 1})
        raise UsageError(f"the order of classes and those of {source} differ in '{odd[0]}': name each class once.")
    place = np.asarray([list(order).index(name) for name in names])
    y = {split: place[labels] for split, labels in targets.y.items()}
    return Targets("ordinal", y, tuple(order), y)


def _is_number(text: str) -> bool:
    try:
        return bool(np.isfinite(float(text)))
    except ValueError:
        return False


def _verified(
    kind: str, parts: Mapping[str, Raw], names: tuple[str, ...] | None, source: str, noun: str, nouns: str
) -> Targets:
    known = None if names is None else len(names)
    y = {split: checks.labels(part.y, len(part.x), known, part.labels, noun, nouns) for split, part in parts.items()}
    if names is None:
        names = tuple(str(label) for label in range(1 + max(int(labels.max()) for labels in y.values())))
    checks.class_names(names, source)
    return Targets(kind, y, names, {split: np.zeros(len(labels), np.int64) for split, labels in y.items()})


def _several(parts: Mapping[str, Raw], heads: tuple[Head, ...], source: str, nouns: str) -> Targets:
    if not heads:
        raise DataError(f"{source} asks one question: name arrays y_NAME, or columns label_NAME and target_NAME.")
    for part in parts.values():
        if len(part.y) != len(part.x):
            raise DataError(f"{part.labels} has {len(part.y)} targets for {len(part.x)} {nouns}: give one for each.")
    y = {split: part.y.astype(np.float64) for split, part in parts.items()}
    names = tuple(head.name for head in heads)
    return Targets("heads", y, names, {split: np.zeros(len(each), np.int64) for split, each in y.items()}, heads)


def _masks(parts: Mapping[str, Raw], names: tuple[str, ...] | None, source: str, unlabelled: int | None) -> Targets:
    masks = read_masks(parts, names, source, unlabelled)
    strata = {split: np.zeros(len(y), np.int64) for split, y in masks.y.items()}
    return Targets("segmentation", masks.y, masks.names, strata, notices=masks.notices)


def _rows(kind: str, parts: Mapping[str, Raw], names: tuple[str, ...] | None, source: str) -> Targets:
    """Several labels, or numbers, for each example: targets of as many columns in every split."""
    reader = _multilabel if kind == "multilabel" else _regression
    y = {split: reader(part) for split, part in parts.items()}
    widths = {split: values.shape[1] for split, values in y.items()}
    count = widths["train"]
    other = next((split for split, width in widths.items() if width != count), None)
    if other is not None:
        raise DataError(f"the {other} targets of {source} have {widths[other]} columns where train has {count}.")
    if names is not None and len(names) != count:
        raise DataError(f"{source} has {len(names)} names for {count} columns of targets: give one for each.")
    called = names or (("value",) if kind == "regression" and count == 1 else tuple(str(n) for n in range(count)))
    strata = {split: np.zeros(len(values), np.int64) for split, values in y.items()}
    if kind == "multilabel":
        strata["train"] = _by_rarest_label(y["train"])
    return Targets(kind, y, called, strata)


def _multilabel(part: Raw) -> np.ndarray:
    y = part.y
    if y.ndim != 2 or y.dtype.kind not in "buif":
        raise DataError(f"{part.labels} has shape {y.shape}: several labels are N x K, of 0 and 1.")
    odd = ~((y == 0) | (y == 1)).all(1)
    if odd.any():
        raise DataError(
            f"{part.labels} has another value than 0 and 1 in row {int(odd.argmax())}: write 1 for a label."
        )
    return y.astype(np.uint8)


def _by_rarest_label(y: np.ndarray) -> np.ndarray:
    """A number for each example (N x K of 0 and 1): that of its rarest label, so that each is in every drawn split.

    Those that are too few to be divided are one stratum with examples that have no label.
    """
    counts = y.sum(0, dtype=np.int64)
    rarest = np.where(y.astype(bool), counts, len(y) + 1).argmin(1)
    rarest = np.where(y.any(1), rarest, y.shape[1])
    number = np.bincount(rarest, minlength=y.shape[1] + 1)
    rarest = np.where(number[rarest] < _DIVISIBLE, y.shape[1], rarest)
    strata = np.unique(rarest, return_inverse=True)[1].astype(np.int64)
    return strata if np.bincount(strata).min() >= _DIVISIBLE else np.zeros(len(y), np.int64)


def _regression(part: Raw) -> np.ndarray:
    y = part.y[:, None] if part.y.ndim == 1 else part.y
    if y.ndim != 2 or y.dtype.kind not in "buif":
        raise DataError(f"{part.labels} is {y.dtype} of shape {y.shape}: targets are a number, or K, for each image.")
    with np.errstate(over="ignore"):
        y = y.astype(np.float32)
    odd = ~(np.abs(y) <= checks.MOST).all(1)
    if odd.any():
        raise DataError(f"{part.labels} has no finite number in row {int(odd.argmax())}: repair it.")
    return y
