"""The suite for methods passes a right method and fails each wrong one in the test that is about it."""

import dataclasses

import numpy as np
import pytest

from archscout.core.method import Method
from archscout.core.panel import Text
from archscout.core.seeds import stream
from archscout.core.subspace import SubSpace
from archscout.testing import MethodConformance


class Right(Method):
    """Trains a few networks drawn at random."""

    name = "right"
    most = 5

    def drawn(self, run):
        rng = run.rng("right")
        sample = (run.space.simplify(run.space.sample(rng)) for _ in range(60))
        return list({run.space.canonical(each): each for each in sample}.values())

    def chosen(self, run):
        return run.admit(self.drawn(run), int(min(self.most, run.trials_left())))

    def answer(self, run, trials):
        return sorted((trial for trial in trials if trial.defined), key=lambda trial: trial.rank)

    def search(self, run):
        chosen = self.chosen(run)
        run.note("panels", [Text("Chosen", [f"{len(chosen)} networks"]).as_json()])
        return self.answer(run, run.evaluate(chosen, run.estimator, fidelity=run.epochs))


class Nameless(Right):
    name = Method.name


class CountsWorkers(Right):
    def chosen(self, run):
        return super().chosen(run)[: run.workers + 1]


class OneIdea(Right):
    def drawn(self, run):
        return [run.space.sample(stream(number)) for number in range(60)]


class GlobalState(Right):
    def drawn(self, run):
        return [run.space.sample(stream(int(np.random.randint(2**31)))) for _ in range(60)]


class Boasts(Right):
    def answer(self, run, trials):
        return [dataclasses.replace(trial, value=1.0) for trial in super().answer(run, trials)]


class WorstFirst(Right):
    def answer(self, run, trials):
        return super().answer(run, trials)[::-1]


class Outside(Right):
    def drawn(self, run):
        return [run.space.whole.sample(stream(number)) for number in range(60)]


class TrainsOnTheSide(Right):
    def answer(self, run, trials):
        side = run.space.sample(run.rng("side"))
        run._estimators[run.estimator].estimate([side], run.setting, fidelity=run.epochs)
        return super().answer(run, trials)


class IgnoresLimits(Right):
    def chosen(self, run):
        return self.drawn(run)[: self.most]


class ComesBackChanged(Right):
    def chosen(self, run):
        before = (run.folder / "begun").exists()
        (run.folder / "begun").touch()
        return super().chosen(run)[before:]


class TakesFailures(Right):
    def answer(self, run, trials):
        return sorted(trials, key=lambda trial: -trial.value)


class CountsOnOne(Right):
    def answer(self, run, trials):
        return [max((trial for trial in trials if trial.defined), key=lambda trial: trial.value)]


class WantsFive(Right):
    def answer(self, run, trials):
        return [sorted(trials, key=lambda trial: trial.rank)[place] for place in range(self.most)]


class Untitled(Right):
    def answer(self, run, trials):
        run.note("panels", [{"kind": "text", "text": "no title"}])
        return super().answer(run, trials)


WRONG = {
    Nameless: "it_has_a_name",
    CountsWorkers: "one_seed_gives_one_search_whatever_the_workers",
    OneIdea: "another_seed_gives_another_search",
    GlobalState: "no_global_random_state_is_read_or_changed",
    Boasts: "what_comes_back_was_evaluated_and_the_best_is_first",
    WorstFirst: "what_comes_back_was_evaluated_and_the_best_is_first",
    Outside: "all_that_it_asks_for_is_in_the_space",
    TrainsOnTheSide: "it_keeps_to_its_budget",
    IgnoresLimits: "limits_are_kept",
    ComesBackChanged: "an_interrupted_search_goes_on_to_the_same_end",
    TakesFailures: "it_lives_with_trainings_that_fail",
    CountsOnOne: "it_ends_where_everything_fails",
    WantsFive: "it_ends_in_a_space_with_fewer_networks_than_its_budget",
    Untitled: "what_it_notes_can_be_shown",
}
TESTS = sorted(name.removeprefix("test_") for name in dir(MethodConformance) if name.startswith("test_"))


def run(kind, test, folder):
    class Suite(MethodConformance):
        def method(self):
            return kind()

        def space(self):
            space = super().space()
            return SubSpace(space, {"edge 0->1": space.choices[0].options[:1]}) if kind is Outside else space

    method = getattr(Suite(), f"test_{test}")
    method() if test == "it_has_a_name" else method(folder)


@pytest.mark.parametrize("test", TESTS)
def test_a_right_method_passes(tmp_path, test):
    run(Right, test, tmp_path)


@pytest.mark.parametrize(("wrong", "test"), WRONG.items(), ids=lambda value: getattr(value, "__name__", value))
def test_a_wrong_method_fails(tmp_path, wrong, test):
    with pytest.raises((AssertionError, LookupError, ValueError)):
        run(wrong, test, tmp_path)


def test_every_test_of_the_suite_can_fail():
    assert set(TESTS) == set(WRONG.values())
