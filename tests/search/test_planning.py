"""What a budget of time buys, and that it is spent on the winner."""

import contextlib
import json
import math
import types
from concurrent.futures import Future

import pytest

from archscout.core.budget import Budget, BudgetTooSmall
from archscout.core.cost import Constraint
from archscout.core.errors import UsageError
from archscout.core.method import Candidate
from archscout.core.metric import Metric
from archscout.core.registry import create
from archscout.core.trial import Trial
from archscout.methods.race import FEW_EXAMPLES, race
from archscout.networks.tracing import trace_architecture
from archscout.search import planning
from archscout.search.planning import GRACE, Plan, _decide
from archscout.search.search import _feasible, search
from archscout.testing import tiny_task
from archscout.training.recipe import FEWEST, MOST, full_epochs
from archscout.workers.engine import TrialTimeout

SPACE = "nasbench201:width=4,cells=1"


@pytest.fixture(scope="module")
def task():
    return tiny_task(examples=300)


def test_few_examples_are_seen_often_and_many_are_not_seen_less_than_a_full_training_needs(task):
    def of(count):
        return full_epochs(type("Of", (), {"train": range(count)})())

    assert of(1_000) == MOST
    assert of(3_000) == 80
    assert of(10**6) == FEWEST


@pytest.mark.parametrize(
    ("trainings", "words"),
    [(2.5, "2 full trainings"), (0.25, "about 0.2 full trainings"), (0.25, "; about 14m would pay for a full one.")],
)
def test_what_a_budget_buys_is_said_and_what_would_buy_a_full_training(trainings, words):
    task = type("Of", (), {"train": range(3_000)})()
    run = types.SimpleNamespace(task=task, budget=Budget.read("4m"))
    candidate = Candidate("plain", None, 10.0, 0.0, True)
    line = Plan(epochs=80, trainings=trainings, final=200.0, candidates=(candidate,)).advice(run)
    assert line.startswith("240 s pay for about") and words in line
    assert ("would pay" in line) is (trainings < 1)


def test_where_much_of_a_budget_is_spent_what_is_left_of_it_pays():
    task = type("Of", (), {"train": range(3_000)})()
    run = types.SimpleNamespace(task=task, budget=Budget.read("15s"))
    plan = Plan(epochs=1, trainings=0.05, final=3.0, candidates=(Candidate("plain", None, 1.0, 0.0, True),))
    assert plan.advice(run).startswith("4 s of 15 s are left for training and pay for about 0.1 full trainings")


@pytest.mark.slow
def test_a_budget_of_time_ends_in_a_long_training_of_the_winner(task, tmp_path):
    result = search(SPACE, task, budget="25s", workers=0, out=tmp_path, name="timed", seed=1)
    training = result.metrics["training"]
    assert training["epochs"] == result.metrics["epochs"] >= 3
    assert training["examples"] > len(task.train) or not task.drawn
    spent = result.metrics["seconds"]
    assert spent["final training"] > 0.25 * spent["total"]
    report = json.loads((result.folder / "report.json").read_text())
    assert [panel["title"] for panel in report["notes"]["panels"]] == ["How the network was trained"]
    names = {row["name"] for row in training["references"]}
    assert names & set(create("space", SPACE).references()), "hand-made designs take part"


def test_a_budget_that_pays_for_nothing_says_what_would(task, tmp_path):
    with pytest.raises(UsageError, match=r"does not pay for one trained network .* give at least"):
        search(SPACE, task, budget="0.01s", workers=0, out=tmp_path, name="nothing")


