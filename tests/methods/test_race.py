"""Which of the networks that are known before a search wins where validation examples are few."""

import dataclasses
import math
import types

import pytest

from archscout.core.architecture import Architecture
from archscout.core.method import Candidate
from archscout.core.metric import ACCURACY, Metric
from archscout.core.trial import Trial
from archscout.estimators.folds import Folds
from archscout.methods.race import FEW_EXAMPLES, FOLDS, LEAST, beyond_chance, race
from archscout.training.recipe import MOST

NAMES = ("first", "second", "third", "fourth")


class Racing:
    """A run over four named networks, whose trainings come to what was said beforehand.

    `drawn` says whether the validation examples were drawn from the training examples. `last` are the folds that each
    network is given before the time is over, `failing` those whose trainings come to nothing.
    """

    workers, estimator, epochs, trainings = 1, "trained", 50, 10.0

    def __init__(
        self, right, *, examples=8, drawn=False, seconds=1e6, each=1.0, metric=ACCURACY, last=None, failing=(), slow=1.0
    ):
        self.right, self.examples, self.seconds, self.asked, self.said = right, examples, seconds, [], []
        self.last, self.failing, self.slow = last or {}, failing, slow
        task = types.SimpleNamespace(train=range(4 * examples), valid=range(examples), metric=metric)
        task.drawn = ("valid",) if drawn else ()
        self.task, self.space = task, types.SimpleNamespace(canonical=lambda architecture: architecture.text)
        each = each if isinstance(each, tuple) else (each,) * len(NAMES)
        self.candidates = [
            Candidate(name.title(), Architecture(name, ()), time, 1.0, True)
            for name, time in zip(NAMES, each, strict=True)
        ]

    def seconds_left(self):
        return self.seconds

    def decide(self, key, make):
        return make()

    def say(self, text):
        self.said.append(text)

    def evaluate(self, architectures, estimator, *, fidelity, phase):
        self.asked.append((estimator, dict(zip((a.text for a in architectures), fidelity, strict=True))))
        if isinstance(estimator, Folds):
            return self._fold(estimator, architectures, fidelity)
        rows = []
        for number, (architecture, epochs) in enumerate(zip(architectures, fidelity, strict=True)):
            share = self.right[NAMES.index(architecture.text)] / self.examples
            rows.append(trial(number, architecture, estimator, epochs, share))
        return rows

    def _fold(self, fold, architectures, fidelity):
        """All folds come to the same."""
        assert set(fold.before) == (set() if fold.number == 0 else {a.text for a in architectures})
        rows, each = [], self.examples * 5 / fold.count
        for number, (architecture, epochs) in enumerate(zip(architectures, fidelity, strict=True)):
            name = architecture.text
            if fold.number >= self.last.get(name, fold.count):
                continue
            share = self.right[NAMES.index(name)] / (5 * self.examples)
            error = self.task.metric.standard_error(share, each * (fold.number + 1))
            taken = self.slow * epochs * 1.25 * (fold.count - 1) / fold.count
            self.seconds -= taken
            some = trial(number, architecture, fold.name, epochs, share, std=error, extra={"folds": fold.number + 1},
                         seconds=taken)  # fmt: skip
            rows.append(dataclasses.replace(some, status="failed", value=math.nan) if name in self.failing else some)
        return rows


def trial(number, architecture, estimator, epochs, share, **known):
    return Trial(number, architecture, architecture.text, estimator, epochs, "completed", share, **known)


@pytest.mark.parametrize("examples", [5, 8, 10, 50, FEW_EXAMPLES - 1])
@pytest.mark.parametrize("share", [0.25, 0.5, 0.9, 1.0])
def test_one_example_of_few_does_not_overrule_what_was_more_promising(examples, share):
    right = round(share * examples)
    ranking = race(Racing([right - 1, right, right, right - 1], examples=examples))
    assert ranking[0].architecture.text == "first"


def test_what_is_better_beyond_chance_wins_and_so_does_any_difference_on_many_examples():
    assert race(Racing([3, 8, 4, 4]))[0].architecture.text == "second"
    assert race(Racing([70, 71, 70, 70], examples=FEW_EXAMPLES))[0].architecture.text == "second"


