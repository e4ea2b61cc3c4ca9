"""The meta device for counting: the networks of `torch.device("meta")`, in less time; other devices as ever."""

import time

import pytest
import torch
from torch import nn

from archscout.core.registry import create
from archscout.core.seeds import stream
from archscout.networks.pick import ArchitecturePick, build
from archscout.networks.undrawn import Undrawn
from archscout.testing import tiny_task


@pytest.mark.parametrize("name", ["nasbench201:width=4,cells=1", "mobile:stages=2,depth=2", "darts:width=4,layers=3"])
def test_tensors_have_the_shapes_of_the_meta_device(name: str) -> None:
    space, task = create("space", name), tiny_task((3, 16, 16))
    architecture = space.simplify(space.sample(stream(0)))
    counted = build(space, architecture, task, device="meta").state_dict()
    with torch.device("meta"):
        expected = space.network(task, ArchitecturePick(architecture)).state_dict()
    assert {k: (v.shape, v.dtype, v.device.type) for k, v in counted.items()} == {
        k: (v.shape, v.dtype, "meta") for k, v in expected.items()
    }


def test_what_lies_elsewhere_is_filled() -> None:
    with Undrawn():
        layer = nn.Conv2d(3, 4, 3)
        numbers = torch.empty(5, device="cpu").fill_(3.0)
        nn.init.constant_(here := torch.empty(2, device="cpu"), 7.0)
        assert nn.init.uniform_(layer.weight) is layer.weight and layer.weight.is_meta
    assert numbers.tolist() == [3.0] * 5 and here.tolist() == [7.0, 7.0]
    assert torch.zeros(1).device.type == "cpu"


def test_it_takes_less_time() -> None:
    def seconds(context: object) -> float:
        started = time.process_time()
        with context():  # type: ignore[operator]
            for _ in range(30):
                nn.Conv2d(8, 8, 3)
        return time.process_time() - started

    seconds(Undrawn)
    ratio = min(seconds(Undrawn) / seconds(lambda: torch.device("meta")) for _ in range(5))
    assert ratio < 0.7
