"""Bandits over rungs: brackets and promotions as others make them, no epoch trained twice, no budget overspent."""

import math

import numpy as np
import pytest

from archscout.core.errors import UsageError
from archscout.core.estimator import Setting
from archscout.core.registry import create
from archscout.core.seeds import stream
from archscout.core.trial import History, Pending, Trial
from archscout.estimators.paused import Paused
from archscout.methods.asha import Promotion, promotable
from archscout.methods.rungs import best, brackets, lesson
from archscout.strategies.random import RandomSearch
from archscout.study.simulated import simulate
from archscout.tables.metric import Metric
from archscout.tables.table import write
from archscout.testing import tiny_task

SPACE = create("space", "nasbench201")
EPOCHS = 27

TRACES = {
    3: (
        [4, 3, 1, 6, 5, 8, 14, 11, 12, 7, 10, 13, 9, 2],
        [[0], [3], [3], [3, 5], [5, 6], [6, 7], *3 * [[6, 7, 8]], *3 * [[6, 7, 8, 11]]],
    ),
    4: (
        [3, 12, 15, 6, 13, 5, 2, 1, 9, 11, 14, 7, 8, 10, 4, 16, 17],
        [*4 * [[2]], *3 * [[2, 4]], [2, 10], *4 * [[2, 4, 10]], [2, 4, 10, 15], [2, 10, 15, 16]],
    ),
}
"""By eta: values in the order of arrival, and the places of those that Optuna 5.0 would continue, after each arrival
from the eta-th on."""


def trial(number, value, fidelity=1, status="completed"):
    architecture = SPACE.sample(stream(number, "rungs"))
    return Trial(number, architecture, f"network {number}", "paused", fidelity, status, value)


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    """Curves of 27 epochs, which cross: what is good in the end is known after 3 epochs, not after one."""
    space = create("space", "nasbench_macro")
    texts = [one.text for one in space]
    weights = stream(0, "rungs").normal(size=len(space.choices))
    options = np.asarray([[float(digit) for digit in text] for text in texts])
    final = 0.7 + 0.03 * (options - 1) @ weights + 0.005 * stream(1, "rungs").random(len(texts))
    curves = [[0.3] + [value - 0.2 + 0.2 * epoch / (EPOCHS - 1) for epoch in range(1, EPOCHS)] for value in final]
    columns = {"architecture": texts, "valid": final, "curve": curves, "time": [[1.0] * EPOCHS for _ in texts]}
    metrics = [
        Metric("valid", dataset="d", split="valid", epochs=EPOCHS),
        Metric("curve", dataset="d", split="valid", epochs=EPOCHS),
        Metric("time", kind="seconds", dataset="d", epochs=EPOCHS),
    ]
    return write(tmp_path_factory.mktemp("rungs") / "t.parquet", "nasbench_macro", columns, metrics, default="valid")


@pytest.mark.parametrize(("rungs", "eta", "sizes"), [(5, 3, [81, 34, 15, 8, 5]), (5, 2, [16, 10, 7, 5, 5])])
def test_brackets_are_those_of_optuna(rungs, eta, sizes):
    assert [count for count, _ in brackets(rungs, eta)] == sizes
    assert [start for _, start in brackets(rungs, eta)] == list(range(rungs))


@pytest.mark.parametrize("eta", TRACES)
def test_promotions_are_those_of_optuna(eta):
    values, expected = TRACES[eta]
    for count, places in enumerate(expected, start=eta):
        history = History(trial(number, float(value)) for number, value in enumerate(values[:count]))
        promoted = []
        while (chosen := promotable(history, (1, eta), eta)) is not None:
            promoted.append(chosen.number)
            history.pending = [*history.pending, Pending(chosen.architecture, chosen.canonical, eta)]
        assert sorted(promoted) == places
        assert promoted == sorted(promoted, key=lambda number: -values[number]), "the best first"


def test_the_highest_rung_goes_first_and_failures_stay_behind():
    history = History([trial(n, n / 10) for n in range(9)] + [trial(n, 0.5 + n, fidelity=3) for n in (6, 7, 8)])
    assert promotable(history, (1, 3, 9), 3).number == 8
    failed = [trial(n, math.nan, status="failed") for n in range(6)] + [trial(9, 0.1)]
    ranking = History(failed)
    assert promotable(ranking, (1, 3), 3).number == 9
    ranking.pending = [Pending(failed[-1].architecture, "network 9", 3)]
    assert promotable(ranking, (1, 3), 3) is None


def test_what_is_remembered_of_rungs_changes_no_proposal():
    strategy, rng = Promotion(RandomSearch(), (1, 3, 9), 3), np.random.default_rng(0)
    history, asked = History(), []
    for step in range(120):
        if step % 40 == 39:  # another run's history in between is not mixed in
            strategy.propose(SPACE, History([trial(n, n / 10) for n in range(12)]), stream(step))
        told = len(asked) - int(rng.integers(0, 5))
        for number in range(len(history), max(len(history), told)):
            text, form, epochs = asked[number]
            value, status = (math.nan, "failed") if rng.random() < 0.1 else (round(float(rng.random()), 1), "completed")
            history.append(Trial(number, text, form, "paused", epochs, status, value))
        history.pending = [Pending(*one) for one in asked[len(history) :]]
        proposal = strategy.propose(SPACE, history, stream(step))
        epochs = strategy.fidelity(SPACE, history, proposal)
        anew = Promotion(RandomSearch(), (1, 3, 9), 3)
        assert proposal == anew.propose(SPACE, history, stream(step))
        assert epochs == anew.fidelity(SPACE, history, proposal)
        if (chosen := promotable(history, (1, 3, 9), 3)) is not None:
            assert (proposal, epochs) == (chosen.architecture, 3 * chosen.fidelity)
        asked.append((proposal, SPACE.canonical(proposal), epochs))
    assert {trial.fidelity for trial in history} == {1, 3, 9}


