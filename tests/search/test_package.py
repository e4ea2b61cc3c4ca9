"""The files of a result say what was measured, whatever of the network cannot be written."""

import hashlib
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from archscout.core.cost import Measurement
from archscout.core.errors import ArchscoutError, DataError
from archscout.core.estimator import Setting
from archscout.core.panel import Panel
from archscout.core.registry import create
from archscout.core.space import Space
from archscout.core.task import Task
from archscout.core.trial import Trial
from archscout.deploy.form import Centred
from archscout.deploy.precision import Form
from archscout.estimators.final import FINAL
from archscout.finished.network import load
from archscout.networks.pick import build
from archscout.search import package as packaging
from archscout.search.package import earlier_network, package, trained_network, trained_weights
from archscout.search.result import Result
from archscout.store.intact import check
from archscout.tasks.images import ImageClassification
from archscout.testing import tiny_regression, tiny_task

EXTRA: dict[str, Any] = {
    "run": "r", "method": "m", "notes": {"rungs": [1]}, "missing": {},
    "seconds": {"search": 2.0, "final training": 3.5},
}  # fmt: skip


@pytest.fixture(autouse=True)
def exported(monkeypatch: pytest.MonkeyPatch) -> list[nn.Module]:
    """What would be exported, which is tested elsewhere and takes its time."""
    modules: list[nn.Module] = []

    def export(module: nn.Module, shape: Sequence[int], path: Path, *, quick: bool) -> float:
        assert quick, "a space of this package needs no slow exporter"
        modules.append(module)
        path.write_bytes(b"onnx")
        return 2e-7

    monkeypatch.setattr(packaging, "export_onnx", export)
    return modules


@pytest.fixture(scope="module")
def space() -> Space:
    return create("space", "nasbench201:width=4,cells=1")  # type: ignore[no-any-return]


def winner(space: Space, value: float = 0.25) -> Trial:
    text = "|nor_conv_3x3~0|+|none~0|nor_conv_3x3~1|+|skip_connect~0|none~1|nor_conv_3x3~2|"
    architecture = space.parse(text)
    curve = ({"epoch": 1.0, "valid_loss": 0.5},)
    return Trial(3, architecture, space.canonical(architecture), "trained", 2, "completed", value, curve=curve)


def packed(folder: Path, space: Space, task: Task, value: float = 0.25, extra: Any = EXTRA) -> tuple[Result, nn.Module]:
    trial = winner(space, value)
    network = build(space, trial.architecture, task, seed=1).eval()
    measured = {"params": Measurement(1234.0), "latency_ms": Measurement(2.0, 0.1, {"trusted": False})}
    return package(folder, space, task, trial, network, measured, 7, extra, None), network


def test_the_test_metric_is_that_of_the_network_on_the_test_split(tmp_path: Path, space: Space) -> None:
    task = tiny_task(examples=30)
    result, network = packed(tmp_path, space, task)
    assert task.test is not None
    x, y = task.tensors(task.test)
    with torch.no_grad():
        right = float((network(x).argmax(1) == y).float().mean())
    assert result.metrics["test_accuracy"] == pytest.approx(right)
    assert (result.metrics["valid_accuracy"], result.metrics["seed"]) == (0.25, 7)
    assert result.metrics["seconds"] == {"search": 2.0, "final training": 3.5, "total": 5.5}
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["notes"] == {"rungs": [1]}
    assert report["winner"]["test_accuracy"] == pytest.approx(right)
    assert report["class_names"] == list(task.class_names)
    assert "notes" not in result.metrics


def test_a_lower_metric_is_said_as_it_was_measured(tmp_path: Path, space: Space) -> None:
    task = tiny_regression(examples=12)
    result, _ = packed(tmp_path, space, task, value=-12.5)
    assert result.metrics[f"valid_{task.metric}"] == 12.5
    assert result.metrics[f"test_{task.metric}"] > 0


def test_counts_are_whole_numbers_and_measurements_are_not(tmp_path: Path, space: Space) -> None:
    metrics = packed(tmp_path, space, tiny_task(examples=6))[0].metrics
    assert json.dumps(metrics["costs"]) == '{"params": 1234, "latency_ms": 2.0}'
    assert metrics["spread"] == {"params": 0.0, "latency_ms": 0.1}
    assert metrics["cost_details"]["latency_ms"] == {"trusted": False}
    assert metrics["onnx_difference"] == 2e-7


