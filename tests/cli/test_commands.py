"""Each command as a user meets it: what it prints, where, and with which exit code."""

import csv
import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from PIL import Image

import archscout as package
from archscout.core.cost import Measurement
from archscout.costs.latency import Latency
from archscout.networks.pick import build
from archscout.store.store import Store, StoredTrial

CELL = "|nor_conv_3x3~0|+|none~0|avg_pool_3x3~1|+|skip_connect~0|none~1|nor_conv_1x1~2|"
Call = Callable[..., Any]


# -- score ------------------------------------------------------------------------------------------------------------


def test_score_writes_a_file_and_says_so(archscout: Call, data: Path, tmp_path: Path) -> None:
    command = ("score", "nasbench201", "--with", "params,naswot", "--sample", 5, "--data", data, "--workers", 1)
    done = archscout(*command, "--json")
    assert done.code == 0
    answer = json.loads(done.out)
    assert (answer["out"], answer["rows"], answer["added"]) == ("scores.csv", 5, 5)
    with (tmp_path / "scores.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert len(rows) == 5
    undefined = sum(row["naswot"] == "NaN" for row in rows)
    assert answer["undefined"] == {"params": 0, "naswot": undefined}
    assert (f"naswot: {undefined} of 5 scores are undefined" in done.err) == (undefined > 0)
    again = archscout(*command)
    assert again.code == 0
    assert again.out == f"5 rows in scores.csv (0 new, {again.out.rpartition(', ')[2].strip()}\n"


def test_score_reads_a_list(archscout: Call, data: Path, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text(f"{CELL}\n")
    done = archscout("score", "nasbench201:width=4", "--with", "params", "--archs", "a.txt", "--data", data, "--json")
    assert done.code == 0
    with (tmp_path / "scores.csv").open(newline="") as stream:
        (row,) = csv.DictReader(stream)
    space, task = package.space("nasbench201:width=4"), package.task(data)
    network = build(space, space.parse(CELL), task)
    assert float(row["params"]) == sum(parameter.numel() for parameter in network.parameters())


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("nasbench21", "--with", "naswot", "--sample", 3), "'nasbench201'"),
        (("nasbench201", "--with", "naswott", "--sample", 3), "'naswot'"),
        (("nasbench201", "--with", "naswot:btach=3", "--sample", 3), "'batch'"),
        (("nasbench201:widht=3", "--with", "naswot", "--sample", 3), "'width'"),
        (("nasbench201", "--with", "naswot"), "--archs"),
        (("nasbench201", "--with", "naswot", "--sample", 3, "--archs", "a.txt"), "--sample"),
        (("nasbench201", "--with", "naswot", "--sample", 0), "--sample"),
        (("nasbench201", "--with", "naswot", "--sample", 3, "--data", "digit"), "'digits'"),
        (("nasbench201", "--with", "naswot", "--sample", 3, "--data", "gone.npz"), "gone.npz"),
        (("nasbench201", "--with", "naswot", "--archs", "gone.txt"), "gone.txt"),
        (("nasbench201", "--with", "naswot", "--archs", "bad.txt"), "row 2 of 'bad.txt'"),
    ],
)
def test_score_refuses(archscout: Call, tmp_path: Path, arguments: tuple[object, ...], expected: str) -> None:
    (tmp_path / "bad.txt").write_text(f"{CELL}\nnonsense\n")
    done = archscout("score", *arguments)
    assert done.code == 2
    assert done.out == ""
    assert expected in done.sentence
    assert not (tmp_path / "scores.csv").exists()


