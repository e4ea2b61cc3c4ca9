"""An array that stays on the disk: sent to a worker, it is its file's name, not its bytes."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Self

import numpy as np


class Mapped(np.ndarray):
    """A view of a file, as `numpy.memmap` is one; pages that are written to are this process's own.

    Only a whole `Mapped` travels as a name: what was cut out of one is an array like any other.
    """

    origin: tuple[str, tuple[int, ...], str, int] | None

    @classmethod
    def open(cls, path: Path, shape: tuple[int, ...], dtype: np.dtype, offset: int = 0) -> Self:
        array: Self = np.memmap(path, dtype, "c", offset, shape).view(cls)
        array.origin = (str(path.resolve()), shape, np.dtype(dtype).str, offset)
        return array

    def __array_finalize__(self, like: Any) -> None:
        self.origin = None

    def __reduce__(self) -> Any:
        return super().__reduce__() if self.origin is None else (_open, self.origin)


def _open(path: str, shape: tuple[int, ...], dtype: str, offset: int) -> Mapped:
    return Mapped.open(Path(path), shape, np.dtype(dtype), offset)
