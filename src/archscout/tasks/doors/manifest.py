"""A list of pictures: which file, which label, and perhaps which split and group. CSV, JSON lines or Parquet.

Columns are found by the names that people give them, or named by parameters (`labels.csv:path=photo,label=species`).
Where the list is Parquet, a picture may lie in it as bytes. A folder with `metadata.csv` in it, or in each folder of a
split, is such a list too (the layout of the Hugging Face Hub).
"""

from __future__ import annotations

import hashlib
import io
import stat
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path, PureWindowsPath
from typing import Any

import numpy as np

from archscout.core.errors import DataError, UsageError, nearest
from archscout.tasks import sound
from archscout.tasks.contents import Contents, MediumName, Raw, Source
from archscout.tasks.decode import SUFFIXES as PICTURES
from archscout.tasks.decode import file_source, shown
from archscout.tasks.doors.archive import listed
from archscout.tasks.doors.questions import (
    PARTED,
    answers_of,
    is_number,
    mixed_labels,
    of_several,
    questions_of,
    target_columns,
)
from archscout.tasks.doors.rows import is_rows, rows_contents
from archscout.tasks.doors.tables import Columns, read_columns
from archscout.tasks.labels import text_of
from archscout.tasks.splits import ALIASES, by_split, split_folders, split_of

SUFFIXES = (".csv", ".tsv", ".jsonl", ".ndjson", ".parquet")

ROLES = {
    "path": ("path", "file_name", "filename", "file", "filepath", "image", "image_path", "img", "audio", "wav", "clip"),
    "label": ("label", "class", "class_name", "category", "species", "labels"),
    "target": ("target", "value", "y", "score"),
    "transcript": ("transcript", "transcription", "text", "sentence"),
    "split": ("split", "subset", "fold", "set"),
    "group": ("group", "group_id", "patient", "patient_id", "subject", "subject_id"),
    "weight": ("weight", "sample_weight"),
}
"""What a column may be, by the names it may have."""

METADATA = tuple(f"metadata{suffix}" for suffix in SUFFIXES)


def read_manifest(file: Path, named: Mapping[str, str | None]) -> Contents:
    """What a list names. `named` has columns by role (`ROLES`), where they have names of their own."""
    columns, lines = read_columns(file)
    return from_columns(columns, f"'{shown(file)}'", file.parent, lines=lines, named=named)


def is_metadata_folder(path: Path) -> bool:
    """Whether a folder, or those of its splits, have a list of their pictures in them."""
    return any((folder / name).is_file() for folder in (path, *split_folders(path).values()) for name in METADATA)


def read_metadata_folder(path: Path, named: Mapping[str, str | None]) -> Contents:
    """The pictures that the `metadata` files of a folder name."""
    here = _metadata(path)
    folders = split_folders(path)
    if here is not None:
        below = next((file for folder in folders.values() if (file := _metadata(folder)) is not None), None)
        if below is not None:
            raise DataError(f"'{shown(here)}' and '{shown(below)}' both say what there is: leave one of them.")
        contents = read_manifest(here, named)
        contents.notices += _unlisted(contents, [path])
        return contents
    tables = {}
    for split, folder in folders.items():
        file = _metadata(folder)
        if file is None:
            raise DataError(f"'{shown(folder)}' has no metadata file ({', '.join(METADATA)}) as its neighbours have.")
        columns, _ = read_columns(file)
        role = _roles(columns, f"'{shown(file)}'", named)["path"]
        columns[role] = [str(folder / str(value)) if isinstance(value, str) else value for value in columns[role]]
        tables[split] = columns
    contents = from_columns(by_splits(tables), f"'{shown(path)}'", path, named=named)
    contents.notices += _unlisted(contents, list(folders.values()))
    return contents


