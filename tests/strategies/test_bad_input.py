"""Every strategy by name where there is little to learn from: few networks, no values, equal ones, unknown costs."""

import math

import numpy as np
import pytest

from archscout.core.errors import ArchscoutError, UsageError
from archscout.core.fresh import fresh
from archscout.core.registry import create, names
from archscout.core.seeds import stream
from archscout.core.trial import History, Trial
from archscout.search.asking import ask, tell
from archscout.study.simulated import SimulatedRun, simulate
from archscout.tables.table import Metric, write

pytest.importorskip("pyarrow", reason="tables need pyarrow")

QUICK = "predictor=bayesian_ridge"
SETTINGS = {name: f"{name}:{QUICK}" for name in ("surrogate", "brp_nas", "acenas", "weaknas", "bananas", "npenas")}
"""Predictors are tested elsewhere; here a quick one stands for those that take long."""

STRATEGIES = [SETTINGS.get(name, name) for name in names("strategy")]
GRAPHS = {"npenas", "graphpnas"}
"""As they are, they learn from graphs."""

NUMBERS = [("valid", "accuracy"), ("equal", "accuracy"), ("params", "cost"), ("unknown", "cost")]


@pytest.fixture(scope="module")
def tables(tmp_path_factory):
    """A table of 6 networks and one of 60, with equal values and costs of which half are unknown beside true ones."""
    space, rng = create("space", "nasbench201"), np.random.default_rng(0)
    folder, made = tmp_path_factory.mktemp("tables"), {}
    for count in (6, 60):
        some = [
            next(fresh(space, iter(lambda: space.sample(rng), None), seen)) for seen in [set()] for _ in range(count)
        ]
        columns = {
            "architecture": [one.text for one in some],
            "valid": rng.random(count),
            "equal": np.full(count, 0.5),
            "params": rng.random(count),
            "unknown": np.where(np.arange(count) % 2, np.nan, 1.0),
        }
        metrics = [Metric(name, kind=kind) for name, kind in NUMBERS]
        made[count] = write(folder / f"of_{count}.parquet", space, columns, metrics, default="valid")
    return made


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_space_smaller_than_a_population_is_searched_and_ends(tables, strategy):
    found = simulate(tables[6], strategy, "40trials")
    assert len({trial.canonical for trial in found.trials}) == len(found.trials) >= 4
    assert found.regret[-1] == 0


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_equal_values_end_in_a_search(tables, strategy):
    assert len(simulate(tables[60], strategy, "24trials", metric="equal").trials) == 24


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_costs_that_are_not_known_are_no_obstacle(tables, strategy):
    assert len(simulate(tables[60], strategy, "14trials", objectives=["unknown"]).trials) == 14


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_an_objective_that_there_is_not_is_named(tables, strategy):
    with pytest.raises(UsageError, match="has no metric 'latency_ms'"):
        simulate(tables[60], strategy, "5trials", objectives=["latency_ms"])


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_where_all_trials_fail_it_is_said_in_a_sentence(tables, strategy, monkeypatch):
    trained = SimulatedRun._train

    def fail(self, *of):
        self._values = {length: [math.nan] * 60 for length in (None, self.epochs)}
        return trained(self, *of)

    monkeypatch.setattr(SimulatedRun, "_train", fail)
    with pytest.raises(ArchscoutError, match="budget of 24 trials ended before table 'of_60' gave a value"):
        simulate(tables[60], strategy, "24trials")


@pytest.mark.parametrize("name", names("strategy"))
def test_real_numbers_are_searched_or_refused_in_a_sentence(name):
    space = create("space", "nago")
    strategy = create("strategy", name if name in GRAPHS else SETTINGS.get(name, name))
    history, refusal = History(), ""
    for number in range(14):
        try:
            one = strategy.propose(space, history, stream(0, number))
        except UsageError as error:
            refusal = str(error)
            break
        assert one in space
        canonical = space.canonical(one)
        value = float(stream(1, number).random())
        history.append(Trial(number, one, canonical, "trained", None, "completed", value, {}))
    if name in GRAPHS | {"reinforce", "nar"}:
        assert "nago" in refusal or "is a real number from" in refusal
    else:
        assert not refusal


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_telling_an_unknown_trial_or_one_twice_is_refused(strategy, tmp_path):
    folder = tmp_path / "r"
    ask(folder, space="nasbench201", strategy=strategy)
    with pytest.raises(UsageError, match="has no trial 7; its trials are 0 to 0"):
        tell(folder, {"trial": 7, "value": 0.5})
    tell(folder, {"trial": 0, "value": 0.5})
    with pytest.raises(UsageError, match="trial 0 of run 'r' has been told before"):
        tell(folder, {"trial": 0, "value": 0.6})
    assert ask(folder)[0]["trial"] == 1