def test_a_promotion_says_how_long_it_is_trained():
    strategy = Promotion(RandomSearch(), (1, 3, 9), 3)
    history = History()
    for number in range(3):
        proposal = strategy.propose(SPACE, history, stream(number))
        assert strategy.fidelity(SPACE, history, proposal) == 1
        history.append(Trial(number, proposal, SPACE.canonical(proposal), "paused", 1, "completed", float(number)))
    third = strategy.propose(SPACE, history, stream(3))
    assert (third, strategy.fidelity(SPACE, history, third)) == (history[2].architecture, 3)


def test_strategies_learn_from_the_highest_rung_that_has_enough():
    trials = [trial(n, 0.1) for n in range(8)] + [trial(n, 0.2, fidelity=3) for n in range(3)]
    assert {t.fidelity for t in lesson(trials, (1, 3), 3)} == {3}
    assert {t.fidelity for t in lesson(trials, (1, 3), 4)} == {1}
    assert not len(lesson(trials, (1, 3), 9))
    assert [t.number for t in best([trial(0, 0.2), trial(1, math.nan), trial(2, 0.2)], 2)] == [0, 2]


@pytest.mark.parametrize("method", ["successive_halving", "hyperband", "asha:eta=3", "bohb"])
def test_no_epoch_is_trained_twice_and_the_budget_is_kept(table, method):
    found = simulate(table, method, "20trials", seed=1)
    assert found.epochs[-1] <= 20 * EPOCHS
    assert found.epochs[-1] >= 18 * EPOCHS, "what is left pays for hardly anything"
    reached: dict[str, int] = {}
    for each in found.trials:
        assert each.fidelity > reached.get(each.canonical, 0)
        reached[each.canonical] = each.fidelity
    assert found.epochs[-1] == sum(reached.values()) == found.seconds[-1]
    assert found.spent == pytest.approx(found.epochs / EPOCHS)
    assert found.regret_after(10) == found.regret[np.flatnonzero(found.epochs <= 10 * EPOCHS)[-1]]
    assert max(reached.values()) == EPOCHS
    again = simulate(table, method, "20trials", seed=1)
    assert [t.architecture for t in again.trials] == [t.architecture for t in found.trials]


def test_halving_needs_fewer_epochs_than_full_trainings(table):
    """Three epochs tell here what full training comes to: many more networks are looked at for the same epochs."""
    regrets = {
        name: np.mean([simulate(table, name, "12trials", seed).regret[-1] for seed in range(8)])
        for name in ("random", "successive_halving:least=3", "asha:eta=3,least=3")
    }
    assert regrets["successive_halving:least=3"] < 0.8 * regrets["random"]
    assert regrets["asha:eta=3,least=3"] < 0.8 * regrets["random"]


def test_kernel_densities_propose_what_good_trials_have_in_common(table):
    values = {
        name: np.mean([t.value for seed in range(4) for t in simulate(table, name, "40trials", seed).trials[20:]])
        for name in ("random", "kernel_density")
    }
    assert values["kernel_density"] > values["random"] + 0.02


def test_a_paused_training_goes_on_to_what_it_would_have_come_to(tmp_path):
    space, task = create("space", "nasbench201:width=2,cells=1"), tiny_task(classes=4, examples=32)
    architecture = space.sample(stream(5))
    estimator = Paused(epochs=4)
    kept = Setting(space, task, seed=3, folder=tmp_path)
    pauses = [estimator.estimate([architecture], kept, fidelity=epochs)[0] for epochs in (1, 2, 4)]
    again = [estimator.estimate([architecture], kept, fidelity=epochs)[0] for epochs in (4, 2)]
    whole = create("estimator", "trained").estimate([architecture], Setting(space, task, seed=3), fidelity=4)[0]
    losses = [row["valid_loss"] for row in whole.curve]
    for epochs, pause in zip((1, 2, 4, 4, 2), [*pauses, *again], strict=True):
        assert [row["valid_loss"] for row in pause.curve] == losses[:epochs]
        assert pause.value == max(row["valid_accuracy"] for row in whole.curve[:epochs])
    assert pauses[2].extra["weights"] == again[0].extra["weights"]
    assert [each.seconds for each in again] == [0.0, 0.0], "nothing is trained twice"
    assert [path.name for path in tmp_path.iterdir()] == [pauses[2].extra["weights"]]


@pytest.mark.parametrize("text", ["asha:eta=1", "hyperband:least=0", "successive_halving:eta=0"])
def test_impossible_rungs_are_refused(text):
    with pytest.raises(UsageError, match="needs eta of 2 or more"):
        create("method", text)
