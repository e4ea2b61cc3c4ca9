"""Arrays that stay on the disk: sent to a worker, one is its file's name; to a network, it goes batch by batch."""

from __future__ import annotations

import platform
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from archscout.core.errors import DataError

IN_MEMORY = 2**28
"""An array of fewer bytes is no burden: networks get it as a tensor, whole."""


class Mapped(np.ndarray):
    """A view of a file, as `numpy.memmap` is one, that cannot be written to.

    Only a whole `Mapped` travels as a name: what was cut or copied out of one is an array like any other.
    """

    origin: tuple[str, tuple[int, ...], str, int] | None

    @classmethod
    def open(cls, path: Path, shape: tuple[int, ...], dtype: np.dtype, offset: int = 0) -> Self:
        array: Self = np.memmap(path, dtype, "r", offset, shape).view(cls)
        array.origin = (str(path.resolve()), shape, np.dtype(dtype).str, offset)
        return array

    def __array_finalize__(self, like: Any) -> None:
        self.origin = None

    def __reduce__(self) -> Any:
        return super().__reduce__() if self.origin is None else (_open, self.origin)


def _open(path: str, shape: tuple[int, ...], dtype: str, offset: int) -> Mapped:
    try:
        return Mapped.open(Path(path), shape, np.dtype(dtype), offset)
    except (OSError, ValueError) as error:
        raise DataError(
            f"the data are larger than memory and lie in '{path}', which cannot be read on machine '{platform.node()}' "
            f"({error}): put them, and the cache (ARCHSCOUT_CACHE), where all machines of a cluster see them."
        ) from error


def is_streamed(array: np.ndarray) -> bool:
    """Whether an array is one to be given to networks batch by batch."""
    return isinstance(array, Mapped) and array.origin is not None and array.nbytes >= IN_MEMORY


class Streamed:
    """Stands for the tensor of all inputs of a split, of which no more than a batch is ever in memory.

    It can do what training does with such a tensor: rows of it, parts of it one after the other, another memory layout,
    several joined. A batch is to the bit the one that would be cut out of the tensor.

    Args:
        arrays: what lies on the disk, one behind the other; among them perhaps inputs that are in memory as they are
            (a split that is small beside another one).
        convert: from some rows of an array (copied) to inputs as the network takes them.
        device: where batches go.
    """

    def __init__(
        self,
        arrays: Sequence[np.ndarray | Tensor],
        convert: Callable[[np.ndarray], Tensor],
        device: Any = "cpu",
        memory_format: torch.memory_format = torch.contiguous_format,
    ) -> None:
        self.arrays, self.convert, self.device = list(arrays), convert, torch.device(device)
        self.memory_format = memory_format
        self._ends = np.cumsum([len(array) for array in arrays])
        self.shape = torch.Size([len(self), *self[:1].shape[1:]])
        self.ndim = len(self.shape)

    def __len__(self) -> int:
        return int(self._ends[-1])

    def __getitem__(self, rows: Any) -> Tensor:
        """The inputs of some rows: a slice, a list or tensor of row numbers (of any shape), or one number."""
        if isinstance(rows, slice):
            wanted = np.arange(*rows.indices(len(self)))
        else:
            wanted = rows.cpu().numpy() if isinstance(rows, Tensor) else np.asarray(rows)
        flat = wanted.reshape(-1)
        where = np.searchsorted(self._ends, flat, side="right")
        starts = self._ends - [len(array) for array in self.arrays]
        read: np.ndarray | None = None
        ready: list[tuple[np.ndarray, Tensor]] = []
        on_disk = np.zeros(len(flat), bool)
        for place, array in enumerate(self.arrays):
            chosen = np.flatnonzero(where == place)
            # In the order of the file, which is the order that a disk reads fastest.
            order = chosen[np.argsort(flat[chosen], kind="stable")]
            rows = flat[order] - starts[place]
            if isinstance(array, Tensor):
                ready.append((order, array[torch.from_numpy(rows).to(array.device)]))
                continue
            if read is None:
                read = np.empty((len(flat), *array.shape[1:]), array.dtype)
            read[order], on_disk[order] = array[rows], True
        assert read is not None
        if ready:
            converted = self.convert(read[on_disk]).to(self.device)
            inputs = converted.new_empty((len(flat), *converted.shape[1:]))
            inputs[torch.from_numpy(on_disk)] = converted
            for order, some in ready:
                inputs[torch.from_numpy(order)] = some
        else:
            inputs = self.convert(read).to(self.device)
        if inputs.ndim == 4:
            inputs = inputs.contiguous(memory_format=self.memory_format)
        return inputs.reshape(*wanted.shape, *inputs.shape[1:]) if wanted.ndim != 1 else inputs

    def contiguous(self, memory_format: torch.memory_format = torch.contiguous_format) -> Streamed:
        return Streamed(self.arrays, self.convert, self.device, memory_format)

    def flip(self, *sides: int) -> Streamed:
        """The same inputs mirrored, each when it is asked for; not the first side, which is that of the examples."""
        if 0 in sides:
            raise ValueError("the order of examples is not turned")
        arrays = [array.flip(*sides) if isinstance(array, Tensor) else array for array in self.arrays]
        return Streamed(arrays, lambda stored: self.convert(stored).flip(*sides), self.device, self.memory_format)

    def split(self, size: int) -> Any:
        """Batches of this size, in order, each made when it is asked for."""
        return (self[start : start + size] for start in range(0, len(self), size))

    @classmethod
    def __torch_function__(cls, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if function is torch.split:
            return args[0].split(args[1])
        if function is torch.cat and all(isinstance(part, Streamed | Tensor) for part in args[0]):
            first = next(part for part in args[0] if isinstance(part, Streamed))
            arrays = [array for part in args[0] for array in ([part] if isinstance(part, Tensor) else part.arrays)]
            return Streamed(arrays, first.convert, first.device, first.memory_format)
        return NotImplemented
