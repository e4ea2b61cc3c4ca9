"""The suite for strategies passes a right strategy and fails each wrong one in the test that is about it."""

import math

import numpy as np
import pytest

from archscout.core.architecture import Architecture
from archscout.core.registry import create
from archscout.core.seeds import stream
from archscout.core.strategy import Strategy
from archscout.testing import StrategyConformance
from archscout.testing.check import for_all
from archscout.testing.strategy import histories, trials


class Right(Strategy):
    """Mutates the best so far."""

    name = "right"

    def propose(self, space, history, rng):
        defined = [trial for trial in history if trial.defined]
        if not defined:
            return space.sample(rng)
        return space.mutate(max(defined, key=lambda trial: (trial.value, -trial.number)).architecture, rng)


class TestRight(StrategyConformance):
    def strategy(self):
        return Right()


class TestRightOnAnotherSpace(StrategyConformance):
    def strategy(self):
        return Right()

    def space(self):
        return create("space", "nasbench201")


class Outside(Right):
    def propose(self, space, history, rng):
        return Architecture("elsewhere", (("stage1.width", 75),))


class Remembers(Right):
    def __init__(self):
        self.calls = 0

    def propose(self, space, history, rng):
        self.calls += 1
        return space.sample(stream(self.calls))


class DiffersByMaking(Right):
    made = 0

    def __init__(self):
        DiffersByMaking.made += 1
        self.number = DiffersByMaking.made

    def propose(self, space, history, rng):
        return space.sample(stream(self.number))


class GlobalState(Right):
    def propose(self, space, history, rng):
        return space.sample(stream(np.random.randint(2**31)))


class TouchesGlobalState(Right):
    def propose(self, space, history, rng):
        np.random.seed(0)
        return super().propose(space, history, rng)


class EatsHistory(Right):
    def propose(self, space, history, rng):
        history._trials.clear()
        return super().propose(space, history, rng)


class NeedsTrials(Right):
    def propose(self, space, history, rng):
        return space.mutate(history[0].architecture, rng)


class TrustsValues(Right):
    def propose(self, space, history, rng):
        if len(history) < 10:
            return space.sample(rng)
        values = np.array([trial.value for trial in history])
        weights = values - values.min()
        return history[int(rng.choice(len(values), p=weights / weights.sum()))].architecture


class OneIdea(Right):
    def propose(self, space, history, rng):
        return next(iter(space.extremes()))


class NoLag(Right):
    lag = 0


WRONG = {
    Outside: "proposals_are_in_the_space",
    Remembers: "a_proposal_depends_on_its_arguments_alone",
    DiffersByMaking: "a_proposal_depends_on_its_arguments_alone",
    GlobalState: "the_global_random_state_is_left_alone",
    TouchesGlobalState: "the_global_random_state_is_left_alone",
    EatsHistory: "the_history_is_not_changed",
    NeedsTrials: "it_starts_from_nothing",
    TrustsValues: "it_lives_with_failures_only",
    OneIdea: "it_can_be_asked_and_told",
    NoLag: "the_lag_is_a_positive_number",
}


@pytest.mark.parametrize(("wrong", "test"), WRONG.items(), ids=lambda value: getattr(value, "__name__", value))
def test_a_wrong_strategy_fails(wrong, test):
    class Suite(StrategyConformance):
        examples = 5

        def strategy(self):
            return wrong()

        def space(self):
            return create("space", "mobile:stages=1,depth=1")

    with pytest.raises((AssertionError, IndexError, ValueError)):
        getattr(Suite(), f"test_{test}")()


def test_every_test_of_the_suite_can_fail():
    tests = {name.removeprefix("test_") for name in dir(StrategyConformance) if name.startswith("test_")}
    assert tests == set(WRONG.values())


def test_histories_are_of_every_kind():
    space, found = create("space", "mobile:stages=1,depth=1"), []

    @for_all(60, histories(space))
    def collect(history):
        found.append(history)

    every = [trial for history in found for trial in history]
    assert {trial.status for trial in every} == {"completed", "failed", "rejected"}
    assert any(not history for history in found)
    assert any(len(history) > 30 for history in found)
    assert any(math.isnan(trial.value) and trial.status == "completed" for trial in every)
    assert {bool(trial.costs) for trial in every} == {True, False}
    assert all([trial.number for trial in history] == list(range(len(history))) for history in found)


def test_the_best_of_the_made_up_trials_has_all_first_options():
    space = create("space", "mobile:stages=1,depth=1")
    first = next(iter(space.extremes()))
    assert all(trial.value < 1 or trial.architecture == first for trial in trials(space, 50))
