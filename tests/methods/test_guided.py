"""The guided search against random search on a shipped table, and where scores, candidates or values are missing."""

import numpy as np
import pytest

from archscout.core.budget import Budget
from archscout.core.errors import UsageError
from archscout.core.registry import create
from archscout.study.simulated import SimulatedRun, simulate
from archscout.tables.load import load
from archscout.tables.metric import Metric
from archscout.tables.table import write

pytest.importorskip("pyarrow", reason="tables need pyarrow")


@pytest.fixture(scope="module")
def digits():
    return load("nasbench201-digits")


@pytest.fixture(scope="module")
def guided(digits):
    return [simulate(digits, "guided:pool=300", "40trials", seed=seed) for seed in range(3)]


def test_it_comes_nearer_to_the_best_than_random_search(digits, guided):
    random = [simulate(digits, "random", "40trials", seed=seed) for seed in range(12)]
    ours, theirs = ([np.mean(found.regret[9:]) for found in each] for each in (guided, random))
    assert np.mean(ours) < np.mean(theirs)
    assert np.mean([found.regret[-1] for found in guided]) < np.mean([found.regret[-1] for found in random])


def test_no_network_is_trained_twice_and_the_same_seed_is_the_same_search(digits, guided):
    texts = [trial.canonical for trial in guided[0].trials]
    assert len(set(texts)) == len(texts) == 40
    assert [t.canonical for t in simulate(digits, "guided:pool=300", "40trials", seed=0).trials] == texts


def test_half_of_the_first_trainings_are_the_best_by_the_scores(digits):
    found = simulate(digits, "guided:scores=params,pool=200", "10trials", seed=1)
    sizes = sorted(digits.values("params"))
    large = sum(digits.values("params")[digits.numbers[t.canonical]] > np.quantile(sizes, 0.75) for t in found.trials)
    assert large >= 5


def test_scores_that_nobody_has_are_left_out(digits):
    found = simulate(digits, "guided:scores=zen+synflow,pool=100", "20trials", seed=0)
    assert len(found.trials) == 20


def test_a_space_that_is_spent_ends_the_search(tmp_path):
    cells = create("space", "nasbench201")
    rng = np.random.default_rng(0)
    architectures = list({cells.canonical(a): a for a in (cells.sample(rng) for _ in range(30))}.values())
    columns = {"architecture": [a.text for a in architectures], "valid": rng.random(len(architectures))}
    table = write(tmp_path / "few.parquet", cells, columns, [Metric("valid", "accuracy")], default="valid")
    found = simulate(table, "guided", "1000trials", seed=0)
    assert len(found.trials) == len(architectures)
    assert found.regret[-1] == 0


@pytest.mark.parametrize("method", ["guided", "cascade"])
@pytest.mark.parametrize(
    ("parameter", "words"),
    [
        ("pool=3", "a pool of 10 candidates or more, not pool=3"),
        ("scores=params+", "each once"),
        ("scores=params+params", "each once"),
    ],
)
def test_what_no_search_can_be_made_of_is_refused(method, parameter, words):
    with pytest.raises(UsageError, match=words):
        create("method", f"{method}:{parameter}")


@pytest.mark.parametrize("parameter", ["share=0", "share=1", "eta=1", "eta=0"])
def test_a_ladder_without_steps_is_refused(parameter):
    with pytest.raises(UsageError, match="method 'cascade' needs"):
        create("method", f"cascade:{parameter}")


@pytest.mark.parametrize("method", ["guided", "cascade"])
def test_a_score_that_does_not_exist_is_refused(digits, method):
    with pytest.raises(UsageError, match="there is no estimator 'zenn': did you mean 'zen'"):
        simulate(digits, f"{method}:scores=zenn", "20trials")


def test_trainings_that_all_fail_end_in_random_ones(digits, monkeypatch):
    run = SimulatedRun(digits, Budget.read("25trials", ""), 0)
    column = np.full(len(digits.values(run.metric.name)), np.nan)
    monkeypatch.setitem(run._values, run.table.fidelity(run.epochs, run.metric.name), column)
    assert create("method", "guided:pool=50").search(run) == []
    assert len(run.trials) == 25
