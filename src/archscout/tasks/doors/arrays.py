"""Named arrays, whatever they lie in: an `.npz` archive, a folder of `.npy` files, a dictionary.

An array's name has a kind and a split, in either order and any letters: `x_train`, `Y_val`, `train_images`,
`test_labels`; without a split it is all there is, to be divided, at random or by an array such as `is_test`. Pictures
are arrays, or the bytes of encoded files end to end (`jpeg_train`, with `offsets_train` where each begins and where the
last ends). With `sample_rate`, arrays are recordings: N x samples, or end to end (`audio`, `offsets`).
"""

from __future__ import annotations

import io
import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from archscout.core.errors import DataError, UsageError, nearest
from archscout.tasks.contents import Clip, Contents, Raw, Source
from archscout.tasks.decode import file_source, shown
from archscout.tasks.doors.archive import Archive, listed, read_npy
from archscout.tasks.heads import Asks, Head
from archscout.tasks.labels import numbered
from archscout.tasks.splits import ALIASES, split_of

KINDS = {
    "x": ("x", "images", "image", "data"),
    "audio": ("audio", "waveforms", "waveform"),
    "y": ("y", "labels", "label", "targets"),
    "jpeg": ("jpeg",),
    "offsets": ("offsets",),
    "groups": ("groups", "group"),
    "weights": ("weights", "weight"),
}
"""What an array may be, by the names it may have."""

IS_TEST = ("is_test", "split")
"""Names of an array that says of each example in which split it is."""

NONE = "none"
"""Instead of the name of an array: there is none, whatever the names say."""

_BARE = frozenset({"x", "y", "labels", "audio", "waveforms", "offsets", "groups", "group", "weights", "weight"})
"""Names that stand for all examples, to be divided, where no split has an array of its own."""

_KIND = {alias: kind for kind, aliases in KINDS.items() for alias in aliases}


Roles = Mapping[str, str | None]
"""Arrays by what they are for (`split`, `group`, `label`), where the user says so."""


def read_npz(path: Path, roles: Roles | None = None) -> Contents:
    """The arrays of an archive."""
    with Archive(path) as archive:
        return gather(archive.names, archive.get, f"'{shown(path)}'", stamp=file_source(path).stamp, roles=roles)


def read_npy_folder(path: Path, roles: Roles | None = None) -> Contents:
    """The `.npy` files of a folder, which stay on the disk until they are looked at."""
    files = {file.stem: file for file in sorted(path.glob("*.npy"))}

    def get(name: str) -> np.ndarray:
        return read_npy(files[name], mapped=True)

    return gather(list(files), get, f"'{shown(path)}'", stamp="", roles=roles)


def read_mapping(arrays: dict[str, np.ndarray], source: str, roles: Roles | None = None) -> Contents:
    """Arrays by name."""
    return gather(list(arrays), lambda name: np.asarray(arrays[name]), source, stamp="", roles=roles)


def is_npy_folder(path: Path) -> bool:
    """Whether a folder has `.npy` files whose names say what they are."""
    return any(_meaning(file.stem) is not None for file in path.glob("*.npy"))


