"""The task of image classification, against numpy and closed forms."""

import base64
import dataclasses
import io
import json
import pickle

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from archscout.core.errors import DataError
from archscout.core.task import Split
from archscout.tasks.images import ImageClassification
from archscout.tasks.load import undescribe
from archscout.testing import tiny_task


def make(dtype: type = np.uint8, channels: int = 3, **fields: object) -> ImageClassification:
    rng = np.random.default_rng(0)

    def split(count: int) -> Split:
        x = rng.integers(0, 256, (count, 6, 5, channels)).astype(dtype)
        return Split(x, np.arange(count) % 3)

    settings = {"train": split(40), "valid": split(12), "test": split(9)} | fields
    return ImageClassification("made", (channels, 6, 5), 3, class_names=("a", "b", "c"), **settings)  # type: ignore[arg-type]


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_inputs_are_normalised_by_the_train_split_alone(dtype: type) -> None:
    task = make(dtype)
    x = task.train.x.astype(np.float64)
    mean, std = x.mean((0, 1, 2)), x.std((0, 1, 2))
    np.testing.assert_allclose(task.mean, mean)
    np.testing.assert_allclose(task.std, std)
    for split in (task.train, task.valid, task.test):
        assert split is not None
        inputs, targets = task.tensors(split)
        assert inputs.dtype == torch.float32
        assert inputs.is_contiguous()
        expected = ((split.x - mean) / std).transpose(0, 3, 1, 2)
        np.testing.assert_allclose(inputs, expected, atol=1e-5)
        np.testing.assert_array_equal(targets, split.y)
    changed = make(dtype, valid=Split(np.zeros((3, 6, 5, 3), dtype), np.arange(3)))
    assert changed.mean == task.mean


def test_statistics_of_a_large_split_are_those_of_one_pass_in_double_precision() -> None:
    x = np.random.default_rng(1).integers(0, 256, (700, 96, 96, 3), dtype=np.uint8)
    x[..., 1] = 17
    split = Split(x, np.zeros(len(x), np.int64))
    task = ImageClassification("large", (3, 96, 96), 2, split, split, None)
    np.testing.assert_allclose(task.mean, x.mean((0, 1, 2), dtype=np.float64))
    np.testing.assert_allclose(task.std, [x[..., 0].std(), 1.0, x[..., 2].std()])


def test_stored_pixels_are_left_as_they_were() -> None:
    task = make(np.float32)
    before = task.train.x.copy()
    inputs, _ = task.tensors(task.train)
    inputs += 1
    task.augment(inputs, torch.Generator())
    np.testing.assert_array_equal(task.train.x, before)
    assert task.train.x.dtype == np.float32


def test_augmentation_keeps_shapes_and_does_what_the_task_allows() -> None:
    x, _ = make().tensors(make().train)
    nothing = make(shift=0)
    assert torch.equal(nothing.augment(x, torch.Generator()), x)
    flipped = make(shift=0, flip=True).augment(x, torch.Generator().manual_seed(0))
    assert {torch.equal(a, b) for a, b in zip(x, flipped, strict=True)} == {True, False}
    everything = make(shift=2, flip=True, cutout=2)
    changed = everything.augment(x, torch.Generator().manual_seed(0))
    assert changed.shape == x.shape
    assert not torch.equal(changed, x)
    assert torch.equal(changed, everything.augment(x, torch.Generator().manual_seed(0)))


def test_a_lighter_task_moves_its_images_half_as_far_and_leaves_their_colours() -> None:
    task = make(shift=4, flip=True, cutout=3, colour_jitter=0.5)
    lighter = task.lighter()
    # Of an image that is one pixel, the place tells how far it went, and its colour that it is seen as it was.
    image = np.zeros((500, 15, 15, 3), np.uint8)
    image[:, 7, 7] = 255
    x, _ = task.tensors(Split(image, np.zeros(500, np.int64)))
    moved = lighter.augment(x, torch.Generator().manual_seed(0))
    places = (moved[:, 0] > 0).nonzero()[:, 1:] - 7
    assert len(places) == 500
    assert int(places.abs().max()) == 2
    stored = moved * torch.tensor(lighter.std).view(-1, 1, 1) + torch.tensor(lighter.mean).view(-1, 1, 1)
    assert sorted({round(value) for value in stored.flatten().tolist()}) == [0, 255]
    assert (lighter.flip, lighter.mean, lighter.std) == (True, task.mean, task.std)
    assert make(shift=1).lighter().shift == 1
    assert make(shift=0).lighter().shift == 0


