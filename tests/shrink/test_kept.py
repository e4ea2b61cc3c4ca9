"""Kept features are what the beginning of the network gives, and training the rest on them trains the network."""

import dataclasses
import importlib.util
import itertools
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import archscout
from archscout.backbones.adapted import Adapted
from archscout.backbones.base import Backbone
from archscout.backbones.efficientnet_lite import EfficientNetLite
from archscout.core import registry
from archscout.core.cost import Measurement
from archscout.core.errors import UsageError
from archscout.core.progress import Silent
from archscout.core.registry import create
from archscout.core.task import Split, Task
from archscout.shrink import head as heads
from archscout.shrink import record as records
from archscout.shrink import transfer as transfers
from archscout.shrink.head import probe, probe_kept, some
from archscout.shrink.kept import KeptFeatures, Rest, kept_features
from archscout.shrink.planning import TransferPlan
from archscout.shrink.record import Record, worse
from archscout.shrink.run import shrink
from archscout.shrink.tuning import fine_tune
from archscout.spaces.trained import BackboneSpace
from archscout.testing.tasks import tiny_task
from archscout.training import checkpoint
from archscout.training.speed import Mode
from archscout.training.trainer import Outcome, predict

_spec = importlib.util.spec_from_file_location(
    "trained_space", Path(__file__).parents[1] / "spaces" / "test_trained.py"
)
trained_space = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(trained_space)

TASK = tiny_task((3, 16, 16), classes=5, examples=60)
PLAIN = Mode("float32", "channels_last")


class InParts(nn.Module):
    def __init__(self, classes: int) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.Conv2d(3, 12, 3, 2, 1), nn.ReLU())
        self.second = nn.Sequential(nn.Conv2d(12, 12, 5, 1, 2, groups=12), nn.ReLU(), nn.AdaptiveAvgPool2d(1))
        self.head = nn.Linear(12, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.second(self.first(x)).flatten(1))


class Parted(Backbone):
    name = "parted"
    package = "a_package_that_nobody_has"
    head, mean, std = "head", (127.0,) * 3, (128.0,) * 3

    def structure(self) -> nn.Module:
        return InParts(7)

    def parts(self, network: nn.Module) -> list[nn.Module]:
        return [network.first, nn.Sequential(network.second, nn.Flatten(), network.head)]


@pytest.fixture
def network():
    torch.manual_seed(0)
    return BackboneSpace(Parted(), 32, weights=False).adapted(TASK)


def ticking() -> Callable[[], float]:
    """A clock that goes on by a hundredth of a second whenever it is asked, whatever the machine does."""
    return itertools.count(0.0, 0.01).__next__


def _halves(network):
    first, second = Parted().parts(network.network)
    return network.before(first), Rest(second)


def test_features_and_the_rest_answer_as_the_network(network) -> None:
    beginning, rest = _halves(network)
    kept = kept_features(beginning, TASK, 3, seed=0, mode=PLAIN)
    n = len(TASK.train)
    assert len(kept.train) == 3 * n and kept.input_shape == (12, 16, 16) and kept.copies == 3
    assert (kept.train.y[:n] == TASK.train.y).all() and (kept.train.y[2 * n :] == TASK.train.y).all()
    whole = predict(network, TASK, TASK.train)
    torch.testing.assert_close(predict(rest, kept, kept.first(1).train), whole, rtol=1e-2, atol=1e-3)
    torch.testing.assert_close(
        predict(rest, kept, kept.valid), predict(network, TASK, TASK.valid), rtol=1e-2, atol=1e-3
    )
    again = kept_features(beginning, TASK, 3, seed=0, mode=PLAIN)
    assert again.digest == kept.digest != kept.first(2).digest
    assert kept.digest != kept_features(beginning, TASK, 3, seed=1, mode=PLAIN).digest


