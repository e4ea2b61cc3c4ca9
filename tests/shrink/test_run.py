"""Whole runs from trained networks: limits are kept, the files are those of any run, bad input is one sentence."""

import copy
import dataclasses
import importlib.util
import itertools
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

import archscout
from archscout.core.errors import DataError, UsageError
from archscout.core.progress import Silent
from archscout.core.task import Split
from archscout.costs.latency import FULL
from archscout.report.page import write as write_page
from archscout.shrink import planning, record, reduction
from archscout.shrink.front import shrink_front
from archscout.shrink.head import probe
from archscout.shrink.planning import assumed_pace, outlook, plan_transfer
from archscout.shrink.record import WORK, same_call
from archscout.shrink.run import shrink
from archscout.shrink.tuning import fine_tune
from archscout.spaces.trained import BackboneSpace
from archscout.tasks.images import ImageClassification
from archscout.testing.tasks import tiny_task
from archscout.training.recipe import Recipe
from archscout.training.trainer import predict, train

_spec = importlib.util.spec_from_file_location("zoo", Path(__file__).parents[1] / "networks" / "zoo.py")
zoo = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(zoo)
_spec = importlib.util.spec_from_file_location(
    "trained_space", Path(__file__).parents[1] / "spaces" / "test_trained.py"
)
trained_space = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(trained_space)

TASK = tiny_task((3, 16, 16), classes=5, examples=60)


def ticking() -> Callable[[], float]:
    """A clock that goes on by a hundredth of a second whenever it is asked, whatever the machine does."""
    return itertools.count(0.0, 0.01).__next__


@pytest.fixture(scope="module")
def network() -> nn.Module:
    network = zoo.zoo_network("resnet")
    train(network, TASK, Recipe(8, 16, learning_rate=0.05), seed=0)
    return network.eval()


@pytest.fixture(scope="module")
def finished(network: nn.Module, tmp_path_factory: pytest.TempPathFactory):
    out = tmp_path_factory.mktemp("runs")
    maximum = {"params": "50%", "macs": "70%"}
    result = shrink(network, TASK, maximum=maximum, budget="3s", out=out, name="run", clock=ticking())
    write_page(result.folder)
    return result


def test_limits_are_kept_and_the_result_is_a_run(finished, network: nn.Module) -> None:
    metrics, folder = finished.metrics, finished.folder
    original = metrics["original"]["costs"]
    assert metrics["seconds"]["total"] > metrics["original"]["steps"][-1]["seconds"], "what is no phase takes time, too"
    assert metrics["costs"]["params"] <= 0.5 * original["params"]
    assert metrics["costs"]["macs"] <= 0.7 * original["macs"]
    assert original["params"] == sum(p.numel() for p in network.parameters())
    assert metrics["test_accuracy"] > 0.8, "the patterns are easy: recovery must learn them again"
    assert [step["step"] for step in metrics["original"]["steps"]] == ["original", "cut", "recovered"]
    assert metrics["original"]["cuts"] and metrics["original"]["whole"] == {"fc": "it is an output of the network"}
    assert {file.name for file in folder.iterdir()} >= {
        "network.safetensors", "network.onnx", "metrics.json", "report.json", "report.html", "architecture.json",
    }  # fmt: skip
    assert all(file.is_file() for file in (folder / WORK).iterdir()), "no checkpoint of a training that ended"


def test_its_network_loads_and_answers_as_the_onnx_file(finished, network: nn.Module) -> None:
    loaded = archscout.load(finished.folder, space=network)
    x = torch.from_numpy(TASK.test.x).permute(0, 3, 1, 2).float()
    with torch.no_grad():
        answers = loaded(x)
    assert float((answers.argmax(1).numpy() == TASK.test.y).mean()) == finished.metrics["test_accuracy"]
    session = onnxruntime.InferenceSession(finished.folder / "network.onnx")
    np.testing.assert_allclose(session.run(None, {"input": x.numpy()})[0], answers.numpy(), rtol=1e-3, atol=1e-3)
    with pytest.raises(UsageError, match=r"began with a network of your own .ResNet.: give it once more"):
        archscout.load(finished.folder)


