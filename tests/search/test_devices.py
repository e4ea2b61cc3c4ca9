"""Searches under limits on named devices: screened by predictions, refused where nothing is known, measured at hand."""

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest

from archscout.core.cost import Measurement
from archscout.core.errors import ArchscoutError, UsageError
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


NEAR = {
    "budget": "10trials", "method": "random", "epochs": 1, "seed": 3,
    "maximum": {"latency@slow": "7.5ms", "latency@here": "4.5ms"},
}  # fmt: skip


@pytest.fixture(scope="module")
def near(task, known, tmp_path_factory):
    """A finished search under limits on both; what is measured here is half as long again as predicted."""

    def measure(self, architecture, setting):
        return Measurement(1.5 * (2.0 + 2 * architecture.text.count("conv_1x1")), 0.01, {"trusted": True})

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(devices.FOLDER_VARIABLE, str(known))
        patch.setattr(Latency, "measure", measure)
        return search(SPACE, task, workers=0, out=tmp_path_factory.mktemp("near"), name="near", **NEAR)


def test_two_devices_limits_are_kept_and_told(near):
    """The limit of the machine at hand is held against what is measured."""
    found = near
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


@pytest.mark.slow
def test_predictions_are_the_same_in_worker_processes(task, tmp_path):
    """The model is fitted in each worker anew; one search, whatever their number."""
    options = {"budget": "6trials", "method": "random", "epochs": 1, "maximum": {"latency@slow": "7.5ms"}, "seed": 5}
    results = [search(SPACE, task, workers=w, out=tmp_path / str(w), **options) for w in (0, 2)]
    assert results[0].architecture == results[1].architecture
    both = [result.metrics["costs"]["latency@slow_ms"] for result in results]
    assert np.isclose(*both)


# -- a device elsewhere ------------------------------------------------------------------------------------------------

AWAY = {"runtime": "onnxruntime", "batch": 1, "threads": 1, "precision": "float32", "cpu": "of a board"}


