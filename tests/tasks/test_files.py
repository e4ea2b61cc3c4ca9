"""Images of the user's own, good and bad."""

import io
import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from archscout.core.errors import DataError, UsageError
from archscout.core.task import Split
from archscout.tasks.files import read_image
from archscout.tasks.images import ImageClassification
from archscout.tasks.load import load

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
    ("masks", lambda a: a | {"y_train": a["x_train"][..., 0]}, "y_train of '.*' has shape .*: give one label"),
    ("text labels", lambda a: a | {"y_train": a["y_train"].astype(str)}, "y_train of '.*' holds values of type <U"),
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
    contents["x_train"] *= 1e36
    assert np.isfinite(load(npz(tmp_path / "own.npz", contents)).mean).all()


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
    with pytest.raises(DataError, match=r"image 4 of jpeg_train in '.*' is 5 x 7 pixels where image 0 .* is 8 x 8"):
        load(file)
    assert load(file, size=8).input_shape == (3, 8, 8)


# -- folders ------------------------------------------------------------------------------------------------------


def test_a_folder_of_class_folders(tmp_path: Path) -> None:
    root = class_folders(tmp_path / "pets")
    (root / "cat" / "notes.txt").write_text("left alone")
    (root / ".cache").mkdir()
    deeper = png(root / "dog" / "more" / "deep.png", np.full((8, 8, 3), 7, np.uint8))
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


def test_grey_and_palette_and_transparent_images(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    grey = tmp_path / "grey"
    for name in ("a", "b"):
        for number in range(5):
            png(grey / name / f"{number}.png", rng.integers(0, 256, (8, 8), dtype=np.uint8))
    Image.new("1", (8, 8), 1).save(grey / "a" / "ink.png")
    Image.new("LA", (8, 8), (3, 128)).save(grey / "a" / "alpha.png")
    assert load(grey).input_shape == (1, 8, 8)
    colour = class_folders(tmp_path / "colour")
    Image.new("P", (8, 8)).save(colour / "cat" / "palette.png")
    Image.new("RGBA", (8, 8), (1, 2, 3, 4)).save(colour / "cat" / "alpha.png")
    Image.new("CMYK", (8, 8)).save(colour / "cat" / "print.jpg")
    assert load(colour).input_shape == (3, 8, 8)


def test_photographs_are_turned_as_their_camera_says(tmp_path: Path) -> None:
    root = class_folders(tmp_path)
    exif = Image.Exif()
    exif[0x0112] = 6  # the right-hand side of the stored picture is its top
    Image.new("RGB", (6, 8)).save(root / "cat" / "turned.png", exif=exif)
    with pytest.raises(DataError, match=r"turned.png' is 6 x 8 pixels"):
        load(root)


def test_images_of_different_sizes_or_channels_are_named(tmp_path: Path) -> None:
    root = class_folders(tmp_path)
    odd = png(root / "dog" / "odd.png", np.zeros((8, 9, 3), np.uint8))
    with pytest.raises(
        DataError, match=r"odd.png' is 8 x 9 pixels where '.*00.png' is 8 x 8: add the parameter size=N"
    ):
        load(root)
    assert load(root, size=8).input_shape == (3, 8, 8)
    png(odd, np.zeros((8, 8), np.uint8))
    with pytest.raises(DataError, match=r"odd.png' has 1 channels where '.*00.png' has 3"):
        load(root)


def test_a_split_with_images_of_another_size_is_named(tmp_path: Path) -> None:
    class_folders(tmp_path / "train")
    class_folders(tmp_path / "test", side=6)
    with pytest.raises(DataError, match=r"test/cat/00.png' is 6 x 6 pixels where '.*train/cat/00.png' is 8 x 8"):
        load(tmp_path)


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
    ],
)
def test_wrong_parameters_are_refused(tmp_path: Path, parameters: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        load(npz(tmp_path / "own.npz", arrays()), **parameters)


def test_a_file_of_another_kind_is_refused(tmp_path: Path) -> None:
    (tmp_path / "data.csv").write_text("1,2\n")
    with pytest.raises(DataError, match=r"data.csv' is neither an .npz archive nor a folder"):
        load(tmp_path / "data.csv")


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
