"""Data that are at hand in Python: arrays, a dictionary, a data set or loader of PyTorch, a table of pandas or pyarrow.

Nothing here imports pandas, pyarrow or `datasets`: who passes such an object has it.
"""

from __future__ import annotations

import io
import random
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from archscout.core import options
from archscout.core.errors import DataError, UsageError, reason_of
from archscout.tasks.contents import Contents, Raw, Source
from archscout.tasks.doors import arrays
from archscout.tasks.doors.manifest import by_splits, from_columns
from archscout.tasks.labels import numbered, text_of
from archscout.tasks.splits import by_split

_IMAGES = ("image", "img", "pixel_values", "x", "data")
_LABELS = ("label", "labels", "y", "class", "target", "fine_label")


def open_object(data: Any, columns: Mapping[str, str | None] | None = None) -> Contents:
    """What an object holds.

    Args:
        data: `(x, y)`; a dictionary of arrays (`x_train`, `y_train`, ...) or of splits (`{"train": ..., "test": ...}`);
            a `Dataset` or `DataLoader`, whose examples are pairs of an image and a label, or dictionaries of them; a
            table with a column of paths or pictures and one of labels.
        columns: of a table by role.

    Raises:
        UsageError: an object of another kind.
        DataError: examples that are no images with labels.
    """
    if isinstance(data, Mapping):
        names = {split: str(name) for split, name in by_split([str(n) for n in data], "the dictionary", "keys").items()}
        if "train" in names and not any(isinstance(data[name], np.ndarray) for name in names.values()):
            tables = {split: table for split, name in names.items() if (table := _table(data[name])) is not None}
            if len(tables) == len(names):
                # As one, so that a category is the same number in all of them.
                contents = from_columns(by_splits(tables), "the tables", Path(), named=columns)
                contents.notices += _without_index(*(data[name] for name in names.values()))
                return contents
            return _of_splits({split: open_object(data[name], columns) for split, name in names.items()})
        return arrays.read_mapping(
            {str(name): _numpy(value) for name, value in data.items()}, "the dictionary", columns
        )
    table = _table(data)
    if table is None:
        _refuse_columns(columns or {})
    if (columns or {}).get("kind") == "lines" and isinstance(data, tuple | list) and len(data) == 2:
        return _lines(*data)
    if isinstance(data, tuple | list) and len(data) == 2 and all(_is_array(part) for part in data):
        x, y = (_numpy(part) for part in data)
        return _pair(x, y, "x", "y")
    if table is not None:
        if any(name in table and _is_picture(next(iter(table[name]), None)) for name in _IMAGES):
            rows = [dict(zip(table, values, strict=True)) for values in zip(*table.values(), strict=True)]
            return _examples(rows, range(len(rows)), "the table")
        contents = from_columns(table, "the table", Path(), named=columns)
        contents.notices += _without_index(data)
        return contents
    if _is_loader(data):
        return _examples(data.dataset, _rows(data), "the loader's data set")
    if getattr(data, "ndim", None) == 0:
        raise UsageError(f"data cannot be one number ({options.shown(data)}): give (x, y), two arrays of examples.")
    if hasattr(data, "__getitem__") and hasattr(data, "__len__") and not isinstance(data, str | bytes):
        return _examples(data, range(len(data)), "the data set")
    if hasattr(data, "__iter__") and not isinstance(data, str | bytes):
        listed = list(data)
        return _examples(listed, range(len(listed)), "the data set")
    raise UsageError(
        f"data cannot be of type {type(data).__name__}: give a task, a name, a path, (x, y), a dictionary of arrays, a "
        "Dataset, a DataLoader or a table."
    )


def _table(data: Any) -> dict[str, list[Any]] | None:
    """The columns of a table; None for what is none."""
    if hasattr(data, "to_pydict") and hasattr(data, "column_names"):  # pyarrow.Table
        return dict(data.to_pydict())
    if hasattr(data, "columns") and hasattr(data, "to_dict"):  # pandas.DataFrame
        return {str(name): list(data[name]) for name in data.columns}
    return None


def _without_index(*tables: Any) -> list[str]:
    """A sentence for an index of pandas that may say something: one with a name, or of dates or texts."""
    for table in tables:
        index = getattr(table, "index", None)
        if index is None or not hasattr(index, "dtype") or not len(index):
            continue
        names = [str(name) for name in index.names if name is not None]
        if names or index.dtype.kind not in "iu":
            said = f"'{', '.join(names)}'" if names else f"{index[0]} and so on"
            return [f"the index of the table ({said}) is left out: reset_index() makes it a column."]
    return []


def _refuse_columns(columns: Mapping[str, Any]) -> None:
    """Raises `UsageError` for a column that is named of data without names, where it would change nothing."""
    for role in ("path", "label", "target", "split", "group", "weight"):
        if columns.get(role) not in (None, arrays.NONE):
            raise UsageError(
                f"{role}={options.shown(columns[role])} names a column, and the data have no names: give a "
                "dictionary of arrays, or a table."
            )


