"""Every registered strategy keeps the contract, and selection does what its paper says."""

import math

import numpy as np
import pytest

from archscout.core.errors import UsageError
from archscout.core.registry import create
from archscout.core.trial import History, Trial
from archscout.strategies.evolution import RegularisedEvolution
from archscout.strategies.nsga2 import NSGA2
from archscout.testing import StrategyConformance


def evaluated(space, architectures, value, start=0, costs=lambda a: {}):
    return [
        Trial(start + i, a, space.canonical(a), "trained", 1, "completed", value(a), costs(a))
        for i, a in enumerate(architectures)
    ]


class TestRandom(StrategyConformance):
    def strategy(self):
        return create("strategy", "random")


class TestEvolution(StrategyConformance):
    def strategy(self):
        return create("strategy", "evolution:population=4,sample=2")


class TestNSGA2(StrategyConformance):
    def strategy(self):
        return create("strategy", "nsga2:population=4")


def convolutions(architecture) -> float:
    return float(sum("conv" in str(v) for v in architecture.values()))


def test_evolution_mutates_the_best_of_those_alive():
    space = create("space", "nasbench201")
    rng = np.random.default_rng(0)
    architectures = [space.sample(rng) for _ in range(30)]
    # The best is old: with a population of 5 it is dead, and parents come from the last five.
    best_first = sorted(architectures, key=convolutions, reverse=True)
    history = History(evaluated(space, best_first, convolutions))
    strategy = RegularisedEvolution(population=5, sample=5)
    alive = best_first[-5:]
    parent = max(alive, key=convolutions)
    for seed in range(10):
        child = strategy.propose(space, history, np.random.default_rng(seed))
        assert min(sum(child[c] != p[c] for c in child) for p in alive) >= 1
        assert sum(child[c] != parent[c] for c in child) <= 2  # one change, or a second where the first was known
        assert space.canonical(child) not in history.seen


def test_nsga2_spreads_over_two_objectives():
    space = create("space", "nasbench201")

    def costs(a):
        return {"macs": convolutions(a)}

    def value(a):
        return convolutions(a) + 0.01 * sum(v == "skip_connect" for v in a.values())

    history = History()
    strategy = NSGA2(population=8, objectives=["macs"])
    for number in range(120):
        child = strategy.propose(space, history, np.random.default_rng(number))
        history.append(evaluated(space, [child], value, number, costs)[0])
    late = {int(t.costs["macs"]) for t in history[60:]}
    assert {1, 2, 3, 4, 5} <= late, "both ends and the middle of the trade-off are searched"


def test_evolution_gets_better_than_random():
    space = create("space", "nasbench201")
    means = {}
    for name in ("random", "evolution:population=10,sample=4"):
        strategy = create("strategy", name)
        history = History()
        for number in range(80):
            child = strategy.propose(space, history, np.random.default_rng([7, number]))
            history.append(evaluated(space, [child], convolutions, number)[0])
        means[name] = np.mean([t.value for t in history[40:]])
    random, evolution = means.values()
    assert evolution > random + 1


def test_undefined_values_do_not_become_parents():
    space = create("space", "nasbench201")
    rng = np.random.default_rng(0)
    good = space.sample(rng)
    trials = evaluated(space, [good] + [space.sample(rng) for _ in range(20)], lambda a: 1.0 if a == good else math.nan)
    child = RegularisedEvolution(population=2, sample=1).propose(space, History(trials), rng)
    assert child in space  # too few defined ones: a sample, and no crash


def test_impossible_parameters_are_refused():
    with pytest.raises(UsageError, match="sample between 1 and"):
        create("strategy", "evolution:population=4,sample=9")
