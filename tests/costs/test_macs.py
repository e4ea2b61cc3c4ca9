"""Multiply-adds against PyTorch's flop counter and against formulas written by hand."""

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from archscout.core.cost import Cost
from archscout.core.estimator import Setting
from archscout.core.registry import create
from archscout.core.seeds import stream
from archscout.core.space import Space
from archscout.costs.macs import Macs
from archscout.networks.pick import build
from archscout.testing import CostConformance
from archscout.testing.tasks import tiny_task

CELL = "|{}~0|+|{}~0|{}~1|+|{}~0|{}~1|{}~2|"


class TestMacs(CostConformance):
    def cost(self) -> Cost:
        return Macs()


@pytest.mark.parametrize(("operation", "kernel"), [("nor_conv_3x3", 9), ("nor_conv_1x1", 1), ("avg_pool_3x3", 0)])
def test_nasbench201_by_hand(operation: str, kernel: int) -> None:
    """Each convolution does (kernel area) x (channels in) x (channels out) multiply-adds at each pixel."""
    space, task = create("space", "nasbench201:width=16,cells=5"), tiny_task((3, 32, 32), classes=10)
    total = 9 * 3 * 16 * 32**2 + 64 * 10
    for channels, side in ((16, 32), (32, 16), (64, 8)):
        total += 5 * 6 * kernel * channels**2 * side**2
    for channels, side in ((32, 16), (64, 8)):
        total += (9 * channels // 2 + 9 * channels + channels // 2) * channels * side**2
    architecture = space.parse(CELL.format(*[operation] * 6))
    assert Macs().measure(architecture, Setting(space, task)).value == total


def test_an_inverted_residual_by_hand() -> None:
    """One block a stage, 8 x 8 images: the third stage halves; the last block squeezes."""
    space, task = create("space", "mobile:width=8,stages=2,depth=1"), tiny_task((1, 8, 8), classes=3)
    total = 9 * 8 * 64  # stem
    total += 8 * 16 * 64 + 9 * 16 * 64 + 16 * 4 * 64  # k3e2, to 50 % of 8
    total += 4 * 24 * 64 + 25 * 24 * 16 + 24 * 16 * 16 + 2 * 24 * 6  # k5e6, stride 2, squeezed, to 100 % of 16
    total += 16 * 32 * 16 + 32 * 3  # tail, classifier
    architecture = space.parse("w50-k3e2r_w100-k5e6hs")
    assert Macs().measure(architecture, Setting(space, task)).value == total


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("nasbench201", (1, 8, 8)),
        ("nasbench201", (3, 32, 32)),
        ("nasbench201", (3, 17, 30)),
        ("mobile", (1, 8, 8)),
        ("mobile", (3, 32, 32)),
        ("mobile", (3, 17, 30)),
        ("own", (1, 8, 8)),
        ("own", (1, 19, 12)),
    ],
)
def test_half_of_pytorchs_flops(name: str, shape: tuple[int, int, int], own_space: Space) -> None:
    space = own_space if name == "own" else create("space", name)
    task = tiny_task(shape)
    for number in range(4):
        architecture = space.sample(stream(number))
        network = build(space, architecture, task).eval()
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            network(torch.zeros(1, *shape))
        assert 2 * Macs().measure(architecture, Setting(space, task)).value == counter.get_total_flops()
