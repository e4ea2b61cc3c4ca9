"""Scores do not depend on how a module of the user's own is written: in place or not, functions or modules."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from archscout.core.estimator import Setting
from archscout.core.registry import create
from archscout.networks.choices import OneOf
from archscout.spaces.model import ModelSpace
from archscout.testing import tiny_task


class Written(nn.Module):
    """One network in several ways of writing it."""

    def __init__(self, way: str) -> None:
        super().__init__()
        self.way = way
        self.first, self.second = nn.Conv2d(1, 6, 3, padding=1), nn.Conv2d(6, 6, 3, padding=1)
        self.option = OneOf({"a": nn.Identity(), "b": nn.Tanh()}, name="o")
        self.relus = nn.ModuleList([nn.ReLU(inplace=way == "module in place") for _ in range(2)])
        self.head = nn.Linear(6, 3)

    def relu(self, x: Tensor, place: int) -> Tensor:
        if self.way.startswith("module"):
            return self.relus[place](x)
        if self.way == "function in place":
            return F.relu(x, inplace=True)
        return x.relu() if self.way == "method" else F.relu(x)

    def forward(self, x: Tensor) -> Tensor:
        x = self.relu(self.first(x), 0)
        y = self.relu(self.second(x), 1)
        return self.head(self.option(x + y).mean((2, 3)))


WAYS = ("module", "module in place", "function", "function in place", "method")
SCORES = (
    "te_nas_ntk",
    "teg_mse",
    "eigen_nas",
    "meco",
    "near",
    "dextr",
    "naswot",
    "zico",
    "gradsign",
    "synflow",
    "knas",
)


@pytest.mark.parametrize("name", SCORES)
def test_a_score_is_the_same_however_code_is_written(name: str) -> None:
    torch.set_num_threads(1)
    task = tiny_task(examples=200).sealed()
    values = {}
    for way in WAYS:
        space = ModelSpace(Written(way), name="written")
        estimator = create("estimator", name)
        values[way] = estimator.estimate([space.parse("o=a")], Setting(space, task))[0]
    expected = values["module"].value
    for way, estimate in values.items():
        if math.isnan(expected):
            assert math.isnan(estimate.value), way
        else:
            assert estimate.value == pytest.approx(expected, rel=1e-3), way
    assert math.isfinite(expected), values["module"].reason
