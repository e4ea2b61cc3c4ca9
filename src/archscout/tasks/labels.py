"""Labels as people write them, as numbers of classes."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np


def text_of(value: object) -> str:
    """A label as text; empty where there is none.

    >>> text_of(3.0), text_of("cat "), text_of(None), text_of(float("nan")), text_of(True)
    ('3', 'cat', '', '', 'True')
    """
    if value is None or (isinstance(value, float | np.floating) and math.isnan(value)):
        return ""
    if isinstance(value, bytes):
        return value.decode("utf-8", "surrogateescape").strip()
    if isinstance(value, float | np.floating) and float(value).is_integer():
        return str(int(value))
    return str(value).strip()


def are_texts(y: np.ndarray) -> bool:
    """Whether an array holds nothing but texts, as NumPy or as Python stores them."""
    return y.dtype.kind in "US" or (y.dtype.kind == "O" and all(isinstance(text, str | bytes) for text in y.ravel()))


def numbered(labels: Sequence[str]) -> tuple[np.ndarray, list[str]]:
    """The number of each label's class, and the names of the classes: in the order of numbers, or of letters.

    >>> numbered(["10", "9", "10"])
    (array([1, 0, 1]), ['9', '10'])
    """
    distinct = set(labels)
    whole = all(label.removeprefix("-").isascii() and label.removeprefix("-").isdigit() for label in distinct)
    names = sorted(distinct, key=lambda label: (int(label), label) if whole else (0, label))
    place = {name: number for number, name in enumerate(names)}
    return np.asarray([place[label] for label in labels], np.int64), names
