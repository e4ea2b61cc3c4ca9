"""Pictures with a class for each pixel: a folder of pictures beside one of masks, Pascal VOC's folders, or COCO's JSON.

A mask is a picture (PNG) whose values, or places in its palette, are classes. Masks are brought to the size that their
pictures will have, by the nearest pixel. COCO's outlines are painted here: the larger ones first, on a background that
is a class of its own (Lin et al. 2014, arXiv 1405.0312; Everingham et al. 2010, DOI 10.1007/s11263-009-0275-4).
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageOps

from archscout.core.errors import DataError
from archscout.tasks.contents import Contents, Raw, Source
from archscout.tasks.decode import SUFFIXES, BadPicture, file_source, header, middle, quiet, shown
from archscout.tasks.doors.archive import listed, regular
from archscout.tasks.pictures import LARGE, USUAL
from archscout.tasks.splits import by_split, split_of
from archscout.tasks.targets import UNLABELLED

IMAGES = frozenset({"images", "image", "imgs", "img", "jpegimages"})
MASKS = frozenset({"masks", "mask", "labels", "annotations", "segmentationclass", "gt"})
ENDINGS = ("", "_mask", "_label", "_labels", "_gt", "_seg", "_L")
"""What may stand behind the name of a picture in that of its mask."""

NAMES = ("class_names.txt", "classes.txt", "labels.txt")

VOC = (
    "background", "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow", "diningtable",
    "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor",
)  # fmt: skip

_LARGEST = 2**30
"""Bytes: no list of annotations is longer."""

Paint = Callable[[tuple[int, int]], Image.Image]
"""Makes the mask of a picture of a height and width; raises `BadPicture`."""


@dataclass
class _Pairs:
    """Pictures of a split and what makes their masks."""

    sources: list[Source] = field(default_factory=list)
    paints: list[Paint] = field(default_factory=list)


def is_masks_folder(path: Path) -> bool:
    """Whether a folder has pictures beside masks, or beside lists of outlines."""
    return _voc(path) or _side_by_side(path) is not None or bool(_split_pairs(path)) or bool(_lists(path))


def read_masks_folder(path: Path, options: Mapping[str, Any] | None = None) -> Contents:
    """The pictures and masks of a folder. `options` are the parameters of the task (`size`, `fit`, `unlabelled`)."""
    contents = Contents({}, kind="segmentation", medium="images")
    source = f"'{shown(path)}'"
    if lists := _lists(path):
        pairs = _of_lists(lists, contents, source)
    elif _voc(path):
        pairs = _of_voc(path, contents)
    else:
        pairs = {split: _of_folders(*folders, contents) for split, folders in _folders(path).items()}
        contents.class_names = _names(path)
    return _painted(pairs, contents, source, options or {})


def read_coco(file: Path, options: Mapping[str, Any] | None = None) -> Contents:
    """The pictures and outlines of a JSON file of COCO's form."""
    contents = Contents({}, kind="segmentation", medium="images")
    pairs = _of_lists({"train": file}, contents, f"'{shown(file)}'")
    return _painted(pairs, contents, f"'{shown(file)}'", options or {})


# -- where they lie ---------------------------------------------------------------------------------------------------


def _below(path: Path) -> dict[str, Path]:
    return {entry.name: entry for entry in sorted(path.iterdir()) if entry.is_dir()} if path.is_dir() else {}


def _side_by_side(path: Path) -> tuple[Path, Path] | None:
    """The folder of pictures and that of masks, where there is one of each."""
    below = _below(path)
    images = [folder for name, folder in below.items() if name.casefold() in IMAGES]
    masks = [folder for name, folder in below.items() if name.casefold() in MASKS and _has_pictures(folder)]
    return (images[0], masks[0]) if len(images) == 1 and len(masks) == 1 else None


def _has_pictures(folder: Path) -> bool:
    return any(Path(name).suffix.lower() in SUFFIXES for _, _, files in os.walk(folder) for name in files)


def _split_pairs(path: Path) -> dict[str, tuple[Path, Path]]:
    """Folders of splits, each with both folders in it."""
    pairs = {name: _side_by_side(folder) for name, folder in _below(path).items() if split_of(name)}
    found = {name: pair for name, pair in pairs.items() if pair is not None}
    return {split: found[name] for split, name in by_split(list(found), f"'{shown(path)}'", "folders").items()}


def _folders(path: Path) -> dict[str, tuple[Path, Path]]:
    """The two folders of each split."""
    if pairs := _split_pairs(path):
        if "train" not in pairs:
            raise DataError(
                f"'{shown(path)}' has no folder 'train': add it, or leave the splits out to have them drawn."
            )
        return pairs
    both = _side_by_side(path)
    assert both is not None
    images, masks = both
    splits = by_split(list(_below(images)), f"'{shown(images)}'", "folders")
    if "train" not in splits:
        return {"train": both}
    for name in splits.values():
        if not (masks / name).is_dir():
            raise DataError(f"'{shown(masks)}' has no folder '{name}' as '{shown(images)}' has: add it.")
    return {split: (images / name, masks / name) for split, name in splits.items()}


