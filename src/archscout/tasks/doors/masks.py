"""Pictures with a class for each pixel: a folder of pictures beside one of masks, Pascal VOC's folders, or COCO's JSON.

A mask is a picture (PNG) whose values, or places in its palette, are classes. Masks are brought to the size that their
pictures will have, by the nearest pixel. COCO's outlines are painted here: the larger ones first, on a background that
is a class of its own (Lin et al. 2014, arXiv 1405.0312; Everingham et al. 2010, DOI 10.1007/s11263-009-0275-4).
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps

from archscout.core.cores import usable_cores
from archscout.core.errors import DataError
from archscout.tasks.contents import Contents, Raw, Source
from archscout.tasks.decode import SUFFIXES, BadPicture, file_source, header, is_turned, middle, quiet, shown
from archscout.tasks.doors.archive import listed
from archscout.tasks.doors.coco import of_lists
from archscout.tasks.doors.pairs import Paint, Pairs
from archscout.tasks.mask_classes import NONE, UNLABELLED
from archscout.tasks.pictures import LARGE, USUAL
from archscout.tasks.splits import by_split, split_of

IMAGES = frozenset({"images", "image", "imgs", "img", "jpegimages"})
MASKS = frozenset({"masks", "mask", "labels", "annotations", "segmentationclass", "gt"})
ENDINGS = ("", "_mask", "_label", "_labels", "_gt", "_seg", "_L")
"""What may stand behind the name of a picture in that of its mask."""

NAMES = ("class_names.txt", "classes.txt", "labels.txt")

VOC = (
    "background", "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow", "diningtable",
    "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor",
)  # fmt: skip


def is_masks_folder(path: Path) -> bool:
    """Whether a folder has pictures beside masks, or beside lists of outlines."""
    return _voc(path) or _side_by_side(path) is not None or bool(_split_pairs(path)) or bool(_lists(path))


def read_masks_folder(path: Path, options: Mapping[str, Any] | None = None) -> Contents:
    """The pictures and masks of a folder. `options` are the parameters of the task (`size`, `fit`, `unlabelled`)."""
    contents = Contents({}, kind="segmentation", medium="images")
    source = f"'{shown(path)}'"
    if lists := _lists(path):
        pairs = of_lists(lists, contents, source)
    elif _voc(path):
        pairs = _of_voc(path, contents)
    else:
        pairs = {split: _of_folders(*folders, contents) for split, folders in _folders(path).items()}
        contents.class_names = _names(path)
    return _painted(pairs, contents, source, options or {})


def read_coco(file: Path, options: Mapping[str, Any] | None = None) -> Contents:
    """The pictures and outlines of a JSON file of COCO's form."""
    contents = Contents({}, kind="segmentation", medium="images")
    pairs = of_lists({"train": file}, contents, f"'{shown(file)}'")
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
    both = {name: pair for name, pair in pairs.items() if pair is not None}
    return {split: both[name] for split, name in by_split(list(both), f"'{shown(path)}'", "folders").items()}


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
        lists: dict[str, Path] = {}
        for file in sorted(path.glob(pattern)):
            word = file.parent.name if pattern.startswith("*") else file.stem.rpartition("_")[2]
            split = split_of(word.rstrip("0123456789"))
            if split is not None:
                lists.setdefault(split, file)
        if "train" in lists:
            return lists
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


def _of_folders(images: Path, masks: Path, contents: Contents) -> Pairs:
    """Each picture with the mask of its name."""
    known: dict[str, Path] = {}
    for file in _pictures(masks):
        other = known.setdefault(str(file.relative_to(masks).with_suffix("")), file)
        if other != file:
            raise DataError(f"'{shown(other)}' and '{shown(file)}' are two masks of one name: leave one of them.")
    pairs = Pairs()
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


def _of_voc(path: Path, contents: Contents) -> dict[str, Pairs]:
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
    splits: dict[str, Pairs] = {}
    for split, names in stems.items():
        pairs = Pairs()
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
            splits[split] = pairs
        else:
            contents.notices.append(f"the {split} split of '{shown(path)}' has no masks, and is not used.")
    return splits


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
        if mask.format == "JPEG":
            raise BadPicture(f"{called} that is a JPEG, which blurs the values of pixels: write masks as PNG")
        if mask.mode not in ("P", "L", "1"):
            raise BadPicture(f"{called} of mode {mask.mode}: classes are grey values, or places in a palette")
        if (mask.height, mask.width) != size:
            raise BadPicture(f"{called} of {mask.height} x {mask.width} pixels where it has {size[0]} x {size[1]}")
        return Image.fromarray(np.asarray(mask).astype(np.uint8))


# -- masks at one size ------------------------------------------------------------------------------------------------


def _painted(pairs: Mapping[str, Pairs], contents: Contents, source: str, options: Mapping[str, Any]) -> Contents:
    """The contents, with all masks at the size that their pictures will have."""
    every = [(split, picture, paint) for split, some in pairs.items()
             for picture, paint in zip(some.sources, some.paints, strict=True)]  # fmt: skip
    if not any(split == "train" for split, _, _ in every):
        first = f"; the first: {contents.bad[0][0]} {contents.bad[0][1]}" if contents.bad else ""
        raise DataError(f"{source} has no picture with a mask for training{first}.")
    with quiet(), ThreadPoolExecutor(usable_cores()) as pool:
        sizes = list(pool.map(lambda one: _size(one[1]), every))
        turned = sum(pool.map(lambda one: is_turned(one[1]), every))
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
                return _fitted(paint(size), shape, fit)
            except BadPicture as error:
                return str(error)

        masks = list(pool.map(make, zip(every, sizes, strict=True)))
    contents.bad += [(picture.name, mask) for (_, picture, _), mask in zip(every, masks, strict=True)
                     if isinstance(mask, str)]  # fmt: skip
    if turned:
        contents.notices.append(
            f"{turned} of the pictures of {source} are stored turned or mirrored, and are set upright as their EXIF "
            "data say: their masks are taken to be upright already."
        )
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


def _fitted(mask: Image.Image, shape: tuple[int, int], fit: str) -> np.ndarray:
    """A mask as its picture is fitted (`decode`), by the nearest pixel; -1 where it is padded."""
    size, method = shape[::-1], Image.Resampling.NEAREST
    if mask.size == size:
        return np.asarray(mask)
    if fit == "crop":
        left, top, wide, tall = middle(mask.width, mask.height, *size)
        return np.asarray(mask.crop((left, top, left + wide, top + tall)).resize(size, method))
    if fit == "pad":
        inside = ImageOps.pad(Image.new("L", mask.size, 1), size, method, color=0)
        return np.where(np.asarray(inside) == 1, np.asarray(ImageOps.pad(mask, size, method)).astype(np.int16), NONE)
    return np.asarray(mask.resize(size, method))