def test_score_into_a_place_that_cannot_be_written(archscout: Call, data: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    command = ("score", "nasbench201", "--with", "params", "--sample", 1, "--data", data, "--workers", 1)
    done = archscout(*command, "--out", "file/scores.csv")
    assert done.code == 1
    assert "file" in done.sentence


# -- measure ----------------------------------------------------------------------------------------------------------


def test_measure(archscout: Call, data: Path) -> None:
    command = ("measure", "nasbench201:width=4", CELL, "--data", data, "--cost", "params,macs,latency")
    done = archscout(*command, "--json")
    assert done.code == 0
    answer = json.loads(done.out)
    assert answer["architecture"] == CELL
    assert list(answer["costs"]) == list(answer["spread"]) == ["params", "macs", "latency_ms"]
    space, task = package.space("nasbench201:width=4"), package.task(data)
    network = build(space, space.parse(CELL), task)
    assert answer["costs"]["params"] == sum(parameter.numel() for parameter in network.parameters())
    assert answer["costs"]["latency_ms"] > 0
    assert answer["spread"]["params"] == 0
    assert {"cpu", "threads", "torch"} <= set(answer["conditions"])
    table = archscout(*command[:-1], "params").out
    assert f"{answer['costs']['params']:,}" in table


def test_measure_says_when_the_machine_is_busy(archscout: Call, data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    busy = {"trusted": False, "slowed": 1.7}
    monkeypatch.setattr(Latency, "measure", lambda *_: Measurement(3.0, 0.25, busy))
    done = archscout("measure", "nasbench201:width=4", CELL, "--data", data, "--cost", "latency", "--device", "local")
    assert done.code == 0
    assert "not to be trusted" in done.out
    assert "of 3 measurements the best has a spread of 25.0 %, with the machine 1.70 times as slow" in done.err
    answer = archscout("measure", "nasbench201:width=4", CELL, "--data", data, "--cost", "latency,macs", "--json").out
    assert json.loads(answer)["trusted"] == {"latency_ms": False, "macs": True}


def test_measure_on_a_named_device(archscout: Call, data: Path) -> None:
    command = ("measure", "nasbench201:width=4", CELL, "--data", data, "--device", "cortex-m4")
    answer = json.loads(archscout(*command, "--cost", "params,fit", "--json").out)
    assert list(answer["costs"]) == ["params", "fit@cortex-m4"]
    assert 0 < answer["costs"]["fit@cortex-m4"] < 1


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("nasbench201", CELL, "--cost", "params", "--device", "pixel33"), "did you mean 'pixel3'?"),
        (("nasbench201", CELL, "--cost", "energy", "--device", "pixel3"), "ask for one of cmos-45nm"),
        (("nasbench201", CELL, "--cost", "latncy"), "'latency'"),
        (("nasbench201", CELL, "--cost", "latency:runtime=tensorrt"), "tensorrt"),
        (("nasbench201", "|none~0|", "--cost", "params"), "nodes"),
        (("nasbench201", CELL.replace("3x3~0", "9x9~0"), "--cost", "params"), "did you mean 'nor_conv_3x3'"),
        (("nasbench201", "", "--cost", "params"), "empty"),
        (("mobil", "w75", "--cost", "params"), "'mobile'"),
    ],
)
def test_measure_refuses(archscout: Call, data: Path, arguments: tuple[str, ...], expected: str) -> None:
    done = archscout("measure", *arguments, "--data", data)
    assert done.code == 2
    assert done.out == ""
    assert expected in done.sentence


# -- train, report, predict -------------------------------------------------------------------------------------------


def test_train_leaves_a_whole_run(trained: tuple[Path, Any], data: Path) -> None:
    folder, done = trained
    assert done.code == 0, done.err
    metrics = json.loads(done.out)
    assert json.loads((folder / "metrics.json").read_text()) == metrics
    assert metrics["architecture"] == CELL
    test = package.task(data).test
    assert test is not None
    images = torch.from_numpy(test.x).permute(0, 3, 1, 2).float()
    with torch.no_grad():
        outputs = package.load(folder)(images)
    assert metrics["test_accuracy"] == pytest.approx((outputs.argmax(1).numpy() == test.y).mean())
    session = onnxruntime.InferenceSession(folder / "network.onnx")
    (onnx_outputs,) = session.run(None, {session.get_inputs()[0].name: images.numpy()})
    assert np.abs(onnx_outputs - outputs.numpy()).max() < 1e-4


def test_report_is_written_again(archscout: Call, trained: tuple[Path, Any]) -> None:
    folder, _ = trained
    page = folder / "report.html"
    page.unlink(missing_ok=True)
    done = archscout("report", folder)
    assert (done.code, done.out) == (0, f"{page}\n")
    assert CELL in page.read_text(encoding="utf-8")
    assert json.loads(archscout("report", folder, "--json").out) == {"report": str(page)}


