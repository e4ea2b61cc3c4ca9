"""The graph of digits, and nodes as examples."""

import dataclasses

import numpy as np
import pytest
import torch

from archscout.core.errors import DataError, UsageError
from archscout.tasks.digits_graph import digits_graph
from archscout.tasks.load import load


@pytest.fixture(scope="module")
def task():
    return load("digits_graph")


def test_every_node_has_its_nearest_neighbours(task):
    from scipy.spatial.distance import cdist

    pixels = np.rint(task.features * 16)
    joined = set(map(tuple, task.edges.tolist()))
    assert all((j, i) in joined and i != j for i, j in joined)
    for node in range(0, 1797, 150):
        distances = cdist(pixels[node : node + 1], pixels)[0]
        distances[node] = np.inf
        near = np.argsort(distances, kind="stable")[:8]
        assert all((node, int(other)) in joined for other in near)
    assert 1797 * 8 <= len(joined) <= 1797 * 16


def test_splits_cover_what_they_say(task):
    assert (len(task.train), len(task.valid), len(task.test)) == (200, 360, 360)
    seen = [set(split.x[:, 0].tolist()) for split in (task.train, task.valid, task.test)]
    assert not seen[0] & seen[1]
    assert not seen[0] & seen[2]
    assert not seen[1] & seen[2]
    assert set(np.bincount(task.train.y)) <= {19, 20, 21}
    assert load("digits_graph:train=100,neighbours=4").name == "digits_graph:neighbours=4,train=100"


def test_the_digest_depends_on_the_graph(task):
    fewer = dataclasses.replace(task, edges=task.edges[:-2])
    assert fewer.digest != task.digest == digits_graph().digest


def test_examples_are_numbers_of_nodes(task):
    x, y = task.tensors(task.valid)
    assert x.shape == (360, 1)
    assert x.dtype == torch.float32
    assert np.array_equal(x[:, 0].numpy(), task.valid.x[:, 0])
    assert task.augment(x, torch.Generator()) is x
    outputs = torch.nn.functional.one_hot(y, 10).float()
    assert task.measure(outputs, y) == 1.0


def test_a_description_makes_the_task_again(task):
    assert type(task).from_description(task.describe()).digest == task.digest
    with pytest.raises(DataError, match="cannot be made again"):
        type(task).from_description({"name": "no such task"})


@pytest.mark.parametrize("parameters", [{"train": 0}, {"train": 5}, {"train": 5000}, {"neighbours": 2000}])
def test_parameters_are_checked(parameters):
    with pytest.raises(UsageError, match=r"train|neighbours"):
        digits_graph(**parameters)