@pytest.fixture(scope="module")
def searched(task, known, tmp_path_factory):
    """A finished search under a limit on `board`, which is elsewhere: 5 ms and 1 ms a 3 x 3 convolution."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(devices.FOLDER_VARIABLE, str(known))
        setting = Setting(create("space", SPACE), task)
        drawn = [setting.space.simplify(setting.space.sample(stream(i, "devices"))) for i in range(16)]
        drawn = list({a.text: a for a in drawn}.values())
        add_device.from_times("board", setting, drawn, [5.0 + a.text.count("conv_3x3") for a in drawn], AWAY)
        out = tmp_path_factory.mktemp("runs")
        return search(SPACE, task, out=out, name="away", workers=0, **LOOKING)


LOOKING = {"budget": "14trials", "method": "random", "epochs": 1, "seed": 3, "maximum": {"latency@board": "7.5ms"}}


@pytest.fixture
def away(searched, tmp_path):
    """A copy of that run, to go on with."""
    shutil.copytree(searched.folder.parent, tmp_path / "runs")
    return tmp_path / "runs"


def back(folder: Path, times: dict[str, float]) -> Path:
    file = folder / "times.csv"
    file.write_text("\n".join(["architecture,latency_ms", *(f"{a},{ms}" for a, ms in times.items())]))
    return file


def test_the_finalists_of_a_device_elsewhere_are_written_and_what_to_do_is_said(searched):
    about = json.loads((searched.folder / "finalists-board/bundle.json").read_text())
    cells = [row["architecture"] for row in about["networks"]]
    assert 3 <= len(cells) <= 10
    assert len(set(cells)) == len(cells)
    assert searched.architecture in cells
    assert about["conditions"] == {key: AWAY[key] for key in ("runtime", "batch", "threads", "precision")}
    assert "--times board=times.csv" in (searched.folder / "finalists-board/README.md").read_text()
    # A machine that is busy adds a line of its own, about its own latency.
    (said,) = [line for line in searched.summary().splitlines() if line.startswith("latency@board_ms is predicted")]
    assert said.startswith("latency@board_ms is predicted, not measured (19 times in 20 at most")
    assert said.endswith("repeat this command with --times board=times.csv")
    assert str(searched.folder / "finalists-board") in said
    assert searched.metrics["cost_details"]["latency@board_ms"]["high"] <= 7.5


def test_the_times_that_return_pick_the_winner(searched, away, task, tmp_path):
    """The first turns out too slow there: the best of the others wins, with its own weights, and the report says so."""
    about = json.loads((searched.folder / "finalists-board/bundle.json").read_text())
    cells = [row["architecture"] for row in about["networks"]]
    slow = [cell for cell in cells if cell == searched.architecture]
    times = {cell: 9.0 if cell in slow else 6.0 for cell in cells}
    found = search(SPACE, task, out=away, name="away", workers=0, times={"board": back(tmp_path, times)}, **LOOKING)
    assert found.architecture in cells
    assert found.architecture != searched.architecture
    kept = [row for row in found.metrics["finalists"] if row["meets"]]
    assert found.metrics["valid_accuracy"] == max(row["value"] for row in kept)
    assert {row["architecture"] for row in found.metrics["finalists"]} == set(cells)
    assert found.metrics["costs"]["latency@board_ms"] == 6.0
    assert "predicted, not measured" not in found.summary()
    page = write(found.folder).read_text()
    assert "finalists, measured again" in page

    # The same command says the same; the first one's times again bring the first one back.
    assert search(SPACE, task, out=away, name="away", workers=0, **LOOKING).architecture == found.architecture
    all_fast = back(tmp_path, dict.fromkeys(cells, 6.0))
    again = search(SPACE, task, out=away, name="away", workers=0, times={"board": all_fast}, **LOOKING)
    assert again.architecture == searched.architecture


def test_where_none_keeps_the_limit_the_result_stays(searched, away, task, tmp_path):
    about = json.loads((searched.folder / "finalists-board/bundle.json").read_text())
    file = back(tmp_path, {row["architecture"]: 8.0 for row in about["networks"]})
    with pytest.raises(ArchscoutError, match=r"keeps latency@board_ms <= 7.5 when measured again; the closest has"):
        search(SPACE, task, out=away, name="away", workers=0, times={"board": file}, **LOOKING)
    stays = search(SPACE, task, out=away, name="away", workers=0, **LOOKING)
    assert stays.architecture == searched.architecture


@pytest.mark.parametrize(
    ("times", "name", "says"),
    [
        ({"bord": "times.csv"}, "away", "waits for no times of a device 'bord': did you mean 'board'?"),
        ({"board": "gone.csv"}, "away", "there is no file 'gone.csv'"),
        ({"board": "other.csv"}, "away", "is none of the"),
        ({"board": "none.csv"}, "away", "has no times of the finalists"),
        ({"board": "times.csv"}, "new", "there is no finished run 'new'"),
    ],
)
def test_times_of_no_use_are_one_sentence(away, task, tmp_path, monkeypatch, times, name, says):
    monkeypatch.chdir(tmp_path)
    other = "|nor_conv_3x3~0|+|nor_conv_3x3~0|nor_conv_3x3~1|+|nor_conv_3x3~0|nor_conv_3x3~1|nor_conv_3x3~2|"
    back(tmp_path, {other: 3.0}).rename("other.csv")
    (tmp_path / "none.csv").write_text("architecture,latency_ms\n")
    with pytest.raises(ArchscoutError, match=re.escape(says)):
        search(SPACE, task, out=away, name=name, workers=0, times=times, **LOOKING)


def test_a_run_without_such_a_device_takes_no_times(near, task):
    assert "\nlatency@slow_ms is predicted, not measured (19 times in 20" in near.summary()
    assert not list(near.folder.glob("finalists-*"))
    assert not (near.folder / "work").exists()
    with pytest.raises(UsageError, match="has no limit on a device of your own that is elsewhere"):
        search(SPACE, task, out=near.folder.parent, name="near", workers=0, times={"slow": "t.csv"}, **NEAR)
