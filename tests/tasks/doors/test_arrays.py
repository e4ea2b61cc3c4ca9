"""Images in arrays: splits, labels and pixels, good and bad."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from archscout.core.errors import DataError, DataNotice, UsageError
from archscout.tasks.load import load
from tests.tasks.image_files import Arrays, arrays, everything, everything_in, npz


@pytest.mark.parametrize("valid", ["valid", "val", "validation"])
def test_splits_of_an_archive_are_kept_as_they_are(tmp_path: Path, valid: str) -> None:
    parts = {name: arrays(count) for name, count in (("train", 30), (valid, 10), ("test", 12))}
    contents = {f"{kind}_{name}": part[f"{kind}_train"] for name, part in parts.items() for kind in "xy"}
    task = load(npz(tmp_path / "own.npz", contents | {"class_names": np.array(["cat", "dog"])}))
    assert (task.name, task.input_shape, task.outputs, task.class_names) == ("own.npz", (3, 8, 8), 2, ("cat", "dog"))
    for split, name in ((task.train, "train"), (task.valid, valid), (task.test, "test")):
        assert split is not None
        np.testing.assert_array_equal(split.x, contents[f"x_{name}"])
        np.testing.assert_array_equal(split.y, contents[f"y_{name}"])
        assert (split.x.dtype, split.y.dtype) == (np.uint8, np.int64)


def test_missing_splits_are_drawn_and_classes_numbered(tmp_path: Path) -> None:
    contents = arrays(50)
    task = load(npz(tmp_path / "own.npz", contents))
    assert task.class_names == ("0", "1")
    assert [len(split) for split in (task.train, task.valid, task.test)] == [30, 10, 10]
    found, given = everything(task), everything_in(contents)
    np.testing.assert_array_equal(found.x, given.x)
    np.testing.assert_array_equal(found.y, given.y)


@pytest.mark.parametrize(
    ("given", "stored"),
    [(np.uint8, np.uint8), (np.int64, np.uint8), (np.float64, np.float32), (np.float16, np.float32), (bool, np.uint8)],
)
def test_pixels_are_stored_as_bytes_or_single_precision(tmp_path: Path, given: type, stored: type) -> None:
    contents = arrays(dtype=given)
    task = load(npz(tmp_path / "own.npz", contents))
    assert task.train.x.dtype == stored
    np.testing.assert_array_equal(everything(task).x, everything_in(contents).x.astype(stored))


def test_grey_images_without_a_channel_axis_and_labels_in_a_column(tmp_path: Path) -> None:
    contents = arrays(shape=(8, 6))
    contents["y_train"] = contents["y_train"].astype(np.float64)[:, None]
    task = load(npz(tmp_path / "own.npz", contents))
    assert task.input_shape == (1, 8, 6)
    np.testing.assert_array_equal(np.unique(task.train.y), [0, 1])


def test_flip_is_on_for_colour_off_for_grey_and_as_the_user_says(tmp_path: Path) -> None:
    colour, grey = npz(tmp_path / "colour.npz", arrays()), npz(tmp_path / "grey.npz", arrays(shape=(8, 8)))
    assert (load(colour).flip, load(grey).flip) == (True, False)
    assert (load(f"{colour}:flip=false").flip, load(grey, flip=True).flip) == (False, True)


def test_train_limits_only_the_training_examples(tmp_path: Path) -> None:
    file = npz(tmp_path / "own.npz", arrays(100))
    whole, limited = load(file), load(f"{file}:train=20")
    assert limited.name == "own.npz:train=20"
    assert np.bincount(limited.train.y).tolist() == [10, 10]
    np.testing.assert_array_equal(limited.valid.x, whole.valid.x)
    again = load(file, train=20)
    np.testing.assert_array_equal(limited.train.x, again.train.x)
    assert {image.tobytes() for image in limited.train.x} <= {image.tobytes() for image in whole.train.x}


@pytest.mark.parametrize("size", [4, 16])
def test_resized_arrays_look_as_pillow_resizes_them(tmp_path: Path, size: int) -> None:
    contents = arrays(shape=(8, 10, 3))
    task = load(npz(tmp_path / "own.npz", contents), size=size)
    assert task.input_shape == (3, size, size)
    expected = {
        np.asarray(Image.fromarray(image).resize((size, size), Image.Resampling.BILINEAR)).tobytes()
        for image in contents["x_train"]
    }
    reference = np.stack([np.frombuffer(image, np.uint8).reshape(size, size, 3) for image in expected]).astype(int)
    for image in task.train.x:
        assert np.abs(reference - image).max((1, 2, 3)).min() <= 1


def test_float_images_are_resized_too(tmp_path: Path) -> None:
    contents = arrays(shape=(8, 8), dtype=np.float32)
    contents["x_train"][:] = contents["x_train"][:, :1, :1]
    task = load(npz(tmp_path / "own.npz", contents), size=5)
    np.testing.assert_allclose(task.train.x, np.broadcast_to(task.train.x[:, :1, :1], task.train.x.shape), rtol=1e-5)


BAD_ARRAYS: list[tuple[str, Callable[[Arrays], Arrays], str]] = [
    ("no images", lambda a: {k: v[:0] for k, v in a.items()}, r"x_train of '.*' has no images"),
    (
        "no pixels",
        lambda a: a | {"x_train": a["x_train"][:, :0]},
        r"x_train of '.*' has shape .*: its images have no pixels",
    ),
    ("one class", lambda a: a | {"y_train": a["y_train"] * 0}, r"examples of one class only \('0'\)"),
    ("a table", lambda a: a | {"x_train": a["x_train"][:, 0, 0]}, r"x_train of '.*' has shape \(30, 3\)"),
    ("channels first", lambda a: a | {"x_train": a["x_train"].transpose(0, 3, 1, 2)}, "with the channels first"),
    ("text pixels", lambda a: a | {"x_train": a["x_train"].astype(str)}, "x_train of '.*' holds values of type <U"),
    (
        "complex",
        lambda a: a | {"x_train": a["x_train"].astype(complex)},
        "x_train of '.*' holds values of type complex",
    ),
    ("no labels", lambda a: {"x_train": a["x_train"]}, r"no array y_train \(it has: x_train\)"),
    ("no images at all", lambda a: {"images": a["x_train"]}, r"no array x_train \(it has: images\)"),
    ("too few labels", lambda a: a | {"y_train": a["y_train"][:-1]}, "y_train of '.*' has 29 labels for 30 images"),
    (
        "masks of another size",
        lambda a: a | {"y_train": a["x_train"][:, :5, :, 0]},
        "has masks of 5 x 8",
    ),
    ("cubes", lambda a: a | {"y_train": a["x_train"]}, "y_train of '.*' has shape .*: give one label"),
    (
        "dates",
        lambda a: a | {"y_train": a["y_train"].astype("datetime64[D]")},
        "y_train of '.*' holds values of type dat",
    ),
    ("half a label", lambda a: a | {"y_train": a["y_train"] + 0.5 * (np.arange(30) == 4)}, "the label 0.5 in row 4"),
    (
        "NaN label",
        lambda a: a | {"y_train": np.where(np.arange(30) == 4, np.nan, a["y_train"])},
        "the label nan in row 4",
    ),
    ("negative", lambda a: a | {"y_train": a["y_train"] - 9 * (np.arange(30) == 7)}, "negative label -8 in row 7"),
    ("a gap", lambda a: a | {"y_train": a["y_train"] * 3}, r"no example of class 1 \('1'\)"),
    (
        "huge label",
        lambda a: a | {"y_train": a["y_train"] + (np.arange(30) == 2) * 2**40},
        "in row 2: number the classes",
    ),
    (
        "too large for the names",
        lambda a: a | {"class_names": np.array(["cat", "dog"]), "y_train": a["y_train"] + (np.arange(30) == 11)},
        "y_train of '.*' has the label 2 in row 11, but there are 2 classes",
    ),
    (
        "a name without examples",
        lambda a: a | {"class_names": np.array(["cat", "dog", "emu"])},
        r"too few: give at least 5|no example of class 2 \('emu'\)",
    ),
    (
        "other size in test",
        lambda a: a | {"x_test": a["x_train"][:, :4], "y_test": a["y_train"]},
        "the test images of '.*' are 4 x 8 x 3 where the train images are 8 x 8 x 3",
    ),
    (
        "other type in test",
        lambda a: a | {"x_test": a["x_train"].astype(np.float32), "y_test": a["y_train"]},
        "the test images of '.*' are float32 where the train images are uint8",
    ),
    (
        "a class missing in valid",
        lambda a: a | {"x_valid": a["x_train"], "y_valid": a["y_train"] * 0},
        r"the valid split of '.*' has no example of class 1 \('1'\)",
    ),
    (
        "a class too rare",
        lambda a: a | {"y_train": (np.arange(30) == 3).astype(int)},
        "class '1' has 1 examples to split in '.*', too few: give at least 5",
    ),
]


@pytest.mark.parametrize(("spoil", "message"), [case[1:] for case in BAD_ARRAYS], ids=[case[0] for case in BAD_ARRAYS])
def test_bad_arrays_are_refused_in_one_sentence_that_names_the_file(
    tmp_path: Path, spoil: Callable[[Arrays], Arrays], message: str
) -> None:
    file = npz(tmp_path / "bad.npz", spoil(arrays()))
    with pytest.raises(DataError, match=message) as caught:
        load(file)
    assert str(file) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_pixel_that_is_no_number_is_named_by_its_row(tmp_path: Path, value: float) -> None:
    contents = arrays(dtype=np.float32)
    contents["x_train"][17, 3, 2, 1] = value
    with pytest.raises(DataError, match=r"x_train of '.*own.npz' has a pixel that is NaN or infinite in row 17"):
        load(npz(tmp_path / "own.npz", contents))
    too_large = arrays(dtype=np.float64)
    too_large["x_train"][5] = 1e300
    with pytest.raises(DataError, match="infinite in row 5"):
        load(npz(tmp_path / "large.npz", too_large))


def test_large_finite_pixels_are_no_infinity(tmp_path: Path) -> None:
    contents = arrays(dtype=np.float32)
    contents["x_train"] *= 1e27
    assert np.isfinite(load(npz(tmp_path / "own.npz", contents)).mean).all()
    contents["x_train"][9] *= 1e9
    with pytest.raises(DataError, match=r"x_train of '.*' has a pixel that is 3e\+38 \(no brightness\) in row 9"):
        load(npz(tmp_path / "own.npz", contents))


def test_images_that_are_all_alike_are_refused(tmp_path: Path) -> None:
    contents = arrays()
    contents["x_train"][:] = contents["x_train"][0]
    with pytest.raises(DataError, match=r"the train images of '.*own.npz' are all the same"):
        load(npz(tmp_path / "own.npz", contents))


def test_splits_of_different_scales_are_refused(tmp_path: Path) -> None:
    contents = arrays(dtype=np.float32)
    contents |= {"x_test": contents["x_train"] / 255, "y_test": contents["y_train"]}
    with pytest.raises(DataError, match=r"the test images of '.*' have values up to 1 where the train images have 255"):
        load(npz(tmp_path / "own.npz", contents))


def test_arrays_may_be_named_otherwise(tmp_path: Path) -> None:
    given = arrays()
    contents = {"train_images": given["x_train"], "train_labels": given["y_train"]}
    assert load(
        npz(tmp_path / "own.npz", contents | {"Test_images": 255 - given["x_train"], "Test_labels": given["y_train"]})
    )
    with pytest.warns(DataNotice, match="has arrays that are not used: speaker"):
        task = load(npz(tmp_path / "x.npz", {"X": given["x_train"], "y": given["y_train"], "speaker": np.arange(3)}))
    np.testing.assert_array_equal(everything(task).x, everything_in(given).x)
    with pytest.raises(DataError, match="has no array val_labels"):
        load(npz(tmp_path / "own.npz", contents | {"val_images": given["x_train"]}))


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"train": 0}, "train of a task must be a whole number above zero, not 0"),
        ({"train": "many"}, "not 'many'"),
        ({"size": -3}, "size of a task must be a whole number above zero, not -3"),
        ({"size": 2.5}, "not 2.5"),
        ({"flip": "often"}, "flip of a task must be true or false, not 'often'"),
        ({"train": 1000}, "train=1000 cannot be drawn from the 18 training examples"),
        ({"train": 1}, "train=1 cannot be drawn"),
        ({"trian": 9}, "no parameter 'trian': did you mean 'train'?"),
        ({"fit": "croop"}, "fit of a task cannot be 'croop': did you mean 'crop'"),
        ({"background": "red"}, "background of a task cannot be 'red'"),
        ({"channels": 2}, r"channels of a task must be 1 \(grey\) or 3 \(colour\), not 2"),
        ({"skip_bad": "yes"}, "skip_bad of a task must be true or false"),
    ],
)
def test_wrong_parameters_are_refused(tmp_path: Path, parameters: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        load(npz(tmp_path / "own.npz", arrays()), **parameters)
