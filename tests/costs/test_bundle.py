"""The way to a device and back: what is carried there, the script that measures, and the file that returns."""

import csv
import json
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from archscout.core.cost import Measurement
from archscout.core.errors import ArchscoutError, DataError, UsageError
from archscout.core.estimator import Setting
from archscout.core.registry import create
from archscout.costs import add_device, bundle, devices
from archscout.costs.latency import Latency
from archscout.costs.machine import processor
from archscout.networks.pick import build
from archscout.testing.tasks import tiny_task

CONDITIONS = {"runtime": "onnxruntime", "precision": "float32", "batch": 2, "threads": 1}
ONE = "|nor_conv_3x3~0|+|none~0|none~1|+|none~0|none~1|skip_connect~2|"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(devices.FOLDER_VARIABLE, str(tmp_path / "devices"))
    return tmp_path


@pytest.fixture(scope="module")
def setting() -> Setting:
    return Setting(create("space", "nasbench201:width=4,cells=1"), tiny_task())


def test_there_and_back(folder: Path, setting: Setting) -> None:
    """The script runs apart from Archscout, in another folder, and its times make a device."""
    chosen = add_device.choose(setting, 4)
    bundle.write("board", folder / "there", setting, chosen, CONDITIONS)
    done = subprocess.run(
        [sys.executable, "-I", "measure.py"], cwd=folder / "there", capture_output=True, text=True, check=True
    )
    assert "take times.csv back" in done.stdout
    with (folder / "there/times.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["architecture"] for row in rows] == [architecture.text for architecture in chosen]
    back = bundle.read(folder / "there")
    assert back.conditions == CONDITIONS
    architectures, ms = bundle.read_times(folder / "there/times.csv", back.setting().space, back.architectures)
    assert ms == [float(row["latency_ms"]) for row in rows]
    added = add_device.from_times("board", back.setting(), architectures, ms, back.conditions)
    assert added.measured == 4
    found = create("cost", "latency@board").measure(chosen[0], setting)
    assert 0.1 < found.value / ms[0] < 10


def test_the_networks_answer_as_those_that_they_stand_for(folder: Path, setting: Setting) -> None:
    architecture = setting.space.parse(ONE)
    bundle.write("board", folder / "there.zip", setting, [architecture], CONDITIONS)
    assert bundle.read(folder / "there.zip").architectures == (architecture.text,)
    with zipfile.ZipFile(folder / "there.zip") as archive:
        assert {"README.md", "bundle.json", "measure.py", "networks/001.onnx"} <= set(archive.namelist())
        session = onnxruntime.InferenceSession(archive.read("networks/001.onnx"))
    x = np.random.default_rng(0).random((2, *setting.task.input_shape), dtype=np.float32)
    network = setting.task.deploy(build(setting.space, architecture, setting.task)).eval()
    import torch

    with torch.no_grad():
        expected = network(torch.from_numpy(x)).numpy()
    np.testing.assert_allclose(session.run(None, {"input": x})[0], expected, atol=1e-4)


def test_a_place_that_is_taken_is_left_alone(folder: Path, setting: Setting) -> None:
    (folder / "taken").mkdir()
    (folder / "taken/mine.txt").write_text("mine")
    for place in (folder / "taken", folder / "taken/mine.txt"):
        with pytest.raises(UsageError, match="exists already"):
            bundle.write("board", place, setting, [setting.space.parse(ONE)], CONDITIONS)
    assert [file.name for file in (folder / "taken").iterdir()] == ["mine.txt"]


def test_what_is_no_bundle(folder: Path) -> None:
    (folder / "text.zip").write_text("no archive")
    for place in (folder, folder / "nowhere", folder / "text.zip"):
        with pytest.raises(UsageError, match="is no bundle"):
            bundle.read(place)
    for text in (json.dumps({"space": 1}), "[" * 100_000, '{"space": ' + "1" * 5_000):
        (folder / "bundle.json").write_text(text)
        with zipfile.ZipFile(folder / "packed.zip", "w") as archive:
            archive.writestr("bundle.json", text)
        for place in (folder, folder / "packed.zip"):
            with pytest.raises(DataError, match="is damaged"):
                bundle.read(place)


def test_a_bundle_that_unpacks_to_too_much_is_not_unpacked(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bundle, "MOST_JSON", 1_000)
    with zipfile.ZipFile(folder / "bomb.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("bundle.json", " " * 100_000)
    monkeypatch.setattr(zipfile.ZipFile, "read", lambda *_: pytest.fail("it was unpacked"))
    with pytest.raises(DataError, match="longer than any such file"):
        bundle.read(folder / "bomb.zip")


# -- the file of times ------------------------------------------------------------------------------------------------


def times(folder: Path, text: str) -> Path:
    (folder / "times.csv").write_text(text)
    return folder / "times.csv"


@pytest.mark.parametrize(("unit", "factor"), [("ms", 1.0), ("us", 1e-3), ("s", 1e3)])
def test_units(folder: Path, setting: Setting, unit: str, factor: float) -> None:
    file = times(folder, f"who, latency_{unit} ,architecture\nme, 2.5 ,{ONE}\n")
    architectures, ms = bundle.read_times(file, setting.space)
    assert [a.text for a in architectures] == [ONE]
    assert ms == [pytest.approx(2.5 * factor)]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (f"architecture,latency\n{ONE},1\n", "column 'latency' does not say its unit: name it latency_ms, latency_us"),
        (f"architecture,ms\n{ONE},1\n", "column 'ms' does not say its unit"),
        (f"architecture,accuracy\n{ONE},1\n", "there is no column of latencies"),
        (f"architecture,latency_ms,latency_s\n{ONE},1,1\n", r"latencies in 2 units \(latency_ms, latency_s\)"),
        ("latency_ms\n1\n", "no column 'architecture'"),
        ("", "it is empty: give a line of headings"),
        (
            f"architecture,latency_ms\n{ONE},1\n{ONE},12 us\n",
            "line 3: '12 us' is no number: give plain numbers, all in",
        ),
        (f"architecture,latency_ms\n{ONE},\n", "line 2: '' is no number"),
        (f"architecture,latency_ms\n{ONE},0\n", "line 2: a latency of 0 is not above zero"),
        (f"architecture,latency_ms\n{ONE},-1\n", "line 2: a latency of -1 is not above zero"),
        (f"architecture,latency_ms\n{ONE},nan\n", "line 2: a latency of nan is not above zero"),
        ("architecture,latency_ms\nw50-k3e3r,1\n", "line 2: no architecture of space 'nasbench201:cells=1,width=4'"),
    ],
)
def test_a_file_of_no_use(folder: Path, setting: Setting, text: str, says: str) -> None:
    with pytest.raises(DataError, match=says):
        bundle.read_times(times(folder, text), setting.space)


