"""Runs that are gone on with, and runs that are refused: no result is overwritten, and none answers for another."""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from torch import Tensor, nn

from archscout.core.cost import Measurement
from archscout.core.errors import ArchscoutError, UsageError
from archscout.core.progress import Silent
from archscout.core.registry import create
from archscout.core.task import Split
from archscout.methods.strategy import resolve_method
from archscout.networks.choices import OneOf
from archscout.search.continuing import SEARCH, SINGLE, claim, claimed, go_on, refusals_noted, start_afresh
from archscout.search.run import CALIBRATION
from archscout.search.search import _unnamed, search, train
from archscout.store.store import Store
from archscout.testing import tiny_task
from archscout.testing.store import plain_trial

SPACE = "nasbench201:width=4,cells=1"
TEXTS = [f"|{op}~0|+|none~0|none~1|+|{op}~0|none~1|none~2|" for op in ("nor_conv_3x3", "nor_conv_1x1")]
ASKED: dict[str, Any] = {"method": "random", "epochs": 1, "workers": 0, "seed": 3}


class Heard(Silent):
    """Keeps what was said."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def say(self, text: str) -> None:
        self.lines.append(text)


def _net(layers: int) -> nn.Module:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.act = OneOf({"relu": nn.ReLU(), "tanh": nn.Tanh()})
            self.layers = nn.Sequential(nn.Flatten(), *(nn.Linear(64, 64) for _ in range(layers)), nn.Linear(64, 3))

        def forward(self, x: Tensor) -> Tensor:
            return self.layers(self.act(x))  # type: ignore[no-any-return]

    return Net()


@pytest.fixture(scope="module")
def task() -> Any:
    return tiny_task(examples=120)


# -- what lies in a store ---------------------------------------------------------------------------------------------

CONFIG: dict[str, Any] = {
    "space": "s", "space_parts": {"choices": "1"}, "task": "t", "data": "d", "seed": 0, "method": "random",
    "maximum": {"params": 10.0}, "budget": "5 trials", "epochs": None,
}  # fmt: skip


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store.open(tmp_path / "s.sqlite") as opened:
        opened.begin("r", CONFIG)
        yield opened


def _paid(store: Store) -> None:
    store.add("r", [plain_trial(0), plain_trial(1)])
    store.add_costs("r", "c0", {"params": Measurement(5.0)})
    for key in ("feasibility", "bracket 0 stage 1", "indicators ab"):
        store.decide("r", key, 1)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"seed": 1}, "seed 0, not 1"),
        ({"method": "evolution"}, "method random, not evolution"),
        ({"maximum": {"params": 20.0}}, "maximum params = 10, not params = 20"),
        ({"epochs": 3}, "epochs none, not 3"),
        ({"data": "e"}, "other data 't'"),
        ({"space_parts": {"choices": "2"}}, r"another space 's' \(its choices have changed\)"),
        ({"budget": "9 trials", "seed": 1}, "started with seed 0, not 1: repeat"),
        ({"budget": "2 trials"}, "a budget of 5 trials, and 2 trials is no more"),
        ({"budget": "300 s"}, "a budget of 5 trials, and 300 s is no more"),
    ],
)
def test_another_search_is_refused_in_one_sentence(store: Store, change: dict[str, Any], words: str) -> None:
    _paid(store)
    with pytest.raises(UsageError, match=words) as caught:
        go_on(store, "r", {**CONFIG, **change}, Silent())
    assert "--name" in str(caught.value)
    assert "--fresh" in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1
    assert store.config("r") == CONFIG


def test_the_same_search_goes_on_as_it_is(store: Store) -> None:
    _paid(store)
    go_on(store, "r", CONFIG, Silent())
    assert len(store.decisions("r")) == 3


def test_a_larger_budget_goes_on_and_plans_anew(store: Store) -> None:
    _paid(store)
    store.note("r", "finished", True)
    heard = Heard()
    go_on(store, "r", {**CONFIG, "budget": "9 trials"}, heard)
    assert store.config("r")["budget"] == "9 trials"
    assert store.decisions("r") == {"feasibility": 1, "indicators ab": 1}  # what was measured, not what was planned
    assert store.count("r") == 2
    assert store.notes("r")["finished"] is False
    assert "2 evaluations" in heard.lines[0]
    with pytest.raises(UsageError, match="no more"):
        go_on(store, "r", CONFIG, Silent())


def test_a_refused_run_takes_its_correction_and_keeps_what_was_paid_for(store: Store) -> None:
    with pytest.raises(UsageError), refusals_noted(store, "r"):
        _paid(store)
        raise UsageError("no architecture was found that meets params <= 10.")
    raised = {**CONFIG, "maximum": {"params": 20.0}, "budget": "2 trials"}
    with pytest.raises(UsageError, match="other data"):
        go_on(store, "r", {**raised, "data": "e"}, Silent())
    go_on(store, "r", raised, Silent())
    assert (store.count("r"), len(store.costs("r"))) == (2, 1)
    assert store.decisions("r") == {"indicators ab": 1}  # the limit was another, so its feasibility is asked again
    with pytest.raises(UsageError, match="maximum"):  # it is under way now
        go_on(store, "r", CONFIG, Silent())


def test_a_run_that_is_stopped_is_no_refused_one(store: Store) -> None:
    with pytest.raises(KeyboardInterrupt), refusals_noted(store, "r"):
        _paid(store)
        raise KeyboardInterrupt
    with pytest.raises(UsageError, match="maximum"):
        go_on(store, "r", {**CONFIG, "maximum": {}}, Silent())


def test_a_run_that_only_timed_trainings_takes_smaller_data(store: Store) -> None:
    with pytest.raises(ArchscoutError), refusals_noted(store, "r"):
        store.add("r", [plain_trial(0, phase=CALIBRATION)])
        store.add_costs("r", "c0", {"params": Measurement(5.0)})
        store.spend("r", "timing", 3.0)
        raise ArchscoutError("a budget of 5 s does not pay for one trained network: give more, or less data.")
    go_on(store, "r", {**CONFIG, "data": "e"}, Silent())
    assert (store.count("r"), store.costs("r"), store.spent("r")) == (0, {}, {})


def test_an_empty_run_takes_anything(store: Store) -> None:
    other = {**CONFIG, "space": "u", "space_parts": {}, "seed": 9}
    go_on(store, "r", other, Silent())
    assert store.config("r") == other


# -- what lies in a folder --------------------------------------------------------------------------------------------


def test_a_folder_says_what_it_is_the_run_of(tmp_path: Path) -> None:
    assert not claim(tmp_path, SINGLE, {"seed": 0})
    assert claim(tmp_path, SINGLE, {"seed": 0})
    with pytest.raises(UsageError, match="started with seed 0, not 1"):
        claim(tmp_path, SINGLE, {"seed": 1})
    with pytest.raises(UsageError, match="is the run of the training of one architecture, not of a search"):
        claim(tmp_path, SEARCH, {"seed": 0})
    (tmp_path / "run.json").write_text('{"kind": 3')
    with pytest.raises(UsageError, match="is damaged"):
        claim(tmp_path, SEARCH, {"seed": 0})


def test_a_result_that_does_not_say_what_it_is_of_is_never_overwritten(tmp_path: Path) -> None:
    (tmp_path / "metrics.json").write_text("{}")
    with pytest.raises(UsageError, match="does not say what it is of"):
        claim(tmp_path, SINGLE, {})


def test_a_failed_training_leaves_its_name_free(tmp_path: Path) -> None:
    with pytest.raises(ArchscoutError), claimed(tmp_path / "r", SINGLE, {"seed": 0}):
        raise ArchscoutError("it diverged")
    with claimed(tmp_path / "r", SINGLE, {"seed": 1}) as there:
        assert not there


def test_afresh_sets_folder_and_trials_aside_under_one_name(tmp_path: Path) -> None:
    folder, place = tmp_path / "r", tmp_path / "shared.sqlite"
    with Store.open(place) as store:
        for name in ("r", "r.old1"):
            store.begin(name, {"of": name})
    folder.mkdir()
    start_afresh(folder, "r", place, heard := Heard())
    assert not folder.exists()
    assert (tmp_path / "r.old2").is_dir()
    assert "'r.old2'" in heard.lines[0]
    with Store.open(place) as store:
        assert store.runs() == ["r.old2", "r.old1"]
        assert store.config("r.old2") == {"of": "r"}
    folder.mkdir()
    start_afresh(folder, "r", None, heard)  # there is nothing
    assert len(heard.lines) == 1


# -- whole runs -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def out(task: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs")
    search(_net(1), task, budget="1trials", out=folder, name="mine", **ASKED)
    return folder


def test_an_edited_module_is_not_answered_with_the_old_network(out: Path, task: Any) -> None:
    before = (out / "mine" / "metrics.json").read_bytes()
    heard = Heard()
    assert search(_net(1), task, budget="1trials", out=out, name="mine", progress=heard, **ASKED).folder == out / "mine"
    assert "is finished" in heard.lines[-1]
    with pytest.raises(UsageError, match=r"another space 'Net' \(its layers, attributes or code have changed\)"):
        search(_net(4), task, budget="1trials", out=out, name="mine", **ASKED)
    assert (out / "mine" / "metrics.json").read_bytes() == before


@pytest.mark.parametrize("part", ["test labels", "class names"])
def test_repaired_data_are_not_answered_with_the_old_result(out: Path, task: Any, part: str) -> None:
    repaired = (
        dataclasses.replace(task, test=Split(task.test.x, (task.test.y + 1) % 3))
        if part == "test labels"
        else dataclasses.replace(task, class_names=("a", "b", "c"))
    )
    with pytest.raises(UsageError, match="other data 'tiny8x8'"):
        search(_net(1), repaired, budget="1trials", out=out, name="mine", **ASKED)


def test_search_and_train_never_overwrite_each_other(out: Path, task: Any) -> None:
    with pytest.raises(UsageError, match="is the run of a search, not of the training"):
        train(SPACE, TEXTS[0], task, epochs=1, out=out, name="mine")
    with pytest.raises(UsageError, match="store in its own folder, not"):
        search(_net(1), task, budget="1trials", out=out, name="mine", store=str(out / "x.sqlite"), **ASKED)
    assert not (out / "x.sqlite").exists()


def test_each_architecture_is_trained_under_a_name_of_its_own(
    task: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = train(SPACE, TEXTS[0], task, epochs=1, out=tmp_path)
    with monkeypatch.context() as patched:
        patched.setattr(sys.modules[train.__module__], "train_alone", lambda *given: given[3])  # its folder
        assert train(SPACE, TEXTS[1], task, epochs=1, out=tmp_path) != first.folder
    heard = Heard()
    again = train(SPACE, TEXTS[0], task, epochs=1, out=tmp_path, progress=heard)
    assert (again.folder, heard.lines[-1].partition(":")[0]) == (first.folder, f"run '{first.folder.name}' is finished")
    for change in ({"seed": 1}, {"epochs": 2}):
        with pytest.raises(UsageError, match=f"started with {next(iter(change))}"):
            train(SPACE, TEXTS[0], task, **{"epochs": 1, "out": tmp_path, "name": first.folder.name, **change})
    with pytest.raises(UsageError, match="architecture"):
        train(SPACE, TEXTS[1], task, epochs=1, out=tmp_path, name=first.folder.name)
    with pytest.raises(UsageError, match="is the run of the training"):
        search(SPACE, task, budget="1trials", out=tmp_path, name=first.folder.name, **ASKED)


@pytest.mark.slow
def test_a_finished_search_goes_on_under_a_larger_budget_or_afresh(task: Any, tmp_path: Path) -> None:
    asked = {**ASKED, "out": tmp_path, "name": "r", "maximum": {"params": "1"}}
    with pytest.raises(UsageError, match="no architecture"):
        search(SPACE, task, budget="2trials", **asked)
    asked["maximum"] = {"params": "30k"}  # as the sentence advises
    first = search(SPACE, task, budget="2trials", **asked)
    with Store.open(first.folder / "search.sqlite") as store:
        before = {trial.key: trial for trial in store.trials("r")}
    second = search(SPACE, task, budget="4trials", **asked)
    with Store.open(first.folder / "search.sqlite") as store:
        after = {trial.key: trial for trial in store.trials("r")}
    assert (len(before), len(after)) == (2, 4)
    assert {key: after[key] for key in before} == before
    best = max(after.values(), key=lambda trial: trial.value)
    assert second.metrics["valid_accuracy"] == best.value >= first.metrics["valid_accuracy"]
    assert second.metrics["budget"] == "4 trials"
    with pytest.raises(UsageError, match="no more"):
        search(SPACE, task, budget="3trials", **asked)
    third = search(SPACE, task, budget="1trials", fresh=True, **asked)
    assert third.metrics["trials"] == 1
    assert json.loads((tmp_path / "r.old1" / "metrics.json").read_text())["trials"] == 4


def test_an_object_says_the_same_as_its_name_where_it_is_what_that_makes() -> None:
    def named(name: str) -> Any:
        return resolve_method(name, ())

    assert (
        _unnamed(named("evolution"), named) == _unnamed(resolve_method(create("strategy", "random"), ()), named) == []
    )
    other = resolve_method(type(create("strategy", "evolution"))(population=7), ())
    assert len(_unnamed(other, named)) == 1