def _is_picture(value: Any) -> bool:
    return hasattr(value, "getbands") or (getattr(value, "ndim", 0) in (2, 3) and hasattr(value, "dtype"))


def _check_order(shape: Sequence[int]) -> None:
    """Raises `DataError` for a tensor of images whose channels seem to be last, where PyTorch has them first."""
    height, width, channels = shape[-3:]
    if channels in (1, 3) and height == width > 4:
        order = "0, 3, 1, 2" if len(shape) == 4 else "2, 0, 1"
        raise DataError(
            f"a tensor of images has shape {tuple(shape)}, with the channels last: change their order "
            f"(x.permute({order})), or give a NumPy array."
        )


def _pair(x: np.ndarray, y: np.ndarray, images: str, labels: str) -> Contents:
    if y.dtype.kind in "OUS" and y.ndim == 1:
        numbers, names = numbered([text_of(value) for value in y.ravel().tolist()])
        return Contents({"train": Raw(x, numbers.reshape(y.shape), images, labels)}, names)
    return Contents({"train": Raw(x, y, images, labels)})


def _lines(images: Any, texts: Any) -> Contents:
    """Images of lines, which may differ in width, and a text for each."""
    if not _is_array(images):
        raise DataError("the images of lines are an array, or a list of arrays or pictures.")
    x: np.ndarray | list[Source]
    if isinstance(images, list):
        x = [_encoded(_picture(image, row), f"line {row} of x") for row, image in enumerate(images)]
    else:
        x = _numpy(images)
    return Contents({"train": Raw(x, np.asarray(texts), "x", "y")}, kind="lines", medium="lines")


def _picture(image: Any, row: int) -> Any:
    """A picture of Pillow's of an array of bytes."""
    from PIL import Image

    if hasattr(image, "getbands"):
        return image
    pixels = _one(image)
    if pixels.ndim != 3 or pixels.shape[2] not in (1, 3) or pixels.dtype != np.uint8:
        raise DataError(
            f"line {row} of x is {pixels.dtype} of shape {pixels.shape}: give bytes, height x width (x 3), or pictures."
        )
    return Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels)


def _of_splits(parts: dict[str, Contents]) -> Contents:
    """One of several, each of which was read as if it were all for training."""
    train = parts["train"].class_names
    whole = replace(parts["train"], splits={}, notices=[], bad=[])
    for split, part in parts.items():
        raw = part.splits["train"]
        names = part.class_names
        if names is not None and train is not None and list(names) != list(train):
            unknown = sorted(set(names) - set(train))
            if unknown:
                raise DataError(f"the {split} split has the class '{unknown[0]}', which the train split lacks: add it.")
            place = np.asarray([list(train).index(name) for name in names])
            raw = replace(raw, y=place[raw.y])
        whole.splits[split] = replace(raw, images=f"{raw.images} ({split})", labels=f"{raw.labels} ({split})")
        whole.notices += part.notices
        whole.bad += part.bad
    return whole


def _examples(data: Any, rows: Sequence[int], source: str) -> Contents:
    """All examples of a map from numbers to examples, read once, with random transforms held still."""
    import torch

    if not len(rows):
        raise DataError(f"{source} has no examples: an empty data set cannot be learned from.")
    images: list[Any] = []
    labels: list[Any] = []
    notices = []
    states = random.getstate(), np.random.get_state()
    with torch.random.fork_rng(devices=[]):
        _still(0)
        first = _example(data, source, rows[0])
        second = _example(data, source, rows[0])
        if not _same(first[0], second[0]):
            notices.append(
                f"{source} gives an example differently each time: one drawing of each is taken; leave random "
                "transforms out, for training changes images itself."
            )
        try:
            for row in rows:
                _still(row)
                image, label = _example(data, source, row)
                images.append(image)
                labels.append(label)
        finally:
            random.setstate(states[0])
            np.random.set_state(states[1])
    classes = getattr(data, "classes", None)
    names = [str(name) for name in classes] if isinstance(classes, list | tuple) and classes else None
    called = f"the images of {source}"
    x: np.ndarray | Sequence[Source] = (
        [_encoded(image, f"example {row} of {source}") for image, row in zip(images, rows, strict=True)]
        if hasattr(images[0], "getbands")
        else _stacked(images, rows, source)
    )
    if any(isinstance(label, str) for label in labels):
        y, names = numbered([text_of(label) for label in labels])
    else:
        y = np.asarray([_numpy(label) for label in labels])
    return Contents({"train": Raw(x, y, called, f"the labels of {source}")}, names, notices)


def _still(row: int) -> None:
    """Random transforms draw the same for an example, whenever it is read."""
    import torch

    random.seed(row)
    np.random.seed(row % 2**32)
    torch.manual_seed(row)


