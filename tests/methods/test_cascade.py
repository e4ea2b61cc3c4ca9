"""The cascade on the published table: its filters work, and it beats random search at equal epochs."""

import math
import time
import zlib
from typing import ClassVar

import numpy as np
import pytest

from archscout.core.budget import Budget
from archscout.core.choice import Choice
from archscout.core.estimator import Estimator, Setting
from archscout.core.progress import Silent
from archscout.core.registry import create, register
from archscout.core.space import Space
from archscout.core.trial import Estimate, Trial
from archscout.costs.book import CostBook
from archscout.methods.cascade import Cascade, correlation, fidelities, reliability, sharpness
from archscout.methods.strategy import StrategyMethod
from archscout.search.run import SearchRun
from archscout.store.clock import Clock
from archscout.store.store import Store
from archscout.strategies.random import RandomSearch
from archscout.testing import tiny_task
from archscout.workers.engines import InlineEngine

FULL = 27


class Published(Estimator):
    """Answers from the table of NAS-Bench-201: 12 epochs for short trainings, 200 for full ones, with some noise."""

    needs = frozenset({"training"})
    table: ClassVar[dict[str, tuple[float, float]]] = {}

    def __init__(self) -> None:
        self.name = "published"

    def estimate(self, architectures, setting, *, fidelity=None):
        estimates = []
        for architecture in architectures:
            short, long = self.table[architecture.text]
            noise = np.random.default_rng(zlib.crc32(f"{architecture}{fidelity}{setting.seed}".encode())).normal()
            value = long if fidelity == FULL else short if fidelity == FULL // 9 else (short + long) / 2
            estimates.append(Estimate(value + 0.3 * noise, seconds=float(fidelity)))
        return estimates


class Convolutions(Estimator):
    """A cheap score: more convolutions, fewer pools."""

    def __init__(self) -> None:
        self.name = "conv_count"

    def estimate(self, architectures, setting, *, fidelity=None):
        return [
            Estimate(float(a.text.count("conv") + a.text.count("3x3~") - 2 * a.text.count("pool")))
            for a in architectures
        ]


register("estimator", "published")(Published)
register("estimator", "conv_count")(Convolutions)


@pytest.fixture(scope="module")
def accuracies(shared_data):
    parquet = pytest.importorskip("pyarrow.parquet", reason="reading the table needs pyarrow (extra 'tables')")
    columns = ["arch", "c10_valid_12", "c10v_valid_200", "c10_test_200"]
    rows = parquet.read_table(shared_data / "nasbench201" / "accuracy.parquet", columns=columns).to_pydict()
    Published.table = dict(
        zip(rows["arch"], zip(rows["c10_valid_12"], rows["c10v_valid_200"], strict=True), strict=True)
    )
    return dict(zip(rows["arch"], rows["c10_test_200"], strict=True))


def make_run(folder, seed, trials):
    store = Store.open(folder / "search.sqlite")
    store.begin("r", {})
    space = create("space", "nasbench201")
    engine = InlineEngine((space, None, "cpu"))
    book = CostBook([], Setting(space, None, seed=seed), store, "r", engine)
    run = SearchRun(
        name="r", space=space, task=None, seed=seed, store=store, engine=engine, book=book, constraints=(),
        objectives=(), budget=Budget(trials=trials), clock=Clock(store, "r", time.monotonic()), progress=Silent(),
        estimator=create("estimator", "published"), folder=folder, device="cpu", reserve=0.0,
    )  # fmt: skip
    run.epochs = FULL
    return run


class Made(dict):
    """A table with a value for whatever is asked."""

    def __missing__(self, text):
        return (float(zlib.crc32(text.encode()) % 40), float(zlib.crc32(text.encode()) % 50))


@pytest.mark.parametrize("trials", [1, 2, 3, 4, 9])
def test_a_few_trainings_end_with_a_full_one(trials, tmp_path, monkeypatch):
    """Three trials of 27 epochs were three trainings of 3, and the network of 3 epochs the result."""
    monkeypatch.setattr(Published, "table", Made())
    run = make_run(tmp_path, 0, trials)
    ranked = Cascade(scores="conv_count").search(run)
    paid = [row.fidelity for row in run.store.trials("r") if row.estimator == "published"]
    assert len(paid) == trials
    assert ranked[0].fidelity == FULL
    assert paid.count(FULL) >= 1


