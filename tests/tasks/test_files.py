"""Images of the user's own, good and bad."""

import io
import os
import pickle
import struct
import tracemalloc
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from archscout.core.errors import DataError, DataNotice, UsageError
from archscout.core.task import Split
from archscout.tasks.decode import read_image
from archscout.tasks.images import ImageClassification
from archscout.tasks.load import load
from archscout.tasks.mapped import Mapped

Arrays = dict[str, np.ndarray]


def arrays(count: int = 30, shape: tuple[int, ...] = (8, 8, 3), dtype: type = np.uint8, **more: object) -> Arrays:
    """Images of two classes in turns."""
    x = np.random.default_rng(0).integers(0, 256, (count, *shape)).astype(dtype)
    return {"x_train": x, "y_train": np.arange(count) % 2, **more}  # type: ignore[dict-item]


def npz(path: Path, contents: Arrays) -> Path:
    np.savez_compressed(path, **contents)
    return path


def jpeg_layout(images: np.ndarray, split: str = "train") -> Arrays:
    files = []
    for image in images:
        buffer = io.BytesIO()
        Image.fromarray(image).save(buffer, format="JPEG", quality=90)
        files.append(buffer.getvalue())
    offsets = np.cumsum([0, *map(len, files)]).astype(np.int32)
    return {f"jpeg_{split}": np.frombuffer(b"".join(files), np.uint8), f"offsets_{split}": offsets}


