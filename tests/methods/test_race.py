"""Which of the networks that are known before a search wins where validation examples are few."""

import types

import pytest

from archscout.core.architecture import Architecture
from archscout.core.method import Candidate
from archscout.core.metric import ACCURACY, Metric
from archscout.core.trial import Trial
from archscout.methods.race import FEW_EXAMPLES, FOLDS, LEAST, beyond_chance, race
from archscout.training.recipe import MOST

NAMES = ("first", "second", "third", "fourth")


class Racing:
    """A run over four named networks, whose trainings come to what was said beforehand.

    `drawn` says whether the validation examples were drawn from the training examples.
    """

    workers, estimator, epochs, trainings = 1, "trained", 50, 10.0

    def __init__(self, right, *, examples=8, drawn=False, seconds=1e6, each=1.0, metric=ACCURACY):
        self.right, self.examples, self.seconds, self.asked = right, examples, seconds, []
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
        pass

    def evaluate(self, architectures, estimator, *, fidelity, phase):
        self.asked.append((estimator, dict(zip((a.text for a in architectures), fidelity, strict=True))))
        examples = self.examples if isinstance(estimator, str) else 5 * self.examples
        name = estimator if isinstance(estimator, str) else estimator.name
        rows = []
        for number, (architecture, epochs) in enumerate(zip(architectures, fidelity, strict=True)):
            share = self.right[NAMES.index(architecture.text)] / examples
            std = None if isinstance(estimator, str) else self.task.metric.standard_error(share, examples)
            rows.append(
                Trial(number, architecture, architecture.text, name, epochs, "completed", share, std=std, phase=phase)
            )
        return rows


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
    ((estimator, epochs),) = run.asked
    assert estimator.name == f"folds:count={FOLDS[0]}"
    assert epochs == dict.fromkeys(NAMES, MOST)
    # 36, 37 and 40 of 40: the best, and within a standard error of it (0.05) nobody.
    assert [trial.architecture.text for trial in ranking] == ["second", "fourth", "first", "third"]
    assert race(Racing([39, 40, 30, 37], drawn=True))[0].architecture.text == "first"


@pytest.mark.parametrize("seconds", [500.0, 900.0, 2000.0, 4000.0])
def test_as_many_are_compared_in_as_many_folds_as_there_is_time_for(seconds):
    run = Racing([30, 30, 30, 30], drawn=True, seconds=seconds)
    race(run)
    ((estimator, epochs),) = run.asked
    taken = sum(each * 1.25 * (estimator.count - 1) for each in epochs.values())
    assert 0.5 * seconds < taken <= seconds
    assert min(epochs.values()) >= LEAST * MOST
    assert len(epochs) == 4


def test_what_is_too_slow_for_its_share_does_not_take_part_and_nobody_does_where_the_first_is():
    run = Racing([30, 30, 30, 30], drawn=True, seconds=400.0, each=(1.0, 5.0, 1.0, 1.0))
    race(run)
    assert set(run.asked[0][1]) == {"first", "third", "fourth"}
    run = Racing([30, 30, 30, 30], drawn=True, seconds=100.0)
    ranking = race(run)
    assert not run.asked and [trial.architecture.text for trial in ranking] == list(NAMES)


def test_where_the_unit_does_not_say_what_chance_does_the_spread_over_folds_does():
    run = Racing([], metric=Metric("mean_error", "lower"))
    trials = [
        Trial(0, Architecture("second", ()), "second", "folds:count=3", 9, "completed", -1.0, std=0.2),
        Trial(1, Architecture("first", ()), "first", "folds:count=3", 9, "completed", -1.2, std=0.2),
        Trial(2, Architecture("third", ()), "third", "folds:count=3", 9, "completed", -1.5, std=0.2),
    ]
    ranking = beyond_chance(run, trials, {name: place for place, name in enumerate(NAMES)})
    assert [trial.canonical for trial in ranking] == ["first", "second", "third"]
