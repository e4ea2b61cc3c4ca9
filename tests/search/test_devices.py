"""Searches under limits on named devices: screened by predictions, refused where nothing is known, measured at hand."""

import json
from pathlib import Path

import numpy as np
import pytest

from archscout.core.cost import Measurement
from archscout.core.errors import UsageError
from archscout.core.estimator import Setting
from archscout.core.registry import create
from archscout.core.seeds import stream
from archscout.costs import add_device, devices
from archscout.costs.latency import Latency
from archscout.costs.machine import processor
from archscout.report.page import write
from archscout.search.search import search
from archscout.testing import tiny_task

SPACE = "nasbench201:width=4,cells=1"
HERE = {"cpu": processor(), "runtime": "onnxruntime", "batch": 1, "threads": 1, "precision": "float32"}


@pytest.fixture(scope="module")
def task():
    return tiny_task(examples=300)


@pytest.fixture(scope="module")
def known(task, tmp_path_factory):
    """Two devices: `slow` takes 5 ms and 1 ms a 3 x 3 convolution; `here`, this machine, 2 ms and 2 ms a 1 x 1."""
    folder = tmp_path_factory.mktemp("devices")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(devices.FOLDER_VARIABLE, str(folder))
        setting = Setting(create("space", SPACE), task)
        drawn = [setting.space.simplify(setting.space.sample(stream(i, "devices"))) for i in range(16)]
        drawn = list({a.text: a for a in drawn}.values())
        add_device.from_times("slow", setting, drawn, [5.0 + a.text.count("conv_3x3") for a in drawn], {})
        add_device.from_times("here", setting, drawn, [2.0 + 2 * a.text.count("conv_1x1") for a in drawn], HERE)
    return folder


@pytest.fixture(autouse=True)
def folder(known, monkeypatch):
    monkeypatch.setenv(devices.FOLDER_VARIABLE, str(known))


def test_two_devices_limits_are_kept_and_told(task, tmp_path, monkeypatch):
    """What is measured on the machine at hand is half as long again as predicted: the limit is held against that."""

    def measure(self, architecture, setting):
        return Measurement(1.5 * (2.0 + 2 * architecture.text.count("conv_1x1")), 0.01, {"trusted": True})

    monkeypatch.setattr(Latency, "measure", measure)
    found = search(
        SPACE, task, budget="10trials", method="random", workers=0, out=tmp_path, epochs=2, seed=3,
        maximum={"latency@slow": "7.5ms", "latency@here": "4.5ms"},
    )  # fmt: skip
    space = create("space", SPACE)
    won = space.simplify(space.parse(found.architecture)).text
    assert won.count("conv_3x3") <= 2
    assert won.count("conv_1x1") == 0, "3 x (1 + 1 x 1 convolutions) is above 4.5 with one"
    metrics = json.loads((found.folder / "metrics.json").read_text())
    assert metrics["costs"]["latency@here_ms"] == 3.0
    assert metrics["costs"]["latency@slow_ms"] == pytest.approx(5 + won.count("conv_3x3"), rel=0.1)
    assert metrics["rejected"] > 0
    details = metrics["cost_details"]
    assert details["latency@here_ms"]["predicted_ms"] == pytest.approx(2.0, rel=0.1)
    assert details["latency@slow_ms"]["predicted"]
    assert details["latency@slow_ms"]["high"] <= 7.5

    report = json.loads((found.folder / "report.json").read_text())
    assert {key: about["at_hand"] for key, about in report["devices"].items()} == {
        "latency@slow_ms": False, "latency@here_ms": True,
    }  # fmt: skip
    page = write(found.folder).read_text()
    assert "Latency, predicted and measured" in page
    assert "Latency on slow" in page
    assert "finalists, measured again" in page


def test_a_limit_that_every_prediction_breaks_is_refused_before_training(task, tmp_path):
    with pytest.raises(UsageError, match=r"meets latency@slow_ms <= 4 \(a prediction counts with the upper end"):
        search(SPACE, task, budget="5trials", workers=0, out=tmp_path, maximum={"latency@slow": "4ms"})


@pytest.mark.parametrize(
    ("space", "limit", "says"),
    [
        (SPACE, {"latency@slo": "4ms"}, "there is no device 'slo': did you mean 'slow'?"),
        (SPACE, {"latency@pixel3": "20ms"}, "for inputs of 3 x 32 x 32, not of 1 x 8 x 8"),
        ("mobile", {"latency@slow": "20ms"}, "knows the latency of nasbench201, not of space 'mobile'"),
        (SPACE, {"latency@slow": "20MB"}, "'20MB' is not a limit for latency@slow"),
        (SPACE, {"latency@slow": "-3ms"}, "is not a limit"),
        (SPACE, {"latency@": "3ms"}, "there is no cost 'latency@'"),
    ],
)
def test_what_is_not_known_is_refused_before_anything_is_written(
    task: object, tmp_path: Path, space: str, limit: dict[str, str], says: str
) -> None:
    with pytest.raises(UsageError) as refused:
        search(space, task, budget="5trials", workers=0, out=tmp_path, maximum=limit)  # type: ignore[arg-type]
    assert says in str(refused.value)
    assert not list(tmp_path.iterdir())


def test_predictions_are_the_same_in_worker_processes(task, tmp_path):
    """The model is fitted in each worker anew; one search, whatever their number."""
    options = {"budget": "6trials", "method": "random", "epochs": 1, "maximum": {"latency@slow": "7.5ms"}, "seed": 5}
    results = [search(SPACE, task, workers=w, out=tmp_path / str(w), **options) for w in (0, 2)]
    assert results[0].architecture == results[1].architecture
    both = [result.metrics["costs"]["latency@slow_ms"] for result in results]
    assert np.isclose(*both)
