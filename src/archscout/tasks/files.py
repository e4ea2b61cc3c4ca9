"""Images of the user's own: an `.npz` archive, or a folder of class folders.

Files come from anywhere, so nothing is unpickled, and whatever is wrong with one is a `DataError` that names it.
"""

from __future__ import annotations

import io
import struct
import warnings
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Self

import numpy as np
from PIL import Image, ImageOps

from archscout.core.errors import DataError
from archscout.tasks import checks
from archscout.tasks.assemble import Raw, assemble
from archscout.tasks.images import ImageClassification

ALIASES = {"train": ("train",), "valid": ("valid", "val", "validation"), "test": ("test",)}
"""What a split may be called in a file or a folder."""

SUFFIXES = frozenset({".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"})
"""Files of a class folder with other endings are left alone."""

# What Pillow raises for damaged files, depending on the format.
_DAMAGED = (OSError, SyntaxError, ValueError, IndexError, struct.error, zlib.error, Image.DecompressionBombError)


def from_path(
    path: Path, name: str, *, train: int | None = None, size: int | None = None, flip: bool | None = None
) -> ImageClassification:
    """The task of a file or a folder; see `assemble` for the parameters.

    Raises `DataError` for data that cannot be used.
    """
    if size is not None:
        checks.count(size, "size")
    class_names: list[str] | None
    if path.is_dir():
        raw, class_names = read_folder(path, size)
    elif path.suffix.lower() == ".npz":
        raw, class_names = read_npz(path, size)
    else:
        raise DataError(f"'{path}' is neither an .npz archive nor a folder of class folders.")
    return assemble(name, f"'{path}'", raw, class_names, train=train, size=size, flip=flip)


# -- .npz archives ------------------------------------------------------------------------------------------------


def read_npz(path: Path, size: int | None = None) -> tuple[dict[str, Raw], list[str] | None]:
    """The splits of an archive, and the names of its classes where it has them.

    Args:
        path: an archive with `x_train` and `y_train`, perhaps `x_valid`, `x_test`, ...; or with `jpeg_train` (the bytes
            of all images), `offsets_train` (where each begins, and where the last ends) and `y_train`.
        size: JPEG images are resized to this height and width.
    """
    raw: dict[str, Raw] = {}
    with _Archive(path) as arrays:
        for split, aliases in ALIASES.items():
            for alias in aliases:
                for kind in ("x", "jpeg"):
                    if split not in raw and f"{kind}_{alias}" in arrays.names:
                        labels = arrays.get(f"y_{alias}")
                        x = arrays.get(f"x_{alias}") if kind == "x" else _decode(arrays, alias, size)
                        raw[split] = Raw(x, labels, f"{kind}_{alias} of '{path}'", f"y_{alias} of '{path}'")
        if "train" not in raw:
            raise DataError(
                f"'{path}' has no array x_train (it has: {', '.join(arrays.names) or 'none'}): name the images x_train "
                "and the labels y_train."
            )
        names = [str(name) for name in arrays.get("class_names").ravel()] if "class_names" in arrays.names else None
    return raw, names


