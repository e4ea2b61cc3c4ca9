"""Strategies over many workers: nobody waits for long, and up to a strategy's lag their number changes nothing."""

import heapq
import math
from types import SimpleNamespace

import numpy as np
import pytest

from archscout.core.errors import UsageError
from archscout.core.registry import create
from archscout.core.trial import Trial
from archscout.methods.asha import Promotion
from archscout.methods.strategy import resolve_method
from archscout.search.replay import Proposals, Replay


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
                epochs = proposals.fidelity(one, None)
                form = self.space.canonical(one)
                key = form if epochs is None else f"{epochs}|{form}"
                asked.append(key)
                proposals.ask(key, one, epochs)
                seconds = (1 + 4 * float(np.random.default_rng(len(asked)).random())) * (epochs or 1)
                spans.append((now, now + seconds))
                value = float(one.text.count("conv_3x3"))
                trial = Trial(len(asked), one, form, "trained", epochs, "completed", value)
                heapq.heappush(running, (now + seconds, len(asked), key, trial))
            else:
                now, _, key, trial = heapq.heappop(running)
                answered[key] = trial
        stop = max(start for start, _ in spans)
        return asked, sum(min(end, stop) - start for start, end in spans) / (self.workers * stop)


@pytest.mark.parametrize("workers", [5, 64])
def test_many_workers_are_busy_with_a_longer_lag(workers):
    strategy = resolve_method(f"random:lag={2 * workers}", ()).strategy
    asked, busy = Clocked(workers).follow(strategy, 400)
    assert len(asked) >= 400
    assert busy >= 0.95


def test_asha_keeps_many_workers_busy_where_it_may_be_so_far_ahead():
    asked, busy = Clocked(32).follow(Promotion(create("strategy", "random"), (1, 2, 4), 2, lag=256), 800)
    assert {key.partition("|")[0] for key in asked} == {"1", "2", "4"}
    assert busy >= 0.95
    assert Clocked(32).follow(Promotion(create("strategy", "random"), (1, 2, 4), 2), 80)[1] < 0.4


def test_asha_says_where_its_lag_leaves_workers_without_work():
    said = []
    run = SimpleNamespace(workers=64, say=said.append)
    climb = SimpleNamespace(
        run=run, strategy=create("strategy", "random"), epochs=(1, 4), trials=[], estimator="paused"
    )
    run.follow = lambda strategy, estimator, phase: said.append(strategy.lag) or []
    create("method", "asha:eta=3").climb(climb)
    assert said[0].startswith("at most 8 of 64 workers are busy at once")
    asked = said[0].partition("--method ")[2].rstrip(".")
    said.clear()
    create("method", asked).climb(climb)
    assert said == [512]
    with pytest.raises(UsageError, match="the lag of 'asha'"):
        create("method", "asha:lag=0")


def test_the_number_of_workers_changes_no_search():
    found = [Clocked(workers).follow(create("strategy", "evolution"), 40)[0] for workers in (1, 2, 4, 16)]
    assert found[0] == found[1] == found[2] == found[3]


def test_a_lag_is_part_of_the_name_and_a_whole_number():
    method = resolve_method("evolution:population=20,lag=8", ())
    assert (method.strategy.lag, method.name) == (8, "evolution:lag=8,population=20")
    assert resolve_method("evolution", ()).strategy.lag == 4
    with pytest.raises(UsageError, match="the lag of 'evolution'"):
        resolve_method("evolution:lag=0", ())


def test_a_resumed_search_looks_at_each_answer_once():
    class Answered(set):
        looked = 0

        def __contains__(self, key):
            self.looked += 1
            return super().__contains__(key)

    run = Clocked(1)
    sizes = []
    whole = run.space.size()
    run.space.size = lambda: sizes.append(1) or whole
    proposals, answered = Proposals(run, create("strategy", "random"), 1_000), Answered()
    cell = next(iter(run.space))
    while not proposals.ended:  # what is stored is proposed again, and nobody asks the strategy
        assert not proposals.wait(answered)
        proposals.ask(key := f"trained@1|{len(proposals)}", cell, None)
        answered.add(key)
        proposals._stale = 0
    assert answered.looked <= 1_000
    assert len(sizes) <= 1
    answered.clear()
    proposals.ask("another", cell, None)
    for _ in range(3):
        proposals.ask(f"{len(proposals)}", cell, None)
    assert proposals.wait(answered)
