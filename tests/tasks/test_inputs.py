"""Images for a trained network: the right scale, or a sentence."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from archscout.core.errors import DataError, DataNotice
from archscout.core.task import Split
from archscout.tasks import inputs
from archscout.tasks.images import ImageClassification
from archscout.testing.tasks import tiny_audio, tiny_rows, tiny_series


def task_of(low: float, high: float, dtype: str = "float32") -> ImageClassification:
    """A task of 4 x 4 grey images whose values go from `low` to `high`."""
    x = np.linspace(low, high, 32).reshape(2, 4, 4, 1).astype(dtype)
    split = Split(x, np.arange(2))
    return ImageClassification("own", (1, 4, 4), 2, split, split, None, ("a", "b"), span=(low, high))


PIXELS = np.arange(16, dtype=np.uint8).reshape(1, 4, 4, 1) * 17


@pytest.mark.parametrize(
    ("span", "expected"),
    [((0, 255), PIXELS), ((0, 1), PIXELS / 255), ((0, 0.97), PIXELS / 255), ((-1, 1), PIXELS / 127.5 - 1)],
)
def test_pictures_are_brought_to_the_scale_of_training(
    tmp_path: Path, span: tuple[float, float], expected: np.ndarray
) -> None:
    Image.fromarray(PIXELS[0, ..., 0]).save(tmp_path / "one.png")
    images, _ = inputs.read(tmp_path / "one.png", task_of(*span))
    np.testing.assert_allclose(images, expected, atol=1e-6)


@pytest.mark.parametrize("span", [(0, 16), (-2.1, 2.6), (0, 4095), (0, 5e4)])
def test_pictures_are_refused_where_the_scale_is_not_theirs(tmp_path: Path, span: tuple[float, float]) -> None:
    Image.fromarray(PIXELS[0, ..., 0]).save(tmp_path / "one.png")
    with pytest.raises(DataError, match=r"one.png' cannot be given to a network that was trained on values from"):
        inputs.read(tmp_path / "one.png", task_of(*span))


@pytest.mark.parametrize(
    ("span", "given", "factor"),
    [
        ((0, 255), PIXELS, 1),
        ((0, 255), PIXELS.astype(">i8"), 1),
        ((0, 255), PIXELS / 255, 255),
        ((0, 255), PIXELS // 100, 1),
        ((0, 1), PIXELS, 1 / 255),
        ((0, 1), PIXELS.astype(float), 1 / 255),
        ((0, 1), (PIXELS / 255).astype(">f4"), 1),
        ((0, 16), PIXELS // 17, 1),
        ((-2.1, 2.6), PIXELS / 100, 1),
        ((0, 4095), PIXELS * np.int64(16), 1),
    ],
)
def test_arrays_are_brought_to_the_scale_of_training(
    span: tuple[float, float], given: np.ndarray, factor: float
) -> None:
    images, converted = inputs.scaled(given, task_of(*span), "it")
    assert images.dtype == np.float32
    np.testing.assert_allclose(images, given.astype(np.float64) * factor, rtol=1e-5, atol=1e-6)
    assert bool(converted) == (factor != 1)


@pytest.mark.parametrize(
    ("span", "given"),
    [
        ((0, 255), PIXELS * np.int64(2)),
        ((0, 255), PIXELS - 128.0),
        ((0, 255), PIXELS > 100),
        ((0, 255), PIXELS / 17),
        ((0, 255), PIXELS // np.int64(17)),
        ((0, 1), PIXELS / 17),
        ((0, 1), PIXELS - 1.0),
        ((0, 1), PIXELS * 20.0),
        ((0, 16), PIXELS),
        ((0, 16), PIXELS / 255),
        ((-2.1, 2.6), PIXELS),
        ((0, 4095), PIXELS / 255),
    ],
)
def test_arrays_of_another_scale_are_refused(span: tuple[float, float], given: np.ndarray) -> None:
    with pytest.raises(DataError, match=r"it has values from .* where the network was trained on .*: bring them to"):
        inputs.scaled(given, task_of(*span), "it")


@pytest.mark.parametrize(
    ("task", "shape", "noun"),
    [
        (task_of(0, 255), (0, 4, 4, 1), "images"),
        (tiny_series(), (0, 2, 32), "series"),
        (tiny_audio(), (0, 800), "recordings"),
        (tiny_rows(), (0, *tiny_rows().deployed_shape), "rows"),
    ],
    ids=["images", "series", "audio", "rows"],
)
def test_a_file_without_an_example_is_refused(tmp_path: Path, task, shape, noun) -> None:
    np.save(tmp_path / "none.npy", np.zeros(shape, np.float32))
    with pytest.raises(DataError, match=rf"none.npy' has no {noun}: there is nothing to label"):
        inputs.read(tmp_path / "none.npy", task)


def test_a_table_of_headings_alone_is_refused(tmp_path: Path) -> None:
    task = tiny_rows()
    (tmp_path / "none.csv").write_text(",".join(column.name for column in task.columns) + "\n")
    with pytest.raises(DataError, match=r"none.csv' has no rows"):
        inputs.read(tmp_path / "none.csv", task)


@pytest.mark.parametrize(("task", "name"), [(tiny_series(), "channel 1"), (tiny_rows(), "column ")])
def test_values_far_from_those_of_training_are_told(tmp_path: Path, task, name) -> None:
    x = task.train.x[:5].copy()
    np.save(tmp_path / "like.npy", x)
    inputs.read(tmp_path / "like.npy", task)  # without a word: warnings are errors
    x[:, 1] = 1e4 * np.nan_to_num(x[:, 1]) + 1e6
    np.save(tmp_path / "far.npy", x)
    with pytest.warns(DataNotice, match=rf"{name}.* of '.*far.npy' is about .* where it was .* in training"):
        inputs.read(tmp_path / "far.npy", task)
