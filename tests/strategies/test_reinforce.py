"""REINFORCE: the contract of strategies, its gradient, and that it learns."""

import math

import numpy as np
import pytest

from archscout.core.errors import UsageError
from archscout.core.registry import create
from archscout.core.seeds import stream
from archscout.core.strategy import AskTell
from archscout.core.trial import History, Trial
from archscout.strategies.reinforce import Policy, Reinforce
from archscout.testing import StrategyConformance


class TestReinforce(StrategyConformance):
    examples = 10

    def strategy(self):
        return create("strategy", "reinforce")


def convolutions(architecture):
    return float(sum("conv_3x3" in str(value) for value in architecture.values()))


def told(loop, count, value):
    for number in range(count):
        a = loop.ask()
        loop.tell(Trial(number, a, loop.space.canonical(a), "trained", 1, "completed", value(a)))
    return [trial.value for trial in loop.history]


def test_its_first_step_is_that_of_adam_up_the_gradient():
    """Adam's first step is the rate in the direction of each component's sign, whatever its size."""
    policy = Policy("", {"a": np.zeros(3), "b": np.zeros(2)})
    policy.learn({"a": 1, "b": 0}, 5.0, rate=0.1, momentum=0.9)
    assert policy.logits["a"].tolist() == [0, 0, 0]  # the first value is its own baseline
    policy.learn({"a": 1}, 7.0, rate=0.1, momentum=0.9)
    # Moments were 0 before: the corrected mean is g / (1 + beta), the root of the second g / sqrt(1 + beta2).
    step = 0.1 * (0.1 / (1 - 0.9**2)) / math.sqrt(0.001 / (1 - 0.999**2))
    assert policy.logits["a"] == pytest.approx([-step, step, -step], rel=1e-5)
    assert policy.logits["b"].tolist() == [0, 0]  # it was not active


@pytest.mark.parametrize("text", ["nasbench201", "darts:width=4,layers=3"])
def test_it_draws_what_did_well_more_often(text):
    space = create("space", text)
    value = convolutions if text == "nasbench201" else lambda a: float(sum("sep" in str(v) for v in a.values()))
    values = told(AskTell(Reinforce(), space, seed=1), 150, value)
    assert np.mean(values[-30:]) > np.mean(values[:30]) + 1.0


def test_what_is_known_is_not_learned_again_and_changes_nothing():
    space = create("space", "nasbench201")
    loop = AskTell(Reinforce(), space, seed=2)
    told(loop, 20, convolutions)
    kept = loop.strategy.propose(space, loop.history, stream(3))
    assert Reinforce().propose(space, History(loop.history), stream(3)) == kept
    assert loop.strategy.policy(space, loop.history).steps == 20


@pytest.mark.parametrize(
    ("text", "why"), [("rate=0", "above zero"), ("rate=true", "above zero"), ("momentum=1", "below 1")]
)
def test_odd_parameters_are_refused(text, why):
    with pytest.raises(UsageError, match=why):
        create("strategy", f"reinforce:{text}")
