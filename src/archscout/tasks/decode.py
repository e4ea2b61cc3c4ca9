"""Encoded pictures as arrays: one place decides about colour, transparency, depth, turning and size.

Files come from anywhere. What cannot be read is a `BadPicture` with its reason, so that all bad files of a set are
listed together; what is read otherwise than it is written is a trait that the caller counts and tells.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import Image, ImageOps
from PIL.JpegImagePlugin import JpegImageFile
from PIL.TiffImagePlugin import TiffImageFile

from archscout.core.errors import DataError, UsageError, nearest
from archscout.tasks.contents import Source

_ENDINGS = "avif bmp dib gif jfif jp2 jpe jpeg jpg pbm pgm png pnm ppm tga tif tiff webp"
SUFFIXES = frozenset(f".{ending}" for ending in _ENDINGS.split())
"""Endings of picture files; files with others are left alone, and counted."""

FITS = ("stretch", "crop", "pad")
LINE = "line"
"""How lines of text are fitted: brought to the height, and padded on the right with their own background."""

BACKGROUNDS = {"white": 255, "black": 0}

TRAITS = {
    "transparent": "transparent pixels, which were laid on {background} (background=white or black)",
    "deep": "16 bits a channel, of which the upper 8 are used",
    "frames": "several frames or pages, of which the first is used",
    "grey": "grey values, which are read as colour, as the others are",
}
"""What a picture may have that its pixels no longer show, as a notice says it."""

_DRAFT = 2
"""A JPEG is decoded at no less than so many times the size that is wanted, where it is much larger: the decoder skips
what the eye would not see after resizing, and a photograph costs a fortieth."""

_MOST_PIXELS = 179_000_000
"""No picture of more pixels is decoded (Pillow's own bound for what may be a bomb)."""


_ORIENTATION = 0x0112
"""The tag of EXIF that says how a picture is turned (CIPA DC-008)."""

_JPEG = b"\xff\xd8\xff"
"""How a JPEG begins."""

_PLAIN = frozenset({"JPEG", "PNG", "GIF", "BMP"})
_NOTES = frozenset({"exif", "Raw profile type exif", "xmp", "XML:com.adobe.xmp"})
"""Formats that have an orientation only where one of these notes is; looking for it everywhere would take as long as
decoding a small picture does."""


class BadPicture(Exception):  # noqa: N818 - a finding, which the caller collects
    """A picture that cannot be used; its text is the predicate of a sentence ("is not a readable image")."""


@dataclass(frozen=True)
class Reading:
    """How pictures become arrays of one shape.

    Args:
        shape: height and width that they are resized to; as they are where None.
        fit: `stretch` to that shape, `crop` what stands over after scaling (from the middle), or `pad` what is missing;
            lines of text are `line`.
        background: what transparent and padded places become: `white` or `black`.
        channels: 1 reads all as grey, 3 as colour; where None, as they are.
    """

    shape: tuple[int, int] | None = None
    fit: str = "stretch"
    background: str = "white"
    channels: int | None = None

    def __post_init__(self) -> None:
        for name, value, known in (("fit", self.fit, (*FITS, LINE)), ("background", self.background, BACKGROUNDS)):
            if value not in known:
                raise UsageError(f"the parameter {name} of a task cannot be {value!r}: {nearest(str(value), known)}")
        if isinstance(self.channels, bool) or self.channels not in (None, 1, 3):
            raise UsageError(f"the parameter channels of a task must be 1 (grey) or 3 (colour), not {self.channels!r}.")


def file_source(path: Path) -> Source:
    """A picture in a file of its own."""
    place = None
    try:
        status = path.stat()
        stamp = f"{path} {status.st_size} {status.st_mtime_ns}"
        place = (status.st_dev, status.st_ino) if status.st_ino else None
    except OSError:
        stamp = str(path)
    return Source(f"'{shown(path)}'", lambda: path.open("rb"), stamp, place)


LONGEST_SHOWN = 400
"""Characters of a name that are shown whole: a damaged file may have one of a million."""


def shown(text: str | Path) -> str:
    """A name that can be printed, whatever bytes the file system has in it; of a very long one, both ends."""
    name = str(text).encode("utf-8", "backslashreplace").decode("utf-8")
    return name if len(name) <= LONGEST_SHOWN else f"{name[: LONGEST_SHOWN // 2]} ... {name[-LONGEST_SHOWN // 4 :]}"


@contextmanager
def quiet() -> Iterator[None]:
    """Pillow warns of odd metadata, which does not change the pixels. Around all threads, for it is global to them."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def decode(source: Source, reading: Reading) -> tuple[np.ndarray, frozenset[str]]:
    """A picture as height x width x channels (1 or 3), uint8, and its traits. Raises `BadPicture`."""
    image, traits = decoded(source, reading)
    pixels = np.asarray(image)
    return pixels[..., None] if pixels.ndim == 2 else pixels, traits


def decoded(source: Source, reading: Reading) -> tuple[Image.Image, frozenset[str]]:
    """A picture as grey ("L") or colour ("RGB"), of the size that the reading says, and its traits. Raises
    `BadPicture`."""
    try:
        with source.open() as file:
            image = _opened(file)
            if image.width * image.height > _MOST_PIXELS:
                raise BadPicture(f"declares {image.width} x {image.height} pixels, more than is read")
            traits = _traits(image, file)
            if reading.shape is not None and image.format == "JPEG":
                height, width = reading.shape
                image.draft(None, (_DRAFT * width, _DRAFT * height))
            image.load()
            if image.format not in _PLAIN or not _NOTES.isdisjoint(image.info):
                image = ImageOps.exif_transpose(image)
    except BadPicture:
        raise
    except Image.DecompressionBombError as error:
        raise BadPicture("declares more pixels than are read") from error
    except Exception as error:  # every format has its own way to fail on damaged bytes
        if isinstance(error, OSError) and error.strerror:
            raise BadPicture(f"cannot be read: {error.strerror}") from error
        raise BadPicture("is not a readable image") from error
    if image.mode.startswith(("I", "F")):
        raise BadPicture(f"has more than 8 bits a channel ({image.mode}), which must be converted to 8 first")
    image = _opaque(image, reading.background, traits)
    if reading.channels is not None:
        if image.mode == "L" and reading.channels == 3:
            traits.add("grey")
        image = image.convert("L" if reading.channels == 1 else "RGB")
    return _fitted(image, reading), frozenset(traits)


def _opened(file: BinaryIO) -> Image.Image:
    """A picture of which nothing but the head is read. JPEGs, as most are, without asking all formats in turn, which
    would be a twentieth of decoding a small one."""
    start = file.read(len(_JPEG))
    file.seek(0)
    return JpegImageFile(file) if start == _JPEG else Image.open(file)


def header(source: Source) -> tuple[tuple[int, int], bool]:
    """Height and width of a picture as it will be seen, and whether it has colours; without decoding it.

    Raises `BadPicture` for what is no picture at all.
    """
    try:
        with source.open() as file:
            image = Image.open(file)
            turned = image.getexif().get(_ORIENTATION, 1) in (5, 6, 7, 8)
            size = (image.width, image.height) if turned else (image.height, image.width)
            return size, image.mode not in ("1", "L", "LA", "La") and not image.mode.startswith(("I", "F"))
    except Exception as error:  # as above
        raise BadPicture("is not a readable image") from error


def is_turned(source: Source) -> bool:
    """Whether a picture is stored otherwise than it is to be seen, as its EXIF data say; False for what is none."""
    try:
        with source.open() as file:
            return Image.open(file).getexif().get(_ORIENTATION, 1) in range(2, 9)
    except Exception:  # what is no picture is found where its size is asked for
        return False


def read_image(file: Path, shape: Sequence[int], reading: Reading | None = None) -> np.ndarray:
    """One picture as a network of inputs `shape` (channels, height, width) takes it: 1 x height x width x channels.

    It is uint8, converted to grey or colour and resized as needed. Raises `DataError` for a file that is no image.
    """
    channels, height, width = shape
    if channels not in (1, 3):
        raise DataError(f"'{file}' cannot be given to a network that takes {channels} channels: images have 1 or 3.")
    wanted = replace(reading or Reading(), shape=(height, width), channels=channels)
    try:
        with quiet():
            return decode(file_source(file), wanted)[0][None]
    except BadPicture as error:
        raise DataError(f"'{shown(file)}' {error}: repair or remove it.") from error


def _traits(image: Image.Image, file: BinaryIO) -> set[str]:
    traits = set()
    if image.format == "PNG":
        # Pillow gives 16-bit colour as 8 bits without a word; the header of a PNG (ISO 15948, 11.2.2) says what it was.
        place = file.tell()
        file.seek(24)
        if file.read(2) in (b"\x10\x02", b"\x10\x06"):
            traits.add("deep")
        file.seek(place)
    if isinstance(image, TiffImageFile) and image.mode in ("RGB", "RGBA") and max(image.tag_v2.get(258, (8,))) > 8:
        traits.add("deep")
    # Cameras put previews behind their JPEGs: those are no frames that somebody could miss.
    if image.format not in ("JPEG", "MPO") and getattr(image, "n_frames", 1) > 1:
        traits.add("frames")
    return traits


def middle(wide: int, tall: int, width: int, height: int) -> tuple[int, int, int, int]:
    """The largest part of the proportions `width` to `height`, from the middle: its left and top, width and height.

    >>> middle(12, 8, 6, 6)
    (2, 0, 8, 8)
    """
    scale = max(width / wide, height / tall)
    inner = min(wide, max(1, round(width / scale))), min(tall, max(1, round(height / scale)))
    return (wide - inner[0]) // 2, (tall - inner[1]) // 2, *inner


def _opaque(image: Image.Image, background: str, traits: set[str]) -> Image.Image:
    """The image as grey ("L") or colour ("RGB"), with what shines through in the colour of the background."""
    if not image.has_transparency_data:
        if image.mode in ("L", "RGB"):
            return image
        return image.convert("L" if image.mode == "1" else "RGB")
    grey = image.mode in ("L", "LA", "La", "1")
    layered = image.convert("RGBA")
    alpha = layered.getchannel("A")
    lowest, highest = alpha.getextrema()
    plain = layered.convert("RGB")
    if lowest == 255:
        return plain.convert("L") if grey else plain
    traits.add("transparent")
    ground = Image.new("RGB", layered.size, (BACKGROUNDS[background],) * 3)
    ground.paste(plain, mask=alpha)
    if _flat(ground) and not (_flat(plain) and lowest == highest):
        other = "black" if background == "white" else "white"
        raise BadPicture(f"is nothing but {background} where its transparency is laid on {background} (try "
                         f"background={other})")  # fmt: skip
    return ground.convert("L") if grey else ground


def _flat(image: Image.Image) -> bool:
    return all(low == high for low, high in image.getextrema())  # type: ignore[misc]


def _fitted(image: Image.Image, reading: Reading) -> Image.Image:
    if reading.shape is None or image.size == reading.shape[::-1]:
        return image
    size, method = reading.shape[::-1], Image.Resampling.BILINEAR
    if reading.fit == "crop":
        left, top, wide, tall = middle(image.width, image.height, *size)
        return image.crop((left, top, left + wide, top + tall)).resize(size, method)
    if reading.fit == LINE:
        return _in_line(image, *size)
    if reading.fit == "pad":
        ground = (BACKGROUNDS[reading.background],) * len(image.getbands())
        return ImageOps.pad(image, size, method, color=ground if len(ground) > 1 else ground[0])
    return image.resize(size, method)


def _in_line(image: Image.Image, width: int, height: int) -> Image.Image:
    """An image at a height, from the left on; what is missing on the right has the middle colour of its border."""
    scaled = image.resize(
        (min(width, max(1, round(image.width * height / image.height))), height), Image.Resampling.BILINEAR
    )
    pixels = np.asarray(scaled)
    border = np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]])
    ground = np.median(border, 0).astype(int).tolist()
    line = Image.new(image.mode, (width, height), tuple(ground) if isinstance(ground, list) else ground)
    line.paste(scaled, (0, 0))
    return line
