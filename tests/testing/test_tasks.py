import numpy as np
import pytest
import torch

from archscout.testing import tiny_task


def test_the_task_is_as_asked():
    task = tiny_task((3, 6, 5), classes=4, examples=20)
    assert task.input_shape == (3, 6, 5)
    assert task.outputs == 4
    for split in (task.train, task.valid, task.test):
        assert split.x.shape == (20, 6, 5, 3)
        assert split.x.dtype == np.uint8
        assert np.bincount(split.y).tolist() == [5, 5, 5, 5]


def test_the_same_task_every_time():
    assert tiny_task().digest == tiny_task().digest
    assert len({tiny_task(seed=seed).digest for seed in range(3)}) == 3
    assert not np.array_equal(tiny_task().train.x, tiny_task().valid.x)


def test_the_classes_can_be_told_apart():
    """The nearest mean of the training images is right nearly always; images of one class still differ."""
    task = tiny_task(examples=90)
    x, y = task.tensors(task.train)
    means = torch.stack([x[y == label].mean(0).flatten() for label in range(task.outputs)])
    x, y = task.tensors(task.valid)
    assert task.measure(-torch.cdist(x.flatten(1), means), y) > 0.95
    assert float(x[y == 0].std(0).mean()) > 0.1


def test_a_wrong_name_is_an_attribute_error():
    import archscout.testing

    with pytest.raises(AttributeError, match="has no 'SpaceConformanse'"):
        _ = archscout.testing.SpaceConformanse
