"""Freeze-thaw and f-Hyperband: the process against a closed form, steps that are paid for once, and what is left."""

import numpy as np
import pytest

from archscout.core.errors import UsageError
from archscout.core.registry import create
from archscout.core.seeds import stream
from archscout.core.trial import Trial
from archscout.methods.freeze_thaw import ACROSS, Curves, _decay, _Fit, _matern
from archscout.study.simulated import simulate
from archscout.tables.metric import Metric
from archscout.tables.table import write

SPACE = create("space", "nasbench_macro")
EPOCHS = 9


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    """Curves that rise to what they come to, which after a third of the epochs can be told."""
    texts = [one.text for one in SPACE]
    options = np.asarray([[float(digit) for digit in text] for text in texts])
    final = 0.7 + 0.03 * (options - 1) @ stream(0, "freeze").normal(size=8)
    curves = [[value - 0.2 * 0.5**epoch for epoch in range(1, EPOCHS)] + [value] for value in final]
    columns = {"architecture": texts, "valid": final, "curve": curves, "time": [[1.0] * EPOCHS for _ in texts]}
    metrics = [
        Metric("valid", dataset="d", split="valid", epochs=EPOCHS),
        Metric("curve", dataset="d", split="valid", epochs=EPOCHS),
        Metric("time", kind="seconds", dataset="d", epochs=EPOCHS),
    ]
    return write(tmp_path_factory.mktemp("freeze") / "t.parquet", SPACE, columns, metrics, default="valid")


@pytest.mark.parametrize("method", ["freeze_thaw:pool=10", "f_hyperband"])
def test_no_epoch_is_trained_twice_and_the_budget_is_kept(table, method):
    found = simulate(table, method, "8trials", seed=1)
    reached: dict[str, int] = {}
    for each in found.trials:
        assert each.fidelity > reached.get(each.canonical, 0)
        reached[each.canonical] = each.fidelity
    assert found.epochs[-1] == sum(reached.values()) <= 8 * EPOCHS
    assert found.epochs[-1] > 7 * EPOCHS
    again = simulate(table, method, "8trials", seed=1)
    assert [t.architecture for t in again.trials] == [t.architecture for t in found.trials]


def test_freeze_thaw_needs_fewer_epochs_than_full_trainings(table):
    regrets = {
        name: np.mean([simulate(table, name, "8trials", seed).regret[-1] for seed in range(3)])
        for name in ("random", "freeze_thaw:pool=10")
    }
    assert regrets["freeze_thaw:pool=10"] < 0.7 * regrets["random"]


def trial(number, one, fidelity, value):
    return Trial(number, one, SPACE.canonical(one), "paused", fidelity, "completed", value)


def test_the_process_conditions_as_the_closed_form_says():
    covariance = np.asarray([[2.0, 1.0], [1.0, 2.0]])
    fit = _Fit(covariance, np.asarray([1.0, 3.0]), 0.5)
    joint = np.asarray([[1.0, 0.5]])
    inverse = np.linalg.inv(covariance)
    mean, variance = fit.predict(joint, np.asarray([1.5]))
    assert mean == pytest.approx(joint @ inverse @ [1.0, 3.0])
    assert variance == pytest.approx(1.5 - (joint @ inverse @ joint.T)[0])
    sign, logarithm = np.linalg.slogdet(covariance)
    assert sign == 1
    assert fit.likelihood == pytest.approx(-np.asarray([1.0, 3.0]) @ inverse @ [1.0, 3.0] / 2 - logarithm / 2)
    assert min(ACROSS) > 0
    epochs = np.arange(1, 20)
    assert np.linalg.eigvalsh(_decay(epochs, epochs)).min() > -1e-9
    rows = SPACE.encode([SPACE.sample(stream(n)) for n in range(20)]).astype(float)
    assert np.linalg.eigvalsh(_matern(rows, rows)).min() > -1e-9


def test_what_is_known_is_expected_and_what_is_like_it_too():
    curves = Curves(SPACE, EPOCHS)
    near, far, like = SPACE.parse("00000000"), SPACE.parse("22222222"), SPACE.parse("00000001")
    for epoch in range(1, 5):
        curves.add(trial(epoch, near, epoch, 0.5 + 0.05 * epoch))
        curves.add(trial(epoch, far, epoch, 0.2 + 0.05 * epoch))
    (mean, deviation), (_, further) = curves.expect([near, far, like], 1), curves.expect([near, far, like], 5)
    assert mean[0] == pytest.approx(0.72, abs=0.05)
    assert mean[1] == pytest.approx(0.42, abs=0.05)
    assert mean[2] > mean[1] + 0.05
    assert deviation[2] > deviation[0]
    assert curves.reached(SPACE.canonical(near)) == 4
    assert curves.epochs == 8
    assert further[0] >= deviation[0] * 0.9


def test_hyperband_leaves_what_will_not_become_the_best(table):
    plain, dropping = (simulate(table, name, "40trials", seed=2) for name in ("hyperband", "f_hyperband"))
    begun = [len({t.canonical for t in found.trials}) for found in (plain, dropping)]
    assert begun[1] > 1.2 * begun[0], "what is left early pays for new ones"
    assert dropping.regret[-1] <= plain.regret[-1] + 0.005


def test_impossible_settings_are_refused():
    with pytest.raises(UsageError, match="'step' of a method must be a whole number of 1 or more"):
        create("method", "freeze_thaw:step=0")
    with pytest.raises(UsageError, match="sure with a probability"):
        create("method", "f_hyperband:sure=2")
