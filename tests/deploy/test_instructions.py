"""Turns of loops against loops that are run."""

from collections import Counter

import pytest
import torch
from torch import nn

from archscout.deploy.instructions import PER_TURN, instructions, turns
from archscout.deploy.program import Program
from archscout.deploy.reading import read

SHAPE = (3, 7, 6)


def program_of(*layers: nn.Module) -> Program:
    torch.manual_seed(0)
    return read(nn.Sequential(*layers), SHAPE)


def test_products_of_a_convolution_are_its_multiply_adds() -> None:
    """A quad is sixteen products, a tail four, and outputs are brought to their grid once."""
    program = program_of(nn.Conv2d(3, 8, 3, stride=2, padding=1), nn.ReLU(), nn.Conv2d(8, 12, 3, groups=2))
    count = turns(program)
    assert 16 * count["quads"] + 4 * count["tails"] + (program.macs if count["lone"] else 0) >= program.macs
    last = program_of(nn.Conv2d(3, 8, 3, padding=1))
    assert 16 * turns(last)["quads"] + 4 * turns(last)["tails"] == last.macs
    assert turns(last)["finished"] == 8 * 7 * 6
    assert turns(last)["gathered"] == 9 * 7 * 6


def test_depthwise_convolutions_skip_what_is_not_on_the_map() -> None:
    layer = nn.Conv2d(3, 3, 5, stride=2, padding=2, dilation=1, groups=3)
    program = program_of(layer)
    counted: Counter[str] = Counter()
    for row in range(program.shapes[1][1]):
        for column in range(program.shapes[1][2]):
            for i in range(5):
                for j in range(5):
                    inside = 0 <= 2 * row - 2 + i < 7 and 0 <= 2 * column - 2 + j < 6
                    counted["depthwise products"] += 3 * inside
    assert turns(program)["depthwise products"] == counted["depthwise products"]


def test_every_loop_has_its_instructions() -> None:
    program = program_of(
        nn.Conv2d(3, 6, 3, padding=1), nn.MaxPool2d(3, 1, 1), nn.AvgPool2d(2), nn.Conv2d(6, 6, 3, padding=1, groups=6),
        nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 5),
    )  # fmt: skip
    assert set(turns(program)) <= set(PER_TURN)
    wider = program_of(nn.Conv2d(3, 64, 3, padding=1))
    assert instructions(wider) > 5 * instructions(program_of(nn.Conv2d(3, 8, 3, padding=1))) / 2


@pytest.mark.parametrize("kind", [nn.MaxPool2d, nn.AvgPool2d])
def test_pooling(kind: type[nn.Module]) -> None:
    program = program_of(kind(2))
    name = "max_pool" if kind is nn.MaxPool2d else "average_pool"
    assert turns(program)[f"{name} reads"] == 4 * turns(program)[f"{name} outputs"] == 4 * 3 * 3 * 3
