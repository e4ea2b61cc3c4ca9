"""Gradients of single examples against a backward pass for each."""

import pytest
import torch
from torch import nn

from archscout.core.errors import UndefinedScore
from archscout.estimators.zero_cost.layers import following, weight_gradients

LAYERS = {
    "3x3": (nn.Conv2d(4, 6, 3, padding=1), (4, 7, 5)),
    "5x3": (nn.Conv2d(4, 6, (5, 3), padding=(2, 1), bias=False), (4, 6, 8)),
    "stride": (nn.Conv2d(4, 6, 3, 2, 1), (4, 9, 8)),
    "dilation": (nn.Conv2d(4, 6, 3, 1, 2, dilation=2), (4, 9, 8)),
    "groups": (nn.Conv2d(4, 6, 3, padding=1, groups=2), (4, 6, 6)),
    "depthwise": (nn.Conv2d(4, 4, 5, 2, 2, groups=4), (4, 8, 8)),
    "1x1": (nn.Conv2d(4, 6, 1, 2), (4, 6, 7)),
    "same": (nn.Conv2d(4, 6, 3, padding="same"), (4, 6, 7)),
    "valid": (nn.Conv2d(4, 6, 3, padding="valid"), (4, 6, 7)),
    "wide": (nn.Conv2d(40, 3, 3, padding=1), (40, 5, 5)),
    "vectors": (nn.Linear(4, 6), (4,)),
    "sequences": (nn.Linear(4, 6), (5, 4)),
    "one dimension": (nn.Conv1d(4, 6, 3, 2, 1), (4, 9)),
}


@pytest.mark.parametrize("name", LAYERS)
def test_weight_gradients(name: str) -> None:
    layer, shape = LAYERS[name]
    generator = torch.Generator().manual_seed(1)
    x = torch.randn((3, *shape), generator=generator)
    y = layer(x)
    gradient = torch.randn(y.shape, generator=generator)
    found = weight_gradients(layer, x, gradient)
    for example in range(3):
        (expected,) = torch.autograd.grad((y * gradient)[example].sum(), layer.weight, retain_graph=True)
        assert torch.allclose(found[example], expected.flatten(), rtol=1e-4, atol=1e-5)


def test_three_dimensions_are_said_to_be_missing() -> None:
    with pytest.raises(UndefinedScore, match="three-dimensional"), following(nn.Sequential(nn.Conv3d(1, 1, 1))):
        pass


@pytest.mark.parametrize("named", [{"padding_mode": "reflect"}, {"kernel_size": 4, "padding": "same"}])
def test_other_padding_is_said_to_be_missing(named: dict[str, object]) -> None:
    layer = nn.Conv2d(**({"in_channels": 2, "out_channels": 2, "kernel_size": 3, "padding": 1} | named))  # type: ignore[arg-type]
    x = torch.ones((1, 2, 6, 6))
    with pytest.raises(UndefinedScore, match="padding"):
        weight_gradients(layer, x, torch.ones((1, 2, 6, 6)))
