"""Pictures of lines with a text file beside each, as people who transcribe lay them out: `0001.png`, `0001.gt.txt`.

The endings `.gt.txt` (Tesseract, OCRopus, Kraken) and `.txt` are read, in one folder or in one for each split.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from archscout.core.errors import DataError
from archscout.tasks.contents import Contents, Raw, Source
from archscout.tasks.decode import SUFFIXES, file_source, shown
from archscout.tasks.splits import split_folders
from archscout.tasks.transcripts import clean

ENDINGS = (".gt.txt", ".txt")

_LONGEST = 2**16
"""Bytes of a transcript, at most."""


def is_lines_folder(path: Path) -> bool:
    """Whether some pictures of a folder, or of those of its splits, have a text file of their name beside them."""
    return any(
        picture.suffix.lower() in SUFFIXES and _transcript(picture) is not None
        for folder in (path, *split_folders(path).values())
        for picture in folder.iterdir()
    )


def read_lines_folder(path: Path) -> Contents:
    """The lines of a folder, or of those of its splits. Raises `DataError` where there is none for training."""
    folders = split_folders(path) or {"train": path}
    contents = Contents({}, kind="lines", medium="lines")
    for split, folder in folders.items():
        sources: list[Source] = []
        texts: list[str] = []
        for picture in sorted(folder.iterdir()):
            if picture.suffix.lower() not in SUFFIXES or picture.name.startswith("."):
                continue
            text = _text(picture, contents.bad)
            if text:
                sources.append(file_source(picture))
                texts.append(text)
        if sources:
            called = f"'{shown(folder)}'"
            contents.splits[split] = Raw(sources, np.asarray(texts, np.str_), called, f"the transcripts of {called}")
    if "train" not in contents.splits:
        raise DataError(f"'{shown(path)}' has no line with a transcript for training: put NAME.gt.txt beside NAME.png.")
    return contents


def _text(picture: Path, bad: list[tuple[str, str]]) -> str:
    """The transcript of a picture; empty where it cannot be had, which is noted."""
    called, file = f"'{shown(picture)}'", _transcript(picture)
    if file is None:
        bad.append((called, "has no transcript beside it"))
        return ""
    try:
        with file.open("rb") as stream:
            content = stream.read(_LONGEST + 1)
        if len(content) > _LONGEST:
            bad.append((f"'{shown(file)}'", "is too long for the transcript of a line"))
            return ""
        text = clean(content.decode("utf-8-sig"))
    except OSError as error:
        bad.append((f"'{shown(file)}'", f"cannot be read: {error.strerror}"))
        return ""
    except UnicodeDecodeError:
        bad.append((f"'{shown(file)}'", "is no text in UTF-8"))
        return ""
    if not text:
        bad.append((f"'{shown(file)}'", "is empty"))
    return text


def _transcript(picture: Path) -> Path | None:
    files = (picture.with_name(picture.stem + ending) for ending in ENDINGS)
    return next((file for file in files if file.is_file()), None)
