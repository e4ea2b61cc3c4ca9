"""A search whose trainings are left early: whole ones first, then fewer epochs than they would take."""

import json

from archscout.search.search import search
from archscout.testing import tiny_task


def test_later_trainings_are_left_and_the_winner_is_whole(tmp_path):
    result = search(
        "nasbench201:width=2,cells=1", tiny_task(classes=8, examples=64), method="early_stopping:whole=10,sure=0.6",
        budget="20trials", epochs=6, workers=1, name="run", out=tmp_path,
    )  # fmt: skip
    report = json.loads((tmp_path / "run" / "report.json").read_text())
    noted = _find(report, "early stopping")
    assert noted["trainings"] == 20
    assert 10 * 6 + 10 <= noted["epochs"] < 20 * 6, "some were left, none before its first epoch"
    assert 0 < result.metrics["valid_accuracy"] <= 1


def _find(value, key):
    if isinstance(value, dict):
        if key in value:
            return value[key]
        value = list(value.values())
    if isinstance(value, list):
        return next((found for one in value if (found := _find(one, key)) is not None), None)
    return None
