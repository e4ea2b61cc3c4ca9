"""The winner's final training: for as long as time is left, where that is worth it; and what is said of it."""

import math
from concurrent.futures import Future
from types import SimpleNamespace
from typing import Any

import pytest

from archscout.core.architecture import Architecture
from archscout.core.method import Candidate
from archscout.core.metric import Metric
from archscout.core.trial import Trial
from archscout.search.final import train_winner, training_panel, training_summary
from archscout.testing import tiny_task
from archscout.training.recipe import full_epochs

CURVE = ({"epoch": 1.0, "valid_loss": 0.5},)
TASK = tiny_task(examples=40)


def trial(name: str = "a", fidelity: int = 10, value: float = 0.5, **fields: Any) -> Trial:
    given = {"estimator": "trained", "status": "completed", "curve": CURVE} | fields
    return Trial(0, Architecture(name, ()), f"form of {name}", fidelity=fidelity, value=value, **given)


def run(left: float, *, drawn: tuple[str, ...] = (), timed: bool = True, answer: Trial | None = None, rows: Any = ()):
    """A run with so many seconds left, in which an epoch takes 2 s (3 s where it must be timed)."""
    said: list[str] = []
    asked: list[tuple[str, int]] = []
    designs = [Candidate(name, Architecture(name, ()), epoch, 1e6, timed) for name, epoch in (("a", 2.0), ("b", 5.0))]
    found = SimpleNamespace(
        name="r", final=99.0, task=SimpleNamespace(drawn=drawn, train=TASK.train, valid=TASK.valid, metric=TASK.metric),
        candidates=designs,
        space=SimpleNamespace(canonical=lambda architecture: f"form of {architecture}"), planned=True, trainings=2.5,
        decide=lambda key, make: make(), seconds_left=lambda: left, say=said.append, seed=0, said=said, asked=asked,
        store=SimpleNamespace(trials=lambda name: list(rows)),
    )  # fmt: skip

    def submit(job: Any, architecture: Architecture, seed: int) -> Future[float]:
        future: Future[float] = Future()
        future.set_result(3.0)
        return future

    def evaluate(architectures: Any, estimator: Any, *, fidelity: int, phase: str) -> list[Trial]:
        asked.append((architectures[0].text, fidelity))
        return [answer or trial(fidelity=fidelity, value=0.9)]

    found.engine, found.evaluate = SimpleNamespace(submit=submit), evaluate
    return found


def test_it_lasts_as_long_as_there_is_time() -> None:
    search = run(left=100.0)
    trained = train_winner(search, trial(fidelity=10))
    assert search.asked == [("a", int(0.97 * 100 / 2))], "at half-way it is made as long as the time is"
    assert trained is not None
    assert trained.value == 0.9
    assert search.final == 0.0, "what was kept for it is free"
    assert search.said == ["training the winner for 48 epochs, about 96 s."]


def test_of_few_epochs_none_is_planned_that_may_not_fit() -> None:
    search = run(left=19.9)
    train_winner(search, trial(curve=()))
    assert search.asked == [("a", 9)]
    assert search.said == ["training the winner for 9 epochs, about 18 s."]


def test_no_longer_than_three_full_trainings() -> None:
    search = run(left=1e6)
    train_winner(search, trial())
    assert search.asked == [("a", 3 * full_epochs(TASK))]


def test_an_epoch_that_nobody_has_timed_is_timed() -> None:
    search = run(left=100.0, timed=False)
    train_winner(search, trial())
    assert search.asked == [("a", int(0.97 * 100 / 3))]


def test_an_epoch_on_validation_examples_too_takes_longer() -> None:
    search = run(left=100.0, drawn=("valid",))
    train_winner(search, trial())
    assert search.asked == [("a", int(0.97 * 100 / (2 * 1.8)))]


@pytest.mark.parametrize(
    ("left", "own", "drawn", "worth"),
    [(27.0, 10, (), True), (26.0, 10, (), False), (38.0, 10, ("valid",), True), (37.0, 10, ("valid",), False),
     (1.0, 0, (), False), (3.0, 0, (), True)],
)  # fmt: skip
def test_it_must_be_longer_than_the_winner_s_own(left: float, own: int, drawn: tuple[str, ...], worth: bool) -> None:
    search = run(left=left, drawn=drawn)
    winner = trial(fidelity=own) if own else trial(curve=())
    assert (train_winner(search, winner) is not None) is worth
    assert bool(search.asked) is worth


def test_one_that_comes_to_nothing_is_said() -> None:
    search = run(left=100.0, answer=trial(value=math.nan, status="failed", reason="out of memory"))
    assert train_winner(search, trial()) is None
    assert "came to nothing (out of memory)" in search.said[-1]


def test_what_is_said_of_the_training() -> None:
    rows = [trial("b", 3, 0.6), trial("b", 9, 0.7), trial("b", 6, 0.8), trial("a", 3, 0.5, estimator="naswot")]
    enough = full_epochs(TASK)
    extra = {"epochs": 12, "planned_epochs": 20, "examples": 72, "valid_examples": 8}
    summary = training_summary(run(left=-3.0, rows=rows), trial(extra=extra, seconds=4.0))
    assert {key: summary[key] for key in extra} == extra
    assert (summary["seconds"], summary["unused_seconds"], summary["trainings"]) == (4.0, 0.0, 2.5)
    assert (summary["short"], summary["advised_epochs"]) == (True, enough)
    assert [(each["name"], each.get("epochs"), each.get("value")) for each in summary["references"]] == [
        ("a", None, None), ("b", 9, 0.7),
    ]  # fmt: skip
    long = training_summary(run(left=7.0), trial(fidelity=enough, extra={"epochs": math.ceil(0.6 * enough)}))
    assert (long["short"], long["unused_seconds"]) == (False, 7.0)
    shorter = training_summary(run(left=7.0), trial(extra={"epochs": math.ceil(0.6 * enough) - 1}))
    assert shorter["short"] is True
    assert (long["planned_epochs"], long["examples"]) == (enough, len(TASK.train))
    shown = training_panel(summary, Metric("accuracy", unit="share", digits=1)).rows
    assert ["epochs", "12 of 20 planned"] in [list(row) for row in shown]
    assert ("b", "5 s an epoch; 70.0% of validation after 9 epochs in this search") in [tuple(row) for row in shown]
    assert any("a short training" in str(row[0]) for row in shown)


def test_the_form_of_the_answers_is_told_where_it_was_a_question() -> None:
    metric = Metric("accuracy", unit="share", digits=1)
    summary = training_summary(run(left=7.0), trial())
    assert "answers for" not in dict(training_panel(summary, metric).rows)
    refused = dict(training_panel(summary, metric, {"chosen": False, "reason": "two passes would break it"}).rows)
    assert refused["answers for"] == "an image alone: two passes would break it"
    form = {"chosen": True, "reason": "", "valid_accuracy": {"alone": 0.767, "mirrored": 0.783}}
    assert "78.3% of validation, 76.7%" in dict(training_panel(summary, metric, form).rows)["answers for"]
