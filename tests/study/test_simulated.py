"""Simulated searches: the same decisions as a real search whose trainings have these outcomes, and honest accounts."""

import math
import time

import cloudpickle
import numpy as np
import pytest

from archscout.core.budget import Budget
from archscout.core.cost import Constraint
from archscout.core.errors import ArchscoutError, DataError, UsageError
from archscout.core.estimator import Setting
from archscout.core.progress import Silent
from archscout.core.registry import create
from archscout.core.seeds import stream
from archscout.costs.book import CostBook
from archscout.search.run import SearchRun
from archscout.store.clock import Clock
from archscout.store.store import Store
from archscout.strategies.evolution import RegularisedEvolution
from archscout.strategies.random import RandomSearch
from archscout.study.simulated import SimulatedRun, simulate
from archscout.tables.load import load
from archscout.tables.metric import Metric
from archscout.tables.table import write
from archscout.tables.within import within
from archscout.workers.engines import InlineEngine

METRICS = [
    Metric("valid", dataset="d", split="valid", epochs=9),
    Metric("valid_3", dataset="d", split="valid", epochs=3),
    Metric("curve", dataset="d", split="valid", kind="loss", epochs=9),
    Metric("rising", dataset="d", split="valid", epochs=9),
    Metric("time", kind="seconds", dataset="d", epochs=9),
    Metric("params", kind="cost"),
    Metric("synflow", kind="score"),
    Metric("error", kind="loss", dataset="d", epochs=9),
]


def columns(texts):
    """Values that depend on the operations in a simple way."""
    good = np.asarray([[text.count("conv_3x3"), text.count("skip"), text.count("pool")] for text in texts], float)
    valid = 0.5 + good @ [0.05, 0.03, -0.02]
    return {
        "architecture": texts,
        "valid": valid,
        "valid_3": valid - 0.1,
        "curve": [[1 / (epoch + value) for epoch in range(9)] for value in valid],
        "rising": [[value - 0.2 + epoch / 40 for epoch in range(8)] + [value] for value in valid],
        "time": 90 + good[:, 0] * 9,
        "params": 10 + good[:, 0] * 100,
        "synflow": good[:, 0],
        "error": 1 - valid,
    }


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    """Every architecture of NAS-Bench-201 with at most three operations that are not `none`."""
    space = create("space", "nasbench201")
    texts = [a.text for a in space if a.text.count("none") >= 3 or stream(0, a.text).random() < 0.6]
    file = tmp_path_factory.mktemp("tables") / "most.parquet"
    return write(file, "nasbench201", columns(texts), METRICS, default="valid")


@pytest.fixture(scope="module")
def sparse(tmp_path_factory):
    space = create("space", "nasbench201")
    texts = [space.sample(stream(number, "sparse")).text for number in range(150)]
    file = tmp_path_factory.mktemp("tables") / "few.parquet"
    return write(file, "nasbench201", columns(texts), METRICS, default="valid")


@pytest.mark.parametrize("strategy", [RandomSearch(), RegularisedEvolution(population=10, sample=3)])
def test_it_decides_as_a_real_search_with_these_outcomes(table, strategy, tmp_path):
    space = within(table)
    store = Store.open(tmp_path / "search.sqlite")
    store.begin("r", {})
    engine = InlineEngine((space, None, "cpu"))
    name = f"table:name={table.path}"
    real = SearchRun(
        name="r", space=space, task=None, seed=5, store=store, engine=engine,
        book=CostBook([], Setting(space, None), store, "r", engine), constraints=(), objectives=(),
        budget=Budget(trials=60), clock=Clock(store, "r", time.monotonic()), progress=Silent(),
        estimator=create("estimator", name), folder=tmp_path, device="cpu", reserve=0.0,
    )  # fmt: skip
    expected = [(trial.architecture, trial.value) for trial in real.follow(strategy, name)]
    trajectory = simulate(table, strategy, "60trials", seed=5)
    assert [(trial.architecture, trial.value) for trial in trajectory.trials] == expected
    assert len(expected) == 60


