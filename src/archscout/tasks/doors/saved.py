"""Data sets that the library `datasets` saved to the disk (`save_to_disk`): Arrow files, read without that library.

A folder with `state.json` and `dataset_info.json`, or with `dataset_dict.json` and such a folder for each split.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from archscout.core.errors import DataError
from archscout.tasks.contents import Contents
from archscout.tasks.decode import shown
from archscout.tasks.doors.archive import regular
from archscout.tasks.doors.manifest import by_splits, from_columns
from archscout.tasks.splits import by_split

STATE, INFO, SPLITS = "state.json", "dataset_info.json", "dataset_dict.json"

_LARGEST = 2**24
"""Bytes of a file that describes a data set, at most."""


def is_saved_folder(path: Path) -> bool:
    """Whether a folder is a data set of `datasets`, or several splits of one."""
    return (path / SPLITS).is_file() or ((path / STATE).is_file() and (path / INFO).is_file())


def read_saved_folder(path: Path, named: Mapping[str, str | None]) -> Contents:
    """The pictures, recordings or lines of a saved data set, by the columns that `named` says, or by their names.

    Raises `DataError` for damaged files, and for a data set of which rows were picked without being written anew.
    """
    source = f"'{shown(path)}'"
    if not (path / SPLITS).is_file():
        return from_columns(_table(path), source, path, named=named)
    splits = _json(path / SPLITS).get("splits")
    if not isinstance(splits, list) or not all(isinstance(split, str) for split in splits):
        raise DataError(f"'{shown(path / SPLITS)}' names no splits: save the data set again.")
    by_name = by_split(splits, source, "splits")
    if not by_name:
        raise DataError(f"{source} has the splits {', '.join(map(shown, splits))}: one must be named train.")
    contents = from_columns(
        by_splits({split: _table(path / Path(name).name) for split, name in by_name.items()}), source, path, named=named
    )
    others = [shown(split) for split in splits if split not in by_name.values()]
    if others:
        contents.notices.append(f"{source} has splits that are not used: {', '.join(others)}.")
    return contents


def _table(folder: Path) -> dict[str, list[Any]]:
    """The columns of one split, the numbers of classes by their names."""
    import pyarrow as pa

    state, info = _json(folder / STATE), _json(folder / INFO)
    if state.get("_indices_files") or state.get("_indices_data_files"):
        raise DataError(
            f"'{shown(folder)}' is a selection of rows that were not written anew: call flatten_indices() and save it "
            "again."
        )
    files = state.get("_data_files")
    entries = [entry for entry in files if isinstance(entry, dict)] if isinstance(files, list) else []
    names = [str(entry["filename"]) for entry in entries if isinstance(entry.get("filename"), str)]
    if not names or len(names) < len(entries):
        raise DataError(f"'{shown(folder / STATE)}' names no files: save the data set again.")
    tables = []
    for name in names:
        file = folder / Path(name).name
        regular(file)
        try:
            tables.append(_arrow(file))
        except (pa.ArrowException, OSError, MemoryError) as error:
            raise DataError(f"'{shown(file)}' is no readable Arrow file: copy or save it again.") from error
    try:
        columns: dict[str, list[Any]] = pa.concat_tables(tables).to_pydict()
    except pa.ArrowException as error:
        raise DataError(f"the files of '{shown(folder)}' have different columns: save the data set again.") from error
    for column, called in _class_names(info):
        if column in columns:
            columns[column] = [_called(number, called, column, folder) for number in columns[column]]
    return columns


def _arrow(file: Path) -> Any:
    """`datasets` writes streams; files of the other form of Arrow are read, too."""
    import pyarrow as pa

    with pa.memory_map(str(file)) as mapped:
        try:
            return pa.ipc.open_stream(mapped).read_all()
        except pa.ArrowInvalid:
            return pa.ipc.open_file(mapped).read_all()


def _class_names(info: Mapping[str, Any]) -> Iterator[tuple[str, list[str]]]:
    features = info.get("features")
    for column, feature in features.items() if isinstance(features, dict) else ():
        while isinstance(feature, dict) and feature.get("_type") in ("Sequence", "List", "LargeList"):
            feature = feature.get("feature")  # of several labels, what each is
        names = feature.get("names") if isinstance(feature, dict) and feature.get("_type") == "ClassLabel" else None
        if isinstance(names, list) and names:
            yield column, [str(name) for name in names]


def _called(number: Any, names: list[str], column: str, folder: Path) -> Any:
    if isinstance(number, list):
        return [_called(one, names, column, folder) for one in number]
    if number is None or number == -1:  # what `datasets` writes for no label
        return None
    if not isinstance(number, int) or not 0 <= number < len(names):
        raise DataError(
            f"column '{shown(column)}' of '{shown(folder)}' has the class {number}, and names {len(names)}."
        )
    return names[number]


def _json(file: Path) -> dict[str, Any]:
    regular(file)
    try:
        with file.open("rb") as stream:
            content = stream.read(_LARGEST + 1)
        read = json.loads(content) if len(content) <= _LARGEST else None
    except (OSError, ValueError, RecursionError):
        read = None
    if not isinstance(read, dict):
        raise DataError(f"'{shown(file)}' cannot be read as a description of a data set: save it again.")
    return read
