"""Named arrays, whatever they lie in: an `.npz` archive, a folder of `.npy` files, a dictionary.

An array's name has a kind and a split, in either order and any letters: `x_train`, `Y_val`, `train_images`,
`test_labels`; without a split it is all there is, to be divided. Pictures are arrays, or the bytes of encoded files end
to end (`jpeg_train`, with `offsets_train` where each begins and where the last ends).
"""

from __future__ import annotations

import io
import itertools
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from archscout.core.errors import DataError
from archscout.tasks.contents import Contents, Raw, Source
from archscout.tasks.decode import file_source, shown
from archscout.tasks.doors.archive import Archive, listed, read_npy
from archscout.tasks.splits import ALIASES, split_of

KINDS = {
    "x": ("x", "images", "image", "data"),
    "y": ("y", "labels", "label", "targets"),
    "jpeg": ("jpeg",),
    "offsets": ("offsets",),
    "groups": ("groups", "group"),
}
"""What an array may be, by the names it may have."""

_KIND = {alias: kind for kind, aliases in KINDS.items() for alias in aliases}


def read_npz(path: Path) -> Contents:
    """The arrays of an archive."""
    with Archive(path) as archive:
        return gather(archive.names, archive.get, f"'{shown(path)}'", stamp=file_source(path).stamp)


def read_npy_folder(path: Path) -> Contents:
    """The `.npy` files of a folder, which stay on the disk until they are looked at."""
    files = {file.stem: file for file in sorted(path.glob("*.npy"))}
    return gather(list(files), lambda name: read_npy(files[name], mapped=True), f"'{shown(path)}'", stamp="")


def read_mapping(arrays: dict[str, np.ndarray], source: str) -> Contents:
    """Arrays by name."""
    return gather(list(arrays), lambda name: np.asarray(arrays[name]), source, stamp="")


def is_npy_folder(path: Path) -> bool:
    """Whether a folder has `.npy` files whose names say what they are."""
    return any(_meaning(file.stem) is not None for file in path.glob("*.npy"))


def gather(names: Sequence[str], get: Callable[[str], np.ndarray], source: str, *, stamp: str) -> Contents:
    """The splits among arrays of these names.

    Raises `DataError` where there is nothing to train on, labels are missing, or two arrays mean the same.
    """
    named: dict[tuple[str, str], str] = {}
    others = []
    for name in names:
        meaning = _meaning(name)
        if meaning is None:
            if name != "class_names":
                others.append(name)
        elif named.setdefault(meaning, name) != name:
            kind, split = meaning
            raise DataError(
                f"{source} has the arrays {shown(named[meaning])} and {shown(name)}, which both mean {kind} of the "
                f"{split} split: leave one out."
            )
    contents = Contents({})
    for split in ALIASES:
        pictures = named.get(("x", split)) or named.get(("jpeg", split))
        if pictures is None:
            continue
        labels = named.get(("y", split))
        if labels is None:
            wanted = pictures.replace("jpeg", "y") if "jpeg" in pictures else _like(pictures, "y")
            raise DataError(f"{source} has no array {wanted} (it has: {listed(list(names))}): add it.")
        x: np.ndarray | Sequence[Source] = (
            get(pictures) if ("x", split) in named else _encoded(named, split, get, source, stamp)
        )
        groups = get(named["groups", split]) if ("groups", split) in named else None
        contents.splits[split] = Raw(
            x, get(labels), f"{shown(pictures)} of {source}", f"{shown(labels)} of {source}", groups
        )
    if "train" not in contents.splits:
        raise DataError(
            f"{source} has no array x_train (it has: {listed(list(names))}): name the images x_train and the labels "
            "y_train."
        )
    used = {meaning for meaning in named if meaning[1] in contents.splits}
    others += [name for meaning, name in named.items() if meaning not in used]
    if others:
        contents.notices.append(f"{source} has arrays that are not used: {listed(others)}.")
    if "class_names" in names:
        contents.class_names = [_text(name) for name in get("class_names").ravel().tolist()]
    return contents


def _meaning(name: str) -> tuple[str, str] | None:
    """Kind and split of an array by its name.

    >>> _meaning("x_train"), _meaning("val_images"), _meaning("y"), _meaning("speaker")
    (('x', 'train'), ('x', 'valid'), ('y', 'train'), None)
    """
    first, _, second = name.casefold().partition("_")
    if not second:
        return (_KIND[first], "train") if first in ("x", "y") else None
    for kind, split in ((first, second), (second, first)):
        if kind in _KIND and split_of(split) is not None:
            return _KIND[kind], str(split_of(split))
    return None


def _like(name: str, kind: str) -> str:
    """The name of another kind of array of one split: `y_train` for `x_train`, `train_labels` for `train_images`."""
    first, sign, second = name.partition("_")
    if first.casefold() in KINDS["x"]:
        return f"{kind}{sign}{second}"
    return f"{first}_labels"


def _text(name: object) -> str:
    """A class name as text, also where it was stored as bytes."""
    return name.decode("utf-8", "surrogateescape") if isinstance(name, bytes) else str(name)


def _encoded(
    named: dict[tuple[str, str], str], split: str, get: Callable[[str], np.ndarray], source: str, stamp: str
) -> list[Source]:
    """Every picture of the layout of encoded files end to end."""
    jpeg = named["jpeg", split]
    if ("offsets", split) not in named:
        raise DataError(
            f"{source} has no array {jpeg.replace('jpeg', 'offsets')}, where each of {jpeg} begins: add it."
        )
    positions = named["offsets", split]
    data, offsets = get(jpeg), get(positions)
    where = f"{positions} of {source}"
    if data.dtype != np.uint8 or data.ndim != 1 or offsets.dtype.kind not in "iu" or offsets.ndim != 1:
        raise DataError(f"{jpeg} of {source} must be uint8 bytes in a row, and {positions} whole numbers.")
    offsets = offsets.astype(np.int64)
    if len(offsets) < 2:
        raise DataError(f"{where} names no image: an empty data set cannot be learned from.")
    if offsets[0] < 0 or offsets[-1] > len(data) or (np.diff(offsets) < 0).any():
        raise DataError(f"{where} leads outside the {len(data)} bytes of {jpeg}: the two must come from one set.")
    view = np.ascontiguousarray(data).data
    return [_slice(view, start, end, f"image {row} of {jpeg} in {source}", f"{stamp} {split}")
            for row, (start, end) in enumerate(itertools.pairwise(offsets.tolist()))]  # fmt: skip


def _slice(view: memoryview, start: int, end: int, name: str, stamp: str) -> Source:
    return Source(name, lambda: io.BytesIO(view[start:end]), f"{stamp} {start} {end}")
