"""The ending of a search: what of it goes into the result, and what is left of its files."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from archscout.core.architecture import Architecture
from archscout.core.budget import Budget
from archscout.core.cost import Constraint, Measurement
from archscout.core.errors import ArchscoutError
from archscout.core.metric import Metric
from archscout.core.progress import Silent
from archscout.core.registry import create
from archscout.core.trial import Estimate, Trial
from archscout.search import finish
from archscout.search.finish import Ending, deliver
from archscout.testing import tiny_task

METRIC = Metric("mean_error", "lower", "mm")
LIMIT = Constraint("params", "params", 50.0)


def trial(name: str, value: float, **fields: Any) -> Trial:
    return Trial(0, Architecture(name, ()), f"form of {name}", "trained", 9, "completed", value, **fields)


TRAINED = [
    trial("large", -1.0, extra={"weights": "large.safetensors"}), trial("medium", -2.0), trial("bad", -3.0),
    trial("small", -4.0),
]  # fmt: skip
PARAMS = {"large": 40.0, "medium": 20.0, "bad": 30.0, "small": 10.0}


@pytest.fixture
def search(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """A run that has trained four networks, whose first is the best that keeps the limit; `told` is what is written."""
    notes: dict[str, Any] = {"panels": [{"panel": "text", "title": "of the method", "paragraphs": []}]}
    work = tmp_path / "work"
    (work / "folder").mkdir(parents=True)
    for name in ("large.safetensors", "medium.safetensors", "folder/more"):
        (work / name).write_bytes(b"weights")
    book = SimpleNamespace(
        costs=[SimpleNamespace(key="params", about=lambda setting: {})], setting=None,
        screened=lambda architectures, extra=(): [{"params": PARAMS[a.text], "macs": 1.0} for a in architectures],
    )  # fmt: skip
    kept = {"trials": lambda name: [], "notes": lambda name: notes, "decisions": lambda name: {"feasibility": 1}}
    run = SimpleNamespace(
        name="r", planned=False, book=book, constraints=[LIMIT], objectives=(), estimator="trained", rejected=5, seed=7,
        folder=work, notes=notes, note=notes.__setitem__, space="space", budget="4 trials", told={},
        store=SimpleNamespace(**kept), epochs=9, clock=SimpleNamespace(enter=lambda phase: None),
    )  # fmt: skip
    training = {"epochs": 9, "planned_epochs": 9, "examples": 1, "valid_examples": 1, "short": False, "references": []}

    def choose(run: Any, trained: Any, times: Any) -> Any:
        run.told["considered"] = [each.architecture.text for each in trained]
        return trained[0], [{"architecture": trained[0].architecture.text}], {"params": Measurement(40.0)}

    def package(*arguments: Any) -> str:
        run.told["extra"] = arguments[7]
        return "result"

    monkeypatch.setattr(finish, "trained_networks", lambda run, candidates=(): list(TRAINED))
    monkeypatch.setattr(finish, "choose", choose)
    monkeypatch.setattr(finish, "package", package)
    monkeypatch.setattr(finish, "_winning_network", lambda *_: SimpleNamespace(eval=lambda: None))
    monkeypatch.setattr(finish, "training_summary", lambda run, winner: training)
    return run


def ending(run: SimpleNamespace, **named: Any) -> Ending:
    return Ending(run, SimpleNamespace(metric=METRIC), "race", Budget(trials=4), {"cpu": "x"}, **named)  # type: ignore[arg-type]


def test_what_a_result_says_of_its_search(search: SimpleNamespace, tmp_path: Path) -> None:
    assert deliver(ending(search), [], tmp_path) == "result"
    extra = search.told["extra"]
    assert extra["constraints"] == [{"name": "params", "key": "params", "limit": 50.0}]
    assert (extra["method"], extra["budget"], extra["epochs"], extra["rejected"]) == ("race", "4 trials", 9, 5)
    assert extra["objectives"] == ["mean_error"]
    assert extra["feasibility"] == 1
    assert search.notes["finished"] is True


def test_the_front_is_of_those_that_no_other_beats_in_metric_and_cost(search: SimpleNamespace, tmp_path: Path) -> None:
    deliver(ending(search), [], tmp_path)
    front = {each["architecture"]: (each["value"], each["costs"]["params"]) for each in search.told["extra"]["pareto"]}
    assert front == {"large": (1.0, 40.0), "medium": (2.0, 20.0), "small": (4.0, 10.0)}


def test_panels_of_the_method_come_before_the_one_of_the_training(search: SimpleNamespace, tmp_path: Path) -> None:
    deliver(ending(search), [], tmp_path)
    titles = [panel["title"] for panel in search.told["extra"]["notes"]["panels"]]
    assert titles == ["of the method", "How the network was trained"]
    assert len(search.notes["panels"]) == 1, "what the run noted is left as it was"


def test_what_a_search_leaves_is_cleared(search: SimpleNamespace, tmp_path: Path) -> None:
    deliver(ending(search), [], tmp_path)
    assert not search.folder.exists()


def test_weights_of_those_that_are_carried_to_a_device_are_kept(
    search: SimpleNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    waiting = [{"key": "latency@phone_ms", "device": "phone"}]
    monkeypatch.setattr(finish.elsewhere, "write", lambda *_: (TRAINED[:1], waiting))
    deliver(ending(search), [], tmp_path)
    assert [path.name for path in search.folder.iterdir()] == ["large.safetensors"]
    assert search.told["extra"]["measure_next"] == waiting == search.notes["measure_next"]


def test_once_times_are_back_only_what_was_measured_may_win(search: SimpleNamespace, tmp_path: Path) -> None:
    search.notes["measure_next"] = [{"key": "params"}, {"key": "latency@watch_ms"}]
    times = {"form of medium": {"params": Measurement(1.0)}, "form of small": {"params": Measurement(2.0)}}
    deliver(ending(search, times=times), [], tmp_path)
    assert search.told["considered"] == ["medium", "small"]
    assert search.told["extra"]["measure_next"] == [{"key": "latency@watch_ms"}]
    assert not list(search.folder.iterdir()), "weights of networks that were not measured can no longer win"


def test_weights_of_those_that_were_measured_elsewhere_are_kept_for_the_other_devices(
    search: SimpleNamespace, tmp_path: Path
) -> None:
    deliver(ending(search, times={"form of large": {"params": Measurement(1.0)}}), [], tmp_path)
    assert [path.name for path in search.folder.iterdir()] == ["large.safetensors"]


def test_a_planned_final_training_delivers_its_network(
    search: SimpleNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    search.planned = True
    final = trial("medium", -0.5, extra={"epochs": 30})
    monkeypatch.setattr(finish, "ending_seconds", lambda run, winner, task: 3.5)
    monkeypatch.setattr(finish, "train_winner", lambda run, winner: final)
    deliver(ending(search), [TRAINED[1]], tmp_path)
    assert search.told["considered"] == ["medium"]
    assert search.reserve == 3.5, "what is kept for the ending is known by now"
    assert search.told["extra"]["epochs"] == 30
    assert ("medium", 0.5) in [(each["architecture"], each["value"]) for each in search.told["extra"]["pareto"]]


def test_without_a_trained_network_the_reason_is_said(
    search: SimpleNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(finish, "trained_networks", lambda run, candidates=(): [])
    monkeypatch.setattr(finish, "train_some", lambda run, candidates: [])
    with pytest.raises(ArchscoutError, match="the budget of 4 trials ended before a network was trained"):
        deliver(ending(search), [], tmp_path)


def test_a_training_alone_goes_on_in_the_folder_that_it_was_stopped_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def estimate(architectures: Any, setting: Any, *, fidelity: int) -> list[Estimate]:
        assert (setting.folder, fidelity) == (tmp_path / "work", 3)
        return [Estimate(float("nan"), 0.0, reason="it diverged")]

    monkeypatch.setattr(finish, "create", lambda kind, name: SimpleNamespace(estimate=estimate))
    space = create("space", "nasbench201:width=4,cells=1")
    architecture = next(iter(space))
    (tmp_path / "work").mkdir()
    with pytest.raises(ArchscoutError, match=r"^the network could not be trained: it diverged$"):
        finish.train_alone(space, architecture, tiny_task(), tmp_path, "r", 3, 0, "cpu", Silent())
