"""Surrogate search: acquisitions against integration, inner searches, and the configurations that the field has."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.stats import norm

from archscout.core.errors import UsageError
from archscout.core.registry import create
from archscout.core.seeds import stream
from archscout.core.trial import History, Pending, Trial
from archscout.strategies.acquisition import ACQUISITIONS, Beliefs
from archscout.strategies.advised import STEPS, telling
from archscout.strategies.candidates import INNER, Search
from archscout.strategies.surrogate import scalarised
from archscout.testing import StrategyConformance

RIDGE = "predictor=bayesian_ridge:encoding=plain"


class TestWhole(StrategyConformance):
    examples = 3

    def strategy(self):
        return create("strategy", f"surrogate:{RIDGE},first=5,batch=5,pool=20")

    def space(self):
        return create("space", "nasbench_macro")


class TestLocalInner(StrategyConformance):
    examples = 3

    def strategy(self):
        return create("strategy", f"surrogate:{RIDGE},first=5,batch=5,pool=20,inner=local,acquisition=log_ei")


class TestLocalSearch(StrategyConformance):
    examples = 5

    def strategy(self):
        return create("strategy", "local_search")


class TestKernelDensity(StrategyConformance):
    examples = 5

    def strategy(self):
        return create("strategy", "kernel_density")


@pytest.fixture(scope="module")
def space():
    return create("space", "nasbench201")


def convolutions(architecture):
    return float(sum("conv" in str(value) for value in architecture.values()))


def trial(space, number, architecture, value, **costs):
    return Trial(number, architecture, space.canonical(architecture), "trained", 1, "completed", value, costs)


def history(space, count):
    architectures = [space.sample(stream(n, "surrogate")) for n in range(count)]
    return History(trial(space, n, one, convolutions(one)) for n, one in enumerate(architectures))


def test_expected_improvement_is_its_integral():
    means, deviations = np.array([0.2, 0.5, 0.9]), np.array([0.1, 0.3, 0.05])
    beliefs, rng = Beliefs(means, deviations, 0.6, 1), stream(0)
    expected = [
        quad(lambda y, m=m, s=s: (y - 0.6) * norm.pdf(y, m, s), 0.6, m + 12 * s)[0]
        for m, s in zip(means, deviations, strict=True)
    ]
    assert ACQUISITIONS["ei"](beliefs, rng) == pytest.approx(expected, rel=1e-6)
    assert ACQUISITIONS["log_ei"](beliefs, rng) == pytest.approx(np.log(expected), rel=1e-5)


def test_the_logarithm_still_tells_apart_where_improvement_vanishes():
    beliefs = Beliefs(-np.array([10.0, 30.0, 50.0, 5e4]), np.ones(4), 0.0, 1)
    values = ACQUISITIONS["log_ei"](beliefs, stream(0))
    assert np.isfinite(values).all()
    assert (np.diff(values) < 0).all()
    assert values[2] == pytest.approx(-(50**2) / 2 - np.log(2 * np.pi) / 2 - np.log(50**2), rel=1e-3)


def test_weaknas_draws_among_the_best_and_brp_nas_from_an_ever_better_part():
    means = stream(1).random(400)
    order = np.argsort(-means)
    for name, lessons, most in (("top100", 1, 100), ("narrowing", 3, 50), ("mostly_greedy", 1, 101)):
        chosen = [int(np.argmax(ACQUISITIONS[name](Beliefs(means, means, 0, lessons), stream(n)))) for n in range(300)]
        places = [int(np.flatnonzero(order == one)[0]) for one in chosen]
        assert max(places) < most
        assert len(set(places)) > 20
        if name == "top100":
            assert abs(np.mean(places) - 49.5) < 8, "each has one chance"
        if name == "mostly_greedy":
            assert 0.7 < np.mean(np.asarray(places) == 0) < 0.9


@pytest.mark.parametrize("name", INNER)
def test_inner_searches_give_what_nobody_has_asked_for(space, name):
    known = history(space, 20)
    waiting = space.sample(stream(99))
    known.pending = [Pending(waiting, space.canonical(waiting))]
    search = Search(space, known, 40, lambda some: np.asarray([convolutions(one) for one in some]))
    found = INNER[name](search, stream(5))
    forms = [space.canonical(one) for one in found]
    assert len(set(forms)) == len(forms) > 5
    assert not set(forms) & (known.seen | {space.canonical(waiting)})
    if name in ("evolution", "local"):
        assert max(map(convolutions, found)) >= 5, "they go where more is expected"


@pytest.mark.parametrize("name", ["npenas", "surrogate", "bananas"])
def test_configurations_follow_their_predictor(space, name):
    inner = ",inner=mixed" if name == "surrogate" else ""
    strategy = create("strategy", f"{name}:{RIDGE},first=5,batch=5,pool=60{inner}")
    known = history(space, 40)
    values = [convolutions(strategy.propose(space, known, stream(seed))) for seed in range(20)]
    assert np.mean(values) > np.mean([t.value for t in known]) + 0.4


def test_the_best_of_the_whole_space_is_found():
    space = create("space", "nasbench_macro")

    def truth(architecture):
        return float(sum(2.0**-place * int(digit) for place, digit in enumerate(architecture.text)))

    strategy = create("strategy", f"surrogate:{RIDGE},acquisition=greedy,first=20,batch=5")
    known = History()
    for number in range(40):
        one = strategy.propose(space, known, stream(number))
        known.append(trial(space, number, one, truth(one)))
    best = space.architecture({choice.name: choice.options[-1] for choice in space.choices})
    assert max(t.value for t in known) >= truth(best) - 0.02


def test_scalarisations_prefer_the_front(space):
    trials = [
        trial(space, n, space.sample(stream(n)), value, macs=macs)
        for n, (value, macs) in enumerate([(0.9, 9.0), (0.5, 1.0), (0.7, 4.0), (0.4, 9.0)])
    ]
    winners = {int(np.argmax(scalarised(trials, ["macs"], stream(n)))) for n in range(60)}
    assert winners == {0, 1, 2}, "each trade-off is looked for, what is beaten in everything never"


def test_local_search_climbs_and_begins_again(space):
    def height(architecture):
        return convolutions(architecture)

    strategy, known = create("strategy", "local_search"), History()
    for number in range(60):
        one = strategy.propose(space, known, stream(number, "local"))
        known.append(trial(space, number, one, height(one)))
    assert max(t.value for t in known[:40]) == 6
    near = {space.canonical(one) for t in known[:1] for one in space.neighbours(t.architecture)}
    assert known[1].canonical in near


def test_what_is_unknown_is_refused():
    with pytest.raises(UsageError, match="no acquisition 'eii'"):
        create("strategy", "surrogate:acquisition=eii")
    with pytest.raises(UsageError, match="no inner search 'randum'"):
        create("strategy", "surrogate:inner=randum")


def test_of_many_trials_the_best_and_the_latest_teach(space):
    architectures = [space.sample(stream(number)) for number in range(12)]
    values = [0.9, 0.1, 0.2, 0.8, 0.3, 0.4, 0.7, 0.5, 0.1, 0.2, 0.3, 0.1]
    known = [
        Trial(i, a, space.canonical(a), "trained", None, "completed", value)
        for i, (a, value) in enumerate(zip(architectures, values, strict=True))
    ]
    assert [trial.number for trial in telling(known, 6)] == [0, 3, 6, 9, 10, 11]
    equal = [replace(trial, value=0.5) for trial in known]
    assert telling(equal, 6) == equal


def test_a_lesson_does_not_grow_without_end(space, monkeypatch):
    strategy = create("strategy", "weaknas:first=5,batch=5,pool=10")
    monkeypatch.setattr(type(strategy), "most", 8)
    history = History()
    for number in range(20):
        one = space.sample(stream(number, "long"))
        history.append(Trial(number, one, space.canonical(one), "trained", None, "completed", number / 20))
    fitted = strategy.predictor(space, history)
    assert fitted.epochs == min(fitted.schedule.epochs, STEPS * fitted.schedule.batch // 8)