def test_its_network_may_be_named_once_more(finished, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = [
        "import importlib.util",
        f"spec = importlib.util.spec_from_file_location('zoo', {str(zoo.__file__)!r})",
        "zoo = importlib.util.module_from_spec(spec)",
        "spec.loader.exec_module(zoo)",
        "def make():",
        "    return zoo.zoo_network('resnet')",
    ]
    (tmp_path / "zoo_of_mine.py").write_text("\n".join(lines))
    monkeypatch.syspath_prepend(str(tmp_path))
    x = torch.from_numpy(TASK.test.x).permute(0, 3, 1, 2).float()
    with torch.no_grad():
        answers = archscout.load(finished.folder, space="zoo_of_mine:make")(x)
    assert float((answers.argmax(1).numpy() == TASK.test.y).mean()) == finished.metrics["test_accuracy"]
    with pytest.raises(UsageError, match="'zoo_of_mine:made' gives no network"):
        archscout.load(finished.folder, space="zoo_of_mine:made")


def test_the_same_call_again_is_the_same_result_and_another_is_refused(finished, network: nn.Module) -> None:
    options = {"budget": "3s", "out": finished.folder.parent, "name": "run"}
    maximum = {"params": "50%", "macs": "70%"}
    assert shrink(network, TASK, maximum=maximum, **options).metrics == finished.metrics
    with pytest.raises(UsageError, match=r"was started with maximum = .*, not .*: repeat the first command"):
        shrink(network, TASK, maximum={"params": "40%"}, **options)


@pytest.mark.slow
def test_what_was_cut_is_trained_on_under_a_larger_budget(
    finished, network: nn.Module, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is chosen again; the network that was recovered learns on, and keeps its limits."""
    shutil.copytree(finished.folder, tmp_path / "run")
    monkeypatch.setattr(reduction, "plan", None)
    maximum = {"params": "50%", "macs": "70%"}
    metrics = shrink(
        network, TASK, maximum=maximum, budget="5s", out=tmp_path, name="run", clock=ticking()
    ).metrics  # fmt: skip
    steps = [step["step"] for step in metrics["original"]["steps"]]
    assert steps[:4] == ["original", "cut", "recovered", "trained longer"]
    assert metrics["architecture"] == finished.architecture and metrics["epochs"] > finished.metrics["epochs"]
    assert metrics["costs"]["params"] == finished.metrics["costs"]["params"]
    assert metrics["test_accuracy"] > 0.8


def test_what_leaves_a_network_worse_is_undone(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Flatten(), nn.Linear(3 * 16 * 16, 5))
    kept = record.Record(
        tmp_path, TASK, seed=0, device="cpu", watch=Silent(), clock=ticking(), end=9.0, began=0.0, shared=None
    )
    train(network, TASK, Recipe(8, 16, learning_rate=0.05), seed=0)
    kept.step("trained", network)
    before, value = copy.deepcopy(network.state_dict()), kept.value
    assert value > 0.6
    kept.improve("spoilt", network, lambda: nn.init.zeros_(network[1].weight))
    assert [step["step"] for step in kept.steps] == ["trained", "spoilt", "spoilt, undone"] and kept.value == value
    assert all(torch.equal(tensor, network.state_dict()[name]) for name, tensor in before.items())


@pytest.mark.slow
def test_an_interrupted_run_goes_on(
    network: nn.Module, finished, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was decided before the interruption is not decided again."""
    maximum = {"params": "50%", "macs": "70%"}
    options = {"maximum": maximum, "budget": "3s", "out": tmp_path, "clock": ticking()}

    def stop(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(record, "fine_tune", stop)
        with pytest.raises(KeyboardInterrupt):
            shrink(network, TASK, name="run", **options)
    chosen = json.loads((tmp_path / "run" / "work" / "cut.json").read_text())
    with monkeypatch.context() as patch:
        patch.setattr(reduction, "plan", stop)
        result = shrink(network, TASK, name="run", **options)
    assert result.architecture == chosen["architecture"]
    assert result.metrics["costs"]["params"] == finished.metrics["costs"]["params"]


@pytest.mark.slow
def test_more_is_cut_where_a_limit_is_broken_when_measured_again(
    network: nn.Module, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    measure, broken = reduction.measure, []

    def again(cost, network, architecture, setting, protocol=FULL):
        measured = measure(cost, network, architecture, setting, protocol)
        if protocol is FULL and architecture.text != "whole" and not broken:
            broken.append(measured.value)
            return dataclasses.replace(measured, value=1.2 * measured.value)
        return measured

    monkeypatch.setattr(reduction, "measure", again)
    options = {"maximum": {"params": "50%"}, "clock": ticking(), "out": tmp_path}
    metrics = shrink(network, TASK, budget="3s", **options).metrics
    assert [step["step"] for step in metrics["original"]["steps"]] == ["original", "cut", "cut again", "recovered"]
    assert metrics["costs"]["params"] < broken[0] <= 0.5 * metrics["original"]["costs"]["params"]


@pytest.mark.slow
def test_without_labels_the_original_teaches(network: nn.Module, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    wrong = dataclasses.replace(TASK, train=dataclasses.replace(TASK.train, y=rng.permutation(TASK.train.y)))
    result = shrink(network, wrong, maximum={"params": "60%"}, budget="6s", labels=False, out=tmp_path, clock=ticking())
    assert result.metrics["test_accuracy"] > 0.8


def test_limits_that_nothing_keeps_and_other_bad_input(network: nn.Module, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"no cut of this network keeps params <= 10: the smallest one has \d+"):
        shrink(network, TASK, maximum={"params": "10"}, budget="3s", out=tmp_path)
    with pytest.raises(UsageError, match=r"no cut of this network keeps latency_ms <= 0.00001: the smallest one has"):
        shrink(network, TASK, maximum={"latency": "0.01us"}, budget="3s", out=tmp_path / "time")
    for limit in ("0%", "150%", "-5%", "fast", float("nan"), None):
        with pytest.raises(UsageError, match="limit"):
            shrink(network, TASK, maximum={"latency": limit}, budget="3s", out=tmp_path / "none")
    for option in ({"seed": -1}, {"device": "tpu"}, {"budget": [3]}, {"progress": 3}, {"maximum": "1ms"}, {"name": ""}):
        with pytest.raises(UsageError):
            shrink(network, TASK, out=tmp_path / "none", **option)
    assert not list((tmp_path / "none").glob("*")), "what is refused leaves nothing that a correction would meet"
    for limits, message in (
        ("5ms", "by --max and by --limits"),
        (["5ms", "5.0ms"], "no limits"),
        (["5ms", "x"], "limit"),
    ):
        with pytest.raises(UsageError, match=message):
            shrink_front(network, TASK, limits, maximum={"latency": "3ms"}, out=tmp_path / "none")
    with pytest.raises(UsageError, match="takes a budget of time"):
        shrink(network, TASK, budget="20trials", out=tmp_path)
    with pytest.raises(UsageError, match="there is no backbone 'efficientnet'"):
        shrink("efficientnet", TASK, out=tmp_path)
    with pytest.raises(UsageError, match="not a int"):
        shrink(3, TASK, out=tmp_path)
    with pytest.raises(UsageError, match="is a choice for backbones alone"):
        shrink(network, TASK, size=64, out=tmp_path)
    with pytest.raises(UsageError, match=r"cannot run on inputs of shape|does not run on an input of shape"):
        shrink(network, tiny_task((1, 8, 8)), out=tmp_path)
    save_file({"weight": torch.zeros(2)}, tmp_path / "w.safetensors")
    with pytest.raises(DataError, match="are not those of this network"):
        shrink(network, TASK, weights=tmp_path / "w.safetensors", out=tmp_path)
    torch.save(nn.Linear(2, 2), tmp_path / "whole.pth")
    with pytest.raises(DataError, match="never loaded, for they can run code"):
        shrink(network, TASK, weights=tmp_path / "whole.pth", out=tmp_path)


@pytest.fixture(scope="module")
def backbone_space() -> BackboneSpace:
    torch.manual_seed(0)
    return BackboneSpace(trained_space.Small(), 32, weights=False)


def test_the_probe_fits_the_head_that_its_features_allow(backbone_space: BackboneSpace) -> None:
    network = backbone_space.adapted(TASK)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items() if "head" not in name}
    accuracy = probe(network, "head", TASK)
    outputs = predict(network, TASK, TASK.valid)
    assert TASK.measure(outputs, torch.as_tensor(TASK.valid.y)) == pytest.approx(accuracy)
    assert accuracy > 0.9
    assert all(torch.equal(tensor, network.state_dict()[name]) for name, tensor in before.items())
    two = tiny_task((3, 16, 16), classes=2)
    network = backbone_space.adapted(two)
    accuracy = probe(network, "head", two)
    assert two.measure(predict(network, two, two.valid), torch.as_tensor(two.valid.y)) == pytest.approx(accuracy)


def test_fine_tuning_takes_the_epochs_that_fit(backbone_space: BackboneSpace) -> None:
    network = backbone_space.adapted(TASK)
    clock = ticking()
    outcome = fine_tune(network, TASK, 0.5, seed=0, clock=clock, learning_rate=5e-3)
    assert outcome.valid_metric > 1 / TASK.outputs and len(outcome.curve) > 2
    assert 0.4 <= clock() <= 0.55


def test_what_transfer_reaches_in_some_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    def task(examples: int) -> ImageClassification:
        """So many images that are one image in memory."""
        split = Split(np.broadcast_to(np.uint8(0), (examples, 32, 32, 3)), np.broadcast_to(np.int64(0), examples))
        valid, statistics = split.head(examples // 5), ((0.0,) * 3, (1.0,) * 3)
        return ImageClassification("many", (3, 32, 32), 10, split, valid, None, statistics=statistics)

    plans = [plan_transfer(task(3000), seconds, assumed_pace()) for seconds in (1, 60, 240, 3600)]
    assert [plan.error for plan in plans] == sorted((plan.error for plan in plans), reverse=True)
    assert plans[0].size == 48 and plans[-1].size == max(plan.size for plan in plans) >= 96 and plans[-1].passes > 10
    monkeypatch.setattr(planning, "available", lambda: [])
    assert outlook(TASK, 100) is None
    monkeypatch.setattr(planning, "available", lambda: ["efficientnet_lite0"])
    found = outlook(TASK, 100)
    assert found is not None and found.worth and found.backbone == "efficientnet_lite0"
    assert not outlook(task(100_000), 5).worth


@pytest.mark.slow
def test_several_limits_share_one_transfer(network: nn.Module, tmp_path: Path) -> None:
    results = archscout.api.shrink_front(
        network, TASK, ["1s", "2s"], maximum={"params": "60%"}, budget="8s", out=tmp_path, name="front"
    )
    assert [result.folder.name for result in results] == ["front-1s", "front-2s"]
    rows = json.loads((tmp_path / "front" / "front.json").read_text())
    assert [row["limit"] for row in rows] == ["1s", "2s"] and all(row["costs"]["params"] > 0 for row in rows)
    with pytest.raises(UsageError, match="are no limits of latency"):
        archscout.api.shrink_front(network, TASK, ["1s", "1s"], out=tmp_path)


def test_a_run_that_was_only_begun_gives_way_to_other_limits(tmp_path) -> None:
    same_call(tmp_path, {"maximum": {"params": "1%"}, "seed": 0}, "run")
    (tmp_path / WORK).mkdir()
    (tmp_path / WORK / "spent.json").write_text("3.0")
    same_call(tmp_path, {"maximum": {"params": "50%"}, "seed": 0}, "run")
    assert not (tmp_path / WORK / "spent.json").exists(), "the time of another run is not counted"
    (tmp_path / WORK / "fine-tuning").mkdir(parents=True)
    (tmp_path / WORK / "fine-tuning" / "checkpoint.safetensors").touch()
    with pytest.raises(UsageError, match=r"was started with maximum = \{'params': '50%'\}, not"):
        same_call(tmp_path, {"maximum": {"params": "60%"}, "seed": 0}, "run")