class Planning:
    """A run that only plans: its clock is turned by hand, and each timing takes as long as is said."""

    reserve = 0.0
    workers = 1
    seed = 0

    def __init__(self, task, budget, before, takes):
        self.space, self.task, self.budget = create("space", SPACE), task, Budget.read(budget)
        self.now, self.takes, self.allowed = before, takes, []
        self.clock = types.SimpleNamespace(elapsed=lambda: self.now)
        self.engine = types.SimpleNamespace(submit=self.submit)

    def submit(self, function, architecture, seed, timeout):
        self.allowed.append(timeout)
        self.now += min(self.takes, timeout)
        future = Future()
        if self.takes > timeout:
            future.set_exception(TrialTimeout("took longer"))
        else:
            future.set_result(self.takes)
        return future

    def show(self, *_):
        pass

    def decide(self):
        candidates = [(name, one.text, one) for name, one in self.space.references().items()]
        return _decide(self, candidates, True, 0)


@pytest.mark.parametrize(("budget", "before"), [("3s", 6.0), ("10s", 8.0), ("1h", 8.0)])
def test_the_first_timing_ends_with_the_budget(task, budget, before):
    run = Planning(task, budget, before, takes=1e9)
    with pytest.raises(BudgetTooSmall, match=r"ended before the training of one network was timed .* give at least"):
        run.decide()
    assert len(run.allowed) == 1
    assert run.now <= max(run.budget.seconds, before) + GRACE


def test_networks_that_take_long_to_be_looked_at_are_not_all_looked_at(task, monkeypatch):
    run = Planning(task, "10s", 1.0, takes=0.5)

    def slow(*arguments):
        run.now += 2.0
        return trace_architecture(*arguments)

    monkeypatch.setattr(planning, "trace_architecture", slow)
    assert 1 <= len(run.decide()["candidates"]) < len(run.space.references())


class Racing:
    """A run whose trainings come to what was said beforehand, and cost what they say."""

    estimator = "trained"
    workers = 1
    epochs = 10
    task = types.SimpleNamespace(valid=range(FEW_EXAMPLES))

    def __init__(self, candidates, values, trainings, seconds):
        self.space = create("space", SPACE)
        self.candidates, self.values, self.trainings, self.left = candidates, values, trainings, seconds
        self.paid = []

    def seconds_left(self):
        return self.left

    def decide(self, key, make):
        return make()

    def evaluate(self, architectures, estimator, *, fidelity, phase):
        rows = []
        for architecture, epochs in zip(architectures, fidelity, strict=True):
            self.paid.append((architecture.text, epochs))
            rows.append(
                Trial(len(self.paid), architecture, self.space.canonical(architecture), estimator, epochs,
                      "completed", self.values[architecture.text], phase=phase)
            )  # fmt: skip
        return rows


@pytest.fixture
def racers():
    space = create("space", SPACE)
    designs = list(space.references().items())[:4]
    return [Candidate(name, architecture, 1.0 + place, 1e6, True) for place, (name, architecture) in enumerate(designs)]


def test_a_race_gives_equal_time_and_ranks_those_that_went_further_first(racers):
    values = {racer.architecture.text: value for racer, value in zip(racers, (0.5, 0.9, 0.7, 0.6), strict=True)}
    run = Racing(racers, values, trainings=4.0, seconds=80.0)
    ranking = race(run)
    assert [trial.architecture for trial in ranking] == [racers[i].architecture for i in (1, 2, 3, 0)]
    seconds = {racer.architecture.text: racer.seconds for racer in racers}
    first = [epochs * seconds[text] for text, epochs in run.paid[:4]]
    assert max(first) <= 10.0 and min(first) > 10.0 - max(seconds.values())
    assert [text for text, _ in run.paid[4:]] == [racers[i].architecture.text for i in (1, 2)]
    assert sum(epochs * seconds[text] for text, epochs in run.paid) <= 80.0


def test_where_hardly_one_training_fits_nobody_races(racers):
    run = Racing(racers, {}, trainings=1.2, seconds=80.0)
    ranking = race(run)
    assert [trial.architecture for trial in ranking] == [racer.architecture for racer in racers]
    assert not run.paid and all(math.isnan(trial.value) for trial in ranking)