def search(folder, method, seed, trials):
    folder.mkdir()
    run = make_run(folder, seed, trials)
    candidates = method.search(run)
    paid = [row for row in run.store.trials("r") if row.estimator == "published"]
    return run, candidates, paid


@pytest.mark.slow
def test_the_cascade_beats_random_search_at_equal_epochs(tmp_path, accuracies):
    ours, control = [], []
    for seed in range(5):
        _, best, paid = search(tmp_path / f"c{seed}", Cascade(scores="conv_count", pool=600), seed, 60)
        epochs = sum(row.fidelity for row in paid)
        ours.append(accuracies[best[0].architecture.text])
        _, best, paid = search(tmp_path / f"r{seed}", StrategyMethod(RandomSearch()), seed, math.ceil(epochs / FULL))
        assert sum(row.fidelity for row in paid) >= epochs
        control.append(accuracies[best[0].architecture.text])
    assert np.mean(ours) > np.mean(control) + 0.2, "percent of test accuracy"


def test_each_rung_trains_fewer_for_longer_and_the_budget_is_kept(tmp_path, accuracies):
    run, best, paid = search(tmp_path / "c", Cascade(scores="conv_count", pool=200), 0, 40)
    counts = {epochs: sum(row.fidelity == epochs for row in paid) for epochs in fidelities(FULL, 3)}
    assert list(counts) == [3, 9, 27]
    assert counts[3] > counts[9] > counts[27] >= 1
    assert sum(counts.values()) <= 40
    assert all(trial.fidelity == FULL for trial in best)
    assert [t.value for t in best] == sorted((t.value for t in best), reverse=True)
    rungs = run.store.notes("r")["rungs"]
    assert [note["against"] for note in rungs] == ["published@3", "published@9", "published@27"]
    assert rungs[0]["count"] == counts[3]


def test_a_replayed_cascade_pays_nothing_and_ends_the_same(tmp_path, accuracies):
    run, best, paid = search(tmp_path / "c", Cascade(scores="conv_count", pool=100), 1, 20)
    run.store.close()
    again = make_run(tmp_path / "c", 1, 20)
    replayed = Cascade(scores="conv_count", pool=100).search(again)
    assert [(t.architecture, t.value) for t in replayed] == [(t.architecture, t.value) for t in best]
    assert len([row for row in again.store.trials("r") if row.estimator == "published"]) == len(paid)


def test_a_space_smaller_than_the_budget_is_searched_whole_and_ends(tmp_path):
    class Two(Space):
        name = "two"

        @property
        def choices(self):
            return [Choice("a", (0, 1))]

        def network(self, task, pick):
            raise AssertionError("no network is built here")

    run = make_run(tmp_path, 0, 40)
    run.space = Two()
    Published.table = {"a=0": (0.5, 0.6), "a=1": (0.4, 0.7)}
    best = Cascade(scores="conv_count").search(run)
    assert {trial.architecture.text for trial in best} == {"a=0", "a=1"}


def test_short_trainings_that_tell_nothing_are_noticed(tmp_path):
    run = make_run(tmp_path, 0, 40)
    run.task = tiny_task(examples=300)
    rng = np.random.default_rng(0)
    architecture = run.space.sample(rng)

    def trials(values):
        return [Trial(i, architecture, str(i), "trained", 3, "completed", float(v)) for i, v in enumerate(values)]

    chance = rng.binomial(300, 0.95, size=200) / 300
    assert abs(reliability(run, trials(chance))) < 0.3
    assert reliability(run, trials(rng.uniform(0.5, 0.9, size=50))) > 0.9


def test_correlation_is_spearmans_and_undefined_without_spread():
    from scipy.stats import spearmanr

    rng = np.random.default_rng(0)
    x = rng.integers(0, 5, size=30)
    y = x + rng.normal(size=30)
    note = correlation("a", "b", list(zip(x, y, strict=True)), 0.5)
    assert note["spearman"] == pytest.approx(spearmanr(x, y).statistic)
    assert note["low"] < note["spearman"] < note["high"]
    assert correlation("a", "b", [(1, 1)] * 10, 0)["spearman"] is None
    assert correlation("a", "b", [(1, 1), (2, 2)], 0)["spearman"] is None


def test_a_rung_that_tells_little_filters_less():
    assert sharpness(0.0) > sharpness(0.5) > sharpness(0.9)
    assert sharpness(None) == 1.0
    assert fidelities(1, 3) == [1]