def test_predict_labels_files_and_arrays_alike(
    archscout: Call, trained: tuple[Path, Any], data: Path, tmp_path: Path
) -> None:
    folder, _ = trained
    task = package.task(data)
    assert task.test is not None
    x = task.test.x[:4]
    Image.fromarray(x[0, :, :, 0]).save(tmp_path / "grey.png")
    Image.fromarray(x[0, :, :, 0]).convert("RGB").save(tmp_path / "colour.png")
    Image.fromarray(x[0, :, :, 0]).resize((80, 80), Image.Resampling.NEAREST).save(tmp_path / "large.png")
    np.save(tmp_path / "many.npy", x[..., 0])
    np.save(tmp_path / "one.npy", x[0])
    np.savez(tmp_path / "many.npz", x_test=x, y_test=task.test.y[:4])
    done = archscout(
        "predict", folder, "grey.png", "colour.png", "large.png", "one.npy", "many.npy", "many.npz", "--json"
    )
    assert done.code == 0
    answers = json.loads(done.out)
    assert [answer["image"] for answer in answers] == [
        "grey.png", "colour.png", "large.png", "one.npy[0]",
        *(f"many.npy[{i}]" for i in range(4)), *(f"many.npz[{i}]" for i in range(4)),
    ]  # fmt: skip
    with torch.no_grad():
        outputs = package.load(folder)(torch.from_numpy(x).permute(0, 3, 1, 2).float())
    probabilities, labels = outputs.softmax(1).max(1)
    expected = [task.class_names[label] for label in labels]
    assert [answer["label"] for answer in answers[4:]] == expected * 2
    assert [answer["probability"] for answer in answers[4:8]] == pytest.approx(probabilities.tolist(), abs=1e-5)
    for same in (answers[0], answers[1], answers[3]):
        assert same["probability"] == pytest.approx(answers[4]["probability"], abs=1e-5)
    table = archscout("predict", folder, "grey.png").out
    assert expected[0] in table


def test_predict_brings_arrays_to_the_scale_of_training(
    archscout: Call, trained: tuple[Path, Any], data: Path, tmp_path: Path
) -> None:
    task = package.task(data)
    x = task.train.x[:6, ..., 0]
    forms = {
        "bytes": x,
        "big": x.astype(">i4"),
        "half": x.astype(np.float16),
        "unit": x / 255,
        "unit32": (x / 255).astype(">f4"),
    }
    for name, array in forms.items():
        np.save(tmp_path / f"{name}.npy", array)
    done = archscout("predict", trained[0], *(f"{name}.npy" for name in forms), "--json")
    answers = np.array([answer["probability"] for answer in json.loads(done.out)]).reshape(len(forms), 6)
    np.testing.assert_allclose(answers, np.broadcast_to(answers[0], answers.shape), atol=1e-5)
    assert [line for line in done.err.splitlines() if "multiplied by 255" in line] == done.err.splitlines()
    assert len(done.err.splitlines()) == 2


