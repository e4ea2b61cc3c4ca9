"""What a process remembers of one space is not answered for another of the same name."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from torch import Tensor, nn

from archscout.core.estimator import Setting
from archscout.core.registry import create
from archscout.estimators.zero_cost import bn_gamma, freedarts, harness, operators, skeleton
from archscout.networks.choices import OneOf
from archscout.spaces.model import ModelSpace
from archscout.testing import tiny_task


def _net(layers: int) -> nn.Module:
    """Two modules of one class name, of one and of several layers: what an edit makes."""

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem = nn.Conv2d(tiny_task().input_shape[0], 4, 3, padding=1)
            self.blocks = nn.Sequential(
                *(
                    OneOf(
                        {
                            "conv": nn.Sequential(nn.Conv2d(4, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU()),
                            "point": nn.Sequential(nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4), nn.ReLU()),
                        },
                        name=f"block {number % 1}",
                    )
                    for number in range(layers)
                )
            )
            self.head = nn.Linear(4, tiny_task().outputs)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(self.blocks(self.stem(x)).mean((2, 3)))  # type: ignore[no-any-return]

    return Net()


def _forget() -> None:
    for cache in (bn_gamma._tables, freedarts._tables, harness._references, operators._known, skeleton._supernets):
        cache.clear()  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    "name",
    ["bn_gamma:steps=3,batch=8", "freedarts", "az_nas:reference=4", "rank_blend:reference=4", "epsilon", "naswot"],
)
def test_two_modules_of_one_name_have_scores_of_their_own(name: str) -> None:
    """In one process, each is scored as it is in a process of its own, in whatever order they come."""

    def scores(layers: int) -> list[Any]:
        space = ModelSpace(_net(layers))
        setting = Setting(space, tiny_task(), seed=1)
        architectures = [space.parse("block 0=conv"), space.parse("block 0=point")]
        estimator = create("estimator", name)
        return [estimate.value for estimate in estimator.estimate(architectures, setting)]

    alone = []
    for layers in (1, 2):
        _forget()
        alone.append(scores(layers))
    _forget()
    together = [scores(layers) for layers in (1, 2, 1)]
    assert np.array(together) == pytest.approx(np.array([alone[0], alone[1], alone[0]]))
    if not name.startswith(("az_nas", "rank_blend")):  # those are ranks among samples of the space
        assert alone[0] != pytest.approx(alone[1])
