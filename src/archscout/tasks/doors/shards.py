"""Tar files of pictures or recordings, as WebDataset writes them: `0001.jpg` beside `0001.cls`, or class folders.

A shard is gone through once for where its members lie; pictures are then read out of it by place. Nothing is unpacked
to the disk, and links in it are never followed.
"""

from __future__ import annotations

import io
import json
import re
import tarfile
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from archscout.core.errors import DataError
from archscout.tasks import sound
from archscout.tasks.contents import Contents, Raw, Source
from archscout.tasks.decode import SUFFIXES, shown
from archscout.tasks.doors.archive import regular
from archscout.tasks.labels import numbered, text_of
from archscout.tasks.splits import ALIASES, split_of

_LONGEST_LABEL = 2**16

_LABELS = ("cls", "json", "txt", "gt.txt")
"""Endings of what may hold a label: where a sample has several, the first is it, and a text is a caption."""

_BLOCK = 512
"""Bytes: members of a tar file begin at multiples of it, and two blocks of zeros are its end (POSIX 1003.1, pax)."""


def is_shard_folder(path: Path) -> bool:
    """Whether a folder, or those below it, have tar files in them."""
    return any(path.glob("*.tar")) or any(path.glob("*/*.tar"))


def read_shards(path: Path, options: Mapping[str, Any] | None = None) -> Contents:
    """The pictures, or recordings where there are no pictures, of one tar file, or of all in a folder.

    With the option `kind=lines`, the text beside a picture is its transcript. Raises `DataError`, naming shard and
    member.
    """
    files = sorted([*path.glob("*.tar"), *path.glob("*/*.tar")]) if path.is_dir() else [path]
    source = f"'{shown(path)}'"
    members: list[tuple[str, _Member]] = []
    contents = Contents({})
    others = 0
    as_text = (options or {}).get("kind") == "lines"
    for file in files:
        some, strange = _shard(file, contents, as_text)
        others += strange
        members += [(member.split or _split(file, path), member) for member in some]
    if members and all(member.is_sound for _, member in members):
        contents.medium = "audio"
    else:
        others += sum(member.is_sound for _, member in members)
        members = [(split, member) for split, member in members if not member.is_sound]
    if others:
        contents.notices.append(f"{others} members of {source} are neither pictures nor labels, and were left alone.")
    labels = [member.label for _, member in members]
    if as_text:
        y = np.asarray(labels, np.str_)
    else:
        y, contents.class_names = numbered(labels)
    for split in ALIASES:
        rows = [row for row, (of, _) in enumerate(members) if of == split]
        if rows:
            contents.splits[split] = Raw([members[row][1].source for row in rows], y[rows], source, source)
    if "train" not in contents.splits:
        raise DataError(
            f"{source} has no pictures with labels for training: put NAME.cls beside NAME.jpg, or the pictures of each "
            "class into a folder of its own."
        )
    return contents


class _Member(NamedTuple):
    """A picture or recording with its label."""

    source: Source
    label: str
    is_sound: bool
    split: str | None
    """That of a folder in the shard, where there is one of that name."""


def _shard(file: Path, contents: Contents, as_text: bool) -> tuple[list[_Member], int]:
    """The pictures and recordings of a shard with their labels, and how many members are neither.

    `as_text` prefers texts to other labels.
    """
    regular(file)
    size, changed = file.stat().st_size, file.stat().st_mtime_ns
    pictures: dict[str, Source] = {}
    written: dict[str, dict[str, str]] = {}
    seen: set[str] = set()
    others = 0
    try:
        with tarfile.open(file, "r:") as shard:
            for member in shard:
                if member.isdir():
                    continue
                name = member.name.removeprefix("./")
                ending = _ending(name)
                if not member.isreg() or not ending or name.startswith("__MACOSX/"):
                    others += 1
                    continue
                if member.offset_data + member.size > size:
                    raise tarfile.ReadError("cut short")
                if name in seen:
                    raise DataError(f"'{shown(file)}' has two members '{shown(name)}': write it with one of each name.")
                seen.add(name)
                if f".{ending}" in SUFFIXES | sound.SUFFIXES:
                    place = member.offset_data, member.size
                    called = f"'{shown(name)}' of '{shown(file)}'"
                    pictures[name] = Source(called, _opener(file, *place), f"{file} {size} {changed} {place}")
                elif ending in _LABELS and member.size <= _LONGEST_LABEL:
                    stream = shard.extractfile(member)
                    assert stream is not None
                    written.setdefault(_key(name), {})[ending] = _label(stream.read(), ending)
                else:
                    others += 1
            end = shard.offset
    except (tarfile.TarError, OSError, ValueError, EOFError) as error:
        raise DataError(
            f"'{shown(file)}' is no whole tar file without compression ({error}): copy it again, or unpack it."
        ) from error
    contents.notices += _end(file, end, size, len(seen))
    labels = {key: _one(key, texts, file, as_text) for key, texts in written.items()}
    above = -1  # a picture's folder is of a split, or of a class in one of a split
    if any(_key(name) in labels for name in pictures):
        _check_samples(list(pictures), file)
        lone = sorted(labels.keys() - {_key(name) for name in pictures})
        if lone:
            samples = (
                f"1 sample of '{shown(file)}' has" if len(lone) == 1 else f"{len(lone)} samples of '{shown(file)}' have"
            )
            contents.notices.append(f"{samples} a label and nothing that it is of ('{shown(lone[0])}').")
    else:
        above = -2
        labels = {_key(name): name.rpartition("/")[0].rpartition("/")[2] for name in pictures}
    contents.bad += [(picture.name, "has no label") for name, picture in pictures.items() if not labels.get(_key(name))]
    return [
        _Member(
            picture, labels[_key(name)], f".{_ending(name)}" in sound.SUFFIXES, _split_within(name.split("/")[:above])
        )
        for name, picture in pictures.items()
        if labels.get(_key(name))
    ], others


