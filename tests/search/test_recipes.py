"""A recipe that is asked for is a part of what a run is."""

import json
from pathlib import Path

import pytest

import archscout
from archscout.core.errors import UsageError
from archscout.core.registry import create
from archscout.search.continuing import STORE
from archscout.search.start import read_start
from archscout.store.store import Store
from archscout.testing import tiny_task

SPACE = "nasbench201:width=2,cells=1"
CELL = "|nor_conv_3x3~0|+|none~0|skip_connect~1|+|nor_conv_1x1~0|none~1|skip_connect~2|"


def test_a_training_with_another_recipe_is_another_run(tmp_path: Path) -> None:
    told = {"epochs": 1, "out": tmp_path, "name": "run"}
    result = archscout.train(SPACE, CELL, tiny_task(), recipe="lr=0.01", **told)
    assert result.metrics["recipe"] == "learning_rate=0.01"
    assert "learning_rate=0.01" in (result.folder / "report.html").read_text(encoding="utf-8")
    assert archscout.train(SPACE, CELL, tiny_task(), recipe={"lr": 0.01}, **told).metrics == result.metrics
    with pytest.raises(UsageError, match=r"recipe learning_rate=0\.01, not learning_rate=0\.02"):
        archscout.train(SPACE, CELL, tiny_task(), recipe="lr=0.02", **told)
    with pytest.raises(UsageError, match=r"recipe learning_rate=0\.01, not none"):
        archscout.train(SPACE, CELL, tiny_task(), **told)


def test_so_is_a_search_and_it_teaches_no_other(tmp_path: Path) -> None:
    told = {"budget": "2trials", "method": "random", "workers": 0, "out": tmp_path, "name": "run"}
    task = tiny_task()
    result = archscout.search(SPACE, task, recipe="sgd,lr=0.05,epochs=1", **told)
    assert (result.metrics["recipe"], result.metrics["full_epochs"]) == ("sgd,learning_rate=0.05", 1)
    with pytest.raises(UsageError, match="was started with recipe"):
        archscout.search(SPACE, task, epochs=1, **told)
    with Store.open(tmp_path / "run" / STORE) as store:
        config = store.config("run")
    assert config["recipe"] == "sgd,learning_rate=0.05" and config["epochs"] == 1
    space = create("space", SPACE)
    from archscout.training.asked import of_task

    assert read_start(tmp_path / "run", space, of_task(task, "sgd,learning_rate=0.05")).lessons
    assert not read_start(tmp_path / "run", space, task).lessons


def test_a_run_without_one_is_what_it_was(tmp_path: Path) -> None:
    result = archscout.train(SPACE, CELL, tiny_task(), epochs=1, out=tmp_path, name="run")
    assert result.metrics["recipe"] == "default"
    assert "recipe" not in json.loads((tmp_path / "run" / "run.json").read_text(encoding="utf-8"))["identity"]
    same = archscout.train(SPACE, CELL, tiny_task(), recipe="default", epochs=1, out=tmp_path, name="run")
    assert same.metrics == result.metrics


def test_a_bad_one_is_told_before_data_are_read(tmp_path: Path) -> None:
    for call in (
        lambda: archscout.search(SPACE, tmp_path / "none", recipe="muon,bits=w4a8"),
        lambda: archscout.train(SPACE, CELL, tmp_path / "none", recipe="lr=fast"),
        lambda: archscout.shrink("efficientnet_lite0", tmp_path / "none", recipe="epochs=3"),
    ):
        with pytest.raises(UsageError, match=r"few bits|must be a number|leave them out"):
            call()
