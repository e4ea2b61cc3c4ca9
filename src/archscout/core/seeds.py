"""Every random decision comes from one seed: named streams of `numpy.random.SeedSequence`.

A stream depends only on the seed and its keys, never on the order in which streams are opened, so that the same
seed gives the same search with any number of workers and after any interruption.
"""

from __future__ import annotations

import hashlib

import numpy as np


def _sequence(seed: int, keys: tuple[str | int, ...]) -> np.random.SeedSequence:
    words: list[int] = []
    for key in keys:
        digest = hashlib.sha256(f"{type(key).__name__}:{key}".encode()).digest()
        words.append(int.from_bytes(digest[:8], "little"))
    return np.random.SeedSequence(seed, spawn_key=tuple(words))


def stream(seed: int, *keys: str | int) -> np.random.Generator:
    """A generator for one purpose.

    >>> stream(0, "sample", 3).integers(100) == stream(0, "sample", 3).integers(100)
    True
    """
    return np.random.default_rng(_sequence(seed, keys))


def derive(seed: int, *keys: str | int) -> int:
    """A 63-bit seed for one purpose, for libraries that want an integer."""
    return int(_sequence(seed, keys).generate_state(1, np.uint64)[0] >> np.uint64(1))
