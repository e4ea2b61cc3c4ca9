"""Which door a path is: decided by what lies there, never by trying one after the other."""

from __future__ import annotations

import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from archscout.core.errors import DataError
from archscout.tasks.contents import Contents
from archscout.tasks.decode import shown
from archscout.tasks.doors import arrays, folders, lines, manifest, masks, saved, shards, ts, unread
from archscout.tasks.doors.archive import listed
from archscout.tasks.targets import VERIFIED


def open_path(path: Path, *, links: bool = False, columns: Mapping[str, Any] | None = None) -> Contents:
    """What a file or folder holds.

    Args:
        path: the file or folder.
        links: whether links that lead out of a folder of class folders are followed.
        columns: of a list of pictures, by role (`manifest.ROLES`), where they have names of their own; and those
            parameters of the task that a door must know (`load.SHARED`).

    Raises `DataError` for what is no data that is known.
    """
    try:
        mode = path.stat().st_mode
    except OSError as error:
        raise DataError(f"'{shown(path)}' cannot be read: {error.strerror}.") from error
    if stat.S_ISDIR(mode):
        if arrays.is_npy_folder(path):
            return arrays.read_npy_folder(path, columns)
        if saved.is_saved_folder(path):
            return saved.read_saved_folder(path, columns or {})
        if ts.is_ts_folder(path):
            return ts.read_ts_folder(path)
        if masks.is_masks_folder(path):
            return masks.read_masks_folder(path, columns)
        if manifest.is_metadata_folder(path):
            return manifest.read_metadata_folder(path, columns or {})
        if lines.is_lines_folder(path):
            return lines.read_lines_folder(path)
        if shards.is_shard_folder(path):
            return shards.read_shards(path, columns)
        entries = sorted(path.iterdir())
        tables = [entry.name for entry in entries if entry.suffix.lower() in manifest.SUFFIXES]
        if tables and not any(entry.is_dir() for entry in entries):
            raise DataError(
                f"'{shown(path)}' has tables ({listed(tables)}): name one of them, in which a column 'split' says "
                "which rows are for training, validation and testing."
            )
        return folders.read_folder(path, links=links, own_classes=(columns or {}).get("kind") in VERIFIED)
    suffix = path.suffix.lower()
    if suffix == ".npz":
        return arrays.read_npz(path, columns)
    if suffix in manifest.SUFFIXES:
        return manifest.read_manifest(path, columns or {})
    if suffix == ts.SUFFIX:
        return ts.read_ts(path)
    if suffix == ".json":
        return masks.read_coco(path, columns)
    if suffix == ".tar":
        return shards.read_shards(path, columns)
    if suffix == ".npy":
        raise DataError(f"'{shown(path)}' is a single array: put x_train.npy and y_train.npy into a folder.")
    raise DataError(f"{unread.advice(path)}.")
