"""Which task the targets of some data make."""

from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

import archscout
from archscout.core.errors import DataError, DataNotice, UsageError

COUNT = 40
X = np.random.default_rng(0).integers(0, 256, (COUNT, 8, 8, 3), dtype=np.uint8)
LABELS = (np.arange(COUNT)[:, None] >> np.arange(3)) & 1  # the binary digits of the row
NUMBERS = np.random.default_rng(1).normal(5, 2, (COUNT, 2))
MASKS = (X[..., 0] > 100).astype(np.uint8) + (X[..., 1] > 200)


def rows_of(task: Any) -> dict[str, list[int]]:
    """The rows of `X` that are in each split."""
    place = {image.tobytes(): row for row, image in enumerate(X)}
    return {name: [place[image.tobytes()] for image in getattr(task, name).x] for name in ("train", "valid", "test")}


@pytest.mark.parametrize(
    ("y", "kind", "names", "stored"),
    [
        (LABELS, "multi-label images", ("0", "1", "2"), LABELS),
        (NUMBERS, "image regression", ("0", "1"), NUMBERS.astype(np.float32)),
        (MASKS, "image segmentation", ("0", "1", "2"), MASKS),
        (LABELS[:, 0], "image classification", ("0", "1"), LABELS[:, 0]),
    ],
)
def test_the_kind_is_told_by_the_targets(y: np.ndarray, kind: str, names: tuple[str, ...], stored: np.ndarray) -> None:
    task = archscout.task((X, y))
    assert (task.kind, task.class_names, task.outputs) == (kind, names, len(names))
    rows = rows_of(task)
    assert sorted(row for part in rows.values() for row in part) == list(range(COUNT))
    for name, part in rows.items():
        np.testing.assert_array_equal(getattr(task, name).y, stored[part])


def test_the_kind_can_be_said(tmp_path: Path) -> None:
    task = archscout.task((X, LABELS[:, 0]), kind="regression", train=10)
    assert (task.kind, task.class_names, task.train.y.shape) == ("image regression", ("value",), (10, 1))
    assert not task.flip
    one_hot = np.eye(4)[np.arange(COUNT) % 4]
    with pytest.warns(DataNotice, match="y marks one class in each row, and is read so"):
        assert archscout.task((X, one_hot)).kind == "image classification"
    assert archscout.task((X, one_hot), kind="multilabel").kind == "multi-label images"
    np.savez(tmp_path / "own.npz", x_train=X, y_train=NUMBERS, class_names=np.array(["width", "height"]))
    assert archscout.task(tmp_path / "own.npz").class_names == ("width", "height")


@pytest.mark.parametrize("kind", [str, bytes, object])
def test_labels_of_an_archive_are_names_of_classes(tmp_path: Path, kind: type) -> None:
    given = np.array(["dog", "cat"])[LABELS[:, 0]].astype("S" if kind is bytes else kind)
    if kind is object:
        task = archscout.task({"x_train": X, "y_train": given, "x_test": 255 - X, "y_test": given})
    else:
        np.savez(tmp_path / "own.npz", x_train=X, y_train=given, x_test=255 - X, y_test=given)
        task = archscout.task(tmp_path / "own.npz")
    assert task.class_names == ("cat", "dog")
    np.testing.assert_array_equal(task.test.y, 1 - LABELS[:, 0])
    np.savez(tmp_path / "named.npz", x_train=X, y_train=given.astype(str), class_names=np.array(["dog", "cow"]))
    with pytest.raises(DataError, match=r"y_train of .* has the label 'cat' in row 1, which class_names lacks"):
        archscout.task(tmp_path / "named.npz")


def test_classes_of_one_name_in_two_forms_are_refused_and_others_that_are_alike_are_told() -> None:
    composed, decomposed = "caf\u00e9", "cafe\u0301"
    with pytest.raises(DataError, match=r"two classes of .* are named"):
        archscout.task((X, np.array([composed, decomposed])[LABELS[:, 0]]))
    with pytest.warns(DataNotice, match=r"'Cat' and 'cat' of .* are two classes: merge them if they mean the same"):
        archscout.task((X, np.array(["Cat", "cat"])[LABELS[:, 0]]))