def test_values_regret_and_winner_are_the_tables(table):
    trajectory = simulate(table, "random", "50trials", seed=1)
    values = [table.value(trial.architecture) for trial in trajectory.trials]
    np.testing.assert_allclose(trajectory.values, np.maximum.accumulate(values))
    np.testing.assert_allclose(trajectory.regret, table.best()[1] - np.maximum.accumulate(values))
    np.testing.assert_allclose(
        trajectory.seconds, np.cumsum([table.seconds(t.architecture) for t in trajectory.trials])
    )
    assert table.value(trajectory.winner) == max(values) == trajectory.values[-1]
    assert table.value(trajectory.incumbents[-1]) == max(values)
    assert len({trial.canonical for trial in trajectory.trials}) == 50, "one network is paid for once"
    assert trajectory.optimum == table.best()[1]


def test_one_seed_one_trajectory(table):
    first, again, other = (simulate(table, "evolution", "40trials", seed=seed) for seed in (3, 3, 4))
    assert [t.architecture for t in first.trials] == [t.architecture for t in again.trials]
    assert [t.architecture for t in first.trials] != [t.architecture for t in other.trials]
    longer = simulate(table, "evolution", "60trials", seed=3)
    assert [t.architecture for t in longer.trials[:40]] == [t.architecture for t in first.trials]


def test_a_small_table_is_searched_whole(sparse):
    trajectory = simulate(sparse, "evolution:population=5,sample=2", "1000trials")
    networks = len(sparse.first_rows)
    assert 0.8 * networks <= len(trajectory.trials) <= networks
    assert simulate(sparse, "random", "1000trials").evaluations_to_optimum is not None


def test_less_is_better_where_the_metric_says_so(table):
    trajectory = simulate(table, "evolution", "80trials", metric="error")
    np.testing.assert_allclose(trajectory.values, np.minimum.accumulate([-t.value for t in trajectory.trials]))
    assert trajectory.optimum == min(table.values("error"))
    assert (trajectory.regret >= 0).all()


def test_a_budget_of_simulated_time(table):
    trajectory = simulate(table, "random", "10m", seed=2)
    assert trajectory.seconds[-1] <= 600
    following = simulate(table, "random", "200trials", seed=2)
    count = len(trajectory.trials)
    assert following.seconds[count] > 600, "the next training would not have ended in time"
    assert [t.architecture for t in following.trials[:count]] == [t.architecture for t in trajectory.trials]
    with pytest.raises(ArchscoutError, match="ended before table 'most' gave a value"):
        simulate(table, "random", "10s")


def test_a_budget_of_time_needs_seconds_in_the_table(tmp_path, table):
    texts = table.architectures[:50]
    bare = write(
        tmp_path / "bare.parquet",
        "nasbench201",
        {"architecture": texts, "valid": table.column("valid")[:50]},
        METRICS[:1],
        default="valid",
    )
    with pytest.raises(UsageError, match="does not say how long trainings took: give a budget in trials"):
        simulate(bare, "random", "10m")


def climbed(table):
    """The cascade where short trainings are worth their while."""
    run = SimulatedRun(table, Budget(trials=60))
    run.cheaper = True
    return run.trajectory("cascade", create("method", "cascade:scores=synflow").search(run))


def test_the_cascade_trains_in_full_where_every_training_counts_alike(table):
    trajectory = simulate(table, "cascade:scores=synflow", "60trials")
    assert {trial.fidelity for trial in trajectory.trials} == {9}
    assert 40 <= len(trajectory.trials) <= 60
    assert trajectory.epochs[-1] == 9 * len(trajectory.trials)


def test_the_cascade_climbs_the_tables_fidelities(table):
    trajectory = climbed(table)
    assert {trial.fidelity for trial in trajectory.trials} == {1, 3, 9}
    for trial in trajectory.trials:
        assert trial.value == table.value(trial.architecture, epochs=trial.fidelity)
        assert trial.seconds == pytest.approx(table.seconds(trial.architecture) * trial.fidelity / 9)
        assert len(trial.curve) == trial.fidelity
        assert trial.curve[-1]["valid_loss"] == table.curve(trial.architecture, "curve")[trial.fidelity - 1]
    assert len(trajectory.trials) <= 60
    assert [note["estimator"] for note in trajectory.notes["rungs"]] == ["synflow", "trained@1", "trained@3"]


