"""Bytes of weights against the files that hold them, and by hand."""

import struct
from pathlib import Path

import pytest
from safetensors.torch import save_file
from torch import nn

from archscout.core.cost import Cost
from archscout.core.errors import UsageError
from archscout.core.estimator import Setting
from archscout.core.registry import create
from archscout.core.seeds import stream
from archscout.costs.weight_bytes import WeightBytes, stored_bytes
from archscout.networks.pick import build
from archscout.testing import CostConformance
from archscout.testing.tasks import tiny_task


class TestWeightBytes(CostConformance):
    def cost(self) -> Cost:
        return WeightBytes(bits=8)


@pytest.mark.parametrize("name", ["nasbench201", "mobile"])
def test_float32_is_what_a_file_of_the_weights_holds(name: str, tmp_path: Path) -> None:
    space, task = create("space", name), tiny_task()
    architecture = space.sample(stream(0))
    network = build(space, architecture, task)
    weights = {key: tensor for key, tensor in network.state_dict().items() if tensor.is_floating_point()}
    save_file(weights, tmp_path / "weights.safetensors")
    content = (tmp_path / "weights.safetensors").read_bytes()
    header = 8 + struct.unpack("<Q", content[:8])[0]
    assert WeightBytes().measure(architecture, Setting(space, task)).value == len(content) - header


@pytest.mark.parametrize(("bits", "weights"), [(32, 72 * 4), (8, 72), (4, 36), (3, 27), (1, 9)])
def test_bits_by_hand(bits: int, weights: int) -> None:
    network = nn.Sequential(nn.Conv2d(1, 8, 3), nn.BatchNorm2d(8))
    assert stored_bytes(network, bits) == weights + 4 * 8 + 4 * 4 * 8


def test_a_shared_matrix_counts_once() -> None:
    first = nn.Linear(4, 4, bias=False)
    second = nn.Linear(4, 4, bias=False)
    second.weight = first.weight
    assert stored_bytes(nn.Sequential(first, second)) == 64


def test_keys_differ_by_bits() -> None:
    assert WeightBytes().key == "weight_bytes"
    assert create("cost", "weight_bytes:bits=4").key == "weight_bytes_4bit"


@pytest.mark.parametrize("bits", [0, 33, 7.5, True])
def test_wrong_bits(bits: object) -> None:
    with pytest.raises(UsageError, match="whole number from 1 to 32"):
        WeightBytes(bits=bits)  # type: ignore[arg-type]
