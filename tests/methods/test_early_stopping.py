"""A search whose trainings are left early: whole ones first, then fewer epochs than they would take."""

import json

import pytest

from archscout.search.search import search
from archscout.store.store import Store
from archscout.testing import tiny_task


def test_later_trainings_are_left_and_the_winner_is_whole(tmp_path):
    result = search(
        "nasbench201:width=2,cells=1", tiny_task(classes=8, examples=64), method="early_stopping:whole=10,sure=0.6",
        budget="20trials", epochs=6, workers=0, name="run", out=tmp_path,
    )  # fmt: skip
    report = json.loads((tmp_path / "run" / "report.json").read_text())
    noted = _find(report, "early stopping")
    assert noted["trainings"] == 20
    assert 10 * 6 + 10 <= noted["epochs"] < 20 * 6, "some were left, none before its first epoch"
    assert 0 < result.metrics["valid_accuracy"] <= 1


@pytest.mark.slow
def test_a_later_whole_training_may_win_and_none_breaks_a_limit(tmp_path):
    """The rule is never sure: all trainings are whole, and the best of all is what comes out."""
    found = search(
        "nasbench201:width=2,cells=1", tiny_task(classes=8, examples=64), maximum={"params": 1400},
        method="early_stopping:whole=4,sure=0.999999", budget="16trials", epochs=2, workers=1, name="run", out=tmp_path,
        seed=0,
    )  # fmt: skip
    store = Store.open(tmp_path / "run" / "search.sqlite")
    trials = store.trials("run")
    assert len(trials) == 16
    assert all(trial.costs["params"] <= 1400 for trial in trials)
    assert {trial.estimator for trial in trials} == {"trained", "stopped"}
    stopped, trained = (max(t.value for t in trials if t.estimator == name) for name in ("stopped", "trained"))
    assert found.metrics["valid_accuracy"] == stopped > trained
    store.close()


def _find(value, key):
    if isinstance(value, dict):
        if key in value:
            return value[key]
        value = list(value.values())
    if isinstance(value, list):
        return next((found for one in value if (found := _find(one, key)) is not None), None)
    return None