def test_the_cascade_has_one_rung_for_each_length_that_the_table_knows(tmp_path, table):
    known = {k: v for k, v in columns(table.architectures).items() if k in ("architecture", "valid", "valid_3")}
    two = write(tmp_path / "two.parquet", "nasbench201", known, METRICS[:2], default="valid")
    trajectory = climbed(two)
    assert {trial.fidelity for trial in trajectory.trials} == {3, 9}
    assert [note["against"] for note in trajectory.notes["rungs"]] == ["trained@3", "trained@9"]


def test_scores_come_from_the_table_or_are_undefined(table):
    run = SimulatedRun(table, Budget(trials=5))
    architectures = [run.space.sample(run.rng("x", number)) for number in range(4)]
    known, unknown = run.score(architectures, ["synflow", "naswot"])
    assert [trial.value for trial in known] == [table.value(a, "synflow") for a in architectures]
    assert all(math.isnan(trial.value) and "has no score 'naswot'" in trial.reason for trial in unknown)


def test_scores_are_computed_where_there_is_data(table):
    from archscout.testing import tiny_task

    task = tiny_task()
    run = SimulatedRun(table, Budget(trials=5), seed=3, task=task)
    architectures = [run.space.sample(run.rng("x", number)) for number in range(4)]
    (row,) = run.score(architectures, ["naswot"])
    setting = Setting(table.space, task.sealed(), seed=3)
    expected = [estimate.value for estimate in create("estimator", "naswot").estimate(architectures, setting)]
    np.testing.assert_allclose([trial.value for trial in row], expected)


def test_limits_and_objectives_are_columns_of_the_table(table):
    constraints = [Constraint("params", "params", 110)]
    trajectory = simulate(table, "random", "40trials", constraints=constraints, objectives=["params"])
    assert all(trial.costs["params"] <= 110 for trial in trajectory.trials)
    meeting = [v for v, p in zip(table.values(), table.values("params"), strict=True) if p <= 110]
    assert trajectory.optimum == max(meeting) < table.best()[1]
    with pytest.raises(UsageError, match="no network of table 'most' meets params <= 1"):
        simulate(table, "random", constraints=[Constraint("params", "params", 1)])
    with pytest.raises(UsageError, match="has no metric 'macs'"):
        simulate(table, "random", objectives=["macs"])


def test_networks_without_a_value_are_no_part_of_the_search(tmp_path, table):
    texts = [table.architectures[row] for row in table.first_rows[:40]]
    values = np.where(np.arange(40) % 2, math.nan, 0.5)
    short = np.where(np.arange(40) % 4, 0.4, math.nan)
    columns = {"architecture": texts, "valid": values, "valid_3": short}
    holed = write(tmp_path / "t.parquet", "nasbench201", columns, METRICS[:2], default="valid")
    trajectory = simulate(holed, "random", "30trials")
    assert {trial.architecture.text for trial in trajectory.trials} <= set(texts[::2])
    assert all(trial.value == 0.5 for trial in trajectory.trials)
    run = SimulatedRun(holed, Budget(trials=40))
    trials = run.evaluate([run.space.parse(text) for text in texts[::2]], "trained", fidelity=3)
    assert [trial.status for trial in trials] == ["failed", "completed"] * 10
    empty = write(
        tmp_path / "e.parquet", "nasbench201", {**columns, "valid": [None] * 40}, METRICS[:2], default="valid"
    )
    with pytest.raises(DataError, match=r"e\.parquet' has no value of 'valid'"):
        simulate(empty, "random")


@pytest.mark.parametrize("data", [None, "tiny"])
def test_trainings_that_a_method_leaves_by_itself_are_not_in_a_table(table, data):
    from archscout.testing import tiny_task

    with pytest.raises(UsageError, match=r"trains networks in a way of its own \('stopped'\), which table .* without"):
        simulate(table, "early_stopping:whole=4", "20trials", task=data and tiny_task())


def test_a_curve_is_no_metric_to_search_for(table):
    with pytest.raises(UsageError, match="'curve' of table 'most' is a curve"):
        simulate(table, "random", metric="curve")


