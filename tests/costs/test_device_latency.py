"""Latency on a named device: published coefficients, models of one's own measurements, and what is refused."""

import math
from pathlib import Path

import numpy as np
import pytest
from torch import Tensor, nn

from archscout.core.cost import Constraint, Cost, meets
from archscout.core.errors import DataError, UsageError
from archscout.core.estimator import Setting
from archscout.core.registry import create
from archscout.core.seeds import stream
from archscout.costs import add_device, devices
from archscout.costs.device_latency import DeviceLatency, describe
from archscout.costs.machine import processor
from archscout.costs.models.prior import shipped
from archscout.networks.choices import Conv2d, Kernel, Width
from archscout.spaces.model import ModelSpace
from archscout.testing import CostConformance
from archscout.testing.tasks import tiny_task

CIFAR = tiny_task((3, 32, 32), classes=10, examples=40)
ALL = "|nor_conv_3x3~0|+|nor_conv_3x3~0|nor_conv_3x3~1|+|nor_conv_3x3~0|nor_conv_3x3~1|nor_conv_3x3~2|"
LIGHT = "|skip_connect~0|+|none~0|skip_connect~1|+|skip_connect~0|none~1|none~2|"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(devices.FOLDER_VARIABLE, str(tmp_path))
    return tmp_path


def published() -> Setting:
    return Setting(create("space", "nasbench201"), CIFAR)


def convolutions(setting: Setting, count: int = 12) -> tuple[list, list[float]]:
    """Networks and times that are a sum over their operators: 5 ms, and 1 ms for each 3 x 3 convolution."""
    drawn = {setting.space.canonical(a): a for a in (setting.space.sample(stream(i, "ms")) for i in range(3 * count))}
    architectures = [setting.space.simplify(a) for a in drawn.values()][:count]
    return architectures, [5.0 + a.text.count("conv_3x3") for a in architectures]


def add(name: str = "mine", setting: Setting | None = None, **conditions: object) -> Setting:
    setting = setting or Setting(create("space", "nasbench201:width=4,cells=1"), tiny_task())
    architectures, ms = convolutions(setting)
    add_device.from_times(name, setting, architectures, ms, conditions)
    return setting


class TestPublished(CostConformance):
    def cost(self) -> Cost:
        return DeviceLatency("pixel3")

    def setting(self) -> Setting:
        return published()


class TestOwn(CostConformance):
    def cost(self) -> Cost:
        add()
        return DeviceLatency("mine")


# -- published devices ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("space", ["nasbench201", "fbnet"])
def test_every_published_device_is_for_the_published_networks(space: str) -> None:
    setting = Setting(create("space", space), tiny_task((3, 32, 32), classes=100, examples=200))
    prior = shipped(space)
    assert prior is not None
    expected = describe(setting)
    for device in prior.devices:
        entries = [entry for entry in devices.find(device).latency if entry["space"] == space]
        assert len(entries) == 1
        assert entries[0]["input_shape"] == expected["input_shape"]
        assert entries[0]["reference"]["macs"] == pytest.approx(expected["reference"]["macs"], rel=0.002)


def test_more_convolutions_take_longer_on_every_device_and_fewer_classes_change_nothing() -> None:
    setting = published()
    other = Setting(setting.space, tiny_task((3, 32, 32), classes=4))
    for device in ("pixel3", "gold_6226", "raspi4", "1080ti_1"):
        cost = DeviceLatency(device)
        heavy, light = (cost.measure(setting.space.parse(text), setting) for text in (ALL, LIGHT))
        assert heavy.value > 1.3 * light.value
        assert heavy.details["low"] < heavy.value < heavy.details["high"]
        assert cost.measure(setting.space.parse(ALL), other).value == heavy.value


