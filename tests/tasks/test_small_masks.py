"""Masks are held in few bytes: tasks, trainings and what was stored about them stay what they were."""

import dataclasses
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import archscout
from archscout.core.digest import CountedAs, digest
from archscout.core.errors import DataError
from archscout.core.task import Split
from archscout.costs.mirroring import _answers
from archscout.supernets.batches import Batches
from archscout.tasks import mapped
from archscout.tasks.mapped import Streamed
from archscout.tasks.segmentation import Segmentation
from archscout.testing.tasks import tiny_segmentation
from archscout.training.batched import train_many
from archscout.training.recipe import Recipe
from archscout.training.trainer import train


def in_bytes(task: Segmentation, dtype: type) -> Segmentation:
    splits = {name: getattr(task, name) for name in ("train", "valid", "test")}
    return dataclasses.replace(task, **{name: Split(one.x, one.y.astype(dtype)) for name, one in splits.items()})


def digest_of(task: Segmentation) -> str:
    """As it was before masks were held small."""
    parts = {field.name: getattr(task, field.name) for field in dataclasses.fields(task) if field.name != "recipe"}
    return digest(type(task), task.metric, parts)


@pytest.mark.filterwarnings("ignore::archscout.core.errors.DataNotice")
@pytest.mark.parametrize(("classes", "dtype"), [(3, np.int8), (128, np.int8), (129, np.int16), (400, np.int16)])
def test_masks_have_as_few_bytes_as_their_classes_need(classes: int, dtype: type) -> None:
    rng = np.random.default_rng(0)
    y = rng.integers(0, classes, (12, 16, 16))
    y[:, 0] = np.resize(np.arange(classes), (12, 16))
    y[:, 1] = 999
    y[0, 2:].flat = np.resize(np.arange(classes), 14 * 16)
    y[1, 2:].flat = np.resize(np.arange(classes)[::-1], 14 * 16)
    x = rng.integers(0, 256, (12, 16, 16, 3), dtype=np.uint8)
    task = archscout.task((x, y), kind="segmentation", unlabelled=999)
    wanted = {image.tobytes(): np.where(mask == 999, -1, mask) for image, mask in zip(x, y, strict=True)}
    assert task.test is not None
    for split in (task.train, task.valid, task.test):
        assert split.y.dtype == dtype
        for image, mask in zip(split.x, split.y, strict=True):
            np.testing.assert_array_equal(mask, wanted[image.tobytes()])
        assert task.tensors(split)[1].dtype == torch.int64


@pytest.mark.filterwarnings("ignore::archscout.core.errors.DataNotice")
def test_two_values_by_their_mark_are_in_one_byte() -> None:
    rng = np.random.default_rng(0)
    y = np.where(rng.random((12, 8, 8)) < 0.5, 255, 0).astype(np.int32)
    task = archscout.task((rng.integers(0, 256, (12, 8, 8, 3), dtype=np.uint8), y), kind="segmentation")
    assert task.train.y.dtype == np.int8 and set(np.unique(task.train.y)) == {0, 1}


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (
            lambda y: y.astype(np.float32),
            r"is float32 of shape \(12, 8, 8\): masks are N x height",
        ),
        (lambda y: np.where(y == 0, 2**64 - 1, y.astype(np.uint64)), r"has pixels of class \d+ to \d{19} in row 0"),
        (lambda y: y.astype(np.int8) - 2, "has pixels of class -2 to"),
    ],
)
def test_masks_that_are_no_classes_are_refused(spoil: Any, said: str) -> None:
    rng = np.random.default_rng(0)
    y = rng.integers(0, 3, (12, 8, 8))
    with pytest.raises(DataError, match=said):
        archscout.task((rng.integers(0, 256, (12, 8, 8, 3), dtype=np.uint8), spoil(y)))


def test_what_is_stored_of_a_task_is_found_again() -> None:
    task = tiny_segmentation(8)
    # Of the time when masks were held as int64: runs and trainings lie under it.
    assert task.digest == "741aa15104f0a9b6"
    assert task.sealed().digest == in_bytes(task, np.int8).sealed().digest != task.digest
    assert in_bytes(task, np.int8).digest == in_bytes(task, np.int16).digest == task.digest
    small = in_bytes(task, np.int8)
    shared = dataclasses.replace(task, valid=task.train)
    assert dataclasses.replace(small, valid=small.train).digest == digest_of(shared)
    changed = Split(task.train.x, task.train.y.copy())
    changed.y[0, 0, 0] ^= 1
    assert dataclasses.replace(task, train=changed).digest != task.digest


def test_an_array_that_counts_as_another_type_has_the_digest_of_that(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("archscout.core.digest._PART", 7)
    for shape in ((5, 3, 2), (40,), (0, 4), (2, 20)):
        array = np.arange(np.prod(shape), dtype=np.int8).reshape(shape)
        assert digest(CountedAs(array, np.int64)) == digest(array.astype(np.int64)) != digest(array)
        assert digest(CountedAs(array.T, np.int64)) == digest(array.T.astype(np.int64))


@pytest.mark.parametrize("together", [False, True])
def test_a_training_from_few_bytes_ends_in_the_same_bits(together: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    ends = []
    for dtype, limit in ((np.int64, 2**28), (np.int8, 2**28), (np.int8, 1)):
        monkeypatch.setattr(mapped, "IN_MEMORY", limit)
        task = in_bytes(tiny_segmentation(24), dtype)
        targets = task.tensors(task.train)[1]
        assert isinstance(targets, Streamed) == (limit == 1)
        assert targets[:3].dtype == torch.int64
        recipe = Recipe(epochs=2, batch_size=8, precision="float32", layout="contiguous", fit_on="train")
        torch.manual_seed(0)
        networks = [nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 2, 1)) for _ in range(3)]
        if together:
            outcomes = train_many(networks, task, recipe, seeds=[1, 2, 3])
        else:
            outcomes = [train(networks[0], task, recipe, seed=1, measured={"test": task.test})]
        curves = [[{k: v for k, v in row.items() if k != "seconds"} for row in one.curve] for one in outcomes]
        ends.append((curves, [p.tolist() for network in networks for p in network.parameters()]))
        answers = _answers(networks[0], task, task.valid)
        assert answers.right.shape == task.valid.y.shape
        x, y = Batches(task, task.train, 8, seed=0, name="train", augment=True)[0]
        ends[-1] += (answers.value, answers.loss, x.tolist(), y.tolist())
    assert ends[0] == ends[1] == ends[2]


def test_parts_of_a_split_are_whole_tensors(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mapped, "IN_MEMORY", 1)
    task = in_bytes(tiny_segmentation(24), np.int8)
    assert isinstance(task.tensors(task.train.head(5))[1], torch.Tensor)
