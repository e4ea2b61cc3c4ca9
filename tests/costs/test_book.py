"""What similar architectures cost, against leaving each out in turn."""

import types
from concurrent.futures import Future

import numpy as np
import pytest

from archscout.core.cost import Constraint, Measurement
from archscout.core.registry import create
from archscout.costs import book
from archscout.costs.book import CostBook, Guess
from archscout.workers.engine import TrialTimeout


def test_its_error_is_that_of_leaving_each_out():
    rng = np.random.default_rng(0)
    features = rng.integers(0, 2, size=(40, 12)).astype(float)
    y = features @ rng.normal(size=12) + 0.3 * rng.normal(size=40)
    errors = []
    for out in range(40):
        rest = np.arange(40) != out
        # The centre is part of what is fitted: all but that one row are centred on the mean of all here, as there.
        x, z = features[rest] - features.mean(axis=0), y[rest]
        x1 = np.hstack([np.ones((39, 1)), x])
        penalty = np.diag([0.0] + [1.0] * 12)
        weights = np.linalg.solve(x1.T @ x1 + penalty, x1.T @ z)
        errors.append(y[out] - weights[0] - (features[out] - features.mean(axis=0)) @ weights[1:])
    assert Guess(features, np.exp(y)).error == pytest.approx(np.sqrt(np.mean(np.square(errors))), rel=1e-6)


def test_few_cost_less_than_what_it_says_they_cost_at_least():
    rng = np.random.default_rng(1)
    weights = rng.normal(scale=0.3, size=10)
    features = rng.integers(0, 2, size=(1048, 10)).astype(float)
    costs = np.exp(features @ weights + 0.1 * rng.normal(size=1048))
    guess = Guess(features[:48], costs[:48])
    least = guess.at_least(features[48:])
    assert 0.005 < np.mean(costs[48:] < least) < 0.06
    assert np.mean(least / costs[48:]) > 0.75, "and it says something"


class Stuck:
    """An engine that answers so many jobs and then no more."""

    here = True

    def __init__(self, answered: int) -> None:
        self.answered, self.jobs = answered, []

    def submit(self, job, cost, architectures, seed, least):
        future = Future()
        if len(self.jobs) < self.answered:
            future.set_result(([Measurement(1.0) for _ in architectures], 1.0))
        self.jobs.append(future)
        return future


@pytest.mark.parametrize("answered", [0, 2])
def test_where_time_is_short_those_networks_are_taken_that_were_looked_at_in_it(monkeypatch, answered):
    monkeypatch.setattr(book, "_LEAST_SECONDS", 0.01)
    space = create("space", "nasbench201:width=4,cells=1")
    rng = np.random.default_rng(0)
    drawn = list({space.canonical(one): one for one in (space.sample(rng) for _ in range(20))}.values())[:7]
    store = types.SimpleNamespace(costs=lambda run: {}, add_costs=lambda *_: None)
    setting = types.SimpleNamespace(space=space, task=None, device="cpu", seed=0)
    engine = Stuck(answered)
    costs = CostBook([create("cost", "params")], setting, store, "r", engine)
    limits = [Constraint("params", "params", 2.0)]
    with costs.within(lambda: -1.0):
        if answered:
            assert costs.keeping(drawn, limits, {}) == drawn[:4], "two jobs of two"
        else:
            with pytest.raises(TrialTimeout, match="the costs of a network took longer than"):
                costs.keeping(drawn, limits, {})
    assert len(engine.jobs) == 4 and all(job.cancelled() for job in engine.jobs[answered:])