def test_the_form_of_a_measured_limit_is_said_with_what_the_network_is_worth_in_it(
    tmp_path: Path, space: Space
) -> None:
    task = tiny_task(examples=30)
    network = build(space, winner(space).architecture, task, seed=1).eval()

    def form_of(precision: str, layout: str) -> dict[str, Any]:
        conditions = {"runtime": "torch", **Form(precision, layout).as_json()}  # type: ignore[arg-type]
        measured = {
            "latency_ms": Measurement(2.0, 0.1, {"conditions": {"runtime": "torch", **Form().as_json()}}),
            "latency_other_ms": Measurement(1.0, 0.1, {"conditions": conditions}),
        }
        extra = {**EXTRA, "constraints": [{"name": "latency", "key": "latency_other_ms", "limit": 3.0}]}
        metrics = package(tmp_path, space, task, winner(space), network, measured, 7, extra, None).metrics
        form: dict[str, Any] = metrics["form"]
        return form

    plain = form_of("float32", "channels_last")
    assert plain == {"runtime": "torch", "precision": "float32", "layout": "channels_last", "bytes_per_number": 4}
    x, y = task.tensors(task.valid)
    with torch.no_grad():
        right = float((network(x).argmax(1) == y).float().mean())
    assert form_of("bfloat16", "contiguous")["valid_accuracy"] == pytest.approx(right, abs=2 / len(y))


def test_the_device_table_has_what_surveys_ask_for(tmp_path: Path, space: Space) -> None:
    task = tiny_task(examples=6)
    result, _ = packed(tmp_path, space, task)
    table, setting = result.metrics["device_table"], Setting(space, task)
    architecture = winner(space).architecture
    for cost, told in (
        ("macs", table["macs"]), ("memory_traffic", table["memory_traffic_bytes"]),
        ("peak_memory", table["peak_memory_bytes"]), ("weight_bytes:bits=4", table["weight_bytes"]["4"]),
        ("energy@cmos-45nm", table["energy_uj"]["cmos-45nm"]),
    ):  # fmt: skip
        assert told == pytest.approx(create("cost", cost).measure(architecture, setting).value), cost
    assert table["params"] == 1234, "what was measured is not measured again"
    assert table["latency"]["p50_ms"] == 2.0
    assert table["latency"]["quick"] is False
    assert table["search"]["core_hours"] == pytest.approx(5.5 / 3600)
    assert table["search"]["kwh"] == pytest.approx(5.5 / 3600 * table["search"]["watts_per_core"] / 1000)
    report = json.loads((tmp_path / "report.json").read_text())
    (shown,) = [panel for panel in report["panels"] if panel["title"] == "What it takes of a device"]
    assert ["parameters", "1,234", ""] in shown["rows"]


def test_latency_is_measured_where_nobody_asked_for_it(tmp_path: Path, space: Space) -> None:
    task, trial = tiny_task(examples=6), winner(space, 0.5)
    network = build(space, trial.architecture, task, seed=1).eval()
    latency = package(tmp_path, space, task, trial, network, {}, 7, EXTRA, None).metrics["device_table"]["latency"]
    assert latency["quick"] is True
    assert 0 < latency["p50_ms"] <= latency["p95_ms"]
    assert latency["mean_ms"] > 0
    assert (latency["batch"], latency["threads"]) == (1, 1)


def test_the_deployed_form_is_exported(tmp_path: Path, space: Space, exported: list[nn.Module]) -> None:
    task = tiny_task(examples=6)
    _, network = packed(tmp_path, space, task)
    (folded,) = exported
    assert isinstance(folded, Centred), "the deviation of stored inputs is in the first layer"
    assert sum(isinstance(part, nn.BatchNorm2d) for part in folded.modules()) < 2
    x = torch.rand(3, *task.input_shape) * 255
    with torch.no_grad():
        assert torch.allclose(folded(x), task.deploy(network)(x), atol=1e-5)


def test_without_a_test_split_nothing_is_tested(tmp_path: Path, space: Space) -> None:
    result, _ = packed(tmp_path, space, tiny_task(examples=6).sealed())
    assert result.metrics["test_accuracy"] is None