def test_drawn_validation_examples_are_put_together_with_the_others_for_cross_validation():
    run = Racing([36, 40, 30, 37], drawn=True)
    ranking = race(run)
    assert [estimator.name for estimator, _ in run.asked] == [
        f"folds:count={FOLDS[0]},number={number}" for number in range(FOLDS[0])
    ]
    assert all(epochs == dict.fromkeys(NAMES, MOST) for _, epochs in run.asked)
    # 36, 37 and 40 of 40: the best, and within a standard error of it (0.05) nobody.
    assert [trial.architecture.text for trial in ranking] == ["second", "fourth", "first", "third"]
    assert race(Racing([39, 40, 30, 37], drawn=True))[0].architecture.text == "first"


@pytest.mark.parametrize("seconds", [500.0, 900.0, 2000.0, 4000.0])
def test_as_many_are_compared_in_as_many_folds_as_there_is_time_for(seconds):
    run = Racing([30, 30, 30, 30], drawn=True, seconds=seconds)
    race(run)
    assert len(run.asked) == run.asked[0][0].count
    epochs = run.asked[0][1]
    assert 0 <= run.seconds < 0.5 * seconds
    assert min(epochs.values()) >= LEAST * MOST
    assert len(epochs) == 4


def test_what_is_too_slow_for_its_share_does_not_take_part_and_nobody_does_where_the_first_is():
    run = Racing([30, 30, 30, 30], drawn=True, seconds=400.0, each=(1.0, 5.0, 1.0, 1.0))
    race(run)
    assert set(run.asked[0][1]) == {"first", "third", "fourth"}
    run = Racing([30, 30, 30, 30], drawn=True, seconds=100.0)
    ranking = race(run)
    assert not run.asked and [trial.architecture.text for trial in ranking] == list(NAMES)


@pytest.mark.parametrize("last", [{"second": 2}, {"first": 2, "third": 3}])
def test_a_fold_that_not_all_of_them_were_given_does_not_count(last):
    run = Racing([36, 40, 30, 37], drawn=True, last=last)
    ranking = race(run)
    assert len(run.asked) == 3
    assert {trial.extra["folds"] for trial in ranking} == {2}
    assert {trial.architecture.text for trial in ranking} == set(NAMES)
    assert "enough for 2 of the folds" in run.said[-1]


def test_one_that_alone_has_had_a_fold_has_beaten_nobody():
    # The third, fourth and second are never measured: what is most promising wins, and that is told.
    run = Racing([20, 40, 30, 37], drawn=True, last={"first": 0, "third": 0, "fourth": 0})
    assert [trial.architecture.text for trial in race(run)] == list(NAMES)
    assert "the most promising is taken" in run.said[-1]


def test_a_machine_that_became_slower_gives_all_of_them_fewer_folds():
    run = Racing([36, 40, 30, 37], drawn=True, seconds=4000.0, slow=2.5)
    ranking = race(run)
    folds = {trial.extra["folds"] for trial in ranking}
    assert len(folds) == 1 and 1 <= folds.pop() < run.asked[0][0].count
    assert run.seconds >= 0, "no fold was begun that the time was not enough for"


def test_what_fails_is_out_and_does_not_stop_the_others():
    run = Racing([36, 40, 30, 37], drawn=True, failing=("second",))
    assert [trial.architecture.text for trial in race(run)] == ["first", "fourth", "third"]
    assert set(run.asked[1][1]) == {"first", "third", "fourth"}
    assert race(Racing([1, 1, 1, 1], drawn=True, failing=NAMES)) == []
    # Nor is it taken where the time is over.
    run = Racing([36, 40, 30, 37], drawn=True, failing=("first",), last={"third": 0})
    assert race(run)[0].architecture.text != "first"


def test_one_fold_does_not_decide_where_it_does_not_tell_its_own_error():
    unit = Metric("mean_error", "lower")
    run = Racing([36, 40, 30, 37], drawn=True, metric=unit, last=dict.fromkeys(NAMES, 1))
    assert [trial.architecture.text for trial in race(run)] == list(NAMES)


def test_where_the_unit_does_not_say_what_chance_does_the_spread_over_folds_does():
    run = Racing([], metric=Metric("mean_error", "lower"))
    trials = [
        Trial(0, Architecture("second", ()), "second", "folds:count=3", 9, "completed", -1.0, std=0.2),
        Trial(1, Architecture("first", ()), "first", "folds:count=3", 9, "completed", -1.2, std=0.2),
        Trial(2, Architecture("third", ()), "third", "folds:count=3", 9, "completed", -1.5, std=0.2),
    ]
    ranking = beyond_chance(run, trials, {name: place for place, name in enumerate(NAMES)})
    assert [trial.canonical for trial in ranking] == ["first", "second", "third"]