def gather(
    names: Sequence[str], get: Callable[[str], np.ndarray], source: str, *, stamp: str, roles: Roles | None = None
) -> Contents:
    """The splits among arrays of these names.

    Raises `DataError` where there is nothing to train on, labels are missing, or two arrays mean the same.
    """
    roles = roles or {}
    roles = {role: roles.get(role) for role in ("split", "group", "label")}
    for role in roles:
        if roles.get(role) not in (None, NONE, *names):
            raise UsageError(f"{source} has no array '{roles[role]}': {nearest(str(roles[role]), names)}")
    special = {"class_names", "sample_rate", *(str(name) for name in roles.values() if name is not None)}
    named: dict[tuple[str, str], str] = {}
    others = []
    # Arrays without a split come last: they are those of all examples only where no split has its own.
    for name in sorted(names, key=lambda name: name.casefold() in _KIND):
        meaning = None if name in special else _meaning(name)
        if meaning is None or (name.casefold() in _BARE and any(kind == meaning[0] for kind, _ in named)):
            if name not in special:
                others.append(name)
        elif named.setdefault(meaning, name) != name:
            kind, split = meaning
            raise DataError(
                f"{source} has the arrays {shown(named[meaning])} and {shown(name)}, which both mean {kind} of the "
                f"{split} split: leave one out."
            )
    if roles["label"] is not None:
        others += [name for (kind, _), name in named.items() if kind == "y"]
        named = {meaning: name for meaning, name in named.items() if meaning[0] != "y"}
        named["y", "train"] = str(roles["label"])
    contents = Contents({})
    questions = {} if any(kind == "y" for kind, _ in named) else _questions(others)
    if questions:
        answers = _answers(questions, get, source, contents)
        others = [
            name for name in others if name not in {each for split in questions.values() for each in split.values()}
        ]
    if "sample_rate" in names:
        contents.rate, contents.medium = _rate(get("sample_rate"), source), "audio"
    for split in ALIASES:
        kinds = [kind for kind in ("x", "jpeg", "audio") if (kind, split) in named]
        if not kinds:
            continue
        kind = kinds[0]
        examples = named[kind, split]
        labels = named.get(("y", split))
        if labels is None and questions and split not in answers:
            raise DataError(f"{source} has no array y_{_heads_of(questions)[0]}_{split}: add it.")
        if labels is None and not questions:
            wanted = _like(examples, "y") if kind == "x" else examples.casefold().replace(kind, "y")
            raise DataError(f"{source} has no array {wanted} (it has: {listed(list(names))}): add it.")
        x: np.ndarray | Sequence[Source | Clip]
        if kind == "x":
            x = get(examples)
        elif kind == "jpeg":
            x = _encoded(named, split, get, source, stamp)
        else:
            contents.medium = "audio"
            x = _recordings(named, split, get, source, contents.rate)
        groups = get(named["groups", split]) if ("groups", split) in named else None
        y, column = (get(labels), shown(labels)) if labels is not None else (answers[split], "y")
        weights = get(named["weights", split]) if ("weights", split) in named else None
        contents.splits[split] = Raw(x, y, f"{shown(examples)} of {source}", f"{column} of {source}", groups, weights)
    if "train" not in contents.splits:
        raise DataError(
            f"{source} has no array x_train (it has: {listed(list(names))}): name the images x_train and the labels "
            "y_train."
        )
    used = _by_rows(contents, names, get, source, roles)
    others = [name for name in others if name not in used]
    others += [name for meaning, name in named.items() if meaning[1] not in contents.splits]
    if others:
        contents.notices.append(f"{source} has arrays that are not used: {listed(others)}.")
    if "class_names" in names:
        contents.class_names = [_text(name) for name in get("class_names").ravel().tolist()]
    return contents


def _questions(names: Sequence[str]) -> dict[str, dict[str, str]]:
    """Arrays `y_NAME`, `y_NAME_SPLIT` or `y_SPLIT_NAME`, by split and the name of the head."""
    keys: dict[str, dict[str, str]] = {}
    for name in names:
        first, *words = name.split("_")
        if first.casefold() not in KINDS["y"] or not words:
            continue
        place = next((at for at in (-1, 0) if split_of(words[at])), None)
        split = "train" if place is None else str(split_of(words.pop(place)))
        if words:
            keys.setdefault(split, {})["_".join(words)] = name
    return keys


def _heads_of(questions: dict[str, dict[str, str]]) -> list[str]:
    return list(dict.fromkeys(head for split in questions.values() for head in split))


