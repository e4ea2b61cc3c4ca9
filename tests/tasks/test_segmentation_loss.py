"""The loss of masks: rare classes count by the root of how rare their pixels are."""

import dataclasses

import numpy as np
import pytest
import torch

from archscout.core.task import Split
from archscout.tasks.assemble import assemble
from archscout.tasks.contents import Raw
from archscout.tasks.measures import measured_by
from archscout.tasks.segmentation import Segmentation, rarity
from archscout.testing.tasks import tiny_segmentation
from archscout.training.recipe import Recipe


def test_weights_follow_the_root_of_rarity() -> None:
    masks = np.zeros((1, 10, 10), np.int64)
    masks[0, 0, :4] = 1  # 4 of 96 pixels that have a class
    masks[0, 9, :4] = -1
    zero, one, absent = rarity(masks, 3)
    assert one / zero == pytest.approx(np.sqrt(92 / 4))
    assert (92 * zero + 4 * one) / 96 == pytest.approx(1)
    assert absent == 1


def loss_of(task: Segmentation, outputs: torch.Tensor, y: torch.Tensor) -> float:
    """Written out: the weighted mean over pixels with a class of minus the logarithm of the right class's share."""
    total = weights = 0.0
    for (n, h, w), label in np.ndenumerate(y.numpy()):
        if label >= 0:
            weight = task.class_weights[label] if task.class_weights else 1.0
            total -= weight * float(outputs[n, :, h, w].log_softmax(0)[label])
            weights += weight
    return total / weights


def test_the_loss_weighs_pixels_where_the_metric_weighs_classes_alike() -> None:
    plain = tiny_segmentation(8)
    task = dataclasses.replace(plain, class_weights=rarity(plain.train.y, 2))
    outputs = torch.randn(2, 2, 8, 8, generator=torch.Generator().manual_seed(0))
    y = torch.from_numpy(task.train.y[:2])
    assert float(task.loss(outputs, y)) == pytest.approx(loss_of(task, outputs, y), rel=1e-5)
    assert float(plain.loss(outputs, y)) == pytest.approx(loss_of(plain, outputs, y), rel=1e-5)
    assert float(task.loss(outputs, y)) != pytest.approx(float(plain.loss(outputs, y)), rel=1e-3)
    by_pixels = measured_by(task, "pixel_accuracy")
    assert float(by_pixels.loss(outputs, y)) == pytest.approx(float(plain.loss(outputs, y)), rel=1e-6)
    assert float(task.loss(outputs, torch.full_like(y, -1))) == 0


def test_masks_get_weights_and_no_smoothing() -> None:
    given = tiny_segmentation(12)
    parts = {
        key: Raw(split.x, split.y, "x", "y")
        for key, split in (("train", given.train), ("valid", given.valid), ("test", given.test))
        if isinstance(split, Split)
    }
    task = assemble("it", "it", parts)
    assert isinstance(task, Segmentation)
    assert task.class_weights == rarity(given.train.y, 2)
    for epochs in (3, 30):
        assert Recipe.default(task, epochs).label_smoothing == 0
