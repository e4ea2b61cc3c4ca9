"""A space made of a module of one's own."""

import pytest
import torch.nn.functional as F
from torch import Tensor, nn

from archscout.core.space import Space
from archscout.networks.choices import Conv2d, Kernel, Linear, OneOf, Width
from archscout.spaces.model import ModelSpace


class Own(nn.Module):
    """Choices of width, kernel and pooling; an activation that is a function call."""

    def __init__(self) -> None:
        super().__init__()
        width = Width(4, 6, 8)
        self.first = Conv2d(1, width, 3)
        self.second = Conv2d(width, width, Kernel(1, 3, 5))
        self.pool = OneOf({"max": nn.AdaptiveMaxPool2d(2), "mean": nn.AdaptiveAvgPool2d(2)})
        self.head = Linear(width * 4, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.first(x))
        x = x + self.second(x).relu_()
        return self.head(self.pool(x).flatten(1))


@pytest.fixture
def own_space() -> Space:
    return ModelSpace(Own())
