"""`archscout quantise` on a finished run."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import onnxruntime
import pytest
import torch

import archscout as package
from archscout.search.result import Result
from archscout.training.reconstruction import RECONSTRUCTIONS

Call = Callable[..., Any]


@pytest.fixture
def run(trained: tuple[Path, Any], tmp_path: Path) -> Path:
    return Path(shutil.copytree(trained[0], tmp_path / "runs" / "one"))


@pytest.mark.parametrize("form", ["qdq", pytest.param("qoperator", marks=pytest.mark.slow)])
def test_the_int8_network_of_a_run(archscout: Call, run: Path, data: Path, form: str) -> None:
    done = archscout("quantise", "one", "--data", data, "--form", form, "--json")
    assert done.code == 0, done.err
    metrics = json.loads(done.out)
    assert json.loads((run / "metrics.json").read_text()) == metrics
    told = metrics["quantised"]
    assert (told["form"], told["weight_bits"], told["scheme"], told["examples"]) == (form, 8, "microcontroller", 48)
    assert told["steps_from_reference"] <= 3, "each of some hundred operators may round a tie the other way"
    assert told["test_accuracy"] >= metrics["test_accuracy"] - 0.05
    test = package.task(data).test
    images = torch.from_numpy(test.x).permute(0, 3, 1, 2).float()
    (outputs,) = onnxruntime.InferenceSession(run / told["file"]).run(None, {"input": images.numpy()})
    assert told["test_accuracy"] == pytest.approx((outputs.argmax(1) == test.y).mean())
    assert (run / told["file"]).stat().st_size < 0.9 * (run / "network.onnx").stat().st_size
    assert "with 8 bits" in archscout("quantise", "one", "--data", data).out


def test_a_run_that_cannot_be_written_is_refused_first(
    archscout: Call, run: Path, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("archscout.finished.quantised.os.access", lambda place, mode: False)
    monkeypatch.setattr("archscout.finished.quantised.int8", None)
    sentence = archscout("quantise", "one", "--data", data).sentence
    assert "one' cannot be written, where the int8 network goes: copy the run" in sentence


@pytest.mark.parametrize("algorithm", ["qdrop", "lsq"])
def test_rounding_is_learned(
    archscout: Call, run: Path, data: Path, monkeypatch: pytest.MonkeyPatch, algorithm: str
) -> None:
    plans = {name: replace(plan, steps=2) for name, plan in RECONSTRUCTIONS.items()}
    monkeypatch.setattr("archscout.finished.algorithms.RECONSTRUCTIONS", plans)
    arguments = ["--data", data, "--weight-bits", "4", "--algorithm", algorithm]
    done = archscout("quantise", "one", *arguments, *(["--epochs", "1"] if algorithm == "lsq" else []), "--json")
    assert done.code == 0, done.err
    told = json.loads(done.out)["quantised"]
    assert (told["algorithm"], told["weight_bits"]) == (algorithm, 4)
    assert told["steps_from_reference"] <= 3
    assert 0 <= told["test_accuracy"] <= 1


def test_quantisation_aware_training_is_by_the_recipe_that_is_asked_for(
    archscout: Call, run: Path, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []
    monkeypatch.setattr("archscout.finished.algorithms.train_aware", lambda *given, **_: seen.append(given[2]))
    command = ["quantise", "one", "--data", data, "--algorithm", "lsq", "--epochs", "2", "--json"]
    for more, text in (([], None), (["--recipe", "opt=adamw,lr=0.004"], "learning_rate=0.004,optimizer=adamw")):
        done = archscout(*command, *more)
        assert done.code == 0, done.err
        assert json.loads(done.out)["quantised"].get("recipe") == text
    assert [(recipe.optimizer, recipe.learning_rate, recipe.epochs) for recipe in seen] == [
        ("sgd", 0.02, 2), ("adamw", 0.004, 2),
    ]  # fmt: skip


def test_bits_by_layer_keep_a_limit_of_bytes(archscout: Call, run: Path, data: Path) -> None:
    done = archscout("quantise", "one", "--data", data, "--weight-bytes", "4kB", "--json")
    assert done.code == 0, done.err
    told = json.loads(done.out)["quantised"]
    assert told["weight_bytes"] <= 4000
    assert 2 <= min(told["layer_bits"]) < max(told["layer_bits"]) <= 8
    sentence = archscout("quantise", "one", "--data", data, "--weight-bytes", "10").sentence
    assert "bytes with the fewest bits (2 at least), above the limit of 10" in sentence


def test_bits_of_activations_keep_a_limit_of_operations(archscout: Call, run: Path, data: Path) -> None:
    before = json.loads(archscout("quantise", "one", "--data", data, "--examples", "32", "--json").out)["quantised"]
    assert set(before["input_bits"]) == {8}
    options = ["--bit-operations", str(0.4 * before["bit_operations"]), "--bits-method", "one_at_a_time"]
    done = archscout("quantise", "one", "--data", data, "--examples", "32", *options, "--json")
    assert done.code == 0, done.err
    told = json.loads(done.out)["quantised"]
    assert told["bit_operations"] <= 0.4 * before["bit_operations"]
    assert told["input_bits"][0] == 8, "pixels"
    assert min(told["input_bits"]) < 8
    assert told["steps_from_reference"] <= 16, "a step of 3 bits is many of 8"


def test_bad_input_is_one_sentence(archscout: Call, run: Path, data: Path) -> None:
    before = sorted(run.iterdir())
    for arguments, said in (
        ([], "does not hold its data: name them again, with --data"),
        (["--data", "digits"], "are not those of run"),
        (["--data", data, "--weight-bits", "9"], "no scheme has 9 bits"),
        (["--data", data, "--scheme", "int8"], "no quantisation scheme 'int8'"),
        (["--data", data, "--form", "tflite"], "written as qdq or qoperator"),
        (["--data", data, "--observer", "maximum"], "no observer 'maximum'"),
        (["--data", data, "--bits-method", "hawq"], "bits are chosen within a limit"),
        (["--data", data, "--weight-bytes", "4kB", "--bits-method", "haq"], "no method 'haq' to choose bits"),
        (
            ["--data", data, "--weight-bytes", "9kB", "--weight-bits", "4"],
            "bits of weights are given (4) and to be chosen",
        ),
        (
            ["--data", data, "--bit-operations", "9M", "--activation-bits", "4"],
            "bits of activations are given (4) and to",
        ),
        (["--data", data, "--latency", "2ms"], "go together: give both or none"),
        (["--data", data, "--algorithm", "adaquant"], "no quantisation algorithm 'adaquant': did you mean 'adaround'"),
        (["--data", data, "--epochs", "3"], "'nearest' does not train: leave out the epochs"),
        (["--data", data, "--recipe", "lr=0.1"], "'nearest' does not train: leave out the recipe"),
        (["--data", data, "--algorithm", "lsq", "--recipe", "bits=w4a8"], "has a bits of its own"),
        (["--data", data, "--algorithm", "lsq", "--recipe", "lr=fast"], "must be a number"),
        (["--data", data, "--examples", "1"], "all 1 calibration examples are of class 'pattern"),
    ):
        done = archscout("quantise", "one", *arguments)
        assert done.code == 2
        assert said in done.sentence
    assert sorted(run.iterdir()) == before


def test_precision_is_a_choice_of_training(
    archscout: Call, run: Path, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("archscout.api.train", lambda *_, **__: Result.read(run))
    command = ["train", "nasbench201", "any", "--data", data]
    assert "quantised" not in json.loads(archscout(*command, "--json").out)
    done = archscout(*command, "--precision", "int8", "--json")
    assert json.loads(done.out)["quantised"]["file"] == "network-int8.onnx", done.err
    assert "The network in integers" in (run / "report.html").read_text()
    assert "use float32 or int8" in archscout(*command, "--precision", "int4").sentence
