"""Arrays in NumPy's files, `.npz` and `.npy`: read without trust.

Nothing is unpickled, and nothing is unpacked before its header has said how large it is: an archive of a few bytes can
unpack to terabytes.
"""

from __future__ import annotations

import math
import stat
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import IO, Self, TypeVar, cast

import numpy as np
from numpy.lib import format as npy

from archscout.core.errors import DataError
from archscout.core.memory import physical_memory
from archscout.tasks.decode import shown

_BOMB_BYTES, _BOMB_RATIO = 2**28, 200
"""An array of more bytes that is packed so many times smaller holds nothing: pictures are packed tens of times."""

T = TypeVar("T")

Header = tuple[tuple[int, ...], bool, np.dtype]
"""The shape of an array, whether it lies in Fortran's order, and its type."""


class Archive:
    """The arrays of an `.npz` file, read one at a time. Raises `DataError` for whatever is wrong with it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        regular(path)
        try:
            with path.open("rb") as file:
                single = file.read(6) == npy.MAGIC_PREFIX
            if single:
                raise DataError(
                    f"'{shown(path)}' holds a single array, not an .npz archive: write it with numpy.savez."
                )
            self._file = zipfile.ZipFile(path)
        except DataError:
            raise
        except PermissionError as error:
            raise DataError(f"'{shown(path)}' cannot be read: {error.strerror}.") from error
        except (OSError, ValueError, EOFError, NotImplementedError, zipfile.BadZipFile) as error:
            raise DataError(
                f"'{shown(path)}' is not a readable .npz archive: it is damaged, or of another kind."
            ) from error
        members = self._file.infolist()
        self._members = {member.filename.removesuffix(".npy"): member for member in members}
        if len(self._members) < len(members):
            raise DataError(f"'{shown(path)}' has two arrays of one name: write it again with numpy.savez.")
        self.names = list(self._members)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def get(self, name: str) -> np.ndarray:
        """An array, once its header and the archive agree on its size and there is room for it."""
        called = self._called(name)
        with self._opened(name) as stream:
            shape, _, dtype = read_header(stream, called)
            size, member = math.prod(shape) * dtype.itemsize, self._members[name]
            if stream.tell() + size != member.file_size:
                raise DataError(f"{called} is damaged: copy or make the file again.")
            if size > _BOMB_BYTES and size > _BOMB_RATIO * member.compress_size:
                raise DataError(
                    f"{called} unpacks to {size / 2**20:,.0f} MB out of {member.compress_size / 2**20:,.1f} MB, which "
                    "no pictures do: make the file again."
                )
            check_room(size, called)
            stream.seek(0)
            return _guarded(called, lambda: _whole(stream))

    def _called(self, name: str) -> str:
        return f"the array {shown(name)} of '{shown(self.path)}'"

    def _opened(self, name: str) -> IO[bytes]:
        called = self._called(name)
        if name not in self._members:
            raise DataError(f"'{shown(self.path)}' has no array {name} (it has: {listed(self.names)}): add it.")
        member = self._members[name]
        if member.flag_bits & 1:
            raise DataError(f"{called} is encrypted: write it with numpy.savez.")
        if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise DataError(f"{called} is packed as numpy.savez does not pack: write it with numpy.savez_compressed.")
        return _guarded(called, lambda: self._file.open(member))


def read_npy(path: Path, *, mapped: bool = False) -> np.ndarray:
    """The array of an `.npy` file; `mapped` leaves it on the disk until it is looked at. Raises `DataError`."""
    regular(path)
    called = f"'{shown(path)}'"
    try:
        with path.open("rb") as stream:
            shape, fortran, dtype = read_header(stream, called)
            size = math.prod(shape) * dtype.itemsize
            if stream.tell() + size != path.stat().st_size:
                raise DataError(f"{called} is damaged: copy or make the file again.")
    except OSError as error:
        raise DataError(f"{called} cannot be read: {error.strerror}.") from error
    if mapped and size and not fortran:
        from archscout.tasks.mapped import Mapped

        return Mapped.open(path, shape, dtype, offset=path.stat().st_size - size)
    check_room(size, called)
    return _guarded(called, lambda: cast("np.ndarray", np.load(path, allow_pickle=False)))


def read_header(stream: IO[bytes], called: str) -> Header:
    """Shape, order and type of the array that begins here. Raises `DataError` for what is no array of plain values."""

    def read() -> Header:
        if stream.read(len(npy.MAGIC_PREFIX)) != npy.MAGIC_PREFIX:
            raise DataError(f"{called} is no array of NumPy's: write it with numpy.savez or numpy.save.")
        version = tuple(stream.read(2))
        if version not in ((1, 0), (2, 0)):
            raise DataError(
                f"{called} is of a version of NumPy's format that is not read: store plain numbers or text."
            )
        reader = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
        shape, fortran, dtype = reader(stream)
        if dtype.hasobject:
            raise DataError(
                f"{called} holds pickled Python objects, which are never loaded, for they can run code: store plain "
                "numbers or text."
            )
        if any(side < 0 for side in shape):
            raise DataError(f"{called} is damaged: copy or make the file again.")
        return tuple(int(side) for side in shape), fortran, dtype

    return _guarded(called, read)


def regular(path: Path) -> None:
    """Raises `DataError` for what is no plain file: a pipe would be waited for without end."""
    try:
        mode = path.stat().st_mode
    except OSError as error:
        raise DataError(f"'{shown(path)}' cannot be read: {error.strerror}.") from error
    if not stat.S_ISREG(mode):
        raise DataError(f"'{shown(path)}' is no plain file (a folder, a pipe or a device): copy the data into a file.")


def check_room(size: int, called: str) -> None:
    """Raises `DataError` for more bytes than this machine has memory."""
    memory = physical_memory()
    if size > memory:
        raise DataError(
            f"{called} declares {size / 2**30:,.0f} GB, more than the {memory / 2**30:,.0f} GB of memory here: give a "
            "folder of pictures, or .npy files, which are read piece by piece."
        )


def listed(names: list[str]) -> str:
    """The first names of a list, for a message."""
    few = [shown(name if len(name) <= 60 else f"{name[:56]} ...") for name in names[:12]]
    return ", ".join(few) + (f", and {len(names) - 12} more" if len(names) > 12 else "") or "none"


def _whole(stream: IO[bytes]) -> np.ndarray:
    array: np.ndarray = npy.read_array(stream, allow_pickle=False)
    stream.read()  # the end of a member is where its checksum is compared
    return array


def _guarded(called: str, action: Callable[[], T]) -> T:
    """What the action gives; whatever NumPy and zipfile raise about damaged data becomes one sentence."""
    try:
        return action()
    except DataError:
        raise
    except MemoryError as error:
        raise DataError(f"{called} does not fit into memory: give .npy files, or fewer or smaller pictures.") from error
    except Exception as error:  # whatever a parser trips over in damaged bytes: errors of a tokenizer, of zlib, ...
        raise DataError(f"{called} is damaged: copy or make the file again.") from error
