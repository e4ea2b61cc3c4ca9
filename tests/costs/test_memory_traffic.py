"""Bytes read and written, against networks worked out by hand."""

import torch
from torch import Tensor, nn

from archscout.core.cost import Cost
from archscout.core.estimator import Setting
from archscout.core.registry import create
from archscout.core.seeds import stream
from archscout.costs.memory_traffic import MemoryTraffic, traffic_bytes
from archscout.networks.tracing import trace
from archscout.testing import CostConformance, tiny_task


class TestMemoryTraffic(CostConformance):
    def cost(self) -> Cost:
        return MemoryTraffic()


def test_numbers_of_fewer_bytes() -> None:
    setting = Setting(create("space", "nasbench201:width=4,cells=1"), tiny_task())
    architecture = setting.space.sample(stream(0))
    plain, half = (MemoryTraffic(name).measure(architecture, setting).value for name in ("float32", "bfloat16"))
    assert half == plain / 2
    assert MemoryTraffic("bfloat16").key == "memory_traffic_bfloat16_bytes"


def test_a_network_by_hand() -> None:
    network = nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(8, 3),
    )
    image, maps = 36, 8 * 36
    numbers = image + (72 + 8) + maps  # convolution: what it reads, its weights and biases, what it writes
    numbers += maps + 4 * 8 + maps  # normalisation: scale, shift, mean and variance
    numbers += maps + maps  # ReLU
    numbers += maps + 8  # mean
    numbers += 8 + (24 + 3) + 3  # classifier
    assert traffic_bytes(trace(network, (1, 6, 6))) == 4 * numbers


class Sum(nn.Module):
    """A tensor that is read twice, and one operator in place."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(5))

    def forward(self, x: Tensor) -> Tensor:
        y = x * self.scale
        y += x
        return y.relu_() + y


def test_what_is_read_twice_counts_twice() -> None:
    """Multiply: x, 5 weights, y; add in place: y, x, y; ReLU in place: y, y; the last sum reads y once, writes."""
    assert traffic_bytes(trace(Sum(), (5,))) == 4 * 5 * (3 + 3 + 2 + 2)
