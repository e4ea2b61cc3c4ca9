"""Sampling by tiers: the contract of strategies, what the statistics are, and who is chosen."""

import numpy as np
import pytest

from archscout.core.errors import UsageError
from archscout.core.registry import create
from archscout.core.trial import History, Trial
from archscout.strategies.nar import APART, Statistics
from archscout.testing import StrategyConformance


class TestTierSampling(StrategyConformance):
    examples = 2

    def strategy(self):
        made = create("strategy", "nar:start=6,pool=8")
        made.learned.predictor.set_params(epochs=2)
        return made


@pytest.fixture(scope="module")
def space():
    return create("space", "nasbench201")


def convolutions(architecture):
    return sum("conv" in str(v) for v in architecture.values())


def sampled(space, count):
    rng = np.random.default_rng(0)
    return [space.sample(rng) for _ in range(count)]


def test_what_differs_between_tiers_is_counted_and_sampled(space):
    architectures = sampled(space, 600)
    # The best tier has a 3x3 convolution on the first edge, and never the same option there as the low ones.
    first = np.asarray([str(one["edge 0->1"]) for one in architectures])
    tier = np.where(first == "nor_conv_3x3", 0, np.where(first == "none", 4, 3))
    made = Statistics.of(space, architectures, tier)
    assert set(made.options) == {"edge 0->1"}
    (probabilities,) = made.options.values()
    inside = (tier == 0).sum()
    choice = next(c for c in space.choices if c.name == "edge 0->1")
    assert probabilities[choice.index("nor_conv_3x3")] == pytest.approx((inside + 1) / (inside + 5))
    assert probabilities.sum() == pytest.approx(1)
    rng = np.random.default_rng(1)
    share = np.mean([str(made.sample(rng)["edge 0->1"]) == "nor_conv_3x3" for _ in range(100)])
    assert share > 0.9
    # Tiers at random are alike, and what is drawn then is uniform.
    alike = Statistics.of(space, architectures, rng.integers(5, size=600))
    assert not alike.options
    assert not alike.counts
    assert len({alike.sample(rng).text for _ in range(50)}) > 45


def test_the_divergence_is_that_of_scipy(space):
    from scipy.stats import entropy

    architectures = sampled(space, 400)
    tier = np.argsort(np.argsort([-convolutions(one) for one in architectures], kind="stable")) * 5 // 400
    made = Statistics.of(space, architectures, tier)
    for option in {str(o) for o in space.choices[0].options}:
        times = np.asarray([sum(str(v) == option for v in one.values()) for one in architectures])
        seen = np.bincount(times, minlength=7) > 0
        best, *low = ((np.bincount(times[tier == t], minlength=7) + seen)[seen] for t in (0, 3, 4))
        assert (option in made.counts) == (min(entropy(best, one) for one in low) > APART)
        if option in made.counts:
            np.testing.assert_allclose(made.counts[option][seen], best / best.max())


def test_proposals_follow_what_was_good(space):
    strategy = create("strategy", "nar:start=40,pool=40")
    strategy.learned.predictor.set_params(epochs=40)
    known = History(
        Trial(n, a, space.canonical(a), "trained", 1, "completed", float(convolutions(a)))
        for n, a in enumerate(sampled(space, 40))
    )
    values = [convolutions(strategy.propose(space, known, np.random.default_rng(seed))) for seed in range(3)]
    assert np.mean(values) > 4
    assert space.canonical(strategy.propose(space, known, np.random.default_rng(0))) not in known.seen
    few = History(known[:39])
    first = [strategy.propose(space, few, np.random.default_rng(seed)) for seed in range(20)]
    assert abs(np.mean([convolutions(one) for one in first]) - 2.4) < 1, "the first are random"


def test_what_has_no_tiers_is_refused():
    with pytest.raises(UsageError, match="predictor of tiers"):
        create("strategy", "nar:predictor=scout")
    with pytest.raises(UsageError, match="start of 5 or more"):
        create("strategy", "nar:start=2")