def test_a_network_that_onnx_cannot_hold_takes_away_the_file_alone(
    tmp_path: Path, space: Space, monkeypatch: pytest.MonkeyPatch
) -> None:
    def export(*_: Any, **named: Any) -> float:
        raise ArchscoutError("it has no word for that.")

    monkeypatch.setattr(packaging, "export_onnx", export)
    (tmp_path / "network.onnx").write_bytes(b"of an earlier result")
    extra = EXTRA | {"missing": {"macs": "no such operator"}}
    result, _ = packed(tmp_path, space, tiny_task(examples=6), extra=extra)
    assert result.metrics["missing"] == {"macs": "no such operator", "network.onnx": "it has no word for that"}
    assert result.metrics["onnx_difference"] is None
    assert not (tmp_path / "network.onnx").exists()
    assert (tmp_path / "network.safetensors").is_file()


class Fails(ImageClassification):
    """Its review fails after the first batch of answers."""

    def review(self, answers: Iterable[Any]) -> Sequence[Panel]:
        next(iter(answers))
        raise KeyError("no such column")


def test_a_review_that_fails_is_said_and_the_metric_is_whole(tmp_path: Path, space: Space) -> None:
    tiny = tiny_task(examples=30)
    task = Fails(tiny.name, tiny.input_shape, tiny.outputs, tiny.train, tiny.valid, tiny.test, tiny.class_names)
    (tmp_path / "fails").mkdir()
    result, _ = packed(tmp_path / "fails", space, task)
    right, _ = packed(tmp_path, space, tiny)
    assert result.metrics["test_accuracy"] == right.metrics["test_accuracy"]
    panel, _ = json.loads((tmp_path / "fails" / "report.json").read_text())["panels"]
    assert "KeyError: 'no such column'" in panel["paragraphs"][0]


def test_the_network_of_an_earlier_result_is_that_of_the_same_training_alone(tmp_path: Path, space: Space) -> None:
    task = tiny_task(examples=6)
    assert earlier_network(tmp_path, space, task, winner(space)) is None
    _, network = packed(tmp_path, space, task)
    again = earlier_network(tmp_path, space, task, winner(space))
    assert again is not None
    assert all(torch.equal(tensor, network.state_dict()[name]) for name, tensor in again.state_dict().items())
    assert earlier_network(tmp_path, space, task, winner(space, 0.26)) is None
    saved = load_file(tmp_path / "network.safetensors")
    assert {"mean", "std"} <= set(saved), "the deployed network, with the normalisation of its inputs"


def test_weights_that_are_gone_are_named(tmp_path: Path, space: Space) -> None:
    trial = winner(space)
    with pytest.raises(ArchscoutError, match="the weights of the winner are gone"):
        trained_network(space, tiny_task(examples=6), trial, tmp_path)
    final = Trial(3, trial.architecture, trial.canonical, FINAL, 5, "completed", 0.5)
    assert trained_weights(final, tmp_path) != trained_weights(trial, tmp_path)


def test_a_flipped_byte_in_a_file_of_the_network_is_noticed(space: Space, tmp_path: Path) -> None:
    task, trial = tiny_task(), winner(space)
    network = build(space, trial.architecture, task, seed=1).eval()
    package(tmp_path, space, task, trial, network, {}, 0, EXTRA, None)
    load(tmp_path)
    about = json.loads((tmp_path / "architecture.json").read_text())
    for name in ("network.safetensors", "network.onnx"):
        whole = (tmp_path / name).read_bytes()
        assert about["sha256"][name] == hashlib.sha256(whole).hexdigest()
        (tmp_path / name).write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
        with pytest.raises(DataError, match=f"{name}' is damaged .*restore it from a copy"):
            check(tmp_path / name)
        if name == "network.safetensors":
            with pytest.raises(DataError, match="is damaged"):
                load(tmp_path)
            assert earlier_network(tmp_path, space, task, trial) is None
            del about["sha256"][name]  # as runs of earlier versions have it
            (tmp_path / "architecture.json").write_text(json.dumps(about))
            load(tmp_path)
        (tmp_path / name).write_bytes(whole)
