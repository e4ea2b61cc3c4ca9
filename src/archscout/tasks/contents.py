"""What a door finds in somebody's data before anything is decoded: where each example lies, and its label.

Every door (`tasks/doors/`) ends in one `Contents`, and one road (`assemble.py`) leads from there to a task; so whatever
is checked, drawn, decoded or told is so for all of them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, BinaryIO, Literal

import numpy as np

if TYPE_CHECKING:
    from archscout.tasks.heads import Head
    from archscout.tasks.table import Column

MediumName = Literal["images", "audio", "series", "lines", "rows"]
"""What examples are; None where an array does not say, and is told by its shape."""


@dataclass(frozen=True, slots=True)
class Source:
    """An encoded picture or recording: its name in messages, how it is opened, and what tells it from a changed one.

    `stamp` is of the file that the bytes lie in (its path, size and time), with the place in it; `place` is the same
    for one file by any of its names, where it is known.
    """

    name: str
    open: Callable[[], BinaryIO]
    stamp: str
    place: tuple[int, int] | None = None


@dataclass(frozen=True)
class Clip:
    """A recording in an array: its name in messages, its samples (perhaps x channels), and how many a second."""

    name: str
    samples: np.ndarray
    rate: int


@dataclass(frozen=True)
class Series:
    """A series: its name in messages, and its values (channels x length)."""

    name: str
    values: np.ndarray


@dataclass(frozen=True)
class Raw:
    """Examples and labels of one split as they were read, with the names that messages call them by.

    `x` is an array (images: N x H x W x C), or pictures or recordings that are still encoded, or series one by one.
    `groups` says what belongs together: examples of one group are never in two splits.
    `weights` say by how much each counts in the loss.
    """

    x: np.ndarray | Sequence[Source | Clip | Series]
    y: np.ndarray
    images: str
    labels: str
    groups: np.ndarray | None = None
    weights: np.ndarray | None = None

    def take(self, rows: np.ndarray) -> Raw:
        """Some of the examples."""
        x = self.x[rows] if isinstance(self.x, np.ndarray) else [self.x[int(row)] for row in rows]
        groups, weights = (None if values is None else values[rows] for values in (self.groups, self.weights))
        return replace(self, x=x, y=self.y[rows], groups=groups, weights=weights)


@dataclass
class Contents:
    """The splits of some data, their class names where they have any, what is to be told of it, and what is unreadable.

    `bad` has a sentence's subject and predicate for each example that is known not to be readable without decoding it:
    `("'cat/7.png'", "is a broken link")`. `kind` is that of the targets, where the data say it (`targets.KINDS`);
    `heads` are the questions, where there are several (the columns of `y` are theirs); `medium` is what the examples
    are, `rate` how many samples a second arrays of audio have, `shape` the height and width that masks have, which
    pictures are to get, and `columns` those of rows.
    """

    splits: dict[str, Raw]
    class_names: Sequence[str] | None = None
    notices: list[str] = field(default_factory=list)
    bad: list[tuple[str, str]] = field(default_factory=list)
    kind: str | None = None
    medium: MediumName | None = None
    heads: tuple[Head, ...] = ()
    shape: tuple[int, int] | None = None
    rate: int | None = None
    columns: tuple[Column, ...] = ()
