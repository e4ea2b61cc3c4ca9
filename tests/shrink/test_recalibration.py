"""After a heavy cut layers give again what they gave in the whole network, as far as mean and spread of channels go."""

import copy
import importlib.util
from pathlib import Path

import pytest
import torch
from torch import nn

from archscout.networks.cutting import cut
from archscout.shrink.rating import divergence
from archscout.shrink.recalibration import recalibrate
from archscout.spaces.trained import TrainedSpace

_spec = importlib.util.spec_from_file_location("zoo", Path(__file__).parents[1] / "networks" / "zoo.py")
zoo = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(zoo)

X = torch.randn(64, 3, 16, 16, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("name", ["plain", "resnet", "mobilenet", "vit"])
def test_a_cut_network_gets_the_statistics_of_the_whole_one(name: str) -> None:
    whole = zoo.zoo_network(name).eval()
    space = TrainedSpace(whole, input_shape=(3, 16, 16))
    groups = list(space.groups.values())
    what = space.cut_of({c.name: c.options[-1] for c in space.choices if c.name.endswith(".width")})
    smaller = cut(whole, groups, what).eval()
    with torch.no_grad():
        original, before = whole(X), smaller(X)
        weights = {key: tensor.clone() for key, tensor in whole.state_dict().items()}
        recalibrate(smaller, whole, groups, what, X)
        after = smaller(X)
    torch.testing.assert_close(after.mean(0), original.mean(0), rtol=1e-3, atol=1e-3)
    assert divergence(after, original) < divergence(before, original)
    assert all(torch.equal(weights[key], tensor) for key, tensor in whole.state_dict().items())


def test_nothing_cut_nothing_changed() -> None:
    whole = zoo.zoo_network("resnet").eval()
    same = copy.deepcopy(whole)
    recalibrate(same, whole, [], TrainedSpace(whole, input_shape=(3, 16, 16)).cut_of({}), X)
    with torch.no_grad():
        torch.testing.assert_close(same(X), whole(X), rtol=1e-3, atol=1e-4)


def test_a_channel_that_hardly_varies_is_not_blown_up() -> None:
    whole, smaller = nn.Sequential(nn.Conv2d(3, 2, 1)).eval(), nn.Sequential(nn.Conv2d(3, 2, 1)).eval()
    with torch.no_grad():
        smaller[0].weight.mul_(1e-9)
        before = smaller[0].weight.clone()
        recalibrate(smaller, whole, [], TrainedSpace(zoo.zoo_network("plain"), input_shape=(3, 16, 16)).cut_of({}), X)
        torch.testing.assert_close(smaller[0].weight, 10 * before)
        torch.testing.assert_close(smaller(X).mean((0, 2, 3)), whole(X).mean((0, 2, 3)), rtol=1e-4, atol=1e-5)
