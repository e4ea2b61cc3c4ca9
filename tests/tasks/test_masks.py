"""Pictures with a class for each pixel, as folders and lists have them."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageDraw

import archscout
from archscout.core.errors import DataError, DataNotice
from archscout.tasks.doors.coco import run_lengths
from archscout.tasks.segmentation import Segmentation

COUNT = 20
SIZE = (16, 24)


def picture(number: int) -> np.ndarray:
    return np.random.default_rng(number).integers(0, 256, (*SIZE, 3), dtype=np.uint8)


def mask(number: int) -> np.ndarray:
    """A square of class 1 or 2 on class 0; the first column has no class."""
    classes = np.zeros(SIZE, np.uint8)
    place = number % 8
    classes[place : place + 6, place + 4 : place + 12] = 1 + number % 2
    classes[:, 0] = 255
    return classes


def save(file: Path, pixels: np.ndarray, *, palette: bool = False) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(pixels)
    if palette:
        image.putpalette(np.random.default_rng(1).integers(0, 256, 768, dtype=np.uint8).tobytes())
    image.save(file)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for number in range(COUNT):
        save(tmp_path / "images" / f"{number:02d}.png", picture(number))
        save(tmp_path / "masks" / f"{number:02d}_mask.png", mask(number), palette=number % 2 == 0)
    return tmp_path


def found(task: Any) -> dict[bytes, np.ndarray]:
    return {np.asarray(x).tobytes(): y for split in (task.train, task.valid, task.test)
            for x, y in zip(split.x, split.y, strict=True)}  # fmt: skip


def expected(number: int) -> np.ndarray:
    return np.where(mask(number) == 255, -1, mask(number).astype(int))


def test_a_folder_of_pictures_beside_one_of_masks(folder: Path) -> None:
    task = archscout.task(folder)
    assert isinstance(task, Segmentation)
    assert task.input_shape == (3, *SIZE)
    assert task.outputs == 3
    masks = found(task)
    assert len(masks) == COUNT
    for number in range(COUNT):
        np.testing.assert_array_equal(masks[picture(number).tobytes()], expected(number))


def test_names_and_splits_are_read(tmp_path: Path) -> None:
    for split, start in (("train", 0), ("val", 100), ("test", 200)):
        for number in range(start, start + 6):
            save(tmp_path / "a" / split / "images" / f"{number}.png", picture(number))
            save(tmp_path / "a" / split / "labels" / f"{number}.png", mask(number))
            save(tmp_path / "b" / "images" / split / f"{number}.png", picture(number))
            save(tmp_path / "b" / "annotations" / split / f"{number}.png", mask(number))
    (tmp_path / "a" / "classes.txt").write_text("ground\nleft\nright\n")
    one, other = archscout.task(tmp_path / "a"), archscout.task(tmp_path / "b")
    assert one.class_names == ("ground", "left", "right")
    assert one.drawn == other.drawn == ()
    for split in ("train", "valid", "test"):
        np.testing.assert_array_equal(getattr(one, split).y, getattr(other, split).y)
    np.testing.assert_array_equal(one.valid.y, [expected(number) for number in range(100, 106)])


def test_masks_are_resized_with_their_pictures(folder: Path) -> None:
    task = archscout.task(folder, size=8)
    assert task.input_shape == (3, 8, 8)
    nearest = {number: np.asarray(Image.fromarray(mask(number)).resize((8, 8), 0)).tobytes() for number in range(COUNT)}
    assert {y.astype(np.uint8).tobytes() for y in found(task).values()} == set(nearest.values())
    padded = archscout.task(folder, size=24, fit="pad")
    # What pads has no class.
    assert (padded.train.y[:, :4] == -1).all()
    assert (padded.train.y[:, 4:20, 1:] >= 0).all()
    save(folder / "images" / "00.png", np.repeat(picture(0), 2, 0))
    save(folder / "masks" / "00_mask.png", np.repeat(mask(0), 2, 0))
    with pytest.warns(DataNotice, match="and their masks are brought to 64 x 64"):
        assert archscout.task(folder).input_shape == (3, 64, 64)


def test_folders_of_pascal_voc(tmp_path: Path) -> None:
    for number in range(COUNT):
        save(tmp_path / "JPEGImages" / f"{number}.jpg", picture(number))
        save(tmp_path / "SegmentationClass" / f"{number}.png", mask(number), palette=True)
    lists = tmp_path / "ImageSets" / "Segmentation"
    lists.mkdir(parents=True)
    (lists / "train.txt").write_text("\n".join(map(str, range(12))))
    (lists / "val.txt").write_text("\n".join(map(str, range(12, COUNT))))
    task = archscout.task(tmp_path)
    assert task.class_names[:3] == ("background", "aeroplane", "bicycle")
    assert task.outputs == 21
    np.testing.assert_array_equal(task.valid.y, [expected(number) for number in range(12, COUNT)])
    assert task.drawn == ("test",)


# -- COCO -------------------------------------------------------------------------------------------------------------


def packed(counts: list[int]) -> str:
    """COCO's text of run lengths, written down from its description."""
    text = ""
    for place, count in enumerate(counts):
        value = count - counts[place - 2] if place > 2 else count
        while True:
            bits, value = value & 31, value >> 5
            last = value == (-1 if bits & 16 else 0)
            text += chr(48 + (bits if last else bits | 32))
            if last:
                break
    return text


