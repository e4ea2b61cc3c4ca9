"""Which door a path is: decided by what lies there, never by trying one after the other."""

from __future__ import annotations

import stat
from pathlib import Path

from archscout.core.errors import DataError
from archscout.tasks.contents import Contents
from archscout.tasks.decode import shown
from archscout.tasks.doors import arrays, folders


def open_path(path: Path, *, links: bool = False) -> Contents:
    """What a file or folder holds. Raises `DataError` for what is no data that is known."""
    try:
        mode = path.stat().st_mode
    except OSError as error:
        raise DataError(f"'{shown(path)}' cannot be read: {error.strerror}.") from error
    if stat.S_ISDIR(mode):
        if arrays.is_npy_folder(path):
            return arrays.read_npy_folder(path)
        return folders.read_folder(path, links=links)
    if path.suffix.lower() == ".npz":
        return arrays.read_npz(path)
    raise DataError(f"'{shown(path)}' is neither an .npz archive nor a folder of class folders.")
