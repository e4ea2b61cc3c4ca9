"""Examples for a trained network, as it was trained on them: converted where that is certain, or refused.

A network that learned from pixels of 0 to 1 labels a picture of 0 to 255 without complaint, and wrongly. The smallest
and largest value of its training images (`ImageTask.span`) say what it takes.
"""

from __future__ import annotations

import warnings
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from archscout.core.errors import DataError, DataNotice
from archscout.core.task import Task
from archscout.tasks import checks, sound
from archscout.tasks.audio import AudioTask
from archscout.tasks.contents import Clip
from archscout.tasks.decode import SUFFIXES, Reading, file_source, read_image, shown
from archscout.tasks.doors.archive import Archive, listed, read_npy
from archscout.tasks.doors.tables import read_columns
from archscout.tasks.image_task import ImageTask
from archscout.tasks.rows import RowsTask
from archscout.tasks.series import SeriesTask
from archscout.tasks.table import cells_of

ARRAYS = (".npy", ".npz")
TABLES = (".csv", ".tsv", ".jsonl", ".ndjson", ".parquet")

_SLACK = 0.5
"""By this share of the span may a value lie outside of what training had."""

_FAR = 50
"""Standard deviations from the mean of training, beyond which the middle of a column is of another scale."""

_SMALL = 10
"""An array whose largest value is so many times smaller than that of training is of another scale."""


def takes_files(task: Task) -> bool:
    """Whether networks of a task can be given files."""
    return isinstance(task, ImageTask | AudioTask | SeriesTask | RowsTask)


def noun(task: Task) -> str:
    """What an example of a task is called."""
    if isinstance(task, SeriesTask):
        return "series"
    if isinstance(task, RowsTask):
        return "row"
    return "recording" if isinstance(task, AudioTask) else "image"


def nouns(task: Task) -> str:
    """What several are called."""
    return noun(task) if isinstance(task, SeriesTask) else f"{noun(task)}s"


def read(file: Path, task: Any) -> tuple[np.ndarray, str]:
    """The examples of a file (images: N x H x W x C; recordings: N x samples; float32) as the task's networks take
    them, and what was converted.

    The second is a clause for whoever asked ("values 0 to 1 were multiplied by 255"), empty where nothing was.
    Raises `DataError` for what is no image, has another shape, or cannot be brought to the scale of the network, and
    for a file without an example.
    """
    examples, converted = _read(file, task)
    if not len(examples):
        raise DataError(f"'{shown(file)}' has no {nouns(task)}: there is nothing to label.")
    return examples, converted


def _read(file: Path, task: Any) -> tuple[np.ndarray, str]:
    if isinstance(task, AudioTask):
        return _recordings(file, task)
    if isinstance(task, SeriesTask):
        return _series(file, task), ""
    if isinstance(task, RowsTask):
        return _rows(file, task)
    if file.suffix.lower() in ARRAYS:
        images = _as_batch(_array(file), file, task)
        if not len(images):
            return images, ""
        return scaled(images, task, f"'{shown(file)}'")
    picture = read_image(file, task.input_shape, Reading(fit=task.fit, background=task.background))
    kind = _scale(task.span)
    if kind == "bytes" or (task.span is None and task.train.x.dtype == np.uint8):
        return picture.astype(np.float32), ""
    if kind in ("unit", "signed"):
        return _from_bytes(picture, kind), ""
    trained = "numbers that were not noted" if task.span is None else f"values from {_span(task.span)}"
    raise DataError(
        f"'{shown(file)}' cannot be given to a network that was trained on {trained}, for a picture's go from 0 to "
        "255: give an .npy array in the scale of its training data."
    )