def test_predict_on_folders_with_the_likeliest_labels_as_csv(
    archscout: Call, trained: tuple[Path, Any], data: Path, tmp_path: Path
) -> None:
    task = package.task(data)
    for number, image in enumerate(task.train.x[:3]):
        (tmp_path / "shots" / "=deep").mkdir(parents=True, exist_ok=True)
        Image.fromarray(image[..., 0]).save(tmp_path / "shots" / "=deep" / f"{number}.png")
    (tmp_path / "shots" / "bad.png").write_text("no picture")
    assert "bad.png' is not a readable image" in archscout("predict", trained[0], "shots").sentence
    done = archscout("predict", trained[0], "shots", "--top", "2", "--skip-bad", "--csv", "labels.csv", "--json")
    assert done.code == 0
    assert "left out" in done.err
    answers = json.loads(done.out)
    assert [answer["image"] for answer in answers] == [f"shots/=deep/{number}.png" for number in range(3)]
    for answer in answers:
        first, second = answer["top"]
        assert (first["label"], first["probability"]) == (answer["label"], answer["probability"])
        assert second["probability"] <= first["probability"]
    lines = (tmp_path / "labels.csv").read_text().splitlines()
    assert lines[0] == "image,label,probability,label_2,probability_2"
    assert [line.split(",")[1] for line in lines[1:]] == [answer["label"] for answer in answers]
    assert archscout("predict", trained[0], "shots/=deep", "--csv", "new/where.csv").code == 0
    every = archscout("predict", trained[0], "shots/=deep", "--top", "99")
    assert every.code == 0, "as many as there are"
    assert f"label {task.outputs} " in every.out and f"label {task.outputs + 1} " not in every.out
    assert (tmp_path / "new" / "where.csv").is_file()


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("gone.png", "there is no image 'gone.png'"),
        ("broken.png", "'broken.png'"),
        ("broken.npy", "'broken.npy' is of a version of NumPy's format that is not read"),
        ("pickled.npy", "'pickled.npy' holds pickled Python objects, which are never loaded"),
        ("nan.npy", "'nan.npy' has a pixel that is NaN or infinite in row 2"),
        ("huge.npy", "'huge.npy' has a pixel that is NaN or infinite in row 0"),
        ("deep.npy", "'deep.npy' has values from 0 to 65520 where the network was trained on 0 to 255"),
        ("ink.npy", "'ink.npy' has values from 0 to 1 where the network was trained on"),
        ("bits.npy", "'bits.npy' has values from 0 to 1 where the network was trained on 0 to 255"),
        ("empty", "'empty' has no images to label"),
        ("", "is empty: give a value"),
        ("shape.npy", "(3, 9, 9)"),
        ("text.npy", "'text.npy'"),
        ("two.npz", "'two.npz' must have one array"),
    ],
)
def test_predict_refuses(archscout: Call, trained: tuple[Path, Any], tmp_path: Path, name: str, expected: str) -> None:
    (tmp_path / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nbroken")
    (tmp_path / "broken.npy").write_bytes(b"\x93NUMPY nothing")
    np.save(tmp_path / "pickled.npy", np.array([{}], dtype=object), allow_pickle=True)
    np.save(tmp_path / "shape.npy", np.zeros((3, 9, 9)))
    np.save(tmp_path / "text.npy", np.full((1, 8, 8, 1), "a"))
    np.savez(tmp_path / "two.npz", x1=np.zeros(1), x2=np.zeros(1))
    np.save(tmp_path / "nan.npy", np.where(np.arange(4)[:, None, None] == 2, np.nan, np.zeros((4, 8, 8))))
    np.save(tmp_path / "huge.npy", np.full((1, 8, 8), 1e300))
    np.save(tmp_path / "deep.npy", np.arange(64, dtype=np.uint16).reshape(1, 8, 8) * 1040)
    np.save(tmp_path / "ink.npy", np.eye(8, dtype=bool)[None])
    np.save(tmp_path / "bits.npy", np.eye(8, dtype=np.uint8)[None])
    (tmp_path / "empty").mkdir()
    done = archscout("predict", trained[0], name)
    assert done.code == 2
    assert done.out == ""
    assert expected in done.sentence


def test_a_run_that_is_none_is_refused(archscout: Call, tmp_path: Path) -> None:
    (tmp_path / "runs" / "first").mkdir(parents=True)
    (tmp_path / "x.png").write_bytes(b"")
    for command in (("report", "frist"), ("predict", "frist", "x.png")):
        done = archscout(*command)
        assert done.code == 2
        assert "first" in done.sentence
    for command in (("report", ""), ("predict", " ", "x.png")):
        done = archscout(*command)
        assert done.code == 2
        assert f"what follows '{command[0]}' is empty" in done.sentence
    for command in (("report", "first"), ("predict", "first", "x.png")):
        done = archscout(*command)
        assert done.code == 2
        assert "first" in done.sentence


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("nasbench201", "|none~0|"), "nodes"),
        (("nasbench21", CELL), "'nasbench201'"),
        (("nasbench201", CELL, "--epochs", 0), "--epochs"),
        (("nasbench201", CELL, "--name", "a/b"), "a/b"),
    ],
)
def test_train_refuses(
    archscout: Call, data: Path, tmp_path: Path, arguments: tuple[object, ...], expected: str
) -> None:
    done = archscout("train", *arguments, "--data", data)
    assert done.code == 2
    assert done.out == ""
    assert expected in done.sentence
    assert not list(tmp_path.glob("runs/*/*"))


# -- search -----------------------------------------------------------------------------------------------------------


def search(data: Path, *more: object) -> tuple[object, ...]:
    return (
        "search", "--space", "nasbench201:width=4", "--data", data, "--method", "random", "--budget", "3trials",
        "--epochs", 1, "--workers", 1, "--name", "r", *more,
    )  # fmt: skip


