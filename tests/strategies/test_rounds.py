"""Rounds by a predictor: the contract of strategies, and who is chosen."""

import numpy as np
import pytest

from archscout.core.errors import UsageError
from archscout.core.registry import create
from archscout.core.trial import History, Trial
from archscout.testing import StrategyConformance


class TestRounds(StrategyConformance):
    examples = 3

    def strategy(self):
        return create("strategy", "brp_nas:predictor=bayesian_ridge:encoding=plain,batch=6,pool=12")


@pytest.fixture(scope="module")
def space():
    return create("space", "nasbench201")


def convolutions(architecture):
    return float(sum("conv" in str(v) for v in architecture.values()))


def history(space, count):
    rng = np.random.default_rng(0)
    architectures = [space.sample(rng) for _ in range(count)]
    return History(
        Trial(n, a, space.canonical(a), "trained", 1, "completed", convolutions(a)) for n, a in enumerate(architectures)
    )


@pytest.mark.parametrize("name", ["brp_nas", "acenas"])
def test_half_of_a_round_is_what_the_predictor_likes_best(space, name):
    strategy = create("strategy", f"{name}:predictor=bayesian_ridge,batch=10,pool=60")
    known = history(space, 45)
    values = [convolutions(strategy.propose(space, known, np.random.default_rng(seed))) for seed in range(40)]
    drawn = np.mean([convolutions(t.architecture) for t in known])
    assert np.mean(values) > drawn + 0.5
    assert min(values) <= drawn or name == "brp_nas"
    first = [convolutions(strategy.propose(space, history(space, 9), np.random.default_rng(s))) for s in range(40)]
    assert abs(np.mean(first) - 2.4) < 0.8, "the first round is random"


def test_random_ones_come_from_an_ever_better_part(space):
    means = []
    for rounds in (1, 3):
        strategy = create("strategy", "brp_nas:predictor=bayesian_ridge,batch=15,pool=60")
        known = history(space, 15 * rounds)
        means.append(
            np.mean([convolutions(strategy.propose(space, known, np.random.default_rng(seed))) for seed in range(40)])
        )
    assert means[1] > means[0]


def test_what_cannot_advise_is_refused():
    with pytest.raises(UsageError, match="architecture alone, not 'omni'"):
        create("strategy", "brp_nas:predictor=omni")
    with pytest.raises(UsageError, match="a pool of 2 or more"):
        create("strategy", "acenas:pool=1")