def _recordings(file: Path, task: AudioTask) -> tuple[np.ndarray, str]:
    """Recordings at the rate and of the length of a task. Arrays are taken to be at its rate."""
    if file.suffix.lower() not in ARRAYS:
        return sound.one(file_source(file), task.rate, task.samples), ""
    array = _array(file, ("x", "audio"))
    array = array[None] if array.ndim == 1 else array
    if array.ndim != 2 or array.dtype.kind not in "iuf":
        raise DataError(
            f"'{shown(file)}' holds {array.dtype} of shape {array.shape}, but recordings are N x samples, {task.rate} "
            "of them a second."
        )
    sound.check_depth(array, f"'{shown(file)}'")
    clips = [Clip(f"row {row} of '{shown(file)}'", samples, task.rate) for row, samples in enumerate(array)]
    return np.concatenate([sound.one(clip, task.rate, task.samples) for clip in clips] or [array]), ""


def _series(file: Path, task: SeriesTask) -> np.ndarray:
    """Series of the channels and length of a task. Raises `DataError` for others."""
    if file.suffix.lower() not in ARRAYS:
        raise DataError(f"'{shown(file)}' cannot be read as series: give .npy or .npz arrays, N x channels x length.")
    array = _array(file)
    channels, length = task.input_shape
    for fitting in (array, array[None], array[:, None], array[None, None]):
        if fitting.shape[1:] == (channels, length) and fitting.dtype.kind in "buif":
            if not (np.abs(fitting.astype(np.float64)) <= checks.MOST).all():
                raise DataError(f"'{shown(file)}' has a value that is no finite number: repair it.")
            mean, std = task.normalisation
            _compare(fitting, mean, std, [f"channel {channel}" for channel in range(channels)], file)
            return fitting.astype(np.float32)
    raise DataError(
        f"'{shown(file)}' holds {array.dtype} of shape {array.shape}, but the network takes numbers of shape "
        f"N x {channels} x {length}."
    )


def _rows(file: Path, task: RowsTask) -> tuple[np.ndarray, str]:
    """Rows of the columns of a task: of a table, or an array as networks take it. Raises `DataError` for others."""
    if file.suffix.lower() in TABLES:
        columns, _ = read_columns(file)
        return _filled(cells_of(columns, task.columns, f"'{shown(file)}'"), task, file)
    if file.suffix.lower() not in ARRAYS:
        raise DataError(f"'{shown(file)}' cannot be read as rows: give a table ({', '.join(TABLES)}) or an array.")
    array = _array(file)
    array = array[None] if array.ndim == 1 else array
    if array.shape[1:] != task.deployed_shape or array.dtype.kind not in "buif":
        raise DataError(
            f"'{shown(file)}' holds {array.dtype} of shape {array.shape}, but the network takes numbers of shape "
            f"N x {task.deployed_shape[0]}."
        )
    return _filled(array.astype(np.float32), task, file)


def _filled(rows: np.ndarray, task: RowsTask, file: Path) -> tuple[np.ndarray, str]:
    """Rows with the mean where a number is missing that none of training lacked, and what was done."""
    names: list[str] = []  # categories have none: the rare ones lie far from their mean
    for column in task.columns:
        names += [""] * column.width if column.categories else [f"column '{shown(column.name)}'"]
    _compare(rows, *task.normalisation, names, file)
    missing = np.isnan(rows)
    missing[:, list(task.gaps)] = False
    rows[missing] = np.broadcast_to(np.asarray(task.normalisation[0], np.float32), rows.shape)[missing]
    return rows, "numbers that are missing were taken to be the mean" if missing.any() else ""


def _compare(
    examples: np.ndarray, mean: Sequence[float], std: Sequence[float], names: Sequence[str], file: Path
) -> None:
    """Say of numbers (N x columns, or N x channels x length) which are mostly not of the scale of training."""
    for place, name in enumerate(names):
        given = examples[:, place][np.isfinite(examples[:, place])]
        middle = float(np.median(given)) if name and given.size else mean[place]
        if abs(middle - mean[place]) > _FAR * std[place]:
            warnings.warn(
                DataNotice(
                    f"{name} of '{shown(file)}' is about {middle:.3g} where it was {mean[place]:.3g} in training, give "
                    f"or take {std[place]:.2g}: answers mean little unless it is brought to that scale."
                ),
                stacklevel=2,
            )
            return


