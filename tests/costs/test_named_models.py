"""Latency models by name: how each does on a device's own measurements, and what predicts from then on."""

import json
import math
from pathlib import Path

import numpy as np
import pytest

from archscout.core.architecture import Architecture
from archscout.core.errors import UsageError
from archscout.core.estimator import Setting
from archscout.core.registry import create
from archscout.core.seeds import stream
from archscout.costs import add_device, devices
from archscout.costs.device_latency import DeviceLatency
from archscout.costs.models.linear import LinearLatency
from archscout.testing.tasks import tiny_task


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(devices.FOLDER_VARIABLE, str(tmp_path))
    return tmp_path


@pytest.fixture(scope="module")
def setting() -> Setting:
    return Setting(create("space", "nasbench201:width=4,cells=1"), tiny_task())


def milliseconds(architecture: Architecture, scale: float = 1.0) -> float:
    text = architecture.text
    return scale * (5.0 + 2 * text.count("conv_3x3") + text.count("conv_1x1"))


def add(name: str, setting: Setting, scale: float = 1.0) -> Path:
    drawn = {setting.space.canonical(a): a for a in (setting.space.sample(stream(i, "ms")) for i in range(40))}
    networks = [setting.space.simplify(a) for a in drawn.values()][:14]
    return add_device.from_times(name, setting, networks, [milliseconds(a, scale) for a in networks], {}).file


def test_what_is_taken_predicts_from_then_on_and_the_rest_of_the_profile_stays(setting: Setting) -> None:
    file = add("mine", setting)
    profile = json.loads(file.read_text())
    file.write_text(json.dumps(profile | {"energy": {"pj_per_mac": 1.0, "pj_per_byte": 2.0}}))
    checked = add_device.check_model("mine", setting, "linear")
    assert checked.error < 0.1
    assert checked.within > 0.5
    add_device.use("mine", setting, checked)
    kept = json.loads(file.read_text())
    assert kept["energy"] == {"pj_per_mac": 1.0, "pj_per_byte": 2.0}
    assert kept["latency"][0]["model"] == "linear"
    assert kept["latency"][0]["measurements"] == profile["latency"][0]["measurements"]
    asked = [setting.space.sample(stream(n, "asked")) for n in range(8)]
    for found, architecture in zip(DeviceLatency("mine").screen(asked, setting), asked, strict=True):
        assert found.value == pytest.approx(milliseconds(setting.space.simplify(architecture)), rel=0.25)
        assert found.details["low"] < found.value < found.details["high"]


def test_a_model_that_learns_from_other_devices_needs_one(setting: Setting) -> None:
    add("mine", setting)
    for name in ("oneproxy", "help", "nasflat"):
        with pytest.raises(UsageError, match="learns from other devices, and none is known"):
            add_device.check_model("mine", setting, name)
    add("other", setting, scale=3.0)
    assert add_device.check_model("mine", setting, "oneproxy").error < 0.2


def test_a_model_without_uncertainty_has_that_of_the_check(setting: Setting, monkeypatch: pytest.MonkeyPatch) -> None:
    add("mine", setting)
    add_device.use("mine", setting, add_device.Check("linear", error=0.1, within=0.5, deviation=0.2))
    monkeypatch.setattr(
        LinearLatency, "predict", lambda _, asked: (np.full(len(asked), 4.0), np.full(len(asked), np.nan))
    )
    (found,) = DeviceLatency("mine").screen([setting.space.sample(stream(0, "asked"))], setting)
    assert found.value == 4.0
    assert math.log(found.details["high"] / 4.0) == pytest.approx(1.645 * 0.2)


def test_what_there_is_not_is_refused(setting: Setting) -> None:
    add("mine", setting)
    with pytest.raises(UsageError, match="no latency model 'liner': did you mean 'linear'"):
        add_device.check_model("mine", setting, "liner")
    shipped = Setting(create("space", "nasbench201"), tiny_task((3, 32, 32), classes=10, examples=40))
    with pytest.raises(UsageError, match="no measurements to fit a model to"):
        add_device.check_model("pixel3", shipped, "linear")
