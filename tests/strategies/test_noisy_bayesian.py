"""Noise for each point: what repeated draws teach, and that the search finds the best of a distribution."""

import numpy as np
import pytest

from archscout.core.errors import UsageError
from archscout.core.registry import create
from archscout.core.seeds import stream
from archscout.core.strategy import AskTell
from archscout.core.trial import Trial
from archscout.strategies.noisy_bayesian import PRIOR, Process, gathered
from archscout.testing import StrategyConformance

SPACE = create("space", "nago")


class TestNoisyBayesian(StrategyConformance):
    examples = 5

    def strategy(self):
        return create("strategy", "noisy_bayesian:first=4,pool=10")


@pytest.mark.slow
class TestOnRealNumbers(TestNoisyBayesian):
    def space(self):
        return SPACE


class TestKernelDensityOnRealNumbers(StrategyConformance):
    examples = 5

    def space(self):
        return SPACE

    def strategy(self):
        return create("strategy", "kernel_density")


def trial(number, one, value):
    return Trial(number, one, SPACE.canonical(one), "made up", None, "completed", value)


def test_draws_of_one_point_are_samples_of_its_mean():
    first, second = (SPACE.sample(stream(n)) for n in range(2))
    draws = [SPACE.architecture({**first, "draw": draw}) for draw in range(3)]
    trials = [trial(n, one, value) for n, (one, value) in enumerate(zip(draws, (1.0, 2.0, 6.0), strict=True))]
    points = gathered(SPACE, [*trials, trial(3, second, 9.0)])
    assert [point.mean for point in points] == [3.0, 9.0]
    pooled = (4 + 1 + 9) / 2
    assert points[0].noise == pytest.approx((PRIOR * pooled + 14) / (PRIOR + 2) / 3)
    assert points[1].noise == pytest.approx(pooled)


def test_the_process_trusts_a_point_as_far_as_its_noise_says():
    points = [SPACE.sample(stream(n)) for n in range(12)]
    values = [float(one["top.probability"]) + (2.0 if n == 5 else 0.0) for n, one in enumerate(points)]
    quiet = gathered(SPACE, [trial(n, one, value) for n, (one, value) in enumerate(zip(points, values, strict=True))])
    loud = [type(p)(p.architecture, p.mean, 4.0 if n == 5 else p.noise) for n, p in enumerate(quiet)]
    expected = [float(Process(SPACE, some).predict([points[5]])[0][0]) for some in (quiet, loud)]
    assert expected[0] == pytest.approx(values[5], abs=0.1)
    assert expected[1] < values[5] - 0.5


def value_of(one) -> float:
    noise = stream(0, one.text).normal() * 0.02
    return -((float(one["top.probability"]) - 0.4) ** 2) - (float(one["bottom.probability"]) - 0.8) ** 2 + noise


@pytest.mark.parametrize("name", ["noisy_bayesian:pool=60", "kernel_density"])
def test_it_finds_good_real_numbers(name):
    best = {}
    for each in (name, "random"):
        loop = AskTell(create("strategy", each), SPACE, seed=1)
        late = []
        for number in range(30):
            one = loop.ask()
            loop.tell(trial(number, one, value_of(one)))
            late += [value_of(one)] if number >= 15 else []
        best[each] = np.mean(late)
    assert best[name] > best["random"] + 0.03


def test_impossible_settings_are_refused():
    with pytest.raises(UsageError, match="needs 2 random architectures or more"):
        create("strategy", "noisy_bayesian:first=1")