def _answers(
    questions: dict[str, dict[str, str]], get: Callable[[str], np.ndarray], source: str, contents: Contents
) -> dict[str, np.ndarray]:
    """The targets of each split, the columns of all heads side by side; what they mean is noted in the contents."""
    answers: dict[str, list[np.ndarray]] = {split: [] for split in questions}
    heads = []
    for name in _heads_of(questions):
        for split, arrays in questions.items():
            if name not in arrays:
                raise DataError(f"{source} has no array y_{name} of the {split} split: add it.")
        given = {split: get(arrays[name]) for split, arrays in questions.items()}
        for split, y in given.items():
            if y.ndim not in (1, 2) or y.dtype.kind not in "buifUS" or len(y) == 0:
                raise DataError(
                    f"{questions[split][name]} of {source} is {y.dtype} of shape {y.shape}: give a class, several "
                    "labels or numbers for each example."
                )
            if y.dtype.kind == "f" and not np.isfinite(y).all():
                row = int(np.isfinite(y).reshape(len(y), -1).all(1).argmin())
                raise DataError(f"{questions[split][name]} of {source} has no finite number in row {row}: repair it.")
        first = next(iter(given.values()))
        if any(y.ndim != first.ndim or y.shape[1:] != first.shape[1:] for y in given.values()):
            raise DataError(f"the arrays y_{name} of {source} differ in their columns: make them alike.")
        if first.dtype.kind in "US":
            ends = np.cumsum([len(y) for y in given.values()])[:-1]
            numbers, names = numbered([_text(value) for y in given.values() for value in y.ravel().tolist()])
            given = dict(zip(given, np.split(numbers, ends), strict=True))
            asks: Asks = "class"
        elif first.ndim == 1 and all((y == np.floor(y)).all() and y.min() >= 0 for y in given.values()):
            names, asks = [str(number) for number in range(1 + max(int(y.max()) for y in given.values()))], "class"
        else:
            marks = first.ndim == 2 and all(((y == 0) | (y == 1)).all() for y in given.values())
            asks, columns = "labels" if marks else "numbers", 1 if first.ndim == 1 else first.shape[1]
            names = [name] if columns == 1 else [str(number) for number in range(columns)]
        heads.append(Head(name, asks, tuple(names)))
        for split, y in given.items():
            answers[split].append(y.reshape(len(y), -1).astype(np.float64))
    contents.kind, contents.heads = "heads", tuple(heads)
    for split, blocks in answers.items():
        if len({len(block) for block in blocks}) > 1:
            raise DataError(f"the arrays y_NAME of the {split} split of {source} differ in length: make them alike.")
    return {split: np.concatenate(blocks, 1) for split, blocks in answers.items()}


def _by_rows(
    contents: Contents, names: Sequence[str], get: Callable[[str], np.ndarray], source: str, roles: Roles
) -> set[str]:
    """Groups and splits of all examples by arrays of one value each (`group=speaker`, `is_test`), where there are any.

    Gives the names of those arrays.
    """
    used = set()
    train = contents.splits["train"]
    by_group, by_place = roles.get("group"), roles.get("split") or next((n for n in names if n in IS_TEST), None)
    if by_group is not None:
        contents.splits["train"] = train = replace(train, groups=_one_each(get(by_group), train, by_group, source))
        used.add(by_group)
    if by_place in (None, NONE) or len(contents.splits) > 1 or len(train.y) != len(train.x):
        return used
    values = _one_each(get(str(by_place)), train, str(by_place), source)
    if values.dtype.kind == "b":
        split_names: list[str | None] = ["test" if value else "train" for value in values.tolist()]
    else:
        split_names = [split_of(_text(value)) for value in values.tolist()]
    if None in split_names:
        row = split_names.index(None)
        raise DataError(
            f"row {row} of {by_place} of {source} is the split '{shown(_text(values[row]))}': write train, valid or "
            f"test, or truth values, or leave it out (split={NONE})."
        )
    if "train" not in split_names:
        raise DataError(f"{by_place} of {source} leaves no example for training (split={NONE} leaves it out).")
    places = np.asarray(split_names)
    contents.splits = {split: train.take(np.flatnonzero(places == split)) for split in ALIASES if split in split_names}
    return used | {str(by_place)}