def _voc(path: Path) -> bool:
    return (path / "JPEGImages").is_dir() and (path / "SegmentationClass").is_dir()


def _lists(path: Path) -> dict[str, Path]:
    """COCO's lists of a folder: one for all, `annotations/instances_train2017.json`, `train/_annotations.coco.json`."""
    alone = [path / name for name in ("annotations.json", "_annotations.coco.json") if (path / name).is_file()]
    if alone:
        return {"train": alone[0]}
    for pattern in ("annotations/*.json", "*/_annotations.coco.json"):
        found: dict[str, Path] = {}
        for file in sorted(path.glob(pattern)):
            word = file.parent.name if pattern.startswith("*") else file.stem.rpartition("_")[2]
            split = split_of(word.rstrip("0123456789"))
            if split is not None:
                found.setdefault(split, file)
        if "train" in found:
            return found
    return {}


def _names(path: Path) -> list[str] | None:
    for name in NAMES:
        if (path / name).is_file():
            try:
                lines = (path / name).read_text(encoding="utf-8-sig").splitlines()
            except (OSError, UnicodeDecodeError) as error:
                raise DataError(f"'{shown(path / name)}' is no text in UTF-8: write a name a line.") from error
            return [line.strip() for line in lines if line.strip()]
    return None


# -- pairs ------------------------------------------------------------------------------------------------------------


def _of_folders(images: Path, masks: Path, contents: Contents) -> _Pairs:
    """Each picture with the mask of its name."""
    known = {str(file.relative_to(masks).with_suffix("")): file for file in _pictures(masks)}
    pairs = _Pairs()
    for file in _pictures(images):
        stem = str(file.relative_to(images).with_suffix(""))
        mask = next((known.pop(stem + ending) for ending in ENDINGS if stem + ending in known), None)
        if mask is None:
            contents.bad.append((f"'{shown(file)}'", f"has no mask in '{shown(masks)}'"))
            continue
        pairs.sources.append(file_source(file))
        pairs.paints.append(_Read(mask))
    if known:
        contents.notices.append(
            f"'{shown(masks)}' has {len(known)} masks without a picture, which are not used: {listed(sorted(known))}."
        )
    return pairs


def _pictures(folder: Path) -> list[Path]:
    files = sorted(file for file in folder.rglob("*") if file.suffix.lower() in SUFFIXES and file.name[0] != ".")
    for file in files:
        if file.is_symlink() and not file.resolve().is_relative_to(folder.resolve()):
            raise DataError(f"'{shown(file)}' is a link that leads out of '{shown(folder)}': copy the picture.")
    return files


def _of_voc(path: Path, contents: Contents) -> dict[str, _Pairs]:
    """Pascal VOC: which pictures are in which split say the lists in `ImageSets/Segmentation`."""
    images, masks = path / "JPEGImages", path / "SegmentationClass"
    lists = {file.stem: file for file in sorted((path / "ImageSets" / "Segmentation").glob("*.txt"))}
    files = {split: lists[name] for split, name in by_split(list(lists), f"'{shown(path)}'", "lists").items()}
    contents.class_names = _names(path) or VOC
    if "train" not in files:
        # Only some of the pictures have masks.
        stems = {"train": [file.stem for file in _pictures(masks)]}
    else:
        stems = {split: file.read_text(encoding="utf-8").split() for split, file in files.items()}
    found: dict[str, _Pairs] = {}
    for split, names in stems.items():
        pairs = _Pairs()
        for name in names:
            picture, mask = images / f"{name}.jpg", masks / f"{name}.png"
            for file in (picture, mask):
                if not file.is_file():
                    contents.bad.append((f"'{shown(file)}'", "is missing"))
                    break
            else:
                pairs.sources.append(file_source(picture))
                pairs.paints.append(_Read(mask))
        if pairs.sources:
            found[split] = pairs
        else:
            contents.notices.append(f"the {split} split of '{shown(path)}' has no masks, and is not used.")
    return found


@dataclass(frozen=True)
class _Read:
    """The mask in a file."""

    file: Path

    def __call__(self, size: tuple[int, int]) -> Image.Image:
        called = f"has a mask ('{shown(self.file.name)}')"
        try:
            mask: Image.Image = Image.open(self.file)
            mask.load()
        except Exception as error:  # every format has its own way to fail on damaged bytes
            raise BadPicture(f"{called} that is not a readable image") from error
        if mask.mode not in ("P", "L", "1"):
            raise BadPicture(f"{called} of mode {mask.mode}: classes are grey values, or places in a palette")
        if (mask.height, mask.width) != size:
            raise BadPicture(f"{called} of {mask.height} x {mask.width} pixels where it has {size[0]} x {size[1]}")
        return Image.fromarray(np.asarray(mask).astype(np.uint8))


