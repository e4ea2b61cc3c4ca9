"""A search of space `auto` begins with a trained network where that is better and where limits allow it."""

import json
from pathlib import Path
from typing import Any

import pytest

import archscout
from archscout.core.errors import UsageError
from archscout.search.continuing import STORE
from archscout.shrink import automatic
from archscout.shrink.automatic import Comparison, begin, natural
from archscout.shrink.run import SETTING
from archscout.shrink.transfer import Outlook
from archscout.testing.tasks import tiny_task

PHOTOGRAPHS = tiny_task((3, 24, 24), classes=4, examples=60)
BETTER = Comparison("efficientnet_lite0", 0.7, 0.8, 0.6, 0.4, 5, 3.0)
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
    monkeypatch.setattr(automatic, "compare", lambda *_: BETTER)
    return asked


def test_photographs() -> None:
    assert natural(PHOTOGRAPHS)
    assert not natural(tiny_task((1, 28, 28))) and not natural(tiny_task((3, 16, 16)))
    assert not natural(archscout.task("digits"))


def test_the_better_one_is_taken(calls: list[dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    options = {"budget": "4m", "out": tmp_path, "maximum": {"latency": "15ms"}, "seed": 3}
    assert begin(PHOTOGRAPHS, options)[0] == "a result"
    (call,) = calls
    assert call["network"] == "efficientnet_lite0" and call["seed"] == 3 and call["maximum"] == {"latency": "15ms"}
    assert 0 <= call["spent"] < 60 and call["budget"].seconds == 240
    assert json.loads((tmp_path / call["name"] / "comparison.json").read_text())["transferred"] == 0.8
    monkeypatch.setattr(automatic, "compare", lambda *_: WORSE)
    assert begin(PHOTOGRAPHS, options)[0] == "a result", "what was begun goes on as it was"
    assert begin(PHOTOGRAPHS, {**options, "seed": 4})[0] is None
    assert len(calls) == 2 and not (tmp_path / "another").exists()


@pytest.mark.parametrize(
    "options",
    [
        {"budget": "20trials"}, {"method": "random"}, {"estimator": "synflow"}, {"objectives": ["params"]},
        {"epochs": 3}, {"store": "here.sqlite"}, {"engine": "ray"}, {"maximum": {"latency@pixel3": "20ms"}},
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
