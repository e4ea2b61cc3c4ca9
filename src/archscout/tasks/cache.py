"""Decoded pictures and recordings on the disk, for data larger than memory: decoded once, mapped by every process.

A cache is one file (of pictures bytes, N x height x width x channels; of recordings float32, N x samples), and a small
one beside it that says what they are. Its name is a hash of the examples' files (path, size, time) in their order and
of how they are read, so that a changed file is another cache. It lies in the user's cache folder, or in the one that
the environment variable `ARCHSCOUT_CACHE` names, and may be removed at any time when nothing runs: `archscout data
cache --clear`.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from platformdirs import user_cache_path

from archscout.core.errors import DataError
from archscout.core.memory import physical_memory
from archscout.tasks.mapped import Mapped

_FORMAT = 1
PIXELS, ABOUT = ".pixels", ".json"
BYTES = "|u1"

SHARE = 0.25
"""Decoded examples go to the disk by themselves where they would take more of the memory than this."""


def folder() -> Path:
    """Where caches lie; it need not exist."""
    named = os.environ.get("ARCHSCOUT_CACHE")
    return Path(named).expanduser() if named else user_cache_path("archscout") / "images"


def files() -> list[Path]:
    """What lies in the cache, unfinished files included."""
    return sorted(file for file in folder().glob("*") if file.suffix in (PIXELS, ABOUT, ".part"))


def clear() -> int:
    """Remove all that is cached; how many bytes that were."""
    total = 0
    for file in files():
        total += file.stat().st_size
        file.unlink(missing_ok=True)
    return total


def name(stamps: Sequence[str], *reading: Any) -> str:
    """The name of the cache of these pictures, read so."""
    sha = hashlib.sha256(repr((_FORMAT, reading)).encode())
    for stamp in stamps:
        sha.update(stamp.encode("utf-8", "surrogateescape") + b"\0")
    return sha.hexdigest()[:32]


def too_large(count: int, shape: tuple[int, ...]) -> bool:
    """Whether so many examples of so many bytes, along whatever sides, should not be held in memory."""
    return count * int(np.prod(shape)) > SHARE * physical_memory()


def read(key: str) -> tuple[Path, dict[str, Any]] | None:
    """The values and the notes of a cache; None where there is none that is whole."""
    pixels, about = folder() / f"{key}{PIXELS}", folder() / f"{key}{ABOUT}"
    try:
        notes = json.loads(about.read_text(encoding="utf-8"))
        size = int(np.prod(notes["shape"], dtype=np.int64)) * np.dtype(notes.get("dtype", BYTES)).itemsize
        return (pixels, notes) if pixels.stat().st_size == size else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def parts(pixels: Path, shape: Sequence[int], counts: dict[str, int], dtype: str = BYTES) -> dict[str, np.ndarray]:
    """The examples of each split, which lie one after the other."""
    arrays: dict[str, np.ndarray] = {}
    kind = np.dtype(dtype)
    start, each = 0, int(np.prod(shape[1:], dtype=np.int64)) * kind.itemsize
    for split, count in counts.items():
        form = (count, *(int(side) for side in shape[1:]))
        arrays[split] = Mapped.open(pixels, form, kind, start) if count else np.empty(form, kind)
        start += count * each
    return arrays


class Writer:
    """A cache that is being written; it counts only when it is whole."""

    def __init__(self, key: str) -> None:
        self.key = key
        self.part = folder() / f"{key}.{os.getpid()}.part"
        try:
            folder().mkdir(parents=True, exist_ok=True)
            self._stream = self.part.open("wb")
        except OSError as error:
            raise _full(error) from error

    def add(self, values: np.ndarray | bytes) -> None:
        try:
            self._stream.write(values if isinstance(values, bytes) else np.ascontiguousarray(values).data)
        except OSError as error:
            self.drop()
            raise _full(error) from error

    def finish(self, notes: dict[str, Any]) -> Path:
        """Put the cache in its place, with what is to be known of it."""
        pixels, about = folder() / f"{self.key}{PIXELS}", folder() / f"{self.key}{ABOUT}"
        try:
            self._stream.flush()
            os.fsync(self._stream.fileno())
            self._stream.close()
            self.part.replace(pixels)
            beside = about.with_suffix(f".{os.getpid()}.part")
            beside.write_text(json.dumps(notes), encoding="utf-8")
            beside.replace(about)
        except OSError as error:
            self.drop()
            raise _full(error) from error
        return pixels

    def drop(self) -> None:
        """Remove what was written."""
        with contextlib.suppress(OSError):  # what is still in the buffer does not fit either
            self._stream.close()
        self.part.unlink(missing_ok=True)


def _full(error: OSError) -> DataError:
    return DataError(
        f"decoded examples cannot be kept in '{folder()}': {error.strerror or error}; make room there, name another "
        "folder in the environment variable ARCHSCOUT_CACHE, or read them smaller (size=N, or seconds=N "
        "of recordings)."
    )