def test_times_of_other_networks_than_the_bundle_has(folder: Path, setting: Setting) -> None:
    file = times(folder, f"architecture,latency_ms\n{ONE},1\n")
    other = ONE.replace("3x3", "1x1")
    with pytest.raises(DataError, match=r"line 2: .* is none of the 1 networks of the bundle"):
        bundle.read_times(file, setting.space, [other])
    with pytest.raises(UsageError, match="there is no file"):
        bundle.read_times(folder / "gone.csv", setting.space)
    (folder / "times.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DataError, match="is no CSV file"):
        bundle.read_times(file, setting.space)


# -- this machine -----------------------------------------------------------------------------------------------------


def test_what_tells_most_is_measured(setting: Setting) -> None:
    chosen = add_device.choose(setting, 8)
    assert len({setting.space.canonical(architecture) for architecture in chosen}) == 8
    assert chosen == add_device.choose(setting, 8)


def test_a_device_that_is_here(setting: Setting, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the measurements, every fourth is not to be trusted; the others are the device."""
    calls: list[str] = []

    def measure(_: Latency, architecture, __) -> Measurement:  # type: ignore[no-untyped-def]
        calls.append(architecture.text)
        bad = len(set(calls)) % 4 == 0
        return Measurement(2.0 + architecture.text.count("conv"), 0.2 if bad else 0.01, {"trusted": not bad})

    monkeypatch.setattr(Latency, "measure", measure)
    added = add_device.from_here("here", setting, 8, Latency(runtime="onnxruntime", threads=2))
    assert (added.measured, added.left_out) == (6, 2)
    assert len(calls) == 6 + 2 * 3
    found = devices.find("here")
    assert found.conditions == {"cpu": processor(), **CONDITIONS, "layout": "contiguous", "batch": 1, "threads": 2}


def test_a_busy_machine_is_refused(setting: Setting, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Latency, "measure", lambda *_: Measurement(2.0, 0.3, {"trusted": False}))
    with pytest.raises(ArchscoutError, match="too busy: 4 of 4 measurements did not settle"):
        add_device.from_here("here", setting, 4, Latency())
    assert "here" not in devices.names()
