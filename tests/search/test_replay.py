"""Strategies over many workers: nobody waits for long, and up to a strategy's lag their number changes nothing."""

import heapq
import math

import numpy as np
import pytest

from archscout.core.registry import create
from archscout.core.trial import Trial
from archscout.search.replay import Proposals, Replay, lag_of


class Clocked(Replay):
    """Workers on a clock that is simulated: a training takes from 1 to 5 seconds, by its architecture."""

    def __init__(self, workers):
        self.space, self.seed, self.workers = create("space", "nasbench201"), 3, workers

    def admit(self, architectures, count):
        return list(architectures)[:count]

    def seconds_left(self):
        return math.inf

    def follow(self, strategy, trials):
        """The proposals in order, and the share of their time that workers train until the last of them begins."""
        proposals = Proposals(self, strategy, trials)
        running, answered, asked, spans, now = [], {}, [], [], 0.0
        while not proposals.ended or running:
            if not proposals.ended and len(running) < self.workers and not proposals.wait(answered):
                one = proposals.next(lambda key, architecture: answered[key])
                key = self.space.canonical(one)
                asked.append(key)
                proposals.ask(key, one, None)
                seconds = 1 + 4 * float(np.random.default_rng(len(asked)).random())
                spans.append((now, now + seconds))
                value = float(one.text.count("conv_3x3"))
                trial = Trial(len(asked), one, key, "trained", None, "completed", value)
                heapq.heappush(running, (now + seconds, len(asked), key, trial))
            else:
                now, _, key, trial = heapq.heappop(running)
                answered[key] = trial
        stop = max(start for start, _ in spans)
        return asked, sum(min(end, stop) - start for start, end in spans) / (self.workers * stop)


def test_sixty_four_workers_are_busy():
    asked, busy = Clocked(64).follow(create("strategy", "random"), 400)
    assert len(asked) >= 400
    assert busy >= 0.95


@pytest.mark.parametrize("workers", [5, 16])
def test_so_are_some(workers):
    assert Clocked(workers).follow(create("strategy", "random"), 150)[1] >= 0.95


def test_few_workers_make_one_search():
    found = [Clocked(workers).follow(create("strategy", "evolution"), 40)[0] for workers in (1, 2, 4)]
    assert found[0] == found[1] == found[2]


def test_many_workers_make_the_same_search_again():
    first, again = (Clocked(16).follow(create("strategy", "evolution"), 40) for _ in range(2))
    assert first == again


def test_the_lag_is_the_strategys_own_for_few_workers():
    strategy = create("strategy", "random")
    assert [lag_of(strategy, n) for n in range(1, strategy.lag + 1)] == [strategy.lag] * strategy.lag
    assert lag_of(strategy, strategy.lag + 1) > strategy.lag + 1
