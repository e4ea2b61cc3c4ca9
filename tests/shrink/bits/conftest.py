"""A network of four layers, some of which matter more."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from archscout.deploy.program import Program
from archscout.deploy.reading import read
from archscout.shrink.bits.hessian import Loss

SHAPE = (2, 6, 6)


@pytest.fixture(scope="module")
def program() -> Program:
    """Four layers, some of which matter more."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = nn.Sequential(
            nn.Conv2d(2, 6, 3), nn.ReLU(), nn.Conv2d(6, 6, 3, padding=1, groups=6), nn.ReLU(), nn.Conv2d(6, 8, 1),
            nn.ReLU(), nn.Flatten(), nn.Linear(8 * 16, 3),
        )  # fmt: skip
        with torch.no_grad():
            network[7].weight.mul_(6)
        return read(network, SHAPE)


@pytest.fixture(scope="module")
def examples() -> Tensor:
    return torch.randn(16, *SHAPE, generator=torch.Generator().manual_seed(1))


@pytest.fixture(scope="module")
def loss(program: Program, examples: Tensor) -> Loss:
    """The distance to the answers of the network itself, which no rounding makes smaller."""
    answers = program.run(examples)
    return lambda outputs: F.mse_loss(outputs, answers[: len(outputs)])