class _Archive:
    """The arrays of an `.npz` file, read one at a time."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._file = path.open("rb")
        except OSError as error:
            raise DataError(f"'{path}' cannot be read: {error.strerror}.") from error
        try:
            self._arrays = np.load(self._file, allow_pickle=False)
        except (ValueError, OSError, EOFError, zipfile.BadZipFile) as error:
            self._file.close()
            raise DataError(f"'{path}' is not a readable .npz archive: it is damaged, or of another kind.") from error
        if not isinstance(self._arrays, np.lib.npyio.NpzFile):
            self._file.close()
            raise DataError(f"'{path}' holds a single array, not an .npz archive: write it with numpy.savez.")
        self.names = self._arrays.files

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._arrays.close()
        self._file.close()

    def get(self, name: str) -> np.ndarray:
        if name not in self.names:
            raise DataError(f"'{self.path}' has no array {name} (it has: {', '.join(self.names)}): add it.")
        try:
            array: np.ndarray = self._arrays[name]
            return array
        except (ValueError, OSError, EOFError, KeyError, SyntaxError, zlib.error, zipfile.BadZipFile) as error:
            if "allow_pickle" in str(error):
                raise DataError(
                    f"the array {name} of '{self.path}' holds pickled Python objects, which are never loaded, for they "
                    "can run code: store plain numbers or text."
                ) from error
            raise DataError(f"the array {name} of '{self.path}' is damaged: copy or make the file again.") from error


def _decode(arrays: _Archive, split: str, size: int | None) -> np.ndarray:
    """Every image of the JPEG layout."""
    data, offsets = arrays.get(f"jpeg_{split}"), arrays.get(f"offsets_{split}")
    where = f"offsets_{split} of '{arrays.path}'"
    if data.dtype != np.uint8 or data.ndim != 1 or offsets.dtype.kind not in "iu" or offsets.ndim != 1:
        raise DataError(
            f"jpeg_{split} of '{arrays.path}' must be uint8 bytes in a row, and offsets_{split} whole numbers."
        )
    offsets = offsets.astype(np.int64)
    if len(offsets) < 2:
        raise DataError(f"{where} names no image: an empty data set cannot be learned from.")
    if offsets[0] < 0 or offsets[-1] > len(data) or (np.diff(offsets) < 0).any():
        raise DataError(f"{where} leads outside the {len(data)} bytes of jpeg_{split}: the two must come from one set.")
    count, view = len(offsets) - 1, data.tobytes()
    images = np.empty(0, np.uint8)
    for row in range(count):
        name = f"image {row} of jpeg_{split} in '{arrays.path}'"
        pixels = _pixels(_open(view[offsets[row] : offsets[row + 1]], name), size)
        if not row:
            images = np.empty((count, *pixels.shape), np.uint8)
        _check_same(pixels, images, name, f"image 0 of jpeg_{split}")
        images[row] = pixels
    return images


# -- folders ------------------------------------------------------------------------------------------------------


def read_folder(path: Path, size: int | None = None) -> tuple[dict[str, Raw], list[str]]:
    """The splits and the class names of a folder: one folder for each class, perhaps below `train`, `valid`, `test`.

    Args:
        path: the folder; a file belongs to the class folder that it lies in, at any depth.
        size: images are resized to this height and width.
    """
    below = {folder.name: folder for folder in _folders(path)}
    splits = {split: below[alias] for split, aliases in ALIASES.items() for alias in aliases if alias in below}
    if "train" not in splits:
        splits = {"train": path}
    names = [folder.name for folder in _folders(splits["train"])]
    if not names:
        raise DataError(f"'{splits['train']}' has no folders: put the images of each class into a folder of its own.")
    raw: dict[str, Raw] = {}
    first: tuple[np.ndarray, str] | None = None
    for split, folder in splits.items():
        files: list[Path] = []
        labels: list[int] = []
        for class_folder in _folders(folder):
            if class_folder.name not in names:
                raise DataError(
                    f"class folder '{class_folder}' has no counterpart in '{splits['train']}': add it there."
                )
            found = sorted(file for file in class_folder.rglob("*") if _is_image(file))
            if not found:
                raise DataError(f"class folder '{class_folder}' has no images ({', '.join(sorted(SUFFIXES))}).")
            files += found
            labels += [names.index(class_folder.name)] * len(found)
        if not files:
            raise DataError(f"'{folder}' has no class folders: put the images of each class into a folder of its own.")
        images = np.empty(0, np.uint8)
        for row, file in enumerate(files):
            pixels = _pixels(_photograph(file), size)
            first = first or (pixels[None], f"'{file}'")
            _check_same(pixels, first[0], f"'{file}'", first[1])
            if not row:
                images = np.empty((len(files), *pixels.shape), np.uint8)
            images[row] = pixels
        raw[split] = Raw(images, np.asarray(labels), f"'{folder}'", f"'{folder}'")
    return raw, names


def _folders(path: Path) -> list[Path]:
    try:
        return sorted(entry for entry in path.iterdir() if entry.is_dir() and not entry.name.startswith("."))
    except OSError as error:
        raise DataError(f"folder '{path}' cannot be read: {error.strerror}.") from error


def _is_image(file: Path) -> bool:
    return file.suffix.lower() in SUFFIXES and not file.name.startswith(".") and file.is_file()


# -- single images ------------------------------------------------------------------------------------------------


def read_image(file: Path, shape: Sequence[int]) -> np.ndarray:
    """One image as a network of inputs `shape` (channels, height, width) takes it: 1 x height x width x channels.

    It is uint8, converted to grey or colour and resized as needed. Raises `DataError` for a file that is no image.
    """
    channels, height, width = shape
    if channels not in (1, 3):
        raise DataError(f"'{file}' cannot be given to a network that takes {channels} channels: images have 1 or 3.")
    image = _photograph(file).convert("L" if channels == 1 else "RGB")
    if image.size != (width, height):
        image = image.resize((width, height), Image.Resampling.BILINEAR)
    return np.asarray(image).reshape(1, height, width, channels)


def _pixels(image: Image.Image, size: int | None) -> np.ndarray:
    """Height x width x channels (1 or 3), uint8."""
    if size is not None and image.size != (size, size):
        image = image.resize((size, size), Image.Resampling.BILINEAR)
    pixels = np.asarray(image)
    return pixels[..., None] if pixels.ndim == 2 else pixels


def _photograph(file: Path) -> Image.Image:
    """The image in a file, turned as the camera noted."""
    try:
        return _open(file.read_bytes(), f"'{file}'", turn=True)
    except OSError as error:
        raise DataError(f"'{file}' cannot be read: {error.strerror}.") from error


def _open(data: bytes, name: str, *, turn: bool = False) -> Image.Image:
    """An image as grey ("L") or colour ("RGB"); transparency is dropped."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow warns of odd metadata, which does not change the pixels
            image: Image.Image = Image.open(io.BytesIO(data))
            image.load()
            if turn:
                image = ImageOps.exif_transpose(image)
    except _DAMAGED as error:
        raise DataError(f"{name} is not a readable image: repair or remove it.") from error
    if image.mode in ("L", "RGB"):
        return image
    if image.mode.startswith(("I", "F")):
        raise DataError(f"{name} has more than 8 bits a channel ({image.mode}): convert it to 8 bits.")
    return image.convert("L" if image.mode in ("1", "LA", "La") else "RGB")


def _check_same(pixels: np.ndarray, images: np.ndarray, name: str, first: str) -> None:
    if pixels.shape != images.shape[1:]:
        height, width, channels = pixels.shape
        other_height, other_width, other_channels = images.shape[1:]
        if channels != other_channels:
            raise DataError(f"{name} has {channels} channels where {first} has {other_channels}: convert one of them.")
        raise DataError(
            f"{name} is {height} x {width} pixels where {first} is {other_height} x {other_width}: add the parameter "
            "size=N to resize all to N x N."
        )