def counts(classes: np.ndarray) -> list[int]:
    flat = classes.T.ravel()
    changes = np.flatnonzero(np.diff(flat)) + 1
    runs = np.diff([0, *changes, len(flat)]).tolist()
    return runs if not flat[0] else [0, *runs]


def test_run_lengths_are_those_of_their_description() -> None:
    for seed in range(5):
        classes = np.random.default_rng(seed).random((70, 50)) < 0.02
        classes[10:60, 10:30] = True
        for form in (counts(classes), packed(counts(classes))):
            np.testing.assert_array_equal(run_lengths({"size": [70, 50], "counts": form}, (70, 50)), classes)


def coco(folder: Path) -> dict[str, Any]:
    """Pictures with a rectangle of one category as a polygon, and one of another as run lengths."""
    about: dict[str, Any] = {
        "images": [],
        "annotations": [],
        "categories": [{"id": 7, "name": "cat"}, {"id": 3, "name": "dog"}],
    }
    for number in range(COUNT):
        save(folder / f"{number}.png", picture(number))
        about["images"].append({"id": 100 + number, "file_name": f"{number}.png"})
        square = np.zeros(SIZE, bool)
        square[2:5, 3 : 6 + number % 3] = True
        about["annotations"] += [
            {"id": 1, "image_id": 100 + number, "category_id": 7, "area": 9,
             "segmentation": {"size": list(SIZE), "counts": packed(counts(square))}},
            {"id": 2, "image_id": 100 + number, "category_id": 3, "area": 100,
             "segmentation": [[0, 0, 0, 9, 12, 9, 12, 0]]},
        ]  # fmt: skip
    return about


def test_outlines_of_coco_are_painted_the_smaller_ones_above(tmp_path: Path) -> None:
    (tmp_path / "annotations.json").write_text(json.dumps(coco(tmp_path)))
    for source in (tmp_path, tmp_path / "annotations.json"):
        task = archscout.task(source)
        assert task.class_names == ("background", "dog", "cat")
        masks = found(task)
        for number in range(COUNT):
            image = Image.new("L", SIZE[::-1])
            ImageDraw.Draw(image).rectangle((0, 0, 12, 9), fill=1)
            wanted = np.asarray(image).astype(int)
            wanted[2:5, 3 : 6 + number % 3] = 2
            np.testing.assert_array_equal(masks[picture(number).tobytes()], wanted)


# -- what is wrong ----------------------------------------------------------------------------------------------------


def of_another_size(folder: Path) -> None:
    save(folder / "masks" / "04_mask.png", mask(4)[:9])


def in_colour(folder: Path) -> None:
    save(folder / "masks" / "04_mask.png", picture(4))


def damaged(folder: Path) -> None:
    (folder / "masks" / "04_mask.png").write_bytes(b"nothing")


def missing(folder: Path) -> None:
    (folder / "masks" / "04_mask.png").unlink()


def empty(folder: Path) -> None:
    (folder / "images" / "04.png").write_bytes(b"")


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (of_another_size, r"has a mask \('04_mask\.png'\) of 9 x 24 pixels where it has 16 x 24"),
        (in_colour, r"has a mask \('04_mask\.png'\) of mode RGB: classes are grey values"),
        (damaged, r"has a mask \('04_mask\.png'\) that is not a readable image"),
        (missing, r"has no mask in '.*masks'"),
        (empty, r"is not a readable image"),
    ],
)
def test_a_bad_pair_is_named_or_left_out(folder: Path, spoil: Any, said: str) -> None:
    spoil(folder)
    with pytest.raises(DataError, match=rf"04\.png' {said}.*skip_bad=true"):
        archscout.task(folder)
    with pytest.warns(DataNotice, match=rf"1 of \d+ images are left out.*04\.png' {said}"):
        assert len(found(archscout.task(folder, skip_bad=True))) == COUNT - 1


def test_masks_without_a_picture_are_told_and_classes_without_a_name_refused(folder: Path) -> None:
    save(folder / "masks" / "moon.png", mask(0))
    with pytest.warns(DataNotice, match=r"has 1 masks without a picture, which are not used: moon"):
        archscout.task(folder)
    (folder / "masks" / "moon.png").unlink()
    (folder / "classes.txt").write_text("ground\nleft\n")
    with pytest.raises(DataError, match=r"the mask of '.*' has the class 2, and '.*' names 2: name it, or say which"):
        archscout.task(folder)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda about: about.pop("images"), "is no list of COCO's form"),
        (lambda about: about["images"][4].update(file_name="../x.png"), r"'\.\./x\.png' of .* is no file beside it"),
        (lambda about: about["annotations"][8].update(category_id=5), "category 5, which the list does not name"),
        (
            lambda about: about["annotations"][8].update(segmentation={"size": [1, 1], "counts": [1]}),
            r"outline \(1\) that is damaged",
        ),
        (lambda about: about["annotations"][9].update(segmentation=[["x", 1]]), r"outline \(2\) that is damaged"),
        (
            lambda about: about["annotations"][9].update(segmentation=[[0, 0, math.nan, 9, 12, 9]]),
            r"outline \(2\) that is damaged",
        ),
    ],
)
def test_a_bad_list_of_coco_is_refused(tmp_path: Path, change: Any, said: str) -> None:
    about = coco(tmp_path)
    change(about)
    (tmp_path / "annotations.json").write_text(json.dumps(about))
    with pytest.raises(DataError, match=said):
        archscout.task(tmp_path)
    (tmp_path / "annotations.json").write_text("{")
    with pytest.raises(DataError, match="is no readable JSON"):
        archscout.task(tmp_path)
