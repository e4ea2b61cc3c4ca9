"""What a training is expected to take: from some steps of it, and by what its network computes."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from archscout.core.graph import Graph, Node
from archscout.core.registry import create
from archscout.testing import tiny_task
from archscout.training import timing
from archscout.training.recipe import Recipe
from archscout.training.speed import Mode

SPACE = create("space", "nasbench201:width=4,cells=1")
CELL = SPACE.parse("|none~0|+|none~0|none~1|+|none~0|none~1|skip_connect~2|")
TASK = tiny_task()
DEFAULT = Recipe.default(TASK, timing.full_epochs(TASK))


def seconds(monkeypatch: pytest.MonkeyPatch, marks: list[float], recipe: Recipe, *, takes: bool = True) -> float:
    """What `time_job` says where the epochs of its training end at these seconds."""
    trained: list[Any] = []

    def train(network: Any, task: Any, recipe: Recipe, **named: Any) -> Any:
        trained.append((len(task.train), recipe.epochs, recipe.precision, recipe.layout))
        return SimpleNamespace(curve=[{"seconds": mark} for mark in marks])

    monkeypatch.setattr(timing, "train", train)
    monkeypatch.setattr(timing, "choose", lambda *_, **__: Mode("float32", "contiguous"))
    monkeypatch.setattr(timing, "takes_smaller", lambda *_: takes)
    monkeypatch.setattr(timing, "recipe_for", lambda *_: recipe)
    answer = timing.time_job((SPACE, TASK, "cpu"), CELL, 0)
    assert trained == [(min(len(TASK.train), 4 * recipe.batch_size), 2, "float32", "contiguous")]
    return answer


def test_an_epoch_is_the_second_of_two_over_some_steps_and_as_many_as_the_examples_ask_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    recipe = replace(DEFAULT, smaller_side=1.0, batch_size=4)
    assert len(TASK.train) > 16
    expected = (1.75 - 0.5) * len(TASK.train) / 16
    assert seconds(monkeypatch, [0.5, 1.75], recipe) == pytest.approx(expected)


def test_epochs_of_smaller_images_take_less_where_the_network_takes_them(monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = replace(DEFAULT, smaller_side=0.5, smaller_epochs=0.5, batch_size=4)
    whole = (1.75 - 0.5) * len(TASK.train) / 16
    share = recipe.work(recipe.epochs, 0.5) / recipe.epochs
    assert share < 0.9
    assert seconds(monkeypatch, [0.5, 1.75], recipe) == pytest.approx(share * whole)
    assert seconds(monkeypatch, [0.5, 1.75], recipe, takes=False) == pytest.approx(whole)


def test_a_training_that_diverged_in_its_first_epoch_counts_as_long_as_it_ran(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([10.0, 13.0])
    monkeypatch.setattr(timing.time, "perf_counter", lambda: next(clock))
    recipe = replace(DEFAULT, smaller_side=1.0, batch_size=4)
    assert seconds(monkeypatch, [], recipe) == pytest.approx(3.0 * len(TASK.train) / 16)


def test_work_counts_multiply_adds_and_a_hundred_for_each_number_that_a_layer_writes() -> None:
    convolution = Node("convolution", macs=5000, size=4 * 30)
    activation = Node("relu", macs=0, size=4 * 30)
    assert timing.work(Graph((convolution, activation), ((0, 1),))) == 5000 + 100 * 30
    assert timing.work(Graph((activation,), ())) == 1.0, "no network takes no time"
