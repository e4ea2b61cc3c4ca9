"""Transcripts: texts as numbers of characters, what a network reads at each place as text, how far two texts differ.

A network says at each place of a line which character stands there, or none: the blank, the last of its outputs
(connectionist temporal classification, Graves et al. 2006, ICML).
"""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Mapping, Sequence

import numpy as np
from torch import Tensor

from archscout.core.errors import DataError
from archscout.tasks.contents import Raw
from archscout.tasks.labels import are_texts

NOTHING = -1
"""Stands behind the end of a transcript, up to the length of the longest."""

SPACE = " "
"""Between words."""


def clean(text: str) -> str:
    """A transcript in composed characters, any white space in it being one space.

    >>> clean("Cafe\\u0301  au\\tlait ")
    'Café au lait'
    """
    return SPACE.join(unicodedata.normalize("NFC", text).split())


def read(parts: Mapping[str, Raw], names: Sequence[str] | None, source: str) -> tuple[dict[str, np.ndarray], list[str]]:
    """The transcripts of each split as numbers (N x longest, int64, `NOTHING` behind the end), and all characters.

    Args:
        parts: splits whose `y` are texts.
        names: the characters, where the data name them; those that occur, in their order, otherwise.
        source: what messages call the data.

    Raises `DataError` for what is no text, empty, or has characters that are not named or cannot be printed.
    """
    texts: dict[str, list[str]] = {}
    for split, part in parts.items():
        if part.y.ndim != 1 or not are_texts(part.y):
            raise DataError(
                f"{part.labels} is {part.y.dtype} of shape {part.y.shape}: the transcript of each line is a text."
            )
        if len(part.y) != len(part.x):
            raise DataError(f"{part.labels} has {len(part.y)} transcripts for {len(part.x)} lines: give one for each.")
        texts[split] = [
            clean(value.decode("utf-8") if isinstance(value, bytes) else value) for value in part.y.tolist()
        ]
        if "" in texts[split]:
            raise DataError(
                f"{part.labels} has no transcript in row {texts[split].index('')}: write it, or leave it out."
            )
    occurring = sorted({character for some in texts.values() for text in some for character in text})
    characters = list(names) if names else occurring
    odd = next((c for c in occurring if not c.isprintable()), None)
    if odd is not None:
        raise DataError(
            f"a transcript of {source} has the character U+{ord(odd):04X}, which cannot be printed: remove it."
        )
    unknown = sorted(set(occurring) - set(characters))
    if unknown:
        raise DataError(f"the transcripts of {source} have '{unknown[0]}', which class_names lacks: add it there.")
    place = {character: number for number, character in enumerate(characters)}
    longest = max(len(text) for some in texts.values() for text in some)
    y = {}
    for split, some in texts.items():
        y[split] = np.full((len(some), longest), NOTHING, np.int64)
        for row, text in zip(y[split], some, strict=True):
            row[: len(text)] = [place[character] for character in text]
    return y, characters


def places(y: np.ndarray) -> int:
    """How many places a network needs for these transcripts (N x L): one a character, and a blank between equal ones.

    >>> places(np.asarray([[1, 1, 2], [3, -1, -1]]))
    4
    """
    equal = (y[:, 1:] == y[:, :-1]) & (y[:, 1:] != NOTHING)
    return int(((y != NOTHING).sum(1) + equal.sum(1)).max(initial=1))


def texts(numbers: Sequence[Sequence[int]], characters: Sequence[str]) -> list[str]:
    """Transcripts as text."""
    return ["".join(characters[number] for number in row) for row in numbers]


def targets_of(y: Tensor) -> list[list[int]]:
    """Padded transcripts (N x L) without what pads them."""
    return [[number for number in row if number != NOTHING] for row in y.tolist()]


def greedy(outputs: Tensor) -> list[list[int]]:
    """What a network reads (N x outputs x places): at each place the likeliest, runs of one taken once, no blanks."""
    blank = outputs.shape[1] - 1
    best = outputs.argmax(1)
    new = best != blank
    new[:, 1:] &= best[:, 1:] != best[:, :-1]
    return [row[keep].tolist() for row, keep in zip(best.cpu(), new.cpu(), strict=True)]


def edit_distances(read: Sequence[Sequence[int]], true: Sequence[Sequence[int]]) -> np.ndarray:
    """Of each pair, how many symbols must be put in, left out or changed (Levenshtein 1966); N, int64.

    >>> edit_distances([[1, 2, 3], []], [[1, 3], [4, 5]]).tolist()
    [1, 2]
    """
    widest = max((len(row) for row in true), default=0)
    known = np.full((len(true), widest), -2, np.int64)
    for place, line in zip(known, true, strict=True):
        place[: len(line)] = line
    steps = np.arange(widest + 1)
    # A row of the table for each pair: the distance of the first i symbols of one to the first j of the other.
    row: np.ndarray = np.broadcast_to(steps, (len(true), widest + 1)).copy()
    ends = np.asarray([len(some) for some in read])
    for i in range(1, int(ends.max(initial=0)) + 1):
        symbols = np.asarray([some[i - 1] if i <= len(some) else -3 for some in read])
        new = np.empty_like(row)
        new[:, 0] = i
        new[:, 1:] = np.minimum(row[:, 1:] + 1, row[:, :-1] + (known != symbols[:, None]))
        new = np.minimum.accumulate(new - steps, 1) + steps
        row = np.where((i <= ends)[:, None], new, row)
    distances: np.ndarray = row[np.arange(len(true)), [len(some) for some in true]]
    return distances


class EditErrors:
    """Edits to get from what is read to what is true, over the length of what is true: of all lines together.

    Characters are counted, or words where the number of the space is given. May be above 1.
    """

    def __init__(self, space: int | None = None, *, words: bool = False) -> None:
        self.space, self.words = space, words
        self.edits = self.length = 0

    def update(self, outputs: Tensor, targets: Tensor) -> None:
        if outputs.ndim != 3 or targets.ndim != 2 or len(outputs) != len(targets):
            raise ValueError(
                f"outputs of shape {tuple(outputs.shape)} for targets of shape {tuple(targets.shape)}: N x characters "
                "and one x places for N x longest transcript"
            )
        read, true = greedy(outputs), targets_of(targets)
        if self.words:
            read, true = self._as_words(read, true)
        self.edits += int(edit_distances(read, true).sum())
        self.length += sum(len(row) for row in true)

    def value(self) -> float:
        return self.edits / self.length if self.length else math.nan

    def _as_words(self, *lines: list[list[int]]) -> list[list[list[int]]]:
        number: dict[tuple[int, ...], int] = {}
        return [[[number.setdefault(word, len(number)) for word in _words(row, self.space)] for row in some]
                for some in lines]  # fmt: skip


def _words(row: Sequence[int], space: int | None) -> list[tuple[int, ...]]:
    words: list[list[int]] = [[]]
    for number in row:
        if number == space:
            words.append([])
        else:
            words[-1].append(number)
    return [tuple(word) for word in words if word]


class WholeLines:
    """The share of lines that are read without a mistake."""

    def __init__(self) -> None:
        self.right = self.total = 0

    def update(self, outputs: Tensor, targets: Tensor) -> None:
        self.right += sum(one == other for one, other in zip(greedy(outputs), targets_of(targets), strict=True))
        self.total += len(targets)

    def value(self) -> float:
        return self.right / self.total if self.total else math.nan
