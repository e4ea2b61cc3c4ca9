"""The space of networks for rows."""

import pytest
import torch

import archscout
from archscout.core.errors import UsageError
from archscout.core.space import Space
from archscout.core.task import Task
from archscout.networks.pick import build
from archscout.spaces.load import automatic_space
from archscout.spaces.rows import REFERENCES, Rows
from archscout.testing import SpaceConformance, tiny_rows, tiny_task


class TestRows(SpaceConformance):
    def space(self) -> Space:
        return Rows(width=32)

    def task(self) -> Task:
        return tiny_rows()


def test_references_are_networks_as_published() -> None:
    task, space = tiny_rows(), Rows()
    assert automatic_space(task).name == "rows"
    assert set(space.references()) == set(REFERENCES)
    features, classes = task.input_shape[0], 3
    counts = {
        "mlp2x64_relu": 64 * features + 128 + 64 * 64 + 128 + 64 * classes + classes,
        "resnet1x32_relu": 33 * features - features + 32 + 64 + (32 * 64 + 64) + (64 * 32 + 32) + 64 + 33 * classes,
    }
    for text, count in counts.items():
        network = build(space, space.parse(text), task)
        assert sum(parameter.numel() for parameter in network.parameters()) == count
    assert Rows(width=64).references().keys() == {"mlp", "mlp_small", "resnet", "resnet_small"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("mlp2x64", "has 1 parts where there are two"),
        ("mlp9x64_relu", "the depth of 'mlp9x64_relu', must be one of 1, 2, 3, 4"),
        ("tree2x64_relu", "the kind of 'tree2x64_relu', must be one of mlp, resnet"),
    ],
)
def test_texts_that_are_none(text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        Rows().parse(text)
    with pytest.raises(UsageError, match="needs rows of numbers"):
        archscout.space("rows").check_task(tiny_task())


def test_one_row_alone_is_answered() -> None:
    space, task = Rows(), tiny_rows()
    network = build(space, space.parse("resnet2x64_silu"), task).eval()
    assert network(torch.zeros(1, *task.input_shape)).shape == (1, 3)