def test_the_space_within_a_table_has_only_its_networks(table, sparse):
    for which in (table, sparse):
        space = within(which)
        assert isinstance(space, type(which.space))
        rng = stream(0, "within")
        for _ in range(100):
            sampled = space.sample(rng)
            for made in (sampled, space.mutate(sampled, rng), space.crossover(sampled, space.sample(rng), rng)):
                assert made in which
                assert space.canonical(made) == which.space.canonical(made)
                assert space.simplify(made) == which.space.simplify(made)
        assert {space.canonical(a) for a in space} == set(which.canonical)
        assert space.size() == len(which.first_rows)
        assert all(other in which for other in space.neighbours(sampled))
        assert all(end in which for end in space.extremes())
        designs = which.space.references()
        assert space.references() == {name: design for name, design in designs.items() if design in which}
        again = cloudpickle.loads(cloudpickle.dumps(space))
        assert again.sample(stream(1)) == space.sample(stream(1))


@pytest.mark.parametrize("strategy", ["reinforce", "graphpnas", "local_search", "nsga2"])
def test_what_a_strategy_writes_by_its_own_rules_ends_in_the_table(sparse, strategy):
    found = simulate(sparse, strategy, "12trials", 0)
    assert len(found.trials) == 12
    assert all(trial.architecture in sparse for trial in found.trials)


def test_mutants_in_a_sparse_table_are_near(sparse):
    space = within(sparse)
    encoded = space.encode(list(space))
    rng = stream(0, "near")
    for architecture in list(space)[:20]:
        mutant = space.mutate(architecture, rng)
        assert mutant != architecture
        distances = np.sort(((encoded - space.encode([architecture])) ** 2).sum(axis=1))
        assert ((space.encode([mutant]) - space.encode([architecture])) ** 2).sum() <= distances[8]


def test_a_table_of_another_space_is_refused(table):
    estimator = create("estimator", f"table:name={table.path}")
    space = create("space", "mobile")
    with pytest.raises(UsageError, match="is of space 'nasbench201', not of 'mobile'"):
        estimator.estimate([space.sample(stream(0))], Setting(space, None))


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"metric": ""}, "the metric must be a text"),
        ({"metric": ["valid"]}, "the metric must be a text"),
        ({"metric": np.array([1, 2])}, "the metric must be a text"),
        ({"metric": "a\nb"}, "the metric must be one line"),
        ({"task": 3}, "data cannot be of type int"),
        ({"task": "digit"}, "did you mean 'digits'"),
        ({"constraints": 3}, "the constraints must be several Constraint, not 3"),
        ({"constraints": "params"}, "the constraints must be several Constraint"),
        ({"constraints": {"params": 3}}, "the constraints must be several Constraint"),
        ({"constraints": ["params"]}, "a constraint must be a Constraint"),
        ({"objectives": 3}, "objectives must be names"),
        ({"objectives": [3]}, "objectives must be a text"),
        ({"start": "x" * 5_000}, "has a name of more than 255 bytes"),
    ],
)
def test_odd_options_are_refused_in_a_sentence(sparse, given, said):
    with pytest.raises(UsageError, match=said):
        simulate(sparse, "random", "3trials", 0, **given)


def test_natural_forms_of_options(sparse):
    usual = simulate(sparse, "random", "3trials", 0, objectives=("params",))
    again = simulate(sparse, "random", "3trials", 0, metric=sparse.metric("valid"), objectives=iter(["params"]))
    assert [t.costs for t in again.trials] == [t.costs for t in usual.trials], "an iterator is read once"
    assert usual.trials[0].costs
    assert simulate(sparse, "random", "3trials", 0, objectives="params").trials == usual.trials
    limit = Constraint("params", "params", 1e9)
    assert simulate(sparse, "random", "3trials", 0, constraints=limit).trials[0].costs.keys() == {"params"}


@pytest.mark.parametrize("name", ["x" * 300, "\0", "", 3, None, b"t.parquet"])
def test_odd_names_of_tables(name):
    with pytest.raises(UsageError, match=r"the table (must be a path|has a name of more than 255 bytes)"):
        load(name)