def _one_each(values: np.ndarray, train: Raw, name: str, source: str) -> np.ndarray:
    if values.shape != (len(train.x),):
        raise DataError(
            f"{shown(name)} of {source} has shape {values.shape} for {len(train.x)} examples: give one value for each."
        )
    return values


def _rate(value: np.ndarray, source: str) -> int:
    if value.size != 1 or value.dtype.kind not in "iuf" or not 0 < float(value.ravel()[0]) <= 1e7:
        raise DataError(f"sample_rate of {source} must be one number, of samples a second.")
    return int(value.ravel()[0])


def _meaning(name: str) -> tuple[str, str] | None:
    """Kind and split of an array by its name.

    >>> _meaning("x_train"), _meaning("val_images"), _meaning("y"), _meaning("speaker")
    (('x', 'train'), ('x', 'valid'), ('y', 'train'), None)
    """
    first, _, second = name.casefold().partition("_")
    if not second:
        return (_KIND[first], "train") if first in _BARE else None
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


def _pieces(
    kind: str, named: dict[tuple[str, str], str], split: str, get: Callable[[str], np.ndarray], source: str
) -> tuple[np.ndarray, list[tuple[int, int]]]:
    """An array of examples end to end, and where each of them begins and ends."""
    examples = named[kind, split]
    if ("offsets", split) not in named:
        wanted = examples.replace(kind, "offsets") if kind in examples else "offsets"
        raise DataError(f"{source} has no array {wanted}, where each of {examples} begins: add it.")
    positions = named["offsets", split]
    data, offsets = get(examples), get(positions)
    where = f"{positions} of {source}"
    if (
        (kind == "jpeg" and (data.dtype != np.uint8 or data.ndim != 1))
        or offsets.dtype.kind not in "iu"
        or offsets.ndim != 1
    ):
        raise DataError(f"{examples} of {source} must be uint8 bytes in a row, and {positions} whole numbers.")
    offsets = offsets.astype(np.int64)
    unit, what = ("bytes", "image") if kind == "jpeg" else ("samples", "recording")
    if len(offsets) < 2:
        raise DataError(f"{where} names no {what}: an empty data set cannot be learned from.")
    if offsets[0] < 0 or offsets[-1] > len(data) or (np.diff(offsets) < 0).any():
        raise DataError(f"{where} leads outside the {len(data)} {unit} of {examples}: the two must come from one set.")
    return data, list(itertools.pairwise(offsets.tolist()))


def _encoded(
    named: dict[tuple[str, str], str], split: str, get: Callable[[str], np.ndarray], source: str, stamp: str
) -> list[Source]:
    """Every picture of the layout of encoded files end to end."""
    data, pieces = _pieces("jpeg", named, split, get, source)
    jpeg = named["jpeg", split]
    view = np.ascontiguousarray(data).data
    return [_slice(view, start, end, f"image {row} of {jpeg} in {source}", f"{stamp} {split}")
            for row, (start, end) in enumerate(pieces)]  # fmt: skip


def _recordings(
    named: dict[tuple[str, str], str], split: str, get: Callable[[str], np.ndarray], source: str, rate: int | None
) -> np.ndarray | list[Clip]:
    """Every recording: rows of an array, or pieces of one in which they lie end to end."""
    audio = named["audio", split]
    if ("offsets", split) not in named and get(audio).ndim > 1:
        return get(audio)
    data, pieces = _pieces("audio", named, split, get, source)
    if data.ndim != 1 or data.dtype.kind not in "iuf":
        raise DataError(f"{audio} of {source} is {data.dtype} of shape {data.shape}: samples end to end are one row.")
    if rate is None:
        raise DataError(f"{source} has no array sample_rate, how many samples a second {audio} has: add it.")
    return [Clip(f"recording {row} of {audio} in {source}", data[start:end], rate)
            for row, (start, end) in enumerate(pieces)]  # fmt: skip


def _slice(view: memoryview, start: int, end: int, name: str, stamp: str) -> Source:
    return Source(name, lambda: io.BytesIO(view[start:end]), f"{stamp} {start} {end}")
