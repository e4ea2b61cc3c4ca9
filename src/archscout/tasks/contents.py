"""What a door finds in somebody's data before any picture is decoded: where each lies, and its label.

Every door (`tasks/doors/`) ends in one `Contents`, and one road (`assemble.py`) leads from there to a task; so whatever
is checked, drawn, decoded or told is so for all of them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import BinaryIO

import numpy as np


@dataclass(frozen=True)
class Source:
    """An encoded picture: what messages call it, how its bytes are opened, and what tells it from a changed one.

    `stamp` is of the file that the bytes lie in (its path, size and time), with the place in it.
    """

    name: str
    open: Callable[[], BinaryIO]
    stamp: str


@dataclass(frozen=True)
class Raw:
    """Examples and labels of one split as they were read, with the names that messages call them by.

    `x` is an array (images: N x H x W x C), or pictures that are still encoded. `groups` says what belongs together:
    examples of one group are never in two splits.
    """

    x: np.ndarray | Sequence[Source]
    y: np.ndarray
    images: str
    labels: str
    groups: np.ndarray | None = None


@dataclass
class Contents:
    """The splits of some data, their class names where they have any, what is to be told of it, and what is unreadable.

    `bad` has a sentence's subject and predicate for each example that is known not to be readable without decoding it:
    `("'cat/7.png'", "is a broken link")`. `kind` is that of the targets, where the data say it (`targets.KINDS`).
    """

    splits: dict[str, Raw]
    class_names: Sequence[str] | None = None
    notices: list[str] = field(default_factory=list)
    bad: list[tuple[str, str]] = field(default_factory=list)
    kind: str | None = None