# -- COCO -------------------------------------------------------------------------------------------------------------


def _of_lists(files: dict[str, Path], contents: Contents, source: str) -> dict[str, _Pairs]:
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
        raise DataError(f"{called} is no list of COCO's form: it needs images, annotations and categories.")
    return about  # type: ignore[no-any-return]


def _of_list(file: Path, about: dict[str, Any], number: Mapping[Any, int], contents: Contents) -> _Pairs:
    outlines: dict[Any, list[dict[str, Any]]] = {}
    for entry in about["annotations"]:
        outlines.setdefault(entry["image_id"], []).append(entry)
    pairs = _Pairs()
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
        pairs.paints.append(_Paint(tuple(outlines.get(entry["id"], ())), number))
    return pairs


@dataclass(frozen=True)
class _Paint:
    """The mask of some outlines: polygons, or run lengths."""

    outlines: tuple[dict[str, Any], ...]
    number: Mapping[Any, int]

    def __call__(self, size: tuple[int, int]) -> Image.Image:
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
                        draw.polygon([float(value) for value in polygon], fill=label)
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


# -- masks at one size ------------------------------------------------------------------------------------------------


def _painted(pairs: Mapping[str, _Pairs], contents: Contents, source: str, options: Mapping[str, Any]) -> Contents:
    """The contents, with all masks at the size that their pictures will have."""
    every = [(split, picture, paint) for split, some in pairs.items()
             for picture, paint in zip(some.sources, some.paints, strict=True)]  # fmt: skip
    if not any(split == "train" for split, _, _ in every):
        first = f"; the first: {contents.bad[0][0]} {contents.bad[0][1]}" if contents.bad else ""
        raise DataError(f"{source} has no picture with a mask for training{first}.")
    with quiet(), ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        sizes = list(pool.map(lambda one: _size(one[1]), every))
        known = {size for size in sizes if size is not None}
        if not known:
            raise DataError(f"{source} has no readable image.")
        asked = options.get("size")
        if asked is not None:
            shape = (asked, asked)
        elif len(known) == 1 and min(next(iter(known))) <= LARGE:
            shape = next(iter(known))
        else:
            shape = (USUAL, USUAL)
            contents.notices.append(
                f"the images of {source} and their masks are brought to {USUAL} x {USUAL} pixels (size=N for others)."
            )
        fit = str(options.get("fit", "stretch"))
        unlabelled = options.get("unlabelled", UNLABELLED)

        def make(one: tuple[tuple[str, Source, Paint], tuple[int, int] | None]) -> np.ndarray | str:
            (_, _, paint), size = one
            if size is None:
                return "is not a readable image"
            try:
                return np.asarray(_fitted(paint(size), shape, fit, unlabelled))
            except BadPicture as error:
                return str(error)

        masks = list(pool.map(make, zip(every, sizes, strict=True)))
    contents.bad += [(picture.name, mask) for (_, picture, _), mask in zip(every, masks, strict=True)
                     if isinstance(mask, str)]  # fmt: skip
    contents.shape = shape
    for split in pairs:
        good = [(picture, mask) for (of, picture, _), mask in zip(every, masks, strict=True)
                if of == split and not isinstance(mask, str)]  # fmt: skip
        if good:
            y = np.stack([mask for _, mask in good])
            contents.splits[split] = Raw([picture for picture, _ in good], y, source, f"the masks of {source}")
    if "train" not in contents.splits:
        raise DataError(f"{contents.bad[0][0]} {contents.bad[0][1]}, and no other picture for training has a mask.")
    _known_classes(contents, unlabelled, source)
    return contents


def _known_classes(contents: Contents, unlabelled: int, source: str) -> None:
    """Raises `DataError` for a class that has no name; without names, those that there are have numbers."""
    if contents.class_names is None:
        return
    for split in contents.splits.values():
        odd = (split.y >= len(contents.class_names)) & (split.y != unlabelled)
        if odd.any():
            row = int(odd.any((1, 2)).argmax())
            name = split.x[row].name
            raise DataError(
                f"the mask of {name} has the class {int(split.y[row][odd[row]].max())}, and {source} names "
                f"{len(contents.class_names)}: name it, or say which value is unlabelled (unlabelled=N)."
            )


def _size(source: Source) -> tuple[int, int] | None:
    try:
        return header(source)[0]
    except BadPicture:
        return None


def _fitted(mask: Image.Image, shape: tuple[int, int], fit: str, unlabelled: int) -> Image.Image:
    """A mask as its picture is fitted (`decode`), by the nearest pixel; what pads it is unlabelled."""
    size, method = shape[::-1], Image.Resampling.NEAREST
    if mask.size == size:
        return mask
    if fit == "crop":
        left, top, wide, tall = middle(mask.width, mask.height, *size)
        return mask.crop((left, top, left + wide, top + tall)).resize(size, method)
    if fit == "pad":
        return ImageOps.pad(mask, size, method, color=unlabelled)
    return mask.resize(size, method)