def _example(data: Any, source: str, row: int) -> tuple[Any, Any]:
    """An example of a data set. Raises `DataError` for one that is no pair, or that its own code fails on."""
    try:
        example = data[row]
    except Exception as error:  # anybody's code
        raise DataError(f"example {row} of {source} cannot be read: {reason_of(error)}.") from error
    if isinstance(example, Mapping):
        image = next((example[name] for name in _IMAGES if name in example), None)
        label = next((example[name] for name in _LABELS if name in example), None)
        if image is not None and label is not None:
            return image, label
        raise DataError(
            f"example {row} of {source} has the keys {', '.join(map(str, example))}: give its image as 'image' and its "
            "label as 'label'."
        )
    if isinstance(example, tuple | list) and len(example) == 2:
        return example[0], example[1]
    raise DataError(f"example {row} of {source} is a {type(example).__name__}: give a pair of an image and a label.")


def _same(one: Any, other: Any) -> bool:
    return bool(np.array_equal(np.asarray(one), np.asarray(other)))


def _stacked(images: list[Any], rows: Sequence[int], source: str) -> np.ndarray:
    first = _one(images[0])
    stacked = np.empty((len(images), *first.shape), first.dtype)
    for place, (image, row) in enumerate(zip(images, rows, strict=True)):
        pixels = _one(image)
        if pixels.shape != first.shape or pixels.dtype != first.dtype:
            raise DataError(
                f"example {row} of {source} is {pixels.dtype} of shape {pixels.shape} where example {rows[0]} is "
                f"{first.dtype} of shape {first.shape}: make all alike in the data set."
            )
        stacked[place] = pixels
    return stacked


def _one(image: Any) -> np.ndarray:
    """An image as height x width x channels; PyTorch's have the channels first."""
    pixels = _plain(image)
    if pixels.ndim == 3 and _is_tensor(image):
        _check_order(pixels.shape)
        pixels = np.moveaxis(pixels, 0, -1)
    return pixels[..., None] if pixels.ndim == 2 else pixels


def _encoded(image: Any, called: str) -> Source:
    """A picture of Pillow's, as a file of it would be read."""
    buffer = io.BytesIO()
    keep = image if image.mode in ("1", "L", "LA", "P", "RGB", "RGBA", "I;16", "I") else image.convert("RGB")
    keep.save(buffer, format="PNG", compress_level=1)
    content = buffer.getvalue()
    return Source(called, lambda: io.BytesIO(content), called)


def _is_loader(data: Any) -> bool:
    from torch.utils.data import DataLoader

    return isinstance(data, DataLoader)


def _rows(loader: Any) -> Sequence[int]:
    """The rows of its data set that a loader goes through, in the order of the data set."""
    from torch.utils.data import IterableDataset, RandomSampler, SequentialSampler, SubsetRandomSampler

    if isinstance(loader.dataset, IterableDataset):
        raise UsageError(
            "a loader of an IterableDataset has no order that comes again: give list(data set), or arrays."
        )
    if isinstance(loader.sampler, SubsetRandomSampler):
        return sorted(int(row) for row in loader.sampler.indices)
    if isinstance(loader.sampler, SequentialSampler) or (
        isinstance(loader.sampler, RandomSampler) and not loader.sampler.replacement
    ):
        return range(len(loader.dataset))
    raise UsageError(
        f"a loader with a {type(loader.sampler).__name__} cannot be read as data: give its data set, or "
        "torch.utils.data.Subset of it."
    )


def _is_tensor(value: Any) -> bool:
    return hasattr(value, "detach") and hasattr(value, "numpy")


def _is_array(value: Any) -> bool:
    column = hasattr(value, "__array__") and hasattr(value, "dtype")  # of pandas, for example
    return column or _is_tensor(value) or (isinstance(value, list) and len(value) > 2)


def _plain(value: Any) -> np.ndarray:
    """An array. Raises `DataError` for lists of several lengths, and for arrays of which values are masked."""
    if _is_tensor(value):
        try:
            whole = value.detach().cpu().resolve_conj().resolve_neg()
            return (whole.float() if whole.dtype.itemsize < 4 and whole.is_floating_point() else whole).numpy()  # type: ignore[no-any-return]
        except (TypeError, NotImplementedError, RuntimeError) as error:  # sparse ones, and those without numbers
            raise DataError(f"a tensor cannot be read as an array ({reason_of(error)}): give a dense one.") from error
    if isinstance(value, np.ma.MaskedArray) and np.ma.is_masked(value):
        raise DataError("an array has masked values, whose numbers mean nothing: fill them (array.filled(0)).")
    try:
        return np.asarray(value)
    except ValueError as error:
        raise DataError("a list of examples has elements of several lengths: make them alike, or arrays.") from error


def _numpy(value: Any) -> np.ndarray:
    """An array; images of PyTorch (N x C x H x W) get their channels last."""
    array = _plain(value)
    if _is_tensor(value) and array.ndim == 4:
        _check_order(array.shape)
        return np.moveaxis(array, 1, -1)
    return array
