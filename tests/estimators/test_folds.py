"""Cross-validation: every example is measured once, by a network that has not seen it."""

import dataclasses
import json

import numpy as np
import pytest

from archscout.core.errors import UsageError
from archscout.core.estimator import Setting
from archscout.core.registry import create
from archscout.core.seeds import derive
from archscout.core.task import Split
from archscout.core.trial import Trial
from archscout.estimators.folds import Folds, fold
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
    parts = [fold(task, COUNT, number, seed=0) for number in range(COUNT)]
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
    first, again, other = (fold(task, COUNT, 0, seed) for seed in (0, 0, 1))
    assert (first.valid.x == again.valid.x).all() and key(first.valid) != key(other.valid)


def test_classes_are_in_proportion_where_examples_have_weights_too(task):
    labels = np.concatenate([task.train.y, task.valid.y])
    count = len(task.train)
    columns = np.column_stack([labels, np.linspace(0.1, 2, len(labels))])
    weighted = dataclasses.replace(
        task,
        train=Split(task.train.x, columns[:count]),
        valid=Split(task.valid.x, columns[count:]),
        weighted=True,
    )
    for number in range(COUNT):
        some = fold(weighted, COUNT, number, 0).valid.y[:, 0].astype(int)
        expected = np.bincount(labels, minlength=task.outputs) / COUNT
        assert np.abs(np.bincount(some, minlength=task.outputs) - expected).max() < 1


def test_each_fold_adds_to_the_mean_of_those_before_it(task):
    space = create("space", "nasbench201:width=4,cells=1")
    architecture = next(iter(space.references().values()))
    canonical = space.canonical(architecture)
    setting = Setting(space, task, seed=4)
    right, seen, before = 0.0, 0, ()
    for number in range(2):
        (estimate,) = Folds(COUNT, number, before).estimate([architecture], setting, fidelity=2)
        part = fold(task, COUNT, number, 4)
        seed = derive(4, "fold", number, canonical)
        outcome = train(build(space, architecture, part, seed=seed), part, Recipe.default(part, 2), seed=seed)
        right += outcome.curve[-1]["valid_accuracy"] * len(part.valid)
        seen += len(part.valid)
        assert estimate.value == pytest.approx(right / seen, abs=1.01 / seen)
        assert estimate.std == pytest.approx(task.metric.standard_error(estimate.value, seen))
        assert len(estimate.curve) == 2
        assert estimate.curve[-1]["valid_accuracy"] == pytest.approx(estimate.value)
        assert estimate.extra["folds"] == number + 1 and sum(estimate.extra["fold_sizes"]) == seen
        extra = json.loads(json.dumps(estimate.extra))  # as the store keeps it
        before = [Trial(0, architecture, canonical, "folds", 2, "completed", estimate.value, curve=estimate.curve,
                        extra=extra)]  # fmt: skip


@pytest.mark.parametrize(("count", "number"), [(1, 0), (0, 0), (2.5, 0), (True, 0), (3, 3), (3, -1), (3, 0.5)])
def test_what_is_no_fold_is_refused(count, number):
    with pytest.raises(UsageError, match="fold"):
        Folds(count, number)