def test_predictions_agree_with_the_published_table(published_data: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    texts = parquet.read_table(published_data / "nasbench201/accuracy.parquet", columns=["arch"]).column(0).to_pylist()
    table = parquet.read_table(published_data / "nasbench201/latency_ms.parquet")
    setting = published()
    space = setting.space
    # The published networks run operations that lead nowhere, ours do not: only cells without such are the same.
    sample = [
        i
        for i in range(7, len(texts), max(1, len(texts) // 161))
        if space.simplify(space.parse(texts[i])).text == texts[i]
    ]
    assert len(sample) > 50
    for device in ("pixel3", "gold_6226", "fpga", "titan_rtx_32"):
        found = DeviceLatency(device).screen([space.parse(texts[i]) for i in sample], setting)
        true = np.asarray(table.column(device))[sample]
        predicted = np.asarray([measurement.value for measurement in found])
        inside = [m.details["low"] <= t <= m.details["high"] for m, t in zip(found, true, strict=True)]
        assert np.median(np.abs(predicted / true - 1)) < 0.1
        assert np.mean(inside) >= 0.85


@pytest.mark.parametrize(
    ("space", "task", "says"),
    [
        ("nasbench201", tiny_task(), r"for inputs of 3 x 32 x 32, not of 1 x 8 x 8"),
        ("nasbench201", tiny_task((1, 32, 32)), r"for inputs of 3 x 32 x 32, not of 1 x 32 x 32"),
        ("nasbench201:width=8", CIFAR, r"other networks of space nasbench201 than those of 'nasbench201:width=8'"),
        ("nasbench201:cells=4", CIFAR, r"other networks of space nasbench201"),
        ("mobile", CIFAR, r"latency of fbnet and nasbench201, not of space 'mobile'"),
    ],
)
def test_other_networks_than_those_measured_get_no_number(space: str, task: object, says: str) -> None:
    setting = Setting(create("space", space), task)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match=says + r".*'archscout device add NAME --space"):
        DeviceLatency("pixel3").check(setting)
    with pytest.raises(UsageError, match=says):
        DeviceLatency("pixel3").screen([setting.space.sample(stream(0))], setting)


def test_the_published_sizes_may_be_spelled_out() -> None:
    DeviceLatency("pixel3").check(Setting(create("space", "nasbench201:width=16,cells=5"), CIFAR))


class Own(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.width = Width(4, 8, 12, 16)
        self.first = Conv2d(1, self.width, Kernel(1, 3, 5))
        self.head = nn.AdaptiveAvgPool2d(1)
        self.last = Conv2d(self.width, 3, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.head(self.first(x).relu())).flatten(1)


def test_a_module_of_ones_own_is_refused_until_it_is_measured() -> None:
    setting = Setting(ModelSpace(Own()), tiny_task())
    architecture = next(iter(setting.space))
    with pytest.raises(UsageError, match="not of space 'Own'"):
        DeviceLatency("pixel3").measure(architecture, setting)
    architectures = list(setting.space)
    ms = [create("cost", "macs").measure(a, setting).value / 1e4 + 1 for a in architectures]
    add_device.from_times("mine", setting, architectures[::2], ms[::2], {})
    found = DeviceLatency("mine").screen(architectures, setting)
    assert np.median([abs(m.value / t - 1) for m, t in zip(found, ms, strict=True)]) < 0.05
    with pytest.raises(UsageError, match="device 'cortex-m4' knows no latency"):
        DeviceLatency("cortex-m4").check(setting)


# -- limits -----------------------------------------------------------------------------------------------------------


def test_a_limit_is_held_against_the_upper_end() -> None:
    setting = published()
    found = DeviceLatency("pixel3").measure(setting.space.parse(ALL), setting)
    assert found.at_most == found.details["high"] > found.value
    assert found.details["high"] == pytest.approx(found.value * math.exp(1.645 * found.details["deviation"]))
    limit = Constraint("latency@pixel3", "latency@pixel3_ms", (found.value + found.at_most) / 2)
    assert not meets({limit.key: found.at_most}, [limit], {})


def test_the_device_at_hand_is_measured_and_the_prediction_kept() -> None:
    conditions = {"cpu": processor(), "runtime": "onnxruntime", "batch": 1, "threads": 1, "precision": "float32"}
    setting = add("here", **conditions)
    cost = DeviceLatency("here")
    architecture = setting.space.parse(ALL)
    predicted = cost.screen([architecture], setting)[0]
    measured = cost.measure(architecture, setting)
    assert cost.at_hand
    assert measured.details["predicted_ms"] == predicted.value == pytest.approx(11, rel=0.1)
    assert measured.value < 5, "a small network here takes less than the made-up times say"
    assert measured.at_most == measured.value
    add("there", **conditions | {"cpu": "another processor"})
    assert not DeviceLatency("there").at_hand
    assert DeviceLatency("there").measure(architecture, setting).details["predicted"]


# -- times of no use --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda ms: [0.0, *ms[1:]], "not numbers above zero"),
        (lambda ms: [*ms[:-1], -2.0], "not numbers above zero"),
        (lambda ms: [*ms[:-1], math.nan], "not numbers above zero"),
        (lambda ms: [3.0] * len(ms), "all 12 latencies are 3 ms"),
    ],
)
def test_times_of_no_use(folder: Path, change, says: str) -> None:  # type: ignore[no-untyped-def]
    setting = Setting(create("space", "nasbench201:width=4,cells=1"), tiny_task())
    architectures, ms = convolutions(setting)
    with pytest.raises(DataError, match=says):
        add_device.from_times("mine", setting, architectures, change(ms), {})
    assert not list(folder.iterdir())


def test_two_measurements_are_too_few(folder: Path) -> None:
    setting = Setting(create("space", "nasbench201:width=4,cells=1"), tiny_task())
    architectures, ms = convolutions(setting)
    with pytest.raises(DataError, match="3 different architectures and more"):
        add_device.from_times("mine", setting, architectures[:2], ms[:2], {})
    assert not list(folder.iterdir())
    added = add_device.from_times("mine", setting, architectures[:3], ms[:3], {})
    assert added.measured == 3
    assert math.isnan(added.error)