def _unlisted(contents: Contents, folders: Sequence[Path]) -> list[str]:
    """What is to be told of files in folders that their lists do not name."""
    sources = [one for part in contents.splits.values() for one in part.x if isinstance(one, Source)]
    listed_places = {one.place for one in sources}
    bad = {name.partition(" (")[0] for name, _ in contents.bad}
    suffixes = sound.SUFFIXES if contents.medium == "audio" else PICTURES
    sentences = []
    for folder in folders:
        files = [file for file in folder.rglob("*") if file.suffix.lower() in suffixes and file.is_file()]
        others = [
            file for file in files if (one := file_source(file)).place not in listed_places and one.name not in bad
        ]
        if others:
            sentences.append(
                f"'{shown(folder)}' has {len(others)} files that its metadata do not name, and that are not used: "
                f"{listed(sorted(str(file.relative_to(folder)) for file in others)[:3])}."
            )
    return sentences


def by_splits(tables: Mapping[str, Mapping[str, list[Any]]]) -> Columns:
    """The tables of splits as one, with a column `split`; what a split lacks is None there."""
    parts: Columns = defaultdict(list)
    total = 0
    for split, columns in tables.items():
        count = len(next(iter(columns.values()), []))
        for name in dict.fromkeys([*parts, *columns]):
            parts[name] += [None] * (total - len(parts[name])) + columns.get(name, [None] * count)
        parts["split"] = parts["split"][:total] + [split] * count
        total += count
    return dict(parts)


def from_columns(
    columns: Mapping[str, Sequence[Any]],
    source: str,
    folder: Path,
    *,
    lines: Sequence[int] | None = None,
    named: Mapping[str, str | None] | None = None,
) -> Contents:
    """The pictures and labels of a table.

    Args:
        columns: all of one length; pictures are paths, or bytes (also as `{"bytes": ..., "path": ...}`).
        source: what messages call the table.
        folder: what paths are relative to.
        lines: the line in the file of each row; counted from 0 where not given.
        named: columns by role, where the user says so.

    Raises:
        DataError: a column is missing, a value is none that is known, or a file is listed with two labels or in two
            splits.
    """
    roles = _roles(columns, source, named or {})
    if is_rows(columns, roles, named or {}):
        count = len(next(iter(columns.values()), []))
        where = [f"line {line}" for line in lines] if lines is not None else [f"row {row}" for row in range(count)]
        if not count:
            raise DataError(f"{source} has no rows: an empty data set cannot be learned from.")
        splits = _splits(columns, roles, source, where)
        return rows_contents(columns, roles, splits, source, where, named or {})
    paths = list(columns[roles["path"]])
    where = [f"line {line}" for line in lines] if lines is not None else [f"row {row}" for row in range(len(paths))]
    if not paths:
        raise DataError(f"{source} has no rows: an empty data set cannot be learned from.")
    questions = questions_of(columns, roles, named or {})
    for question in questions:
        odd = next((row for row, cell in enumerate(columns[question.column]) if isinstance(cell, Mapping)), None)
        if odd is not None:
            raise DataError(
                f"{where[odd]} of {source} has an object in column '{shown(question.column)}': write a text, a number, "
                "or a list of texts."
            )
    texts = [" ".join(text_of(columns[question.column][row]) for question in questions) for row in range(len(paths))]
    splits = _splits(columns, roles, source, where)
    groups = [text_of(value) for value in columns[roles["group"]]] if "group" in roles else None
    weighed = [text_of(value) for value in columns[roles["weight"]]] if "weight" in roles else None
    contents = Contents({}, medium=_medium(paths, source, where))
    rows: dict[str, list[int]] = {split: [] for split in ALIASES}
    sources: dict[int, Source] = {}
    seen: dict[object, int] = {}
    repeated = 0
    for row, value in enumerate(paths):
        picture = _picture(value, folder, f"{where[row]} of {source}")
        if isinstance(picture, tuple):
            contents.bad.append(picture)
        elif fault := next(filter(None, (q.fault(text_of(columns[q.column][row])) for q in questions)), ""):
            contents.bad.append((f"{where[row]} of {source}", fault + of_several(questions, columns, row)))
        elif weighed is not None and not (is_number(weighed[row]) and float(weighed[row]) >= 0):
            fault = f"has a weight that is no number of 0 or more ('{shown(weighed[row])}')"
            contents.bad.append((f"{where[row]} of {source}", fault))
        elif groups is not None and not groups[row]:
            contents.bad.append((f"{where[row]} of {source}", "has no group"))
        else:
            before = seen.setdefault(picture.place or picture.stamp, row)
            if before != row and (texts[before] != texts[row] or splits[before] != splits[row]):
                what, given = ("label", texts) if texts[before] != texts[row] else ("split", splits)
                raise DataError(
                    f"{picture.name} is listed twice in {source} ({where[before]}, {where[row]}), with the {what}s "
                    f"'{given[before]}' and '{given[row]}': keep one."
                )
            if before != row:
                repeated += 1
                continue
            sources[row] = picture
            rows[splits[row]].append(row)
    if repeated:
        contents.notices.append(f"{source} lists {repeated} files more than once; each is read once.")
    if (named or {}).get("kind") is None:
        contents.notices += mixed_labels(questions, columns, source)
    readable = [row for split in rows.values() for row in split]
    place = {row: number for number, row in enumerate(readable)}
    y = answers_of(questions, columns, readable, contents)
    titles = " and ".join(dict.fromkeys(question.column for question in questions))
    for split, chosen in rows.items():
        if chosen:
            contents.splits[split] = Raw(
                [sources[row] for row in chosen],
                y[[place[row] for row in chosen]],
                source,
                f"column{'s' * (len(questions) > 1)} '{titles}' of {source}",
                None if groups is None else np.asarray([groups[row] for row in chosen]),
                None if weighed is None else np.asarray([float(weighed[row]) for row in chosen]),
            )
    if "train" not in contents.splits and not contents.bad:
        raise DataError(f"{source} has no row of the train split: write 'train' in its column '{roles.get('split')}'.")
    if "train" not in contents.splits:
        name, reason = contents.bad[0]
        raise DataError(f"{source} has no row for training that can be read; the first: {name} {reason}.")
    if any(question.asks == "labels" for question in questions):
        contents.notices.append(
            f"column '{titles}' of {source} has several labels in one cell, parted by {' or '.join(PARTED)}, and is "
            "read so (kind=classification for one class with such a name)."
        )
    used = {*roles.values(), *(question.column for question in questions)}
    unused = [str(name) for name in columns if name not in used]
    if unused:
        contents.notices.append(f"{source} has columns that are not used: {listed(unused)}.")
    return contents


