"""NSGA-III and MOEA/D: survivors and holders against brute force, and spread over three objectives."""

import numpy as np
import pytest

from archscout.core.errors import UsageError
from archscout.core.registry import create
from archscout.core.seeds import stream
from archscout.core.strategy import AskTell
from archscout.core.trial import Trial
from archscout.strategies.moead import holders
from archscout.strategies.nsga3 import survivors
from archscout.strategies.pareto import UNKNOWN, directions, fronts, points, within_reach
from archscout.testing import StrategyConformance


class TestNSGA3(StrategyConformance):
    def strategy(self):
        return create("strategy", "nsga3:population=4", objectives=["params"])


class TestMOEAD(StrategyConformance):
    def strategy(self):
        return create("strategy", "moead:population=4", objectives=["params"])


@pytest.mark.parametrize(("objectives", "most", "count"), [(2, 20, 20), (3, 20, 15), (1, 20, 1), (3, 2, 3)])
def test_directions_are_spread_evenly(objectives, most, count):
    weights = directions(objectives, most)
    assert weights.shape == (count, objectives)
    assert weights.sum(axis=1) == pytest.approx(1)
    assert {tuple(row) for row in np.eye(objectives)} <= {tuple(row) for row in weights}


def test_survivors_are_whole_fronts_and_then_the_emptiest_directions():
    for seed in range(10):
        rows = stream(seed, "survivors").random((40, 3))
        alive = set(survivors(rows, 15, stream(seed)).tolist())
        assert len(alive) == 15
        taken = 0
        for front in fronts(rows):
            if taken + len(front) <= 15:
                assert set(front.tolist()) <= alive
            taken += len(front)
    crowd = np.concatenate([[[0.0, 1.0], [1.0, 0.0]], 0.5 + np.outer(np.linspace(-1, 1, 30) / 100, [1, -1])])
    assert {0, 1} <= set(survivors(crowd, 4, stream(0)).tolist()), "the ends go before the crowd in the middle"
    assert survivors(np.asarray([[3.0], [1.0], [2.0]]), 2, stream(0)).tolist() == [1, 2]


def test_each_direction_is_held_by_the_least_norm():
    rows, weights = stream(1, "holders").random((30, 3)), directions(3, 20)
    held = holders(rows, weights)
    for weight, place in zip(weights, held, strict=True):
        norms = [max(max(w, 1e-3) * x for w, x in zip(weight, row, strict=True)) for row in rows]
        assert norms[place] == min(norms)


def test_what_is_unknown_is_the_worst():
    rows = np.asarray([[1.0, UNKNOWN], [3.0, 5.0], [2.0, 7.0]])
    assert within_reach(rows).tolist() == [[0.0, 1.0], [1.0, 0.0], [0.5, 1.0]]
    assert within_reach(np.full((2, 2), UNKNOWN)).tolist() == [[1.0, 1.0], [1.0, 1.0]]


MACRO = create("space", "nasbench_macro")
COSTS = ("macs", "latency_ms")


def evaluated(number, one) -> Trial:
    layers = [float(option) for option in one.text]
    value = sum(layers)
    costs = {"macs": sum(x**2 for x in layers[::2]), "latency_ms": sum(x**2 for x in layers[1::2])}
    return Trial(number, one, MACRO.canonical(one), "trained", 1, "completed", value, costs)


@pytest.mark.parametrize("name", ["nsga3", "moead"])
def test_more_of_the_front_is_found_than_by_random_search(name):
    everything = points([evaluated(0, one) for one in MACRO], COSTS)
    front = {tuple(row) for row in everything[fronts(everything)[0]]}
    found = {}
    for each in (name, "random"):
        loop = AskTell(create("strategy", each, objectives=COSTS), MACRO, seed=2)
        for number in range(150):
            loop.tell(evaluated(number, loop.ask()))
        found[each] = len(front & {tuple(row) for row in points(list(loop.history), COSTS)})
    assert found[name] > 1.15 * found["random"]


def test_impossible_settings_are_refused():
    with pytest.raises(UsageError, match="needs a population of 2 or more"):
        create("strategy", "nsga3:population=1")
    with pytest.raises(UsageError, match="a population and neighbours of 2 or more"):
        create("strategy", "moead:neighbours=1")
