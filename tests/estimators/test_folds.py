"""Cross-validation: every example is measured once, by a network that has not seen it."""

import numpy as np
import pytest

from archscout.core.errors import UsageError
from archscout.core.estimator import Setting
from archscout.core.registry import create
from archscout.core.seeds import derive
from archscout.estimators.folds import Folds, folds
from archscout.networks.pick import build
from archscout.testing import tiny_task
from archscout.training.recipe import Recipe
from archscout.training.trainer import train

COUNT = 3


@pytest.fixture(scope="module")
def task():
    return tiny_task(examples=60)


def key(split):
    return {each.tobytes() for each in split.x}


def test_each_example_is_in_one_fold_and_learned_from_in_all_others(task):
    parts = list(folds(task, COUNT, seed=0))
    everything = key(task.train) | key(task.valid)
    held = [key(part.valid) for part in parts]
    assert sum(map(len, held)) == len(everything) and set.union(*held) == everything
    for part in parts:
        assert key(part.train) == everything - key(part.valid)
    labels = np.concatenate([task.train.y, task.valid.y])
    for part in parts:  # classes in proportion, up to one example
        counts = np.bincount(part.valid.y, minlength=task.outputs)
        assert np.abs(counts - np.bincount(labels, minlength=task.outputs) / COUNT).max() < 1


def test_the_folds_are_the_same_each_time_and_others_by_another_seed(task):
    first, again, other = (next(folds(task, COUNT, seed)) for seed in (0, 0, 1))
    assert (first.valid.x == again.valid.x).all() and key(first.valid) != key(other.valid)


def test_the_value_is_the_mean_of_what_the_networks_come_to_on_their_folds(task):
    space = create("space", "nasbench201:width=4,cells=1")
    architecture = next(iter(space.references().values()))
    setting = Setting(space, task, seed=4)
    estimate = Folds(COUNT).estimate([architecture], setting, fidelity=2)[0]
    right = 0.0
    for number, part in enumerate(folds(task, COUNT, 4)):
        seed = derive(4, "fold", number, space.canonical(architecture))
        outcome = train(build(space, architecture, part, seed=seed), part, Recipe.default(part, 2), seed=seed)
        right += outcome.curve[-1]["valid_accuracy"] * len(part.valid)
    examples = len(task.train) + len(task.valid)
    assert estimate.value == pytest.approx(right / examples, abs=1.01 / examples)
    assert estimate.std == pytest.approx(task.metric.standard_error(estimate.value, examples))
    assert len(estimate.curve) == 2 and estimate.extra["folds"] == COUNT


@pytest.mark.parametrize("count", [1, 0, 2.5, True])
def test_fewer_than_two_folds_are_refused(count):
    with pytest.raises(UsageError, match="folds"):
        Folds(count)