def png(path: Path, pixels: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
    return path


def class_folders(root: Path, classes: tuple[str, ...] = ("cat", "dog"), count: int = 10, side: int = 8) -> Path:
    rng = np.random.default_rng(0)
    for name in classes:
        for number in range(count):
            png(root / name / f"{number:02d}.png", rng.integers(0, 256, (side, side, 3), dtype=np.uint8))
    return root


def everything(task: ImageClassification) -> Split:
    """All examples of a task, in an order of their own pixels."""
    assert task.test is not None
    x = np.concatenate([task.train.x, task.valid.x, task.test.x])
    y = np.concatenate([task.train.y, task.valid.y, task.test.y])
    order = np.lexsort(x.reshape(len(x), -1).T)
    return Split(x[order], y[order])


# -- .npz ---------------------------------------------------------------------------------------------------------


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


def everything_in(contents: Arrays) -> Split:
    x, y = contents["x_train"], contents["y_train"]
    order = np.lexsort(x.reshape(len(x), -1).T)
    return Split(x[order], y[order])


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


def test_the_jpeg_layout_gives_what_pillow_decodes(tmp_path: Path) -> None:
    images = arrays(40)["x_train"]
    contents = jpeg_layout(images) | jpeg_layout(images[:10], "test")
    labels = {"y_train": np.arange(40) % 2, "y_test": np.arange(10) % 2}
    task = load(npz(tmp_path / "own.npz", contents | labels))
    data, offsets = contents["jpeg_test"].tobytes(), contents["offsets_test"]
    assert task.test is not None
    for image, start, end in zip(task.test.x, offsets[:-1], offsets[1:], strict=True):
        np.testing.assert_array_equal(image, np.asarray(Image.open(io.BytesIO(data[start:end]))))
    assert (len(task.train), len(task.valid)) == (32, 8)


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


def test_damaged_archives_are_named(tmp_path: Path) -> None:
    whole = npz(tmp_path / "whole.npz", arrays()).read_bytes()
    truncated = tmp_path / "truncated.npz"
    for share in (0.0, 0.01, 0.5, 0.99):
        truncated.write_bytes(whole[: int(share * len(whole))])
        with pytest.raises(DataError, match=r"'.*truncated.npz' is not a readable .npz archive"):
            load(truncated)
    other = tmp_path / "text.npz"
    other.write_text("x_train, y_train\n")
    with pytest.raises(DataError, match=r"'.*text.npz' is not a readable .npz archive"):
        load(other)
    rotten = bytearray(whole)
    rotten[len(whole) // 4] ^= 0xFF
    (tmp_path / "rotten.npz").write_bytes(rotten)
    with pytest.raises(DataError, match=r"the array x_train of '.*rotten.npz' is damaged"):
        load(tmp_path / "rotten.npz")
    np.save(tmp_path / "single.npy", arrays()["x_train"])
    (tmp_path / "single.npy").rename(tmp_path / "single.npz")
    with pytest.raises(DataError, match=r"'.*single.npz' holds a single array"):
        load(tmp_path / "single.npz")


class Trap:
    """Unpickling this writes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return Path.touch, (self.path,)


@pytest.mark.parametrize("name", ["x_train", "y_train", "class_names"])
def test_pickled_objects_are_refused_and_never_loaded(tmp_path: Path, name: str) -> None:
    sprung = tmp_path / "sprung"
    objects = np.array([Trap(sprung)] * 30, dtype=object)
    pickle.loads(pickle.dumps(objects))
    assert sprung.exists()
    sprung.unlink()
    np.savez(tmp_path / "own.npz", **arrays() | {name: objects})
    with pytest.raises(DataError, match=rf"the array {name} of '.*own.npz' holds pickled Python objects"):
        load(tmp_path / "own.npz")
    assert not sprung.exists()


def test_a_whole_file_that_is_a_pickle_is_refused(tmp_path: Path) -> None:
    sprung = tmp_path / "sprung"
    (tmp_path / "own.npz").write_bytes(pickle.dumps(Trap(sprung)))
    with pytest.raises(DataError, match="not a readable"):
        load(tmp_path / "own.npz")
    assert not sprung.exists()


def test_damaged_jpegs_are_named_by_row(tmp_path: Path) -> None:
    contents = jpeg_layout(arrays()["x_train"]) | {"y_train": np.arange(30) % 2}
    start, end = contents["offsets_train"][12:14]
    damaged = contents["jpeg_train"].copy()
    damaged[start : start + 10] = 0
    with pytest.raises(DataError, match=r"image 12 of jpeg_train in '.*own.npz' is not a readable image"):
        load(npz(tmp_path / "own.npz", contents | {"jpeg_train": damaged}))
    truncated = np.delete(contents["jpeg_train"], slice(start + (end - start) // 2, end))
    offsets = contents["offsets_train"] - (np.arange(31) > 12) * (end - start - (end - start) // 2)
    with pytest.raises(DataError, match=r"image 12 of jpeg_train in '.*own.npz' is not a readable image"):
        load(npz(tmp_path / "own.npz", contents | {"jpeg_train": truncated, "offsets_train": offsets}))


@pytest.mark.parametrize(
    ("offsets", "message"),
    [
        (lambda o: o + 5, "leads outside"),
        (lambda o: o - 5, "leads outside"),
        (lambda o: o[::-1], "leads outside"),
        (lambda o: o[:1], "names no image"),
        (lambda o: o.astype(float), "whole numbers"),
        (lambda o: o[:-1], "30 labels for 29 images"),
    ],
)
def test_bad_offsets_are_refused(tmp_path: Path, offsets: Callable[[np.ndarray], np.ndarray], message: str) -> None:
    contents = jpeg_layout(arrays()["x_train"]) | {"y_train": np.arange(30) % 2}
    with pytest.raises(DataError, match=message):
        load(npz(tmp_path / "own.npz", contents | {"offsets_train": offsets(contents["offsets_train"])}))


def test_jpegs_of_different_sizes_are_named_or_resized(tmp_path: Path) -> None:
    images = list(arrays()["x_train"])
    images[4] = np.zeros((5, 7, 3), np.uint8)
    file = npz(tmp_path / "own.npz", jpeg_layout(images) | {"y_train": np.arange(30) % 2})  # type: ignore[arg-type]
    with pytest.warns(DataNotice, match=r"the images differ in size \(5 x 7 to 8 x 8 pixels\): all are stretched to 8"):
        assert load(file).input_shape == (3, 8, 8)
    assert load(file, size=5).input_shape == (3, 5, 5)


# -- folders ------------------------------------------------------------------------------------------------------


def test_a_folder_of_class_folders(tmp_path: Path) -> None:
    root = class_folders(tmp_path / "pets")
    (root / "cat" / "notes.txt").write_text("left alone")
    (root / ".cache").mkdir()
    deeper = png(root / "dog" / "more" / "deep.png", np.full((8, 8, 3), 7, np.uint8))
    with pytest.warns(DataNotice, match=r"1 file was left alone below '.*pets', .* \(.txt: 1\)"):
        task = load(root)
    assert (task.name, task.class_names, task.input_shape) == ("pets", ("cat", "dog"), (3, 8, 8))
    found = everything(task)
    by_pixels = {image.tobytes(): task.class_names[label] for image, label in zip(found.x, found.y, strict=True)}
    files = [*root.glob("*/*.png"), deeper]
    assert by_pixels == {np.asarray(Image.open(file)).tobytes(): file.relative_to(root).parts[0] for file in files}


def test_a_folder_with_splits_on_top(tmp_path: Path) -> None:
    for split, count in (("train", 6), ("val", 3), ("test", 2)):
        class_folders(tmp_path / split, count=count)
    task = load(tmp_path)
    assert [len(split) for split in (task.train, task.valid, task.test)] == [12, 6, 4]


def test_grey_images_stay_grey(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for name in ("a", "b"):
        for number in range(5):
            png(tmp_path / name / f"{number}.png", rng.integers(0, 256, (8, 8), dtype=np.uint8))
    Image.new("1", (8, 8), 1).save(tmp_path / "a" / "ink.png")
    assert load(tmp_path).input_shape == (1, 8, 8)
    assert load(tmp_path, channels=3).input_shape == (3, 8, 8)


def test_grey_and_palette_and_printed_images_become_colour_where_others_are(tmp_path: Path) -> None:
    root = class_folders(tmp_path)
    Image.new("P", (8, 8)).save(root / "cat" / "palette.png")
    Image.new("CMYK", (8, 8)).save(root / "cat" / "print.jpg")
    assert load(root).input_shape == (3, 8, 8)
    grey = np.random.default_rng(1).integers(0, 256, (8, 8), dtype=np.uint8)
    png(root / "cat" / "000.png", grey)  # the first of all files, so that it is read before any colour is
    with pytest.warns(DataNotice, match=r"1 image has grey values, which are read as colour, as the others are"):
        task = load(root)
    assert task.input_shape == (3, 8, 8)
    assert any((image == grey[..., None]).all() for image in everything(task).x)
    assert load(root, channels=1).input_shape == (1, 8, 8)


def test_transparent_places_are_laid_on_a_background_and_told(tmp_path: Path) -> None:
    root = class_folders(tmp_path)
    rng = np.random.default_rng(0)
    layers = rng.integers(0, 256, (8, 8, 4), dtype=np.uint8)
    png(root / "cat" / "glass.png", layers)
    alpha = layers[..., 3:] / 255
    for background, value in (("white", 255), ("black", 0)):
        with pytest.warns(DataNotice, match=f"1 image has transparent pixels, which were laid on {background}"):
            task = load(root, background=background)
        expected = layers[..., :3] * alpha + value * (1 - alpha)
        assert min(np.abs(image - expected).max() for image in everything(task).x.astype(float)) <= 1
    png(root / "cat" / "glass.png", np.full((8, 8, 4), 255, np.uint8))  # opaque: there is nothing to tell
    assert load(root).input_shape == (3, 8, 8)
    png(root / "cat" / "glass.png", np.dstack([np.full((8, 8, 3), 255, np.uint8), layers[..., 3]]))
    with pytest.raises(DataError, match=r"glass.png' is nothing but white where its transparency is laid on white"):
        load(root)
    with pytest.warns(DataNotice, match="laid on black"):
        load(root, background="black")


def test_photographs_are_turned_as_their_camera_says(tmp_path: Path) -> None:
    root = class_folders(tmp_path)
    exif = Image.Exif()
    exif[0x0112] = 6  # the right-hand side of the stored picture is its top
    stored = np.zeros((8, 8, 3), np.uint8)
    stored[:4] = 200
    Image.fromarray(stored).save(root / "cat" / "turned.png", exif=exif)
    seen = next(image for image in everything(load(root)).x if (image[:, 0] == image[0, 0]).all())
    np.testing.assert_array_equal(seen, stored.transpose(1, 0, 2)[:, ::-1])


def test_images_of_different_sizes_get_one_that_is_chosen_and_told(tmp_path: Path) -> None:
    root = class_folders(tmp_path)
    odd = png(root / "dog" / "odd.png", np.random.default_rng(0).integers(0, 256, (8, 16, 3), dtype=np.uint8))
    with pytest.warns(DataNotice, match=r"differ in size \(8 x 8 to 8 x 16 pixels\): all are stretched to 8 x 8"):
        stretched = load(root)
    pixels = np.asarray(Image.open(odd))
    small = np.asarray(Image.fromarray(pixels).resize((8, 8), Image.Resampling.BILINEAR))
    assert any((image == small).all() for image in everything(stretched).x)
    with pytest.warns(DataNotice, match="all are cropped to 8 x 8"):
        cropped = load(root, fit="crop")
    assert any((image == pixels[:, 4:12]).all() for image in everything(cropped).x)
    with pytest.warns(DataNotice, match="all are padded to 8 x 8"):
        padded = load(root, fit="pad", background="black")
    assert any((image[[0, 1, 6, 7]] == 0).all() and image[2:6].any() for image in everything(padded).x)


def test_large_photographs_are_read_small(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for name in ("cat", "dog"):
        for number in range(6):
            (tmp_path / name).mkdir(exist_ok=True)
            image = Image.fromarray(rng.integers(0, 256, (6, 8, 3), dtype=np.uint8)).resize((400, 300))
            image.save(tmp_path / name / f"{number}.jpg", quality=95)
    with pytest.warns(DataNotice, match=r"the images are 300 x 400 pixels: all are stretched to 64 x 64 \(size=N"):
        task = load(tmp_path)
    decoded = [Image.open(file).convert("RGB").resize((64, 64), Image.Resampling.BILINEAR)
               for file in sorted(tmp_path.rglob("*.jpg"))]  # fmt: skip
    whole = np.stack([np.asarray(image) for image in decoded]).astype(int)
    for image in task.train.x:  # what the decoder skips is not seen
        assert np.abs(whole - image).mean((1, 2, 3)).min() < 1.5


@pytest.mark.parametrize("fit", ["stretch", "crop", "pad"])
def test_arrays_and_files_are_fitted_alike(tmp_path: Path, fit: str) -> None:
    contents = arrays(shape=(8, 12, 3))
    for number, (image, label) in enumerate(zip(contents["x_train"], contents["y_train"], strict=True)):
        png(tmp_path / "files" / f"class{label}" / f"{number:02d}.png", image)
    options = {"size": 6, "fit": fit, "background": "black"}
    first = everything(load(npz(tmp_path / "own.npz", contents), **options)).x.astype(int)
    second = everything(load(tmp_path / "files", **options)).x.astype(int)
    assert first.shape == second.shape == (30, 6, 6, 3)
    assert max(np.abs(second - image).max((1, 2, 3)).min() for image in first) <= 2


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".gif", ".bmp", ".tiff"])
def test_damaged_image_files_are_named(tmp_path: Path, suffix: str) -> None:
    root = class_folders(tmp_path)
    file = root / "cat" / f"bad{suffix}"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (8, 8, 3), dtype=np.uint8)).save(file)
    whole = file.read_bytes()
    for damaged in (b"", b"nonsense", whole[: len(whole) // 2]):
        file.write_bytes(damaged)
        with pytest.raises(DataError, match=rf"cat/bad\{suffix}' is not a readable image"):
            load(root)


def test_images_of_sixteen_bits_are_refused(tmp_path: Path) -> None:
    root = class_folders(tmp_path)
    Image.fromarray(np.zeros((8, 8), np.uint16)).save(root / "cat" / "deep.png")
    with pytest.raises(DataError, match=r"deep.png' has more than 8 bits a channel"):
        load(root)


def test_folders_without_classes_are_refused(tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(DataError, match="empty' has no folders"):
        load(empty)
    png(tmp_path / "flat" / "one.png", np.zeros((8, 8, 3), np.uint8))
    with pytest.raises(DataError, match="flat' has no folders"):
        load(tmp_path / "flat")
    with pytest.raises(DataError, match=r"one' has examples of one class only \('cat'\)"):
        load(class_folders(tmp_path / "one", ("cat",)))
    partly = class_folders(tmp_path / "partly")
    (partly / "emu").mkdir()
    with pytest.raises(DataError, match=r"class folder '.*emu' has no images"):
        load(partly)
    class_folders(tmp_path / "split" / "train")
    class_folders(tmp_path / "split" / "test", ("cat", "emu"))
    with pytest.raises(DataError, match=r"class folder '.*test/emu' has no counterpart in '.*train'"):
        load(tmp_path / "split")
    class_folders(tmp_path / "lacking" / "train")
    class_folders(tmp_path / "lacking" / "test", ("cat",))
    with pytest.raises(DataError, match=r"the test split of '.*lacking' has no example of class 1 \('dog'\)"):
        load(tmp_path / "lacking")


def test_all_bad_files_are_listed_together_or_left_out(tmp_path: Path) -> None:
    root = class_folders(tmp_path / "pets")
    (root / "cat" / "empty.png").write_bytes(b"")
    (root / "dog" / "text.jpg").write_text("no picture")
    (root / "dog" / "gone.png").symlink_to(tmp_path / "nowhere.png")
    with pytest.raises(DataError, match=r"3 of 23 images cannot be read: ") as caught:
        load(root)
    for name in ("empty.png' is not a readable", "text.jpg' is not a readable", "gone.png' is a broken link"):
        assert name in str(caught.value)
    with pytest.warns(DataNotice, match=r"3 of 23 images are left out, for they cannot be read: .*gone.png"):
        task = load(root, skip_bad=True)
    assert len(everything(task)) == 20
    assert task.name == "pets:skip_bad=true"


def test_a_pipe_among_pictures_is_named_and_not_waited_for(tmp_path: Path) -> None:
    root = class_folders(tmp_path)
    os.mkfifo(root / "cat" / "pipe.png")
    with pytest.raises(DataError, match=r"pipe.png' is no plain file"):
        load(root)
    os.mkfifo(tmp_path / "pipe.npz")
    with pytest.raises(DataError, match=r"pipe.npz' is no plain file"):
        load(tmp_path / "pipe.npz")


@pytest.mark.parametrize(
    "names", [("Train", "Test"), ("TRAIN", "VALID", "TEST"), ("training", "validation", "testing"), ("train", "dev")]
)
def test_splits_by_other_names_are_splits(tmp_path: Path, names: tuple[str, ...]) -> None:
    for number, name in enumerate(names):
        class_folders(tmp_path / name, count=7 + number)  # of so few, pictures in two splits are not told
    task = load(tmp_path)
    assert task.class_names == ("cat", "dog")
    whole = sum(len(split) for split in (task.train, task.valid, task.test) if split is not None)
    assert whole == sum(2 * (7 + number) for number in range(len(names)))


def test_splits_that_cannot_be_told_apart_are_refused(tmp_path: Path) -> None:
    for name in ("train", "val", "valid"):
        class_folders(tmp_path / "two" / name)
    with pytest.raises(DataError, match="two' has the folders 'val' and 'valid', which both name the valid split"):
        load(tmp_path / "two")
    class_folders(tmp_path / "untrained" / "test")
    with pytest.raises(DataError, match="untrained' has test, but no folder 'train'"):
        load(tmp_path / "untrained")
    contents = arrays() | {f"{kind}_{name}": arrays()[f"{kind}_train"] for name in ("val", "valid") for kind in "xy"}
    with pytest.raises(DataError, match="has the arrays x_val and x_valid, which both mean x of the valid split"):
        load(npz(tmp_path / "own.npz", contents))


def test_classes_may_be_named_as_splits_are(tmp_path: Path) -> None:
    assert load(class_folders(tmp_path, ("bus", "test", "train"))).class_names == ("bus", "test", "train")


def test_folders_beside_splits_are_told(tmp_path: Path) -> None:
    class_folders(tmp_path / "train")
    class_folders(tmp_path / "unlabelled", ("all",))
    with pytest.warns(DataNotice, match="has folders beside its splits that are not used: unlabelled"):
        load(tmp_path)


def test_links_are_followed_within_the_folder_and_refused_out_of_it(tmp_path: Path) -> None:
    root, store = class_folders(tmp_path / "data"), class_folders(tmp_path / "store", side=8)
    png(store / "cat" / "other.png", np.full((8, 8, 3), 5, np.uint8))
    (root / "cat" / "more").symlink_to(store / "cat")
    with pytest.raises(DataError, match=r"more' is a link that leads out of '.*data': add links=true"):
        load(root)
    assert len(everything(load(root, links=True))) == 31
    (root / "cat" / "more").unlink()
    (root / "cat" / "round").symlink_to(root)
    with pytest.raises(DataError, match="round' is a link that leads back to a folder around it"):
        load(root)
    (root / "cat" / "round").unlink()
    (root / "cat" / "again.png").symlink_to(root / "cat" / "00.png")
    assert len(everything(load(root))) == 21


def test_class_names_that_are_no_text_are_refused(tmp_path: Path) -> None:
    root = class_folders(tmp_path, ("cat", os.fsdecode(b"caf\xe9")))
    with pytest.raises(DataError, match=r"has a name that is no plain text \('caf") as caught:
        load(root)
    str(caught.value).encode()
    for names in (["a", "a"], ["a", " "], ["a", "b\x00c"], ["a", "b\nc"]):
        with pytest.raises(DataError, match=r"named 'a'|has no name|no plain text"):
            load(npz(tmp_path / "own.npz", arrays() | {"class_names": np.array(names)}))
    as_bytes = {"class_names": np.array(["café".encode(), b"dog"])}
    assert load(npz(tmp_path / "bytes.npz", arrays() | as_bytes)).class_names == ("café", "dog")


def test_several_frames_and_deep_colours_are_told(tmp_path: Path) -> None:
    root = class_folders(tmp_path)
    frames = [Image.new("RGB", (8, 8), (value, 0, 9)) for value in (10, 200)]
    frames[0].save(root / "cat" / "film.gif", save_all=True, append_images=frames[1:])
    deep = np.random.default_rng(0).integers(0, 2**16, (8, 8, 3), dtype=np.uint16)
    (root / "dog" / "deep.png").write_bytes(deep_png(deep))
    with pytest.warns(DataNotice) as told:
        task = load(root)
    assert sorted(str(notice.message) for notice in told) == [
        "1 image has 16 bits a channel, of which the upper 8 are used.",
        "1 image has several frames or pages, of which the first is used.",
    ]
    assert any((image == deep >> 8).all() for image in everything(task).x)


def deep_png(pixels: np.ndarray) -> bytes:
    """A PNG file of 16 bits a channel (ISO 15948), which Pillow does not write."""
    height, width, _ = pixels.shape
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in pixels)
    chunks = [
        (b"IHDR", struct.pack(">IIBBBBB", width, height, 16, 2, 0, 0, 0)),
        (b"IDAT", zlib.compress(rows)),
        (b"IEND", b""),
    ]
    body = b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    )
    return b"\x89PNG\r\n\x1a\n" + body


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


# -- archives that are not what they seem ---------------------------------------------------------------------------


def header_of(shape: tuple[int, ...], dtype: str = "|u1") -> bytes:
    stream = io.BytesIO()
    np.lib.format.write_array_header_1_0(stream, {"descr": dtype, "fortran_order": False, "shape": shape})
    return stream.getvalue()


def zipped(path: Path, members: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, data in members.items():
            archive.writestr(f"{name}.npy", data)
    return path


def as_npy(array: np.ndarray) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array)
    return stream.getvalue()


def test_arrays_that_declare_more_than_they_hold_are_refused_unread(tmp_path: Path) -> None:
    y = as_npy(np.arange(30) % 2)
    tall = zipped(tmp_path / "tall.npz", {"x_train": header_of((2**21, 1024, 1024, 2)), "y_train": y})
    with pytest.raises(DataError, match=r"the array x_train of '.*tall.npz' is damaged"):
        load(tall)
    longer = zipped(tmp_path / "longer.npz", {"x_train": header_of((30, 8, 8, 3)) + bytes(10**6), "y_train": y})
    with pytest.raises(DataError, match=r"the array x_train of '.*longer.npz' is damaged"):
        load(longer)
    no_array = zipped(tmp_path / "text.npz", {"x_train": b"hello", "y_train": y})
    with pytest.raises(DataError, match=r"x_train of '.*text.npz' is no array of NumPy's"):
        load(no_array)


def test_a_zip_bomb_is_not_unpacked(tmp_path: Path) -> None:
    bomb = tmp_path / "bomb.npz"
    with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        with archive.open("x_train.npy", "w", force_zip64=True) as stream:
            stream.write(header_of((2**22, 8, 8, 3)))
            for _ in range(48):
                stream.write(bytes(2**24))
        archive.writestr("y_train.npy", as_npy(np.arange(2**22) % 2))
    tracemalloc.start()
    with pytest.raises(DataError, match=r"x_train of '.*bomb.npz' unpacks to 768 MB out of \d+\.\d MB"):
        load(bomb)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2**27


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_odd_compression_is_refused(tmp_path: Path, method: int) -> None:
    members = {name: as_npy(array) for name, array in arrays().items()}
    with pytest.raises(DataError, match=r"is packed as numpy.savez does not pack"):
        load(zipped(tmp_path / "odd.npz", members, method))


def test_encrypted_members_are_refused(tmp_path: Path) -> None:
    data = bytearray(zipped(tmp_path / "own.npz", {n: as_npy(a) for n, a in arrays().items()}).read_bytes())
    place = 0
    while (place := data.find(b"PK\x01\x02", place)) >= 0:
        data[place + 8] |= 1
        place += 4
    (tmp_path / "own.npz").write_bytes(data)
    with pytest.raises(DataError, match=r"of '.*own.npz' is encrypted"):
        load(tmp_path / "own.npz")


def test_a_label_of_billions_costs_no_memory(tmp_path: Path) -> None:
    contents = arrays()
    contents["y_train"] = np.where(np.arange(30) == 3, 2**31 - 1, contents["y_train"])
    with pytest.raises(DataError, match=r"the label 2.14748e\+09 in row 3: number the classes from 0 without gaps"):
        load(npz(tmp_path / "own.npz", contents))


def test_a_folder_of_npy_files(tmp_path: Path) -> None:
    contents = arrays()
    x_test = 255 - contents["x_train"]
    for name, array in (contents | {"x_test": x_test, "y_test": contents["y_train"]}).items():
        np.save(tmp_path / f"{name}.npy", array)
    np.save(tmp_path / "class_names.npy", np.array(["cat", "dog"]))
    task = load(tmp_path)
    assert (task.class_names, len(task.train), len(task.valid)) == (("cat", "dog"), 24, 6)
    assert task.test is not None
    assert isinstance(task.test.x, Mapped)  # it stays on the disk
    np.testing.assert_array_equal(task.test.x, x_test)
    sent = pickle.dumps(task.test.x)
    assert len(sent) < 1000
    np.testing.assert_array_equal(pickle.loads(sent), x_test)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(task.test.x[3:5])), x_test[3:5])


# -- parameters and single images ---------------------------------------------------------------------------------


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


def test_a_file_of_another_kind_is_refused(tmp_path: Path) -> None:
    (tmp_path / "data.doc").write_text("1,2\n")
    with pytest.raises(DataError, match=r"data.doc' is neither an .npz archive, a list of pictures"):
        load(tmp_path / "data.doc")
    np.save(tmp_path / "x_train.npy", np.zeros(3))
    with pytest.raises(DataError, match=r"x_train.npy' is a single array: put x_train.npy and y_train.npy into"):
        load(tmp_path / "x_train.npy")


def test_a_single_image_is_read_as_a_network_takes_it(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    file = png(tmp_path / "one.png", pixels)
    np.testing.assert_array_equal(read_image(file, (3, 8, 8))[0], pixels)
    grey = np.asarray(Image.fromarray(pixels).convert("L"))
    np.testing.assert_array_equal(read_image(file, (1, 8, 8))[0, ..., 0], grey)
    assert read_image(file, (3, 5, 4)).shape == (1, 5, 4, 3)
    file.write_bytes(b"nonsense")
    with pytest.raises(DataError, match=r"one.png' is not a readable image"):
        read_image(file, (3, 8, 8))
    with pytest.raises(DataError, match=r"one.png' cannot be read: No such file"):
        read_image(tmp_path / "missing" / "one.png", (3, 8, 8))


def test_what_systems_leave_behind_is_no_class(tmp_path: Path) -> None:
    folder = class_folders(tmp_path / "photos")
    class_folders(folder / "__MACOSX", count=5)
    png(folder / "@eaDir" / "cat.png", np.zeros((8, 8, 3), np.uint8))
    assert load(str(folder)).class_names == ("cat", "dog")


def test_splits_by_other_names_are_no_classes(tmp_path: Path) -> None:
    for name in ("train_set", "test_set"):
        class_folders(tmp_path / "photos" / name)
    with pytest.raises(
        DataError, match="the folders test_set and others, each with the folders cat, dog, and may mean"
    ):
        load(str(tmp_path / "photos"))


def test_folders_within_class_folders_are_told(tmp_path: Path) -> None:
    class_folders(tmp_path / "photos" / "animal")
    class_folders(tmp_path / "photos", ("car",))
    with pytest.warns(DataNotice, match=r"its outer folders; what lies in those below them \(animal/cat, animal/dog\)"):
        assert load(str(tmp_path / "photos")).class_names == ("animal", "car")