def scaled(x: np.ndarray, task: ImageTask, source: str) -> tuple[np.ndarray, str]:
    """An array of images in the scale of the task, as `read` gives it. Raises `DataError` where that is not certain."""
    checked = checks.images(x, source)
    low, high = float(checked.min()), float(checked.max())
    images = checked.astype(np.float32)
    kind, whole = _scale(task.span), x.dtype.kind in "bui"
    if task.span is None:
        return images, ""
    # Bytes are what they seem, however dark, unless all are 0 or 1; numbers of 0 to 16 are another scale.
    dim = high == 1 if x.dtype == np.uint8 else 0 < high * _SMALL < 255
    if kind == "bytes":
        if not whole and low >= 0 and 0 < high <= 1:
            return images * 255, "values of 0 to 1 were multiplied by 255"
        if low >= 0 and high <= 255 and not dim:
            return images, ""
    elif kind in ("unit", "signed") and low >= 0 and 2 < high <= 255 and not dim:
        return _from_bytes(checked, kind), f"values of 0 to 255 were brought to {_span(task.span)}"
    else:
        slack = _SLACK * (task.span[1] - task.span[0])
        small = max(-low, high) * _SMALL < max(-task.span[0], task.span[1]) and (kind == "own" and high > low)
        if task.span[0] - slack <= low and high <= task.span[1] + slack and not small:
            return images, ""
    raise DataError(
        f"{source} has values from {_span((low, high))} where the network was trained on {_span(task.span)}: bring "
        "them to that scale."
    )


def _scale(span: tuple[float, float] | None) -> str:
    """What the values of training images mean: `bytes` (0 to 255), `unit` (0 to 1), `signed` (-1 to 1), or their own.

    >>> _scale((0, 254)), _scale((0, 1)), _scale((-1, 0.98)), _scale((0, 16))
    ('bytes', 'unit', 'signed', 'own')
    """
    if span is None:
        return "own"
    low, high = span
    if low >= 0 and 127 < high <= 255:
        return "bytes"
    if low >= 0 and high <= 1:
        return "unit"
    if -1 <= low < -0.9 and 0.9 < high <= 1:
        return "signed"
    return "own"


def _from_bytes(pixels: np.ndarray, kind: str) -> np.ndarray:
    unit = pixels.astype(np.float32) / 255
    return unit if kind == "unit" else unit * 2 - 1


def _span(span: tuple[float, float]) -> str:
    return f"{span[0]:.6g} to {span[1]:.6g}"


def _array(file: Path, initials: tuple[str, ...] = ("x",)) -> np.ndarray:
    if file.suffix.lower() == ".npy":
        return read_npy(file)
    with Archive(file) as archive:
        names = [name for name in archive.names if len(archive.names) == 1 or name.startswith(initials)]
        if len(names) != 1:
            raise DataError(
                f"'{shown(file)}' must have one array of images, named x (it has: {listed(archive.names)})."
            )
        return archive.get(names[0])


def _as_batch(images: np.ndarray, file: Path, task: ImageTask) -> np.ndarray:
    channels, height, width = task.input_shape
    for fitting in (images, images[..., None], images[None], images[None, ..., None]):
        if fitting.ndim == 4 and fitting.shape[1:] == (height, width, channels) and fitting.dtype.kind in "buif":
            return fitting
    raise DataError(
        f"'{shown(file)}' holds {images.dtype} of shape {images.shape}, but the network takes numbers of shape "
        f"N x {height} x {width} x {channels}."
    )


def files_below(folder: Path, task: Task) -> list[Path]:
    """The examples and arrays of a folder, at any depth. Raises `DataError` where there are none."""
    kinds: dict[type, Collection[str]] = {AudioTask: sound.SUFFIXES, SeriesTask: (), RowsTask: TABLES}
    endings = next((endings for kind, endings in kinds.items() if isinstance(task, kind)), SUFFIXES)
    files = sorted(
        file for file in folder.rglob("*")
        if file.suffix.lower() in {*endings, *ARRAYS} and not file.name.startswith(".")
    )  # fmt: skip
    if not files:
        raise DataError(f"'{shown(folder)}' has no {nouns(task)} to label: name another folder, or files.")
    return files
