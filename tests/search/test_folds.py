"""A whole search where validation examples are few: contenders are compared by cross-validation, on the same folds."""

import warnings
from pathlib import Path

import numpy as np
import pytest

import archscout
from archscout.core.errors import DataNotice
from archscout.core.estimator import is_cross_validation
from archscout.core.progress import Silent
from archscout.search.continuing import STORE
from archscout.store.store import Store

EXAMPLES, LENGTH = 90, 24


class Watch(Silent):
    def __init__(self) -> None:
        self.said: list[str] = []

    def say(self, text: str) -> None:
        self.said.append(text)


@pytest.mark.slow
def test_the_winner_is_chosen_on_folds_that_all_contenders_had(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    y = np.arange(EXAMPLES) % 3
    tones = np.sin(np.arange(LENGTH) * (0.3 + 0.15 * y[:, None])) + rng.normal(0, 1.2, (EXAMPLES, LENGTH))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DataNotice)
        task = archscout.task((tones.astype(np.float32), y))
    watch = Watch()
    result = archscout.search(
        "scratch", task, budget="90s", seed=0, workers=1, out=tmp_path, name="few", progress=watch
    )
    training = result.metrics["training"]
    with Store.open(tmp_path / "few" / STORE) as store:
        rows = [row for row in store.trials("few") if is_cross_validation(row.estimator) and row.status == "completed"]
    numbers: dict[int, set[str]] = {}
    for row in rows:
        numbers.setdefault(row.extra["folds"], set()).add(row.canonical)
    if not training["cross_validated"]:  # a machine so busy that two could not be compared: then that is told
        assert any("most promising" in text or "full training" in text for text in watch.said), watch.said
        return
    complete = [number for number, networks in numbers.items() if networks == numbers[1]]
    assert len(numbers[1]) > 1
    sizes = next(row.extra["fold_sizes"] for row in rows if row.extra["folds"] == max(complete))
    assert training["valid_examples"] == sum(sizes)
    assert result.metrics["trials"] == len(numbers[1])