@pytest.mark.parametrize("left", [0.0, 5.0])
def test_where_no_training_ends_in_its_time_the_most_promising_is_left_to_the_final_training(racers, left):
    class Slow(Racing):
        def evaluate(self, architectures, estimator, *, fidelity, phase):
            self.left = left
            return [Trial(1, architectures[0], "a", estimator, fidelity[0], "failed", reason="took longer")]

    ranking = race(Slow(racers, {}, trainings=4.0, seconds=80.0))
    # With time left, the trainings failed for another reason, which is told.
    assert [trial.architecture for trial in ranking] == ([] if left else [racer.architecture for racer in racers])


def test_without_a_space_one_is_taken_that_suits_the_data(task):
    from archscout.spaces.load import automatic_space

    assert automatic_space(task).name == "classic"
    assert automatic_space(create("task", "text")).name == "nasbench_nlp"
    assert automatic_space(create("task", "digits_graph")).name == "nasbench_graph"


def test_the_page_says_how_the_network_was_trained():
    from archscout.search.final import training_panel

    training = {
        "epochs": 12, "planned_epochs": 15, "examples": 2880, "valid_examples": 120, "short": True,
        "advised_epochs": 100, "references": [
            {"name": "resnet8", "architecture": "", "epoch_seconds": 1.5},
            {"name": "plain", "architecture": "", "epoch_seconds": 2.5, "epochs": 12, "value": 0.71},
        ],
    }  # fmt: skip
    text = str(training_panel(training, Metric("accuracy", unit="share", digits=1)).as_json())
    assert "71.0% of validation after 12 epochs" in text
    assert (
        "12 of 15 planned" in text and "2,880" in text and "about 100 epochs pay" in text and "1.5 s an epoch" in text
    )


class Looking:
    """A book each of whose looks takes so many seconds of a clock; a run that has it and no more."""

    def __init__(self, budget: str, each: float, *, meeting: bool = True) -> None:
        self.now, self.each, self.meeting = 0.0, each, meeting
        self.left = lambda: math.inf
        self.costs = [types.SimpleNamespace(exact=False)]
        self.space = create("space", SPACE)
        self.run = types.SimpleNamespace(
            budget=Budget.read(budget), clock=types.SimpleNamespace(elapsed=lambda: self.now), seed=0, reserve=1.0,
            show=lambda *_: None, space=self.space, book=self, margins={"c": 1.0},
            constraints=[Constraint("c", "c", 1.0)],
        )  # fmt: skip

    @contextlib.contextmanager
    def within(self, left):
        self.left = left
        yield

    def screened(self, architectures):
        taken = min(self.each, self.left())
        self.now += taken
        if taken < self.each:
            raise TrialTimeout("took longer")

    def at_most(self, architecture):
        return {"c": 0.5 if self.meeting else 2.0}


def test_looking_for_networks_within_limits_ends_with_the_budget_however_long_one_takes():
    slow = Looking("20s", 120.0)
    with pytest.raises(BudgetTooSmall, match=r"ended before the first networks were held against the limits: give at"):
        _feasible(slow.run)
    assert slow.now <= 20.0
    enough = Looking("1000s", 50.0)
    assert _feasible(enough.run)["sampled"] == 2 and enough.now == 50.0
    rare = Looking("100s", 10.0, meeting=False)
    with pytest.raises(UsageError, match="was found that meets"):
        _feasible(rare.run)
    assert rare.now <= 13.0, "the share of the budget for looking was over after the first look"


def test_where_there_is_no_time_to_look_for_others_the_references_are_what_there_is(monkeypatch):
    def late(*_):
        raise TrialTimeout("took longer")

    monkeypatch.setattr(planning, "_others", late)
    space = create("space", SPACE)
    admitted = list(space.references().values())[:1]
    run = types.SimpleNamespace(
        name="r", space=space, admit=lambda *_: admitted, store=types.SimpleNamespace(decisions=lambda name: {})
    )
    assert [row[2] for row in planning._candidates(run, [])] == admitted
    admitted.clear()
    with pytest.raises(TrialTimeout):
        planning._candidates(run, [])
