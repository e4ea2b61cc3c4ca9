"""A search of space `auto` begins with a trained network where that is better and where limits allow it."""

import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import archscout
from archscout.backbones.base import Backbone
from archscout.core.cost import Measurement
from archscout.core.errors import UsageError
from archscout.core.registry import create
from archscout.search import search as search_module
from archscout.search.continuing import STORE
from archscout.shrink import automatic
from archscout.shrink.automatic import Comparison, begin, natural
from archscout.shrink.planning import Outlook, Pace, pace_of
from archscout.shrink.record import SETTING
from archscout.testing.tasks import tiny_task
from archscout.training.speed import Mode

PHOTOGRAPHS = tiny_task((3, 24, 24), classes=4, examples=60)
BETTER = Comparison("efficientnet_lite0", 0.7, 0.8, 0.6, 0.4, 5, 3.0)
PACE = Pace(96, (1e-3,), (3e-3,), (10.0,), Mode("float32", "channels_last"))
WORSE = Comparison("efficientnet_lite0", 0.3, 0.4, 0.6, 0.4, 5, 3.0)


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """A backbone that is installed and promising; what would be run with it."""
    asked: list[dict[str, Any]] = []

    def shrink(network: str, data: Any, **options: Any) -> str:
        asked.append({"network": network, **options})
        (options["out"] / options["name"] / SETTING).write_text("{}")
        return "a result"

    monkeypatch.setattr(automatic, "shrink", shrink)
    monkeypatch.setattr(automatic, "outlook", lambda *_: Outlook("efficientnet_lite0", 96, 10.0, 20.0))
    monkeypatch.setattr(automatic, "compare", lambda *_: (BETTER, PACE))
    monkeypatch.setattr(automatic, "remaining", lambda *_: 0.8)
    return asked


def test_photographs() -> None:
    assert natural(PHOTOGRAPHS)
    assert not natural(tiny_task((1, 28, 28))) and not natural(tiny_task((3, 16, 16)))
    assert not natural(archscout.task("digits"))