def _roles(columns: Mapping[str, Sequence[Any]], source: str, named: Mapping[str, str | None]) -> dict[str, str]:
    """The column of each role that there is."""
    roles = {}
    by_name: dict[str, str] = {}
    for name in map(str, columns):
        other = by_name.setdefault(name.strip().casefold(), name)
        if other != name and any(other.strip().casefold() in aliases for aliases in ROLES.values()):
            raise DataError(f"{source} has the columns '{shown(other)}' and '{shown(name)}': leave one of them.")
    for role, aliases in ROLES.items():
        wanted = named.get(role)
        if wanted is not None:
            for column in target_columns(wanted, columns) if role == "target" else [wanted]:
                if column not in columns:
                    raise UsageError(f"{source} has no column '{column}': {nearest(str(column), map(str, columns))}")
            roles[role] = wanted
            continue
        matching = [by_name[alias] for alias in aliases if alias in by_name]
        if matching:
            roles[role] = matching[0]
    if "label" in roles and named.get("target") is None:
        roles.pop("target", None)
    elif "target" in roles:
        roles.pop("label", None)
    if named.get("kind") in ("classification", "ordinal") and "target" in roles:
        roles["label"] = roles.pop("target")
    if named.get("kind") == "regression" and "label" in roles:
        roles["target"] = roles.pop("label")
    if named.get("kind") == "lines":
        # Whoever says that labels are transcripts, or names the column, means that one.
        transcript = named.get("label") or roles.get("transcript") or roles.get("label")
        roles = {role: column for role, column in roles.items() if role not in ("label", "target", "transcript")}
        if transcript is not None:
            roles["label"] = roles["transcript"] = transcript
    elif {"label", "target"} & roles.keys() or questions_of(columns, roles, {}):
        roles.pop("transcript", None)
    elif "transcript" in roles:
        roles["label"] = roles["transcript"]
    if is_rows(columns, roles, named):
        return roles
    for role, what in (("path", "pictures"), ("label", "labels")):
        if role not in roles and not (role == "label" and ("target" in roles or questions_of(columns, roles, named))):
            raise DataError(
                f"{source} has no column of {what} (it has: {listed([str(name) for name in columns])}): name it "
                f"'{role}', or say which with {role}=COLUMN."
            )
    return roles