@pytest.mark.usefixtures("in_process")
def test_search_ends_in_a_run_and_reports_it_again(archscout: Call, data: Path, tmp_path: Path) -> None:
    done = archscout(*search(data, "--max", "params=20k", "--json"))
    assert done.code == 0, done.err
    metrics = json.loads(done.out)
    assert metrics == json.loads((tmp_path / "runs" / "r" / "metrics.json").read_text())
    assert metrics["trials"] == 3
    assert metrics["costs"]["params"] <= 20_000
    names = {file.name for file in (tmp_path / "runs" / "r").iterdir()}
    assert {"network.onnx", "network.safetensors", "architecture.json", "report.html", "search.sqlite"} <= names
    again = archscout(*search(data, "--max", "params=20k"))
    assert again.code == 0
    assert metrics["architecture"] in again.out
    assert "finished" in again.err
    other = archscout(*search(data, "--max", "params=20k", "--seed", 1))
    assert other.code == 2
    assert "seed" in other.sentence


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        (("--space", "nasbench21"), "'nasbench201'"),
        (("--data", "digit"), "'digits'"),
        (("--data", "gone.npz"), "gone.npz"),
        (("--method", "randm"), "'random'"),
        (("--estimator", "traind"), "'trained'"),
        (("--max", "latncy=2ms"), "'latency'"),
        (("--max", "latency=2km"), "2km"),
        (("--max", "latency"), "COST=VALUE"),
        (("--objective", "latncy"), "'latency'"),
        (("--budget", "5 moons"), "5 moons"),
        (("--budget", "0s"), "above zero"),
        (("--engine", "lcal"), "'local'"),
        (("--max", "params=10"), "params"),
        (("--store", "nodatabase://x"), "nodatabase"),
        (("--name", "../r"), "../r"),
    ],
)
def test_search_refuses(archscout: Call, data: Path, tmp_path: Path, more: tuple[str, ...], expected: str) -> None:
    done = archscout(*search(data, *more))
    assert done.code == 2
    assert done.out == ""
    assert expected in done.sentence
    assert not list(tmp_path.glob("runs/*/metrics.json"))


def test_search_into_a_place_that_cannot_be_written(archscout: Call, data: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    done = archscout(*search(data, "--out", "file"))
    assert done.code in (1, 2)
    assert "file" in done.sentence


@pytest.mark.usefixtures("in_process")
def test_a_search_that_a_scheduler_ends_says_how_to_go_on_and_does(
    archscout: Call, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = search(data)
    add = Store.add

    def ended(self: Store, run: str, trials: Sequence[StoredTrial]) -> None:
        add(self, run, trials)
        os.kill(os.getpid(), signal.SIGTERM)

    with monkeypatch.context() as patch:
        patch.setattr(Store, "add", ended)
        stopped = archscout(*command)
    assert (stopped.code, stopped.out) == (130, "")
    assert stopped.err.strip().splitlines()[-1] == "Error: stopped: the same command goes on from here."
    assert "Traceback" not in stopped.err
    done = archscout(*command, "--json")
    assert done.code == 0, done.err
    assert "resuming run 'r'" in done.err
    assert json.loads(done.out)["trials"] == 3


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stopped_search_says_how_to_go_on_and_does(
    start: Callable[..., subprocess.Popen[str]], archscout: Call, data: Path, tmp_path: Path, number: signal.Signals
) -> None:
    command = search(data, "--budget", "200trials", "--epochs", 2)
    process = start(*command)
    store = tmp_path / "runs" / "r" / "search.sqlite"
    deadline = time.monotonic() + 120
    while not (store.exists() and list((tmp_path / "runs" / "r" / "work").glob("*.safetensors"))):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.1)
    process.send_signal(number)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert out == ""
    assert err.strip().splitlines()[-1] == "Error: stopped: the same command goes on from here."
    assert "Traceback" not in err
    process = start(*command)
    assert process.stderr is not None
    for line in process.stderr:
        if "resuming run 'r'" in line:
            break
    else:
        pytest.fail("the second call does not say that it resumes")
    process.send_signal(number)
    process.communicate(timeout=60)
    assert process.returncode == 130
