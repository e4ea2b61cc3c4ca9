"""What makes data unusable, found before anything is spent; each message names the file and the row."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping, Sequence

import numpy as np

from archscout.core.errors import DataError, UsageError
from archscout.core.options import shown
from archscout.core.task import Split

MOST = 1e30
"""No pixel is larger: its square would not fit into single precision, and no network could be trained on it."""

_COPIED, _SOME, _LOOKED_THROUGH = 0.1, 20, 2**28
"""Share of a split, and number, from which on copies of training examples are told; bytes up to which they are looked
for."""

_SCALES = 20
"""Splits whose largest values differ more than so many times are of different scales (0 to 1, and 0 to 255)."""

_NO_LABEL = frozenset({"na", "n/a", "nan", "null", "?", "-", "<na>", "unlabelled", "unlabeled"})


def images(x: np.ndarray, source: str) -> np.ndarray:
    """Images as N x H x W x C, uint8 or float32. Raises `DataError` for arrays that are no images."""
    if x.ndim == 3:
        x = x[..., None]
    if x.ndim != 4:
        raise DataError(
            f"{source} has shape {x.shape}, which is no list of images: store them as N x height x width x channels."
        )
    if not len(x):
        raise DataError(f"{source} has no images: an empty data set cannot be learned from.")
    if 0 in x.shape:
        raise DataError(f"{source} has shape {x.shape}: its images have no pixels.")
    if x.shape[1] <= 4 < min(x.shape[2:]) or (x.shape[1] < x.shape[2] == x.shape[3] > 4):
        raise DataError(
            f"{source} has shape {x.shape}, with the channels first: store it as N x height x width x channels "
            "(numpy.moveaxis(x, 1, -1))."
        )
    if x.dtype.kind in "bui":
        if x.dtype == np.uint8:
            return x
        if x.min() >= 0 and x.max() <= 255:
            return x.astype(np.uint8)
        return x.astype(np.float32)
    if x.dtype.kind != "f":
        raise DataError(f"{source} holds values of type {x.dtype}: store pixels as uint8 or as floating point numbers.")
    with np.errstate(over="ignore"):
        x = x.astype(np.float32, copy=False)
    # A block's extremes are finite only if every pixel is, and cost no array of the images' size.
    for start in range(0, len(x), 1024):
        block = x[start : start + 1024].reshape(len(x[start : start + 1024]), -1)
        largest = np.maximum(block.max(1), -block.min(1))
        if not (largest <= MOST).all():
            row = int((largest <= MOST).argmin())
            what = "NaN or infinite" if not np.isfinite(largest[row]) else f"{largest[row]:.0e} (no brightness)"
            raise DataError(f"{source} has a pixel that is {what} in row {start + row}: repair the image.")
    return x


def labels(
    y: np.ndarray, count: int, classes: int | None, source: str, noun: str = "image", nouns: str = "images"
) -> np.ndarray:
    """Labels as int64. Raises `DataError` for others than one whole number for each example, below `classes`."""
    if y.ndim == 2 and y.shape[1] == 1:
        y = y[:, 0]
    if y.ndim != 1:
        raise DataError(f"{source} has shape {y.shape}: give one label for each {noun}.")
    if len(y) != count:
        raise DataError(f"{source} has {len(y)} labels for {count} {nouns}: give one for each.")
    if y.dtype.kind == "f":
        whole = np.isfinite(y) & (y == np.floor(np.where(np.isfinite(y), y, 0.5)))
        if not whole.all():
            row = int(whole.argmin())
            raise DataError(
                f"{source} has the label {y[row]} in row {row}: labels are whole numbers from 0 (kind=regression for "
                "other numbers)."
            )
    elif y.dtype.kind not in "bui":
        raise DataError(f"{source} holds values of type {y.dtype}: labels are whole numbers from 0.")
    if y.min() < 0:
        row = int(y.argmin())
        raise DataError(f"{source} has the negative label {y[row]:g} in row {row}: labels are whole numbers from 0.")
    if classes is not None and y.max() >= classes:
        row = int(y.argmax())
        raise DataError(
            f"{source} has the label {y[row]:g} in row {row}, but there are {classes} classes: labels go from 0 to "
            f"{classes - 1}."
        )
    if y.max() >= max(count, 2):
        # More classes than examples: there are gaps, and a list of so many names might fill the memory.
        row = int(y.argmax())
        raise DataError(f"{source} has the label {y[row]:g} in row {row}: number the classes from 0 without gaps.")
    return y.astype(np.int64)


def weights(values: np.ndarray | None, count: int, source: str) -> np.ndarray:
    """By how much each of so many examples counts; 1 where nothing is said. Raises `DataError` for no weights."""
    if values is None:
        return np.ones(count)
    if values.shape != (count,) or values.dtype.kind not in "buif":
        raise DataError(
            f"the weights beside {source} have shape {values.shape} for {count} examples: give a number for each."
        )
    odd = ~(np.isfinite(values.astype(np.float64)) & (values >= 0))
    if odd.any():
        row = int(odd.argmax())
        raise DataError(f"the weights beside {source} have {values[row]} in row {row}: write 0 or more.")
    if not values.sum():
        raise DataError(f"the weights beside {source} are all 0: nothing can be learned.")
    return values.astype(np.float64)


def alike(splits: Mapping[str, np.ndarray], source: str) -> None:
    """Raises `DataError` where splits differ in the size, channels, type or scale of their images."""
    if "train" not in splits:
        return
    train = splits["train"]
    highest = _largest(train)
    for name, x in splits.items():
        if x.shape[1:] != train.shape[1:]:
            raise DataError(
                f"the {name} images of {source} are {_size(x)} where the train images are {_size(train)} "
                "(height x width x channels): make them alike."
            )
        if x.dtype != train.dtype:
            raise DataError(
                f"the {name} images of {source} are {x.dtype} where the train images are {train.dtype}: store "
                "both alike."
            )
        largest = _largest(x)
        if max(highest, largest) > _SCALES * min(highest, largest) > 0:
            raise DataError(
                f"the {name} images of {source} have values up to {largest:g} where the train images have {highest:g}: "
                "store both in one scale."
            )


def varied(splits: Mapping[str, np.ndarray], source: str, what: str = "images") -> None:
    """Raises `DataError` where all examples of a split are the same one: nothing can be learned from them."""
    for name, x in splits.items():
        if len(x) > 1 and all((x[start : start + 1024] == x[0]).all() for start in range(0, len(x), 1024)):
            raise DataError(f"the {name} {what} of {source} are all the same: check how they were read and written.")


def copies(splits: Mapping[str, Split], nouns: str, labelled: bool) -> list[str]:
    """What is to be told of examples that are the same to the bit as others in training.

    Few (`_COPIED`, `_SOME`), and those of data as large as `_LOOKED_THROUGH`, are left to `archscout data check`.

    Args:
        splits: of the task.
        nouns: what messages call examples.
        labelled: whether examples that are the same ought to have one label.
    """
    if sum(split.x.nbytes for split in splits.values()) > _LOOKED_THROUGH:
        return []
    keys = {name: [hash(example.tobytes()) for example in split.x] for name, split in splits.items()}
    known = set(keys["train"])
    told = []
    for name in ("valid", "test"):
        count = sum(key in known for key in keys.get(name, ()))
        if count >= max(_SOME, _COPIED * len(keys[name])):
            told.append(
                f"{count:,} of {len(keys[name]):,} {name} {nouns} are training {nouns} too: what is measured on them "
                "says nothing of others."
            )
    y = splits["train"].y
    if labelled and y.ndim == 1:
        answers: dict[int, set[int]] = {}
        for key, label in zip(keys["train"], y.tolist(), strict=True):
            answers.setdefault(key, set()).add(label)
        count = sum(len(answers[key]) > 1 for key in keys["train"])
        if count >= max(_SOME, _COPIED * len(y)):
            told.append(f"{count:,} of {len(y):,} training {nouns} are given again with another label.")
    return told


def class_names(names: Sequence[str], source: str) -> None:
    """Raises `DataError` for names of classes that are no text, empty, or given twice, also in two forms of Unicode."""
    seen: set[str] = set()
    for number, name in enumerate(names):
        shown = name.encode("utf-8", "backslashreplace").decode("utf-8")
        if shown != name or not name.isprintable():
            raise DataError(f"class {number} of {source} has a name that is no plain text ({shown!r}): rename it.")
        if not name.strip():
            raise DataError(f"class {number} of {source} has no name: name it.")
        composed = unicodedata.normalize("NFC", name).strip()
        if composed in seen:
            raise DataError(f"two classes of {source} are named '{composed}': give each a name of its own.")
        seen.add(composed)


def alike_names(names: Sequence[str], source: str) -> list[str]:
    """A sentence for each pair of classes whose names differ in capital letters alone, or are one number: often one
    class, written twice.

    >>> alike_names(["cat", "Cat", "a", "A"], "'photos'")
    ["'cat' and 'Cat' of 'photos' are two classes: merge them if they mean the same."]
    >>> alike_names(["2", "02"], "'photos'")
    ["'2' and '02' of 'photos' are two classes: merge them if they mean the same."]
    """
    seen: dict[str | float, str] = {}
    return [
        f"'{other}' and '{name}' of {source} are two classes: merge them if they mean the same."
        for name in names
        for meaning in [_number(name)]
        if (len(name) > 1 or meaning is not None)
        and (other := seen.setdefault(name.casefold() if meaning is None else meaning, name)) != name
    ]


def _number(name: str) -> float | None:
    try:
        return None if "_" in name else float(name)
    except ValueError:
        return None


def missing_names(names: Sequence[str], source: str) -> list[str]:
    """A sentence about classes that are named as a label that is missing is written.

    >>> missing_names(["cat", "N/A"], "'photos'")
    ["'N/A' of 'photos' is a class like any other: leave these examples out if it means that the label is missing."]
    """
    return [
        f"'{name}' of {source} is a class like any other: leave these examples out if it means that the label is "
        "missing."
        for name in names
        if name.casefold() in _NO_LABEL
    ]


def groups(values: np.ndarray, count: int, source: str) -> None:
    """Raises `DataError` for others than one group for each of so many examples."""
    if values.shape != (count,):
        raise DataError(f"the groups of {source} have shape {values.shape} for {count} examples: give one for each.")
    if values.dtype.kind == "f" and not np.isfinite(values).all():
        row = int(np.isfinite(values).argmin())
        raise DataError(f"the groups of {source} have {values[row]} in row {row}: say which group it is of.")


def groups_apart(groups: Mapping[str, np.ndarray], source: str) -> None:
    """Raises `DataError` where a group has examples in two splits: what was learned of it would flatter the result."""
    where: dict[object, str] = {}
    for split, values in groups.items():
        for value in np.unique(values).tolist():
            if where.setdefault(value, split) != split:
                raise DataError(
                    f"group '{value}' of {source} has examples in the {where[value]} and the {split} split: keep each "
                    "group in one."
                )


def classes_present(labels: Mapping[str, np.ndarray], source: str, names: Sequence[str]) -> None:
    """Raises `DataError` for data of one class, and where a split has no example of a class."""
    if len(names) < 2:
        raise DataError(f"{source} has examples of one class only ('{names[0]}'): classification needs two.")
    for name, y in labels.items():
        present = np.zeros(len(names), bool)
        present[y] = True
        if not present.all():
            missing = int(present.argmin())
            raise DataError(
                f"the {name} split of {source} has no example of class {missing} ('{names[missing]}'): every "
                "split needs every class, and classes are numbered from 0 without gaps."
            )


def count(value: object, what: str) -> int:
    """A whole number above zero, as a parameter of a task must be. Raises `UsageError`."""
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < 1:
        raise UsageError(f"the parameter {what} of a task must be a whole number above zero, not {shown(value)}.")
    return int(value)


def _size(x: np.ndarray) -> str:
    return " x ".join(map(str, x.shape[1:]))


def _largest(x: np.ndarray) -> float:
    return max(float(x.max()), -float(x.min()))