def test_head_and_fine_tuning_on_kept_features_change_the_network(network, tmp_path: Path) -> None:
    beginning, rest = _halves(network)
    kept = kept_features(beginning, TASK, 2, seed=0, mode=PLAIN)
    other = BackboneSpace(Parted(), 32, weights=False).adapted(TASK)
    other.load_state_dict(network.state_dict())
    accuracy = probe_kept(rest, network.network.head, kept, mode=PLAIN)
    assert accuracy == pytest.approx(TASK.measure(predict(network, TASK, TASK.valid), torch.as_tensor(TASK.valid.y)))
    if not TASK.flip:  # then the second copy is a shifted one
        assert accuracy == pytest.approx(probe(other, "head", TASK), abs=0.2)
    frozen = {name: tensor.clone() for name, tensor in network.network.first.state_dict().items()}
    before = network.network.second[0].weight.clone()
    outcome = fine_tune(rest, kept, 0.2, seed=0, clock=ticking(), learning_rate=1e-3, folder=tmp_path)
    assert len(outcome.curve) >= 2 and outcome.curve[-1]["epoch"] == len(outcome.curve)
    assert all(torch.equal(tensor, network.network.first.state_dict()[name]) for name, tensor in frozen.items())
    assert not torch.equal(before, network.network.second[0].weight)
    value = TASK.measure(predict(network, TASK, TASK.valid), torch.as_tensor(TASK.valid.y))
    assert value == pytest.approx(outcome.valid_metric, abs=0.05) and value >= accuracy - 0.2


def test_a_run_keeps_features_and_its_network_is_whole(parted: None, tmp_path: Path) -> None:
    options = {"budget": "2s", "out": tmp_path, "clock": ticking(), "name": "run"}
    result = shrink("parted", TASK, **options)
    loaded = archscout.load(result.folder)
    x = torch.from_numpy(TASK.test.x).permute(0, 3, 1, 2).float()
    with torch.no_grad():
        hits = (loaded(x).argmax(1).numpy() == TASK.test.y).mean()
    assert hits == result.metrics["test_accuracy"] > 0.5
    steps = [step["step"] for step in result.metrics["original"]["steps"]]
    assert steps[:2] == ["head on fixed features", "fine-tuned"] and result.metrics["costs"]["latency_ms"] > 0


