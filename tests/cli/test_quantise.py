"""`archscout quantise` on a finished run."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch

import archscout as package

Call = Callable[..., Any]


@pytest.fixture
def run(trained: tuple[Path, Any], tmp_path: Path) -> Path:
    return Path(shutil.copytree(trained[0], tmp_path / "runs" / "one"))


@pytest.mark.parametrize("form", ["qdq", "qoperator"])
def test_the_int8_network_of_a_run(archscout: Call, run: Path, data: Path, form: str) -> None:
    done = archscout("quantise", "one", "--data", data, "--form", form, "--json")
    assert done.code == 0, done.err
    metrics = json.loads(done.out)
    assert json.loads((run / "metrics.json").read_text()) == metrics
    told = metrics["quantised"]
    assert (told["form"], told["weight_bits"], told["scheme"], told["examples"]) == (form, 8, "microcontroller", 48)
    assert told["steps_from_reference"] <= 1
    assert told["test_accuracy"] >= metrics["test_accuracy"] - 0.05
    test = package.task(data).test
    images = torch.from_numpy(test.x).permute(0, 3, 1, 2).float()
    (outputs,) = onnxruntime.InferenceSession(run / told["file"]).run(None, {"input": images.numpy()})
    assert told["test_accuracy"] == pytest.approx((outputs.argmax(1) == test.y).mean())
    assert (run / told["file"]).stat().st_size < 0.9 * (run / "network.onnx").stat().st_size
    assert "with 8 bits" in archscout("quantise", "one", "--data", data).out


def test_bad_input_is_one_sentence(archscout: Call, run: Path, data: Path, tmp_path: Path) -> None:
    before = sorted(run.iterdir())
    task = package.task(data)
    alone = tmp_path / "alone.npz"
    rows = task.train.y == 1
    arrays = {f"{s}_{k}": getattr(getattr(task, s), k) for s in ("valid", "test") for k in "xy"}
    np.savez(alone, **arrays, train_x=task.train.x[rows], train_y=task.train.y[rows], class_names=task.class_names)
    for arguments, said in (
        ([], "does not hold its data: name them again, with --data"),
        (["--data", "digits"], "are not those of run"),
        (["--data", data, "--weight-bits", "9"], "no scheme has 9 bits"),
        (["--data", data, "--scheme", "int8"], "no quantisation scheme 'int8'"),
        (["--data", data, "--form", "tflite"], "written as qdq or qoperator"),
        (["--data", data, "--observer", "maximum"], "no observer 'maximum'"),
        (["--data", alone], "calibration examples are of class 'pattern 1'"),
    ):
        done = archscout("quantise", "one", *arguments)
        assert done.code == 2
        assert said in done.sentence
    assert sorted(run.iterdir()) == before


def test_precision_is_a_choice_of_training(archscout: Call, data: Path, tmp_path: Path) -> None:
    command = ["train", "nasbench201:width=4,cells=1", "|none~0|+|none~0|none~1|+|nor_conv_3x3~0|none~1|none~2|"]
    done = archscout(*command, "--data", data, "--epochs", "1", "--name", "small", "--precision", "int8", "--json")
    assert done.code == 0, done.err
    assert json.loads(done.out)["quantised"]["file"] == "network-int8.onnx"
    assert (tmp_path / "runs" / "small" / "network-int8.onnx").is_file()
    done = archscout(*command, "--data", data, "--precision", "int4")
    assert "use float32 or int8" in done.sentence
