"""Data that would be read without a word, and answered wrongly: each is told, or refused in a sentence."""

import io
import json
import re
import tarfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from scipy.io import wavfile

import archscout
from archscout.core.errors import DataError, DataNotice

COUNT = 60
Rows = Callable[[int], str]


def images(count: int = COUNT, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, 8, 8, 3), dtype=np.uint8)


def told(source: Any, **options: Any) -> str:
    """What is told of data that are read, in one text."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", DataNotice)
        archscout.task(source, **options)
    return " / ".join(str(one.message) for one in caught)


def table(folder: Path, heading: str, row: Rows) -> Path:
    file = folder / "table.csv"
    file.write_text("\n".join([heading, *map(row, range(COUNT))]) + "\n")
    return file


LABELS = np.arange(COUNT) % 3


def test_test_examples_that_are_training_examples_are_told() -> None:
    x, y = images(), LABELS
    assert "of 60 test images are training images too" in told({"train": (x, y), "test": (x, y)})
    assert told({"train": (x, y), "test": (images(seed=1), y)}) == ""


def test_a_table_whose_test_rows_are_training_rows_is_told(tmp_path: Path) -> None:
    file = table(
        tmp_path, "a,b,label,split", lambda i: f"{i % 30},{i * i % 30},{i % 2},{'train' if i < 30 else 'test'}"
    )
    assert "of 30 test rows are training rows too" in told(file)


def test_images_that_are_given_with_two_labels_are_told() -> None:
    x = np.concatenate([images(), images()])
    assert "are given again with another label" in told((x, np.arange(120) // 60))
    assert "another label" not in told((x, np.arange(120) % 60 % 2))


def test_a_column_that_is_the_answer_is_told(tmp_path: Path) -> None:
    words = told(table(tmp_path, "a,b,label", lambda i: f"{i * 37 % 101},{'uv'[i % 2]},{i % 2}"))
    assert "'b' tells what 'label' is in each row" in words
    words = told(table(tmp_path, "a,b,target", lambda i: f"{i * 37 % 101},{i * 3},{i * 1.5}"))
    assert "'b' tells what 'target' is" in words
    assert told(table(tmp_path, "a,b,label", lambda i: f"{i * 37 % 101},{i % 4},{i % 2}")) == ""


def test_two_columns_that_are_named_as_what_is_asked_are_told(tmp_path: Path) -> None:
    words = told(table(tmp_path, "a,label,target", lambda i: f"{i * 37 % 101},{i % 2},{i * 1.5}"))
    assert "the columns 'label' and 'target', which both are named as what is asked" in words


@pytest.mark.parametrize("first", [1_600_000_000, 2**60])
def test_numbers_that_32_bits_do_not_tell_apart_are_refused(tmp_path: Path, first: int) -> None:
    said = "'when' has 60 different numbers .* tell 1 of them apart: subtract their least"
    with pytest.raises(DataError, match=said):
        archscout.task(table(tmp_path, "when,label", lambda i: f"{first + i},{i // 30}"))
    assert told(table(tmp_path, "when,label", lambda i: f"{1_600_000_000 + 3600 * i},{i * 37 % 101 % 2}")) == ""


def test_so_are_those_of_an_array() -> None:
    x = np.stack([np.arange(COUNT) + 1.6e9, np.arange(COUNT) * 37 % 101], 1)
    with pytest.raises(DataError, match=r"'0' has 60 different numbers"):
        archscout.task((x, LABELS), medium="rows")


def test_an_index_of_a_table_that_says_something_is_told() -> None:
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"a": np.arange(COUNT), "b": np.arange(COUNT) * 37 % 101, "label": LABELS})
    assert "the index of the table ('a') is left out" in told(frame.set_index("a"))
    assert told(frame) == ""
    assert told(frame[::-1]) == "", "where rows stood"
    dated = frame.set_index(pandas.date_range("2024-01-01", periods=COUNT))
    assert "the index of the table (2024-01-01 00:00:00 and so on) is left out" in told(dated)
    parts = {"train": dated[::2], "test": dated[1::2]}
    assert "the index of the table (2024-01-01 00:00:00 and so on) is left out" in told(parts)


def test_a_folder_of_tables_says_how_they_are_read(tmp_path: Path) -> None:
    table(tmp_path, "a,label", lambda i: f"{i},{i % 2}")
    with pytest.raises(DataError, match=r"has tables \('?table.csv'?\): name one of them, in which a column 'split'"):
        archscout.task(tmp_path)


class Failing:
    """A data set whose own code fails at an example."""

    def __init__(self, error: Exception) -> None:
        self.error, self.x = error, images()

    def __len__(self) -> int:
        return COUNT

    def __getitem__(self, row: int) -> tuple[np.ndarray, int]:
        if row == 40:
            raise self.error
        return self.x[row], int(LABELS[row])


@pytest.mark.parametrize("error", [IndexError("end"), ZeroDivisionError("division by zero"), OSError("gone")])
def test_a_data_set_that_fails_is_told_with_its_example(error: Exception) -> None:
    with pytest.raises(DataError, match=rf"example 40 of the data set cannot be read: .*{error}"):
        archscout.task(Failing(error))


def test_silent_recordings_are_told(tmp_path: Path) -> None:
    time = np.arange(2000) / 4000
    for number in range(20):
        sound = np.sin(2 * np.pi * (300 + 20 * number) * time) * 20_000
        both = [sound, -sound if number < 2 else sound]
        file = tmp_path / "ab"[number % 2] / f"{number}.wav"
        file.parent.mkdir(exist_ok=True)
        wavfile.write(file, 4000, np.stack(both, 1).astype(np.int16))
    assert "2 recordings are silent from end to end (channels that differ in sign cancel" in told(tmp_path)


def test_labels_of_a_shard_without_a_picture_are_told(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "a.tar", "w") as shard:
        for number, image in enumerate([*images(30), None]):
            buffer = io.BytesIO()
            if image is not None:
                Image.fromarray(image).save(buffer, "PNG")
            members = {"cls": str(number % 2).encode(), **({"png": buffer.getvalue()} if image is not None else {})}
            for ending, content in members.items():
                info = tarfile.TarInfo(f"{number:03d}.{ending}")
                info.size = len(content)
                shard.addfile(info, io.BytesIO(content))
    assert "1 sample of" in (words := told(tmp_path / "a.tar"))
    assert "has a label and nothing that it is of ('030')" in words


def test_lines_that_all_say_the_same_are_refused() -> None:
    pictures = [Image.fromarray(image[..., 0]) for image in images(40)]
    with pytest.raises(DataError, match=r"all training targets .* are the same"):
        archscout.task((pictures, ["ab"] * 40), kind="lines")


def coco(folder: Path, change: Callable[[dict[str, Any]], object]) -> Path:
    for number, image in enumerate(images(20)):
        Image.fromarray(image).save(folder / f"{number}.png")
    about: dict[str, Any] = {
        "images": [{"id": i, "file_name": f"{i}.png", "width": 8, "height": 8} for i in range(20)],
        "categories": [{"id": 1, "name": "a"}, {"id": 2, "name": "b"}],
        "annotations": [
            {"id": i, "image_id": i, "category_id": 1 + i % 2, "segmentation": [[0, 0, 6, 0, 6, 6]]} for i in range(20)
        ],
    }
    change(about)
    (folder / "annotations.json").write_text(json.dumps(about))
    return folder / "annotations.json"


def outlines(about: dict[str, Any], shape: Any, count: int = 20) -> None:
    for entry in about["annotations"][:count]:
        entry["segmentation"] = shape


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda about: outlines(about, [[0, 0, 0.9, 0, 0.9, 0.9]]), "are in shares of the pictures' sizes"),
        (lambda about: outlines(about, []), "are boxes without outlines"),
        (lambda about: about["images"][1].update(id=0), "two pictures of one id"),
    ],
)
def test_outlines_that_no_mask_can_be_painted_of_are_refused(tmp_path: Path, change: Any, said: str) -> None:
    with pytest.raises(DataError, match=said):
        archscout.task(coco(tmp_path, change))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda about: outlines(about, [[50, 50, 70, 50, 70, 70]], 1), "1 of 20 outlines lie outside"),
        (
            lambda about: outlines(about, [[1, 1, 1.5, 1, 1.5, 1.5]], 2),
            "2 of 20 outlines lie outside .* or have no area",
        ),
        (lambda about: outlines(about, [], 3), "3 of 20 annotations have no outline"),
        (lambda about: about.update(annotations=about["annotations"][:5]), "15 of 20 pictures have no outline"),
        (lambda about: about["annotations"][0].update(image_id=99), "1 of 20 annotations are of pictures that are not"),
    ],
)
def test_outlines_that_leave_no_pixel_are_told(tmp_path: Path, change: Any, said: str) -> None:
    assert re.search(said, told(coco(tmp_path, change)))


def class_folders(root: Path, names: tuple[str, ...]) -> None:
    for place, name in enumerate(names):
        (root / name).mkdir(parents=True)
        for row in range(12):
            Image.fromarray(images(12, seed=place)[row]).save(root / name / f"{row}.png")


def test_a_class_whose_name_two_systems_write_differently_is_one(tmp_path: Path) -> None:
    class_folders(tmp_path / "train", ("caf\u00e9", "tea"))
    class_folders(tmp_path / "test", ("cafe\u0301", "tea"))
    task = archscout.task(tmp_path)
    assert task.class_names == ("caf\u00e9", "tea")
    assert task.test is not None and np.bincount(task.test.y).tolist() == [12, 12]


def test_a_folder_around_the_data_is_told(tmp_path: Path) -> None:
    class_folders(tmp_path / "photos", ("a", "b"))
    with pytest.raises(DataError, match=r"has nothing but the folder photos, with the folders a, b: name '.*photos'"):
        archscout.task(tmp_path)


@pytest.mark.parametrize("shape", [(5, 16, 16), (6, 8, 8), (3, 8, 8), (12, 64, 64)])
def test_channels_that_come_first_are_refused(shape: tuple[int, ...]) -> None:
    x = np.random.default_rng(0).random((COUNT, *shape), dtype=np.float32)
    with pytest.raises(DataError, match="channels first"):
        archscout.task((x, LABELS))