def test_what_stays_as_it_is_stays_so_where_every_image_runs_through_it(
    network, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without copies, the whole network is trained on images, but for the weights of its first parts."""
    seen: list[tuple[bool, list[bool]]] = []

    def tuned(network: nn.Module, task: Task, *arguments: object, **named: object) -> Outcome:
        seen.append((isinstance(task, KeptFeatures), [p.requires_grad for p in network.parameters()]))
        return fine_tune(network, task, *arguments, **named)

    monkeypatch.setattr(records, "fine_tune", tuned)
    record = Record(
        tmp_path, TASK, seed=0, device="cpu", watch=Silent(), clock=ticking(), end=2.0, began=0.0, shared=None
    )
    record.mode = PLAIN
    transfers.transfer(record, network, Parted(), TransferPlan(32, 1, copies=0, passes=9.0, probe=0.1, error=0.5), 1.0)
    assert seen == [(False, [False, False, True, True, True, True])]
    assert all(parameter.requires_grad for parameter in network.parameters()), "as before"
    before, after = (
        checkpoint.read(record.files / f"{name}.safetensors", "cpu")[0] for name in ("probe", "fine-tuning")
    )
    same = {name for name in before if torch.equal(before[name], after[name])}
    assert {name for name in before if name.startswith("network.first.")} <= same
    assert not any(name.startswith(("network.second.", "network.head.")) for name in same)


@pytest.fixture
def parted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A backbone that is installed, and transferred in whole at 32 pixels, or at as many as are allowed at least."""
    monkeypatch.setattr(Parted, "network", lambda self: torch.manual_seed(0) and self.structure().eval())
    monkeypatch.setattr(Parted, "file", lambda self: tmp_path)
    monkeypatch.setitem(registry._registered, ("backbone", "parted"), Parted)
    monkeypatch.setattr(transfers, "plan_transfer", lambda task, left, pace, sizes: TransferPlan(
        max(32, min(sizes)), start=1, copies=2, passes=20.0, probe=0.1, error=0.5))  # fmt: skip


def test_a_finished_transfer_goes_on_under_a_larger_budget(
    parted: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Head and fine-tuning stay; what is trained further begins where they ended, and time that was spent counts."""
    options = {"out": tmp_path, "name": "run", "size": 32}
    first = shrink("parted", TASK, budget="2s", clock=ticking(), **options)
    with pytest.raises(UsageError, match=r"has had a budget of 2 s, and 1 s is no more than that: give more"):
        shrink("parted", TASK, budget="1s", **options)
    monkeypatch.setattr(transfers, "probe_kept", None)  # called again, it raises
    begins: list[torch.Tensor] = []

    def tuned(network: nn.Module, *arguments: object, **named: object) -> Outcome:
        begins.append(next(network.parameters()).detach().clone())
        return fine_tune(network, *arguments, **named)

    monkeypatch.setattr(records, "fine_tune", tuned)
    clock = ticking()
    second = shrink("parted", TASK, budget="5s", clock=clock, **options)
    before, after = first.metrics, second.metrics
    steps = [step["step"] for step in after["original"]["steps"]]
    assert steps[:3] == ["head on fixed features", "fine-tuned", "trained longer"]
    assert after["original"]["steps"][:2] == before["original"]["steps"][:2], "told once, and at its own time"
    assert after["epochs"] > before["epochs"] and after["budget"] == "5 s"
    assert clock() <= 3.5, "of five seconds, two were spent before"
    rows = json.loads((second.folder / "report.json").read_text())
    assert rows and len(begins) == 1
    kept = checkpoint.read(tmp_path / "run" / "work" / "fine-tuning.safetensors", "cpu")
    assert any(torch.equal(begins[0], tensor) for tensor in kept[0].values()), "it begins where the smaller one ended"
    assert shrink("parted", TASK, budget="5s", **options).metrics == after, "finished again"
    assert len(begins) == 1
    third = shrink("parted", TASK, budget="7s", clock=ticking(), **options)
    assert len(begins) == 2 and third.metrics["epochs"] > after["epochs"]


def test_a_limit_that_no_cut_keeps_is_refused_before_anything_is_trained(
    parted: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transfers, "probe_kept", None)  # called, it raises
    monkeypatch.setattr(records, "fine_tune", None)
    with pytest.raises(UsageError, match="no cut of this network keeps params <= 5: the smallest one has"):
        shrink("parted", TASK, maximum={"params": "5"}, budget="4s", clock=ticking(), out=tmp_path)


def test_a_larger_budget_that_was_stopped_goes_on(
    parted: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = {"out": tmp_path, "name": "run"}
    shrink("parted", TASK, budget="2s", clock=ticking(), **options)

    def stop(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(records, "fine_tune", stop)
        with pytest.raises(KeyboardInterrupt):
            shrink("parted", TASK, budget="4s", clock=ticking(), **options)
    metrics = shrink("parted", TASK, budget="4s", clock=ticking(), **options).metrics
    assert metrics["budget"] == "4 s"
    assert [step["step"] for step in metrics["original"]["steps"]].count("trained longer") == 1


def test_the_time_of_the_test_is_kept_free_and_what_was_planned_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Parted, "network", lambda self: self.structure().eval())

    def record() -> Record:
        return Record(
            tmp_path, TASK, seed=0, device="cpu", watch=Silent(), clock=ticking(), end=50.0, began=0.0, shared=None
        )

    first = record()
    plan = transfers.transfer_plan(first, Parted(), 32, {}, {})
    testing = 50.0 - first.end
    assert testing > 0 and plan.size == 32 and first.mode is not None
    again = record()
    assert transfers.transfer_plan(again, Parted(), 32, {}, {}) == plan and again.mode == first.mode
    assert again.end == pytest.approx(50.0 - again.recall("spent") - testing)


@pytest.mark.parametrize(("timed", "taken"), [(1.0, 4.0), (4.0, 1.0), (1.0, 1.0)])
def test_a_training_fills_its_time_and_no_more(network, timed: float, taken: float, tmp_path: Path) -> None:
    """Whether steps take as long as was timed or not: the clock tells examples that went through the network."""
    now, calls = [0.0], [0]

    def count(module: nn.Module, inputs: tuple[torch.Tensor]) -> None:
        calls[0] += 1
        now[0] += len(inputs[0]) * 1e-3 * (timed if calls[0] <= 4 else taken)

    handle = network.register_forward_pre_hook(count)
    outcome = fine_tune(network, TASK, 6.0, seed=0, clock=lambda: now[0], mode=PLAIN, folder=tmp_path)
    handle.remove()
    assert 0.8 * 6 <= now[0] <= 1.03 * 6
    rates = [row["learning_rate"] for row in outcome.curve]
    assert rates[-1] < 0.2 * max(rates), "the last schedule comes to its end"
    assert [row["epoch"] for row in outcome.curve] == list(range(1, len(outcome.curve) + 1))


@pytest.mark.parametrize("slower", [1.0, 3.0, 10.0])
def test_a_machine_that_becomes_slow_within_an_epoch_does_not_overrun(network, slower: float, tmp_path: Path) -> None:
    """Three epochs of 32 steps are planned; in the midst of the second one, each step takes so many times as long."""
    many = tiny_task((3, 16, 16), classes=5, examples=1024)
    many = dataclasses.replace(many, valid=many.valid.head(20))
    now, examples = [0.0], [0]

    def count(module: nn.Module, inputs: tuple[torch.Tensor]) -> None:
        examples[0] += len(inputs[0])
        now[0] += len(inputs[0]) * (slower if examples[0] > 1600 else 1.0)

    handle = network.register_forward_pre_hook(count)
    seconds = 3.5 * 1024
    outcome = fine_tune(network, many, seconds, seed=0, clock=lambda: now[0], mode=PLAIN, folder=tmp_path)
    handle.remove()
    late = slower * 1024 / 8 + 20 * slower  # an eighth of an epoch is what may be seen too late; validation
    assert 0.75 * seconds <= now[0] <= 1.05 * seconds + late
    if slower < 10:  # otherwise nothing fits yet
        assert outcome.curve[-1]["learning_rate"] < 0.4 * max(row["learning_rate"] for row in outcome.curve)


@pytest.mark.parametrize(("steps", "since"), [(17, 0.9), (10, 0.85)])
def test_a_machine_that_slows_down_ends_no_training_late(network, steps: int, since: float, tmp_path: Path) -> None:
    """In the last of the epochs that are planned, each step takes twice as long as before."""
    examples = 32 * steps
    many = tiny_task((3, 8, 8), classes=5, examples=examples)
    many = dataclasses.replace(many, valid=many.valid.head(20))
    seconds = 6 * (examples + 20)
    now = [0.0]

    def count(module: nn.Module, inputs: tuple[torch.Tensor]) -> None:
        now[0] += len(inputs[0]) * (2.0 if now[0] > since * seconds else 1.0)

    handle = network.register_forward_pre_hook(count)
    outcome = fine_tune(network, many, seconds, seed=0, clock=lambda: now[0], mode=PLAIN, folder=tmp_path)
    handle.remove()
    assert 0.95 * seconds <= now[0] <= seconds + 40, "validation is what may come after"
    assert outcome.curve[-1]["learning_rate"] < 0.2 * max(row["learning_rate"] for row in outcome.curve)


def test_a_training_of_which_a_part_of_an_epoch_fits(network) -> None:
    """Of examples that take a second each there is time for half: no epoch is begun that cannot end."""
    now = [0.0]
    many = tiny_task((3, 16, 16), classes=5, examples=1000)
    many = dataclasses.replace(many, valid=many.valid.head(20))

    def count(module: nn.Module, inputs: tuple[torch.Tensor]) -> None:
        now[0] += len(inputs[0])

    network.register_forward_pre_hook(count)
    outcome = fine_tune(network, many, 700.0, seed=0, clock=lambda: now[0], mode=PLAIN)
    assert len(outcome.curve) == 1 and 0.8 * 700 <= now[0] <= 1.03 * 700


def test_what_chance_explains_undoes_no_fine_tuning() -> None:
    """One of 32 images more that is wrong tells nothing; a fifth of 3,000 does, and what is no number always."""
    assert not worse(21 / 32, 22 / 32, 32) and not worse(0.9, 0.5, 3000)
    assert worse(0.6, 0.8, 3000) and worse(0.1, 0.7, 32)
    assert worse(float("nan"), 0.7, 32) and not worse(-3.3, -3.2, 100)


def test_the_parts_of_efficientnet_lite_are_the_network() -> None:
    backbone = create("backbone", "efficientnet_lite0")
    network = EfficientNetLite(classes=5).eval()
    parts = backbone.parts(network)
    x = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(nn.Sequential(*parts)(x), network(x))
    assert len(parts) == 18 and {id(p) for part in parts for p in part.parameters()} == set(
        map(id, network.parameters())
    )


def test_the_head_of_many_images_is_fitted_to_some_of_them() -> None:
    """A class that is rare is among them."""
    y = np.zeros(50_000, dtype=np.int64)
    y[[7, 40_000]] = 1, 2
    split = Split(np.broadcast_to(np.uint8(0), (50_000, 32, 32, 3)), y)
    part = some(split, 100)
    assert 100 <= len(part) <= 102 and set(part.y) == {0, 1, 2} and len(part.x) == len(part.y)
    assert (some(split, 100).y == part.y).all() and some(split, 50_000) is split


def test_a_head_is_fitted_to_no_more_images_than_it_is_told(network, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    monkeypatch.setattr(heads, "fit_head", lambda layer, features, targets, *valid: seen.append(len(features)) or 1.0)
    beginning, rest = _halves(network)
    kept = kept_features(beginning, TASK, 2, seed=0, mode=PLAIN)
    probe(network, "head", TASK, most=10)
    probe_kept(rest, network.network.head, kept, most=10, mode=PLAIN)
    probe(network, "head", TASK)
    both = 2 if TASK.flip else 1
    assert 10 * both <= seen[0] <= (10 + TASK.outputs) * both and 20 <= seen[1] <= 20 + TASK.outputs
    assert seen[2] == both * len(TASK.train)


def test_images_become_smaller_until_the_latency_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Measured at each size, not extrapolated: the backbone at hand takes as many milliseconds as sixteen pixels."""
    measured: list[int] = []

    def latency(cost: object, network: Adapted, *_: object) -> Measurement:
        measured.append(network.size)
        return Measurement(network.size / 16)

    monkeypatch.setattr(transfers, "latency", latency)
    monkeypatch.setattr(Parted, "network", lambda self: self.structure().eval())
    monkeypatch.setattr(transfers, "plan_transfer", lambda task, left, pace, sizes: TransferPlan(
        max(sizes), start=0, copies=0, passes=5.0, probe=0.1, error=0.5))  # fmt: skip
    record = Record(
        tmp_path, TASK, seed=0, device="cpu", watch=Silent(), clock=ticking(), end=50.0, began=0.0, shared=None
    )
    plan = transfers.transfer_plan(record, Parted(), None, {"latency": create("cost", "latency")}, {"latency": "7ms"})
    assert plan.size == 96 and measured == [224, 192, 160, 128, 112, 96], "6 ms of 7"