def test_what_is_shifted_in_is_black() -> None:
    task = make(shift=1)
    white = Split(np.full((64, 6, 5, 3), 255, np.uint8), np.zeros(64, np.int64))
    x, _ = task.tensors(white)
    shifted = task.augment(x, torch.Generator().manual_seed(0))
    stored = shifted * torch.tensor(task.std).view(-1, 1, 1) + torch.tensor(task.mean).view(-1, 1, 1)
    assert sorted({round(value) for value in stored.flatten().tolist()}) == [0, 255]


def test_loss_and_metric_follow_their_formulas() -> None:
    task = make()
    outputs = torch.tensor([[2.0, 0.0, 1.0], [0.0, 3.0, 0.0], [1.0, 1.0, 4.0], [5.0, 0.0, 0.0]])
    targets = torch.tensor([0, 1, 0, 0])
    logs = np.log(np.exp(outputs.numpy()) / np.exp(outputs.numpy()).sum(1, keepdims=True))
    picked = logs[np.arange(4), targets.numpy()]
    assert float(task.loss(outputs, targets)) == pytest.approx(-picked.mean(), rel=1e-5)
    smoothed = -(0.9 * picked + 0.1 * logs.mean(1)).mean()
    assert float(task.loss(outputs, targets, 0.1)) == pytest.approx(smoothed, rel=1e-5)
    assert task.measure(outputs, targets) == 0.75


def test_a_deployed_network_takes_images_as_they_are_stored() -> None:
    task = make()
    network = nn.Sequential(nn.Conv2d(3, 4, 3), task.head(4)).eval()
    x, _ = task.tensors(task.valid)
    stored = torch.from_numpy(task.valid.x).permute(0, 3, 1, 2).float()
    deployed = task.deploy(network).eval()
    torch.testing.assert_close(deployed(stored), network(x), rtol=1e-4, atol=1e-5)
    assert {"mean", "std", "network.0.weight"} <= set(deployed.state_dict())


def test_head_gives_one_output_a_class_for_any_size_of_image() -> None:
    head = make().head(4)
    assert head(torch.randn(2, 4, 1, 1)).shape == head(torch.randn(2, 4, 3, 7)).shape == (2, 3)


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_a_description_gives_back_a_task_that_deploys_alike(dtype: type) -> None:
    task = make(dtype, flip=True, cutout=2)
    described = json.loads(json.dumps(task.describe()))
    again = undescribe(described)
    assert again.describe() == task.describe()
    assert (again.mean, again.std, len(again.train)) == (task.mean, task.std, 0)
    network = nn.Flatten()
    stored = torch.rand(2, 3, 6, 5)
    torch.testing.assert_close(again.deploy(network)(stored), task.deploy(network)(stored))


@pytest.mark.parametrize("damage", [{"mean": None}, {"input_shape": [3]}, {"outputs": "many"}, {"stored": "nonsense"}])
def test_a_damaged_description_is_refused(damage: dict[str, object]) -> None:
    with pytest.raises(DataError, match="description of the task is damaged"):
        undescribe(make().describe() | damage)
    with pytest.raises(DataError, match="kind 'weather'"):
        undescribe({"kind": "weather"})


def test_a_sealed_task_has_no_test_split_and_another_digest() -> None:
    task = make()
    assert task.sealed().test is None
    assert task.sealed().digest == dataclasses.replace(task, test=None).digest != task.digest
    other = dataclasses.replace(task, valid=Split(task.valid.x[::-1].copy(), task.valid.y))
    assert other.digest != task.digest


def test_a_task_can_be_sent_to_another_process() -> None:
    task = make()
    assert task.mean
    again = pickle.loads(pickle.dumps(task))
    assert again.digest == task.digest


@pytest.mark.parametrize(("dtype", "channels"), [(np.uint8, 3), (np.uint8, 1), (np.float32, 1)])
def test_a_picture_is_a_png_of_the_stored_image(dtype: type, channels: int) -> None:
    task = make(dtype, channels)
    image = task.train.x[0]
    image.flat[0], image.flat[1] = 0, 255
    png = np.asarray(Image.open(io.BytesIO(base64.b64decode(task.picture(image)))))
    np.testing.assert_array_equal(png.reshape(image.shape), image)


def test_several_generators_draw_for_their_parts_as_each_would_alone() -> None:
    task = tiny_task((3, 12, 12), examples=24)
    task = dataclasses.replace(task, flip=True, cutout=4)
    x, _ = task.tensors(task.train)
    parts = list(x.split(6))
    together = task.augment_each(parts, [torch.Generator().manual_seed(seed) for seed in range(4)])
    for seed, (part, changed) in enumerate(zip(parts, together, strict=True)):
        assert torch.equal(changed, task.augment(part, torch.Generator().manual_seed(seed)))
        assert not torch.equal(changed, part)
