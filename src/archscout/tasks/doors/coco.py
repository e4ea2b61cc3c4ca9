"""Outlines of things in pictures, as COCO's JSON has them, painted as masks: the larger ones first, on a background.

Lin et al. 2014, arXiv 1405.0312.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from archscout.core.errors import DataError
from archscout.tasks.contents import Contents
from archscout.tasks.decode import BadPicture, file_source, shown
from archscout.tasks.doors.archive import regular
from archscout.tasks.doors.pairs import Pairs

_LARGEST = 2**30
"""Bytes: no list of annotations is longer."""


def of_lists(files: dict[str, Path], contents: Contents, source: str) -> dict[str, Pairs]:
    """The pictures and outlines of the list of each split; the names of classes are noted in the contents."""
    read = {split: _json(file) for split, file in files.items()}
    names = {entry["id"]: str(entry["name"]) for about in read.values() for entry in about["categories"]}
    if len(names) > 250:
        raise DataError(f"{source} has {len(names)} categories, more than 250: leave out those that are not needed.")
    number = {category: place for place, category in enumerate(sorted(names), start=1)}
    background = "background" if "background" not in names.values() else "(none)"
    contents.class_names = [background, *(names[category] for category in sorted(names))]
    return {split: _of_list(files[split], about, number, contents) for split, about in read.items()}


def _json(file: Path) -> dict[str, Any]:
    regular(file)
    called = f"'{shown(file)}'"
    if file.stat().st_size > _LARGEST:
        raise DataError(f"{called} is larger than a gigabyte: part it.")
    try:
        about = json.loads(file.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"{called} is no readable JSON: copy or make it again.") from error
    needed = {"images": {"id", "file_name"}, "annotations": {"image_id", "category_id"}, "categories": {"id", "name"}}
    fits = isinstance(about, dict) and all(
        isinstance(about.get(part), list)
        and all(isinstance(entry, dict) and keys <= entry.keys() for entry in about[part])
        for part, keys in needed.items()
    )
    if not fits:
        raise DataError(
            f"{called} is no list of COCO's form, which has images, annotations and categories: write other lists as "
            ".jsonl, an object a line."
        )
    return about  # type: ignore[no-any-return]


def _of_list(file: Path, about: dict[str, Any], number: Mapping[Any, int], contents: Contents) -> Pairs:
    outlines: dict[Any, list[dict[str, Any]]] = {}
    for entry in about["annotations"]:
        outlines.setdefault(entry["image_id"], []).append(entry)
    _check_outlines(about, f"'{shown(file)}'", contents)
    pairs = Pairs()
    word = file.stem.rpartition("_")[2]
    folders = [folder for folder in (file.parent, file.parent / "images", file.parent.parent / word,
                                     file.parent.parent / "images" / word, file.parent.parent / "images")
               if folder.is_dir()]  # fmt: skip
    for entry in about["images"]:
        name = str(entry["file_name"])
        place = next((folder / name for folder in folders if (folder / name).is_file()), None)
        if place is None or Path(name).is_absolute() or ".." in Path(name).parts:
            contents.bad.append((f"'{shown(name)}' of '{shown(file)}'", "is no file beside it"))
            continue
        pairs.sources.append(file_source(place))
        declared = entry.get("height"), entry.get("width")
        pairs.paints.append(_Paint(tuple(outlines.get(entry["id"], ())), number, declared))
    return pairs


def _check_outlines(about: Mapping[str, Any], source: str, contents: Contents) -> None:
    """What a list says of things that no pixel would show, before any is painted. Raises `DataError`, or tells.

    What is damaged is left to the painting, which names the picture.
    """
    sizes = {entry["id"]: (entry.get("width"), entry.get("height")) for entry in about["images"]}
    if len(sizes) < len(about["images"]):
        raise DataError(
            f"{source} has two pictures of one id: outlines would be of either; give each an id of its own."
        )
    shapes = [(entry["image_id"], entry.get("segmentation")) for entry in about["annotations"]]
    if shapes and not any(shape for _, shape in shapes):
        raise DataError(f"the annotations of {source} are boxes without outlines: there are no masks to learn.")
    spans = [(image, *span) for image, shape in shapes if isinstance(shape, list) for span in map(_span, shape) if span]
    if spans and max(high for _, _, high, _, _ in spans) <= 1 and max(low for *_, low in spans) <= 1:
        raise DataError(f"the outlines of {source} are in shares of the pictures' sizes: write them in pixels.")
    unseen = sum(
        right - left < 1
        or bottom - top < 1
        or (isinstance(size := sizes.get(image, (None, None))[0], int | float) and left >= size)
        or (isinstance(size := sizes.get(image, (None, None))[1], int | float) and top >= size)
        or right < 0
        or bottom < 0
        for image, left, right, top, bottom in spans
    )
    strange = sum(image not in sizes for image, _ in shapes)
    bare = len(sizes.keys() - {image for image, shape in shapes if shape})
    for count, what in (
        (unseen, f"of {len(spans)} outlines lie outside of their pictures or have no area, and leave no pixel"),
        (strange, f"of {len(shapes)} annotations are of pictures that are not listed, and left out"),
        (sum(not shape for _, shape in shapes), f"of {len(shapes)} annotations have no outline, and are left out"),
        (bare if 2 * bare > len(sizes) else 0, f"of {len(sizes)} pictures have no outline: all of it is background"),
    ):
        if count:
            contents.notices.append(f"{count} {what} ({source}).")


def _span(polygon: Any) -> tuple[float, float, float, float] | None:
    """Left, right, top and bottom of an outline; None of one that is damaged."""
    try:
        numbers = np.asarray(polygon, np.float64)
    except (TypeError, ValueError):
        return None
    if numbers.ndim != 1 or len(numbers) < 4 or len(numbers) % 2:
        return None
    x, y = numbers[::2], numbers[1::2]
    return float(x.min()), float(x.max()), float(y.min()), float(y.max())


@dataclass(frozen=True)
class _Paint:
    """The mask of some outlines: polygons, or run lengths."""

    outlines: tuple[dict[str, Any], ...]
    number: Mapping[Any, int]
    declared: tuple[Any, Any] = (None, None)
    """Height and width for which the outlines were drawn, where the list says so."""

    def __call__(self, size: tuple[int, int]) -> Image.Image:
        if None not in self.declared and self.declared != size:
            height, width = self.declared
            raise BadPicture(
                f"is {size[0]} x {size[1]} pixels (height x width) where its list says {height} x {width}: its "
                "outlines would not fit"
            )
        mask = Image.new("L", size[::-1], 0)
        draw = ImageDraw.Draw(mask)
        for entry in sorted(self.outlines, key=lambda entry: -float(entry.get("area") or 0)):
            label, shape = self.number.get(entry["category_id"]), entry.get("segmentation")
            if label is None:
                raise BadPicture(f"has an outline of the category {entry['category_id']}, which the list does not name")
            try:
                if isinstance(shape, dict):
                    mask.paste(label, mask=Image.fromarray(run_lengths(shape, size).astype(np.uint8) * 255))
                else:
                    for polygon in shape or ():
                        corners = [float(value) for value in polygon]
                        if not np.isfinite(corners).all():
                            raise ValueError("a corner that is nowhere")
                        draw.polygon(corners, fill=label)
            except (TypeError, ValueError, KeyError, IndexError, OverflowError) as error:
                raise BadPicture(f"has an outline ({entry.get('id', 'without id')}) that is damaged") from error
        return mask


def run_lengths(shape: Mapping[str, Any], size: tuple[int, int]) -> np.ndarray:
    """The mask of COCO's run lengths (height x width, truth values): counts in a list, or packed in a text.

    Runs of 0 and 1 in turns, down the columns. In a text, each count is in groups of five bits, the lowest first, and
    from the third one on the difference to the count before the last. Raises `ValueError` where they do not fit.

    >>> run_lengths({"size": [2, 2], "counts": [1, 2, 1]}, (2, 2)).astype(int).tolist()
    [[0, 1], [1, 0]]
    """
    if list(shape["size"]) != list(size):
        raise ValueError("another size")
    counts = shape["counts"]
    if isinstance(counts, str):
        counts = _unpacked(counts)
    runs = np.asarray(counts, np.int64)
    if runs.ndim != 1 or (runs < 0).any() or runs.sum() != size[0] * size[1]:
        raise ValueError("runs that are not as long as the picture")
    values = np.repeat(np.arange(len(runs)) % 2 == 1, runs)
    return values.reshape(size[::-1]).T


def _unpacked(text: str) -> list[int]:
    counts: list[int] = []
    place = 0
    while place < len(text):
        count, shift, more = 0, 0, True
        while more:
            bits = ord(text[place]) - 48
            if not 0 <= bits < 64 or shift > 60:
                raise ValueError("no run lengths")
            count |= (bits & 31) << shift
            more, place, shift = bool(bits & 32), place + 1, shift + 5
        if bits & 16:
            count -= 1 << shift
        counts.append(count + (counts[-2] if len(counts) > 2 else 0))
    return counts
