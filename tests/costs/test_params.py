"""Parameters against the closed form of the published network."""

import pytest

from archscout.core.cost import Cost
from archscout.core.estimator import Setting
from archscout.core.registry import create
from archscout.core.seeds import stream
from archscout.costs.params import Params
from archscout.networks.pick import build
from archscout.testing import CostConformance
from archscout.testing.tasks import tiny_task

CELL = "|{}~0|+|{}~0|{}~1|+|{}~0|{}~1|{}~2|"


class TestParams(CostConformance):
    def cost(self) -> Cost:
        return Params()


@pytest.mark.parametrize(("operation", "kernel"), [("nor_conv_3x3", 9), ("nor_conv_1x1", 1), ("skip_connect", None)])
def test_nasbench201_by_hand(operation: str, kernel: int | None) -> None:
    """Stem, five cells of six operations in each of three stages, two residual reductions, last norm, classifier."""
    space, task = create("space", "nasbench201:width=16,cells=5"), tiny_task((3, 32, 32), classes=10)
    total = 3 * 16 * 9 + 2 * 16
    for channels in (16, 32, 64):
        total += 5 * 6 * (kernel * channels**2 + 2 * channels) if kernel else 0
    for channels in (32, 64):
        total += 9 * channels * channels // 2 + 9 * channels**2 + 2 * 2 * channels + channels * channels // 2
    total += 2 * 64 + 64 * 10 + 10
    architecture = space.parse(CELL.format(*[operation] * 6))
    assert Params().measure(architecture, Setting(space, task)).value == total


@pytest.mark.parametrize("name", ["nasbench201", "mobile"])
def test_it_counts_what_is_trained(name: str) -> None:
    space, task = create("space", name), tiny_task()
    for number in range(5):
        architecture = space.sample(stream(number))
        network = build(space, architecture, task)
        assert Params().measure(architecture, Setting(space, task)).value == sum(
            p.numel() for p in network.parameters()
        )