def test_splits_in_a_dictionary_keep_what_was_read_of_them() -> None:
    rows = [
        {"image": image, "label_odd": int(odd), "target_size": 3.5} for image, odd in zip(X, LABELS[:, 0], strict=True)
    ]
    for row in rows:
        Image.fromarray(row["image"]).save(stream := BytesIO(), "png")
        row["image"] = {"bytes": stream.getvalue(), "path": None}
    table = pa.Table.from_pylist(rows)
    task = archscout.task({"train": table, "test": table[:15]})
    assert task.kind == archscout.task(table).kind


def test_pixels_without_a_class(tmp_path: Path) -> None:
    masks = MASKS.copy()
    masks[:, :2] = 255
    task = archscout.task((X, masks))
    assert (task.outputs, int(task.train.y.min())) == (3, -1)
    assert (task.train.y[:, :2] == -1).all()
    other = archscout.task((X, np.where(masks == 255, 7, masks)), unlabelled=7)
    np.testing.assert_array_equal(other.train.y, task.train.y)


def test_a_list_with_numbers(tmp_path: Path) -> None:
    lines = ["path,value,note"]
    for row, image in enumerate(X):
        Image.fromarray(image).save(tmp_path / f"{row:02d}.png")
        lines.append(f"{row:02d}.png,{row / 4},x")
    (tmp_path / "own.csv").write_text("\n".join(lines))
    with pytest.warns(DataNotice, match="columns that are not used: note"):
        task = archscout.task(tmp_path / "own.csv")
    assert (task.kind, task.class_names) == ("image regression", ("value",))
    for name, rows in rows_of(task).items():
        np.testing.assert_array_equal(getattr(task, name).y[:, 0], np.array(rows) / 4)
    lines[5] = "04.png,nan,x"
    (tmp_path / "own.csv").write_text("\n".join(lines))
    with pytest.raises(DataError, match=r"line 6 of '.*own.csv' has a target that is no number \('nan'\)"):
        archscout.task(tmp_path / "own.csv")


@pytest.mark.parametrize(
    ("y", "options", "message"),
    [
        (np.where(np.arange(COUNT)[:, None] == 3, np.nan, NUMBERS), {}, "y has no finite number in row 3"),
        (LABELS + 2 * (np.arange(COUNT)[:, None] == 6), {"kind": "multilabel"}, "another value than 0 and 1 in row 6"),
        (LABELS * [1, 1, 0], {}, "no image of the train split of the data has the label '2'"),
        (MASKS[:, :7], {}, "y has masks of 7 x 8 pixels for images of 8 x 8"),
        (MASKS.astype(np.int64) - 3, {}, "y has pixels of class -3 to .* in row 0: number the classes from 0"),
        (LABELS[:9], {}, "y has 9 targets for 40 images"),
        (NUMBERS.astype(str), {"kind": "regression"}, "targets are a number, or K, for each image"),
        (LABELS[:, 0], {"kind": "segmentation"}, "masks are N x height x width whole numbers"),
    ],
)
def test_bad_targets_are_refused(y: np.ndarray, options: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        archscout.task((X, y), **options)


def test_parameters_are_checked() -> None:
    with pytest.raises(UsageError, match="kind of a task cannot be 'regresion': did you mean 'regression'"):
        archscout.task((X, NUMBERS), kind="regresion")
    with pytest.raises(UsageError, match="masks are not resized"):
        archscout.task((X, MASKS), size=4)
    with pytest.raises(UsageError, match="unlabelled of a task must be a whole number"):
        archscout.task((X, MASKS), unlabelled="sky")


def test_street_scenes(shared_data: Path) -> None:
    task = archscout.task(shared_data / "images" / "camvid_60x80.npz", unlabelled=11)
    assert (task.kind, task.outputs, len(task.train), len(task.valid)) == ("image segmentation", 11, 367, 101)
