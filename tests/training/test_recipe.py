"""The schedule of the learning rate, against its formula."""

import dataclasses
import math

import numpy as np
import pytest

from archscout.core.errors import UsageError
from archscout.core.task import Split
from archscout.tasks.images import ImageClassification
from archscout.training.recipe import Recipe, default_epochs


def test_the_rate_rises_linearly_and_falls_along_a_cosine() -> None:
    recipe = Recipe(epochs=10, learning_rate=0.4, warmup_epochs=2)
    rates = [recipe.rate(step, 20) for step in range(200)]
    assert rates[:40] == pytest.approx([0.4 * (step + 1) / 40 for step in range(40)])
    # From its highest, at step 39, the cosine would reach zero one step after the last.
    assert rates[39:] == pytest.approx([0.2 * (1 + math.cos(math.pi * step / 161)) for step in range(161)])
    assert 0 < rates[-1] < 0.001 * 0.4


def test_a_linear_schedule_falls_in_equal_steps() -> None:
    recipe = Recipe(epochs=10, learning_rate=0.4, warmup_epochs=2, schedule="linear")
    rates = [recipe.rate(step, 20) for step in range(200)]
    assert rates[39:] == pytest.approx([0.4 * (1 - step / 161) for step in range(161)])


def test_no_warm_up_starts_at_the_top() -> None:
    recipe = Recipe(epochs=3, learning_rate=1.0, warmup_epochs=0)
    rates = [recipe.rate(step, 5) for step in range(15)]
    assert rates[0] == pytest.approx(1.0, abs=0.02)
    assert rates == sorted(rates, reverse=True)


@pytest.mark.parametrize("epochs", [1, 2])
@pytest.mark.parametrize("steps", [1, 2, 7])
def test_short_trainings_warm_up_for_half_of_their_steps_at_most(epochs: int, steps: int) -> None:
    recipe = Recipe(epochs=epochs, learning_rate=1.0, warmup_epochs=5)
    rates = [recipe.rate(step, steps) for step in range(epochs * steps)]
    assert all(0 < rate <= 1 for rate in rates)
    assert rates.index(max(rates)) < max(1, epochs * steps / 2)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("epochs", 0), ("epochs", 2.5), ("epochs", True), ("batch_size", 0), ("learning_rate", -1.0),
        ("learning_rate", math.nan), ("weight_decay", math.inf), ("optimizer", "adam"), ("gradient_clip", -1),
        ("norm_momentum", 0.0), ("norm_momentum", 1.5), ("precision", "float16"), ("layout", "rows"),
    ],
)  # fmt: skip
def test_impossible_recipes_are_refused(field: str, value: object) -> None:
    with pytest.raises(UsageError, match=field if field != "optimizer" else "no optimizer 'adam'"):
        dataclasses.replace(Recipe(epochs=1), **{field: value})


def task_of(examples: int, side: int = 8) -> ImageClassification:
    split = Split(np.zeros((examples, side, side, 1), np.uint8), np.arange(examples) % 2)
    return ImageClassification("made", (1, side, side), 2, split, split, None)


def test_the_default_goes_by_the_size_of_images() -> None:
    tiny, small = (Recipe.default(task_of(100, side), 5) for side in (8, 32))
    assert tiny == Recipe.named("sgd", task_of(100), 5)
    assert small == dataclasses.replace(Recipe.named("muon", task_of(100, 32), 5), smaller_side=0.6)
    long = Recipe.default(task_of(100, 32), 30)
    assert (long.optimizer, long.smaller_side, long.batch_size) == ("muon", 0.6, 64)
    assert long.weight_decay > small.weight_decay and long.label_smoothing > small.label_smoothing
    with pytest.raises(UsageError, match=r"no recipe 'mun'.*muon"):
        Recipe.named("mun", task_of(100), 5)


@pytest.mark.parametrize(("field", "value"), [("smaller_side", 0.05), ("smaller_side", 1.5), ("smaller_epochs", -0.1)])
def test_impossible_sizes_are_refused(field: str, value: float) -> None:
    with pytest.raises(UsageError, match=f"{field} of a training must be from"):
        dataclasses.replace(Recipe(epochs=1), **{field: value})


def test_more_examples_come_in_larger_batches_for_fewer_epochs() -> None:
    sizes = (500, 1_077, 4_999, 5_000, 19_999, 20_000, 45_000)
    batches = [Recipe.default(task_of(size), 5).batch_size for size in sizes]
    assert batches == [32, 32, 32, 64, 64, 128, 128]
    # Many images come in larger ones, of as many pixels together.
    sides = (24, 32, 64, 128)
    assert [Recipe.default(task_of(20_000, side), 5).batch_size for side in sides] == [512, 512, 128, 128]
    epochs = [default_epochs(task_of(size)) for size in sizes]
    assert epochs == sorted(epochs, reverse=True)
    assert epochs[0] > epochs[-1]


def test_short_trainings_see_the_examples_as_they_are() -> None:
    augmented = [Recipe.default(task_of(100), epochs).augment for epochs in range(1, 31)]
    assert augmented == [False] * 9 + [True] * 21


def test_many_images_change_less_until_each_is_seen_often() -> None:
    task = task_of(20_000, 32)
    assert [Recipe.default(task, epochs).lighter for epochs in (3, 29, 30)] == [True, True, False]
    assert not Recipe.default(task_of(19_999, 32), 20).lighter
    assert Recipe.default(task, 20).augment


def test_smaller_images_take_less_but_not_as_little_as_their_area() -> None:
    recipe = Recipe(epochs=4, smaller_side=0.5, smaller_epochs=0.5)
    sides = [0.5, 0.75, 1.0, 1.0]
    assert [recipe.side(epoch, 0.5) for epoch in range(4)] == sides
    assert sum(side**2 for side in sides) < recipe.work(4, 0.5) < 4
    assert recipe.work(4, 0.5) - recipe.work(2, 0.5) == 2
    assert recipe.work(4, 1.0) == 4