def _splits(columns: Mapping[str, Sequence[Any]], roles: dict[str, str], source: str, where: list[str]) -> list[str]:
    if "split" not in roles:
        return ["train"] * len(where)
    values = [text_of(value) for value in columns[roles["split"]]]
    if not any(split_of(value) for value in values):
        # A column 'set' or 'fold' may have a meaning of its own; where no value is a split, it is none.
        roles.pop("split")
        return ["train"] * len(where)
    by_split(sorted({value.casefold() for value in values}), f"column '{roles['split']}' of {source}", "values")
    splits = []
    for row, value in enumerate(values):
        split = split_of(value)
        if split is None:
            raise DataError(
                f"{where[row]} of {source} has the split '{shown(value)}': write train, valid or test, or remove it."
            )
        splits.append(split)
    return splits


def _medium(paths: Sequence[Any], source: str, where: Sequence[str]) -> MediumName:
    """Whether the examples are recordings, by their endings or first bytes. Raises `DataError` for both in one list."""
    sounds = [_is_recording(value) for value in paths]
    if any(sounds) and not all(sounds):
        row, other = sounds.index(True), sounds.index(False)
        raise DataError(
            f"{source} lists a recording ({where[row]}) and something else ({where[other]}): give lists of their own."
        )
    return "audio" if sounds[0] else "images"


def _is_recording(value: Any) -> bool:
    if isinstance(value, Mapping):
        value = value.get("bytes") or value.get("path")
    if isinstance(value, bytes | bytearray):
        return bytes(value[:4]) == b"RIFF" and bytes(value[8:12]) == b"WAVE"
    return Path(text_of(value)).suffix.lower() in sound.SUFFIXES | sound.OTHERS


def _picture(value: Any, folder: Path, called: str) -> Source | tuple[str, str]:
    """A picture by its path or its bytes; or what is wrong with it."""
    if isinstance(value, Mapping):
        value = value.get("bytes") or value.get("path")
    if isinstance(value, bytes | bytearray):
        content = bytes(value)
        return Source(
            f"the picture in {called}", lambda: io.BytesIO(content), f"{called} {hashlib.sha256(content).hexdigest()}"
        )
    text = text_of(value)
    if not text:
        return called, "names no picture"
    if "://" in text or "\0" in text:
        return f"'{shown(text)}' ({called})", "is no file on this machine"
    path = folder / text
    if "\\" in text and not path.exists():
        path = folder / PureWindowsPath(text).as_posix()  # a list that was written on Windows
    try:
        mode = path.stat().st_mode
    except OSError as error:
        return f"'{shown(path)}' ({called})", f"cannot be read: {error.strerror}"
    if not stat.S_ISREG(mode):
        return f"'{shown(path)}' ({called})", "is no plain file"
    return file_source(path)


def _metadata(folder: Path) -> Path | None:
    files = [folder / name for name in METADATA if (folder / name).is_file()]
    if len(files) > 1:
        raise DataError(f"'{shown(folder)}' has {files[0].name} and {files[1].name}: leave one.")
    return files[0] if files else None
