"""What makes data unusable, found before anything is spent; each message names the file and the row."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from archscout.core.errors import DataError, UsageError
from archscout.core.task import Split


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
    if x.shape[1] in (1, 3) and x.shape[3] > 4 and x.shape[2] == x.shape[3]:
        raise DataError(
            f"{source} has shape {x.shape}, with the channels first: store it as N x height x width x channels."
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
    # A sum is finite only if every pixel is, and costs no array of the images' size.
    finite = np.isfinite(x.reshape(len(x), -1).sum(1, dtype=np.float64))
    if not finite.all():
        raise DataError(
            f"{source} has a pixel that is NaN or infinite in row {int(finite.argmin())}: repair the image."
        )
    return x


def labels(y: np.ndarray, count: int, classes: int | None, source: str) -> np.ndarray:
    """Labels as int64. Raises `DataError` for labels that are not one whole number for each image, below `classes`."""
    if y.ndim == 2 and y.shape[1] == 1:
        y = y[:, 0]
    if y.ndim != 1:
        raise DataError(f"{source} has shape {y.shape}: give one label for each image.")
    if len(y) != count:
        raise DataError(f"{source} has {len(y)} labels for {count} images: give one for each.")
    if y.dtype.kind == "f":
        whole = np.isfinite(y) & (y == np.floor(np.where(np.isfinite(y), y, 0.5)))
        if not whole.all():
            row = int(whole.argmin())
            raise DataError(f"{source} has the label {y[row]} in row {row}: labels are whole numbers from 0.")
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
    if y.max() >= 2**31:
        row = int(y.argmax())
        raise DataError(f"{source} has the label {y[row]:g} in row {row}: number the classes from 0 without gaps.")
    return y.astype(np.int64)


def alike(splits: Mapping[str, Split], source: str) -> None:
    """Raises `DataError` where splits differ in the size, channels or type of their images."""
    train = splits["train"].x
    for name, split in splits.items():
        if split.x.shape[1:] != train.shape[1:]:
            raise DataError(
                f"the {name} images of {source} are {_size(split.x)} where the train images are {_size(train)} "
                "(height x width x channels): make them alike."
            )
        if split.x.dtype != train.dtype:
            raise DataError(
                f"the {name} images of {source} are {split.x.dtype} where the train images are {train.dtype}: store "
                "both alike."
            )


def classes_present(splits: Mapping[str, Split], source: str, class_names: Sequence[str]) -> None:
    """Raises `DataError` for data of one class, and where a split has no example of a class."""
    if len(class_names) < 2:
        raise DataError(f"{source} has examples of one class only ('{class_names[0]}'): classification needs two.")
    for name, split in splits.items():
        present = np.zeros(len(class_names), bool)
        present[split.y] = True
        if not present.all():
            missing = int(present.argmin())
            raise DataError(
                f"the {name} split of {source} has no example of class {missing} ('{class_names[missing]}'): every "
                "split needs every class, and classes are numbered from 0 without gaps."
            )


def count(value: object, what: str) -> int:
    """A whole number above zero, as a parameter of a task must be. Raises `UsageError`."""
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise UsageError(f"the parameter {what} of a task must be a whole number above zero, not {value!r}.")
    return value


def _size(x: np.ndarray) -> str:
    return " x ".join(map(str, x.shape[1:]))
