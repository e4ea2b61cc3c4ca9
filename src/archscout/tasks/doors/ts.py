"""Time series in the files of the UCR and UEA archives: `NAME_TRAIN.ts` and `NAME_TEST.ts`.

A header (`@classLabel true a b`, or `@targetLabel true`), then a series a line: its channels between colons, their
values between commas, its label last. (Bagnall et al. 2018, arXiv 1811.00075.) Or `NAME_TRAIN.tsv` and
`NAME_TEST.tsv` (`.txt`), as the UCR archive has them: no header, a series a line, its class first, and missing numbers
at its end where others are longer. (Dau et al. 2019, arXiv 1810.07758.)
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from archscout.core.errors import DataError
from archscout.tasks.contents import Contents, Raw, Series
from archscout.tasks.decode import shown
from archscout.tasks.doors.archive import listed, regular
from archscout.tasks.labels import numbered
from archscout.tasks.splits import ALIASES, split_of

SUFFIX = ".ts"

PLAIN = (".tsv", ".txt")
"""Endings of files without a header."""

_LEAST = 3
"""Cells of a line without a header: a class, and a series."""

_LONGEST = 2**26
"""No line is longer, in characters."""

_NAMED = re.compile(r"(?:(.*)[_-])?([A-Za-z]+)")


def is_ts_folder(path: Path) -> bool:
    """Whether a folder has files of series."""
    return bool(_files(path))


def _files(path: Path) -> list[Path]:
    """The `.ts` files of a folder; where there are none, those of splits that have a class and numbers in a line."""
    entries = sorted(path.iterdir())
    files = [file for file in entries if file.suffix.lower() == SUFFIX]
    return files or [file for file in entries if file.suffix.lower() in PLAIN and _split(file) and _is_plain(file)]


def _is_plain(file: Path) -> bool:
    """Whether the first line of a file is a whole number and further numbers."""
    try:
        with file.open(encoding="utf-8-sig") as stream:
            first, *others = _cells(stream.readline(_LONGEST)) or [""]
            return len(others) >= _LEAST - 1 and _class(first) is not None and _are_numbers(",".join(others))
    except (OSError, UnicodeDecodeError):
        return False


def _cells(line: str) -> list[str]:
    return line.replace(",", " ").split()


def _class(text: str) -> str | None:
    """A class that is written as a whole number in any way (`1.0000000e+00`), as its digits; None for anything else."""
    try:
        number = float(text)
    except ValueError:
        return None
    return str(int(number)) if number.is_integer() and "_" not in text else None


def read_ts_folder(path: Path) -> Contents:
    """The files of series in a folder, one a split; those that are named as the folder is, where there are others too.

    Raises `DataError` where there are several of one split.
    """
    every = _files(path)
    chosen = [file for file in every if _stem(file) == path.resolve().name and _split(file)] or every
    files: dict[str, Path] = {}
    for file in chosen:
        split = _split(file) or ("train" if len(chosen) == 1 else "")
        other = files.setdefault(split, file)
        if other != file or not split:
            last = file if other != file else chosen[-1]
            reason = f"both for the {split} split" if split and other != file else "of which one names no split"
            raise DataError(
                f"'{shown(path)}' has the files '{shown(other.name)}' and '{shown(last.name)}', {reason}: leave "
                f"NAME_TRAIN{file.suffix} and NAME_TEST{file.suffix}, or name one file."
            )
    if "train" not in files:
        raise DataError(f"'{shown(path)}' has no file NAME_TRAIN{every[0].suffix}: add it.")
    contents = _read({split: files[split] for split in ALIASES if split in files}, f"'{shown(path)}'")
    if every[0].suffix.lower() != SUFFIX:
        contents.notices.append(f"the first number of each line of '{shown(path)}' is read as a class.")
    others = [file.name for file in every if file not in files.values()]
    if others:
        contents.notices.append(f"'{shown(path)}' has files that are not used: {listed(others)}.")
    return contents


def read_ts(file: Path) -> Contents:
    """A `.ts` file, and where it is the one for training, that for testing beside it."""
    files = {"train": file}
    if _split(file) == "train":
        others = {_split(other): other for other in sorted(file.parent.iterdir())
                  if other.suffix.lower() == SUFFIX and _stem(other) == _stem(file) and other != file}  # fmt: skip
        files |= {split: others[split] for split in ("valid", "test") if split in others}
    contents = _read(files, f"'{shown(file)}'")
    contents.notices += [f"'{shown(other)}' beside it is the {split} split." for split, other in files.items()
                         if split != "train"]  # fmt: skip
    return contents


@dataclass
class _File:
    """What a file holds, and what its header says of the labels."""

    path: Path
    series: list[Series] = field(default_factory=list)
    labels: list[str] = field(default_factory=list)
    lines: list[int] = field(default_factory=list)
    bad: list[tuple[str, str]] = field(default_factory=list)
    classes: str = ""
    """Those of the header, parted by spaces, which the name of a class may have in it too."""

    channels: int | None = None
    """As the header says."""

    numbers: bool = False
    labelled: bool = False


def _read(files: dict[str, Path], source: str) -> Contents:
    read = {split: (_parse if file.suffix.lower() == SUFFIX else _parse_plain)(file) for split, file in files.items()}
    numbers = read["train"].numbers
    contents = Contents({}, medium="series", kind="regression" if numbers else None)
    for part in read.values():
        if part.numbers != numbers:
            raise DataError(f"of the files of {source} some have classes and some numbers as labels: give one kind.")
        contents.bad += part.bad
    if numbers:
        contents.class_names = ["target"]
        values = {split: np.asarray([float(label) for label in part.labels]) for split, part in read.items()}
    else:
        every = [label for part in read.values() for label in part.labels]
        place, names = numbered(every)
        contents.class_names = names
        ends = np.cumsum([len(part.labels) for part in read.values()])[:-1]
        values = dict(zip(read, np.split(place, ends), strict=True))
    for split, part in read.items():
        if not part.series:
            first = f"; the first: {part.bad[0][0]} {part.bad[0][1]}" if part.bad else ": give some below @data"
            raise DataError(f"'{shown(part.path)}' has no series that can be read{first}.")
        channels = part.series[0].values.shape[0]
        if part.channels not in (None, channels):
            contents.notices.append(
                f"the header of '{shown(part.path)}' says {part.channels} channel{'s' * (part.channels != 1)} where "
                f"its series have {channels}, which are read."
            )
        called = f"'{shown(part.path)}'"
        contents.splits[split] = Raw(part.series, values[split], called, f"the labels of {called}")
    return contents


def _parse(path: Path) -> _File:
    """The lines of a file. Raises `DataError` for what is none of the format."""
    regular(path)
    file, in_data = _File(path), False
    called = f"'{shown(path)}'"
    try:
        with path.open(encoding="utf-8-sig") as stream:
            for number, line in enumerate(iter(lambda: stream.readline(_LONGEST), ""), start=1):
                text = line.strip()
                if not text or text.startswith(("#", "%")):
                    continue
                if in_data:
                    _example(text, number, file)
                elif text.startswith("@"):
                    in_data = _header(text, number, file)
                else:
                    raise DataError(f"{called}, line {number}: this is no header (@...) where @data has not come yet.")
    except UnicodeDecodeError as error:
        raise DataError(f"{called} is no text in UTF-8: copy or make it again.") from error
    except OSError as error:
        raise DataError(f"{called} cannot be read: {error.strerror}.") from error
    if not in_data:
        raise DataError(f"{called} has no line @data: it is cut off, or of another kind.")
    if not file.labelled:
        raise DataError(f"{called} has series without labels (@classLabel or @targetLabel true): there is no task.")
    return file


def _parse_plain(path: Path) -> _File:
    """The lines of a file without a header. Raises `DataError` for what cannot be read at all."""
    regular(path)
    file = _File(path, labelled=True)
    try:
        with path.open(encoding="utf-8-sig") as stream:
            for number, line in enumerate(iter(lambda: stream.readline(_LONGEST), ""), start=1):
                if cells := _cells(line):
                    _plain_example(cells, f"line {number} of '{shown(path)}'", file)
    except UnicodeDecodeError as error:
        raise DataError(f"'{shown(path)}' is no text in UTF-8: copy or make it again.") from error
    except OSError as error:
        raise DataError(f"'{shown(path)}' cannot be read: {error.strerror}.") from error
    return file


def _plain_example(cells: list[str], name: str, file: _File) -> None:
    label = _class(cells[0])
    if label is None:
        file.bad.append((name, f"has no whole number for its class in front ('{shown(cells[0][:40])}')"))
        return
    try:
        values = np.asarray([_value(cell) for cell in cells[1:]])
    except ValueError:
        file.bad.append((name, "has a value that is no number"))
        return
    # The archive has series of one length, shorter ones with missing numbers at their end.
    length = int(np.flatnonzero(~np.isnan(values)).max(initial=-1)) + 1
    if not length:
        file.bad.append((name, "has no values"))
        return
    file.series.append(Series(name, values[None, :length]))
    file.labels.append(label)


def _header(text: str, number: int, file: _File) -> bool:
    """Takes in a line of the header; whether the data follow."""
    word, *rest = text.split()
    name = word.lower()
    true = bool(rest) and rest[0].lower() == "true"
    if name == "@timestamps" and true:
        raise DataError(
            f"'{shown(file.path)}', line {number}: series with time stamps are not read: bring them to equal steps "
            "of time, and leave the stamps out."
        )
    if name == "@classlabel" and true:
        file.labelled, file.classes = True, " ".join(rest[1:]).replace('"', "").replace("'", "")
    elif name == "@targetlabel" and true:
        file.labelled = file.numbers = True
    elif name in ("@dimension", "@dimensions") and rest and rest[0].isascii() and rest[0].isdigit():
        file.channels = int(rest[0])
    elif name == "@univariate" and true:
        file.channels = 1
    return name == "@data"


def _example(text: str, number: int, file: _File) -> None:
    name = f"line {number} of '{shown(file.path)}'"
    *channels, label = text.split(":")
    label = label.strip()
    if not channels:
        file.bad.append((name, "has no label behind a colon"))
        return
    if file.numbers:
        try:
            fits = bool(np.isfinite(float(label)))
        except ValueError:
            fits = False
        if not fits:
            file.bad.append((name, f"has a target that is no number ('{shown(label[:40])}')"))
            return
    elif not label:
        file.bad.append((name, "has no label behind its last colon"))
        return
    elif not file.classes and "," in label and _are_numbers(label):
        file.bad.append((name, f"has values where its label should be ('{shown(label[:40])}')"))
        return
    elif file.classes and f" {label} " not in f" {file.classes} ":
        file.bad.append((name, f"has the class '{shown(label[:40])}', which the header does not name"))
        return
    try:
        rows = [np.asarray([_value(value) for value in channel.split(",")]) for channel in channels]
    except ValueError:
        file.bad.append((name, "has a value that is no number"))
        return
    if len({len(row) for row in rows}) > 1:
        file.bad.append((name, "has channels of different lengths"))
        return
    file.series.append(Series(name, np.stack(rows)))
    file.labels.append(label)


def _value(text: str) -> float:
    """A number; NaN where it is missing. Raises `ValueError` for what is none."""
    if "_" in text:
        raise ValueError("Python's digits may have underscores between them, those of a file may not")
    return float("nan") if text.strip() == "?" else float(text)


def _are_numbers(text: str) -> bool:
    try:
        return bool([_value(value) for value in text.split(",")])
    except ValueError:
        return False


def _split(file: Path) -> str | None:
    match = _NAMED.fullmatch(file.stem)
    return split_of(match[2]) if match else None


def _stem(file: Path) -> str:
    match = _NAMED.fullmatch(file.stem)
    return match[1] or "" if match else file.stem