def test_the_better_one_is_taken(calls: list[dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    options = {"budget": "4m", "out": tmp_path, "maximum": {"latency": "15ms"}, "seed": 3, "workers": 1}
    assert begin(PHOTOGRAPHS, options)[0] == "a result"
    (call,) = calls
    assert call["network"] == "efficientnet_lite0" and call["seed"] == 3 and call["maximum"] == {"latency": "15ms"}
    assert 0 <= call["spent"] < 60 and call["budget"].seconds == 240
    assert json.loads((tmp_path / call["name"] / "comparison.json").read_text())["transferred"] == 0.8
    monkeypatch.setattr(automatic, "compare", lambda *_: (WORSE, PACE))
    assert begin(PHOTOGRAPHS, options)[0] == "a result", "what was begun goes on as it was"
    assert begin(PHOTOGRAPHS, {**options, "seed": 4})[0] is None
    assert len(calls) == 2
    monkeypatch.setattr(automatic, "compare", lambda *_: (BETTER, PACE))
    assert begin(PHOTOGRAPHS, {**options, "fresh": True})[0] == "a result"
    assert len(list(tmp_path.iterdir())) == 2, "what was there is set aside"


@pytest.mark.parametrize(
    "options",
    [
        {"budget": "20trials"}, {"budget": "60s"},
        {"method": "random"}, {"estimator": "synflow"}, {"objectives": ["params"]},
        {"epochs": 3}, {"workers": 2},
        {"store": "here.sqlite"}, {"engine": "ray"}, {"maximum": {"latency@pixel3": "20ms"}},
    ],
)  # fmt: skip
def test_what_asks_for_a_search_gets_one(calls: list[dict[str, Any]], tmp_path: Path, options: dict[str, Any]) -> None:
    assert begin(PHOTOGRAPHS, {"budget": "4m", "out": tmp_path, **options})[0] is None
    assert not calls and not list(tmp_path.iterdir())


def test_a_search_under_way_goes_on(calls: list[dict[str, Any]], tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / STORE).touch()
    assert begin(PHOTOGRAPHS, {"budget": "4m", "out": tmp_path, "name": "mine"})[0] is None and not calls


def test_limits_that_no_cut_keeps_are_left_to_the_search(
    calls: list[dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def shrink(*_: Any, **__: Any) -> None:
        raise UsageError("no cut of this network keeps latency <= 0.1: the smallest one has 1; raise the limit.")

    monkeypatch.setattr(automatic, "shrink", shrink)
    assert begin(PHOTOGRAPHS, {"budget": "4m", "out": tmp_path})[0] is None


def test_what_limits_leave_too_little_of_is_not_tried(
    calls: list[dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(automatic, "remaining", lambda *_: 0.3)
    monkeypatch.setattr(automatic, "compare", None)
    assert begin(PHOTOGRAPHS, {"budget": "4m", "out": tmp_path, "maximum": {"latency": "1ms"}})[0] is None
    assert not calls and not list(tmp_path.iterdir())


def test_what_limits_leave_of_a_backbone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of several limits the hardest counts, at the smallest images."""
    monkeypatch.setattr(
        automatic, "create", lambda kind, name: Coloured() if kind == "backbone" else create(kind, name)
    )
    sizes: list[int] = []

    def latency(cost: Any, network: Any, *_: Any) -> Measurement:
        sizes.append(network.size)
        return Measurement(4.0)

    monkeypatch.setattr(automatic, "latency", latency)
    params = sum(p.numel() for p in nn.Sequential(nn.Conv2d(3, 16, 1), nn.Linear(16, 4)).parameters())
    limits = {"params": params / 2, "latency": "3ms", "macs": "1G"}
    assert automatic.remaining("coloured", PHOTOGRAPHS, limits) == pytest.approx(0.5) and sizes == [48]
    assert automatic.remaining("coloured", PHOTOGRAPHS, {"latency": "1ms"}) == pytest.approx(0.25)
    assert automatic.remaining("coloured", PHOTOGRAPHS, {"latency": "9ms"}) == 1.0
    pixels = 48 * 48
    macs, values = pixels * 3 * 16 + 16 * 4, 2 * 4 * pixels * 16  # the second layer reads what the first gives
    assert automatic.remaining("coloured", PHOTOGRAPHS, {"macs": 0.25 * macs}) == pytest.approx(0.25)
    assert automatic.remaining("coloured", PHOTOGRAPHS, {"peak_memory": 0.4 * values}) == pytest.approx(0.4)


def test_the_trial_is_on_the_budget_of_the_search(
    calls: list[dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A search that follows, and a network that is shrunk, get what the trial, and reading, left of the time."""
    asked: list[tuple[Any, float]] = []

    def search(space: str, data: Any, *, began: float, **_: Any) -> Any:
        asked.append((space, began))
        raise UsageError("far enough")

    monkeypatch.setattr(search_module, "search", search)
    monkeypatch.setattr(automatic, "compare", lambda *_: (WORSE, PACE))
    before = time.monotonic()
    with pytest.raises(UsageError, match="far enough"):
        archscout.search("auto", PHOTOGRAPHS, budget="4m", out=tmp_path)
    ((space, began),) = asked
    assert space == "auto" and before <= began <= time.monotonic()
    assert begin(PHOTOGRAPHS, {"budget": "4m", "out": tmp_path}, began)[0] is None
    monkeypatch.setattr(automatic, "compare", lambda *_: (BETTER, PACE))
    begin(PHOTOGRAPHS, {"budget": "4m", "out": tmp_path}, time.monotonic() - 17.0)
    assert 17.0 <= calls[0]["spent"] < 60


def test_without_a_backbone_or_time_there_is_nothing_to_try(
    calls: list[dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(automatic, "compare", None)
    monkeypatch.setattr(automatic, "outlook", lambda *_: Outlook("efficientnet_lite0", 48, 0.2, 20.0))
    assert begin(PHOTOGRAPHS, {"budget": "10s", "out": tmp_path})[0] is None
    monkeypatch.setattr(automatic, "outlook", lambda *_: None)
    assert begin(PHOTOGRAPHS, {"budget": "4m", "out": tmp_path})[0] is None
    assert begin(tiny_task((1, 28, 28)), {"budget": "4m", "out": tmp_path})[0] is None


def test_what_each_is_expected_to_reach(monkeypatch: pytest.MonkeyPatch) -> None:
    """Accuracies of the trial are measured; with the whole budget each is expected to reach more, and never all."""
    assert automatic._raised(0.55, 0.0, 10) == pytest.approx(0.55)
    assert 0.55 < automatic._raised(0.55, 1.0, 10) < 1
    assert automatic._raised(0.0, 0.0, 2) > 0.5, "no worse than chance"


@pytest.mark.parametrize(
    ("images", "trial", "longer", "reached"),
    [(640, 0.412, 0.44, 0.69), (3_000, 0.415, 0.63, 0.77), (50_000, 0.403, 1.05, 0.89)],
)
def test_a_search_is_expected_to_reach_about_what_searches_reached(
    images: int, trial: float, longer: float, reached: float
) -> None:
    """Ten classes of photographs in 32 pixels; trials of up to 800 of them. With all of CIFAR-10 and half an hour the
    backbone reached .87, of which .85 was expected."""
    assert automatic._searched(trial, longer, images / min(images, 800), 10) == pytest.approx(reached, abs=0.05)


class Coloured(Backbone):
    """Its features are colours: enough for images whose class is one."""

    name = "coloured"
    package = "a_package_that_nobody_has"
    head, mean, std = "2", (127.0,) * 3, (128.0,) * 3

    def structure(self) -> nn.Module:
        torch.manual_seed(0)
        return nn.Sequential(nn.Conv2d(3, 16, 1), nn.Sequential(nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()),
                             nn.Linear(16, 5))  # fmt: skip

    def network(self) -> nn.Module:
        return self.structure().eval()

    def parts(self, network: nn.Module) -> list[nn.Module]:
        return list(network)


def test_both_are_tried_on_the_data_at_the_pace_of_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    y = np.arange(240) % 3
    x = rng.integers(0, 100, (240, 24, 24, 3)).astype(np.uint8)
    x[np.arange(240), :, :, y] += 60
    task = archscout.task((x, y))
    monkeypatch.setattr(automatic, "create", lambda *_: Coloured())
    monkeypatch.setattr(automatic, "SIDE", 32)
    space = create("space", "classic")
    told, pace = automatic.compare(task, space, "coloured", 60.0, 0)
    assert Pace.read(json.loads(json.dumps(pace.notes()))) == pace
    assert told.probed > 0.9, "a head on colours tells colours"
    assert told.probed <= told.transferred <= 1 and told.trained <= told.searched <= 1
    assert told.epochs >= 1 and told.seconds > 0

    def slow(*arguments: Any) -> Pace:
        pace = pace_of(*arguments)
        return Pace(pace.size, pace.forward, tuple(1e5 * each for each in pace.training), pace.features, pace.mode)

    monkeypatch.setattr(automatic, "pace_of", slow)
    monkeypatch.setattr(automatic, "probe", lambda *_: 0.5)
    slowly = automatic.compare(task, space, "coloured", 60.0, 0)[0].transferred
    monkeypatch.setattr(automatic, "pace_of", pace_of)
    assert slowly < automatic.compare(task, space, "coloured", 60.0, 0)[0].transferred, "few passes promise less"


def test_a_larger_budget_of_a_run_that_began_with_a_backbone_goes_on(
    calls: list[dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is tried again, and no search is begun beside it, whatever the budget."""
    options = {"out": tmp_path, "name": "mine"}
    assert begin(PHOTOGRAPHS, {**options, "budget": "2m"})[0] == "a result"
    monkeypatch.setattr(automatic, "compare", None)
    monkeypatch.setattr(automatic, "remaining", None)
    assert begin(PHOTOGRAPHS, {**options, "budget": "10m"})[0] == "a result"
    assert begin(PHOTOGRAPHS, {**options, "budget": "60s"})[0] == "a result", "which says that it is no more"
    assert [call["budget"].seconds for call in calls] == [120, 600, 60]
    assert begin(PHOTOGRAPHS, {**options, "name": "other", "budget": "60s"})[0] is None