def _end(file: Path, end: int, size: int, members: int) -> list[str]:
    """What is to be told of the end of a shard, whose last member that could be read ends at `end`.

    Raises `DataError` where it breaks off within a member's header, or more follows.
    """
    with file.open("rb") as stream:
        stream.seek(end)
        block = stream.read(_BLOCK)
        more = block.strip(b"\0") or any(part.strip(b"\0") for part in iter(partial(stream.read, 2**20), b""))
    if block.strip(b"\0") and len(block) < _BLOCK:
        raise DataError(f"'{shown(file)}' is no whole tar file without compression (cut short): copy it again.")
    if more:
        raise DataError(
            f"'{shown(file)}' goes on after its end (byte {end:,} of {size:,}): give each of the tar files that it was "
            "made of a file of its own, or copy it again."
        )
    if block:
        return []
    return [f"'{shown(file)}' has no mark at its end, and may be cut short: {members:,} members are read."]


def _one(key: str, texts: Mapping[str, str], file: Path, as_text: bool) -> str:
    """The label of a sample of which there are several texts. Raises `DataError` where two labels differ."""
    written = {ending: texts[ending] for ending in _LABELS if texts.get(ending)}
    if not as_text and {"cls", "json"} <= written.keys() and written["cls"] != written["json"]:
        raise DataError(
            f"sample '{shown(key)}' of '{shown(file)}' has the label '{shown(written['cls'])}' in its .cls file and "
            f"'{shown(written['json'])}' in its .json file: keep one."
        )
    order = reversed(_LABELS) if as_text else _LABELS
    return next((written[ending] for ending in order if ending in written), "")


def _key(name: str) -> str:
    """What the members of one sample have in common: the path up to the first point of the file's name."""
    folder, sign, file = name.rpartition("/")
    return folder + sign + file.partition(".")[0]


def _ending(name: str) -> str:
    return name.rpartition("/")[2].partition(".")[2].lower()


def _check_samples(names: Sequence[str], file: Path) -> None:
    """Raises `DataError` for two pictures, or two recordings, of one sample: to take one would be a guess."""
    first: dict[tuple[str, bool], str] = {}
    for name in names:
        other = first.setdefault((_key(name), f".{_ending(name)}" in sound.SUFFIXES), name)
        if other != name:
            raise DataError(
                f"'{shown(other)}' and '{shown(name)}' of '{shown(file)}' are two examples with one label: leave one "
                "out."
            )


def _split_within(folders: Sequence[str]) -> str | None:
    return next((split for folder in folders if (split := split_of(folder))), None)


def _label(content: bytes, kind: str) -> str:
    text = content.decode("utf-8", "surrogateescape").strip()
    if kind != "json":
        return text
    try:
        row = json.loads(text)
    except (ValueError, RecursionError):
        return ""
    if isinstance(row, dict):
        row = next((row[name] for name in ("label", "cls", "class", "class_name") if name in row), None)
    return text_of(row) if isinstance(row, int | float | str) else ""


def _opener(file: Path, start: int, size: int):  # type: ignore[no-untyped-def]
    def read() -> BinaryIO:
        with file.open("rb") as stream:
            stream.seek(start)
            return io.BytesIO(stream.read(size))

    return read


def _split(file: Path, root: Path) -> str:
    """The split that a shard's name or folder says (`train-000.tar`, `val/000.tar`); train where neither does."""
    said = split_of(file.parent.name) if file.parent != root and root.is_dir() else None
    return said or split_of(re.split(r"[-_.\d]", file.stem)[0]) or "train"
