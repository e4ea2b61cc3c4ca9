"""Whether a network fits, against sums by hand."""

import json
import math
from pathlib import Path

import pytest
from torch import Tensor, nn

from archscout.core.cost import Constraint, Cost, meets
from archscout.core.errors import UsageError
from archscout.core.estimator import Setting
from archscout.core.registry import create
from archscout.core.space import Space
from archscout.costs import devices
from archscout.networks.choices import Conv2d as Conv
from archscout.networks.choices import Kernel
from archscout.spaces.model import ModelSpace
from archscout.testing import CostConformance
from archscout.testing.tasks import tiny_task


class TestFit(CostConformance):
    def cost(self) -> Cost:
        return create("cost", "fit@cortex-m4")  # type: ignore[no-any-return]


class Small(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = Conv(1, 8, Kernel(1, 3))
        self.act = nn.ReLU()
        self.head = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.act(self.conv(x)).mean((2, 3)))


@pytest.fixture
def space() -> Space:
    return ModelSpace(Small())


def device(folder: Path, **parts: object) -> None:
    profile = {"format": 1, "name": "mine", "title": "Mine", "kind": "microcontroller", **parts}
    folder.mkdir(exist_ok=True)
    (folder / "mine.json").write_text(json.dumps(profile))


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(devices.FOLDER_VARIABLE, str(tmp_path))
    return tmp_path


def test_the_larger_share_counts(folder: Path, space: Space) -> None:
    """8 x 8 images: convolution to 8 maps, ReLU (two times 512 bytes at once), 8 means, 3 outputs."""
    device(
        folder, memory={"sram_bytes": 4096, "flash_bytes": 1000, "runtime_sram_bytes": 100, "runtime_flash_bytes": 10}
    )
    setting = Setting(space, tiny_task((1, 8, 8), classes=3))
    measured = create("cost", "fit@mine").measure(list(space)[-1], setting)
    weights = 72 + 4 * 8 + 24 + 4 * 3
    assert measured.details["sram"] == (512 + 512 + 100) / 4096
    assert measured.details["flash"] == (weights + 10) / 1000
    assert measured.value == max(measured.details["sram"], measured.details["flash"])


def test_what_is_not_supported_never_fits(folder: Path, space: Space) -> None:
    device(folder, memory={"sram_bytes": 10**6, "flash_bytes": 10**6}, operators=["conv", "linear", "mean"])
    setting = Setting(space, tiny_task((1, 8, 8), classes=3))
    cost = create("cost", "fit@mine")
    measured = cost.measure(list(space)[-1], setting)
    assert measured.value == math.inf
    assert measured.details["unsupported"] == ["relu"]
    assert not meets({cost.key: measured.value}, [Constraint(cost.name, cost.key, 1.0)], {})


def test_a_device_whose_memory_is_unknown() -> None:
    with pytest.raises(
        UsageError, match="nothing is known of the memory of device 'pixel3': ask for one of cortex-m0plus"
    ):
        create("cost", "fit@pixel3")
