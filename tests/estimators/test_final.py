"""The final training: what it learns from, when it ends, and that an interrupted one ends in the same weights."""

import dataclasses
import math
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from archscout.core.estimator import Setting
from archscout.core.registry import create
from archscout.core.task import Split
from archscout.core.trial import Trial
from archscout.estimators import final
from archscout.estimators.final import FinalTraining, final_weights, parted
from archscout.networks.pick import build
from archscout.testing import tiny_task
from archscout.training import checkpoint, course, trainer
from archscout.training.recipe import Recipe
from archscout.training.trainer import predict

SPACE = create("space", "nasbench201:width=4,cells=1")
ARCHITECTURE = SPACE.parse("|nor_conv_3x3~0|+|skip_connect~0|none~1|+|none~0|none~1|nor_conv_3x3~2|")


@pytest.fixture(scope="module")
def task():
    return tiny_task(examples=150)


def test_what_is_held_out_is_learned_from_by_nobody_and_nothing_is_lost(task):
    wide, held = parted(task, seed=3)
    count = len(task.valid)
    assert len(held) == round(0.2 * count)
    assert len(wide.valid) == count - len(held)
    everything = task.valid.x.sum(dtype=np.int64)
    assert np.concatenate([wide.valid.x, held.x]).sum(dtype=np.int64) == everything
    learned = {image.tobytes() for image in wide.valid.x}
    assert not any(image.tobytes() in learned for image in held.x)
    assert (wide.mean, wide.std) == (task.mean, task.std), "the network is fed as before"
    assert wide.train is task.train and wide.test is task.test


def test_it_trains_as_long_as_was_planned_and_keeps_the_weights(task, tmp_path):
    setting = Setting(SPACE, task, seed=1, folder=tmp_path)
    (estimate,) = FinalTraining(everything=True).estimate([ARCHITECTURE], setting, fidelity=3)
    assert [row["epoch"] for row in estimate.curve] == [1, 2, 3]
    wide, held = parted(task, 1)
    assert estimate.extra["examples"] == len(wide.train) + len(wide.valid)
    assert estimate.extra["valid_examples"] == len(held)
    weights, _ = checkpoint.read(final_weights(tmp_path, SPACE.canonical(ARCHITECTURE), 3))
    network = build(SPACE, ARCHITECTURE, task)
    network.load_state_dict(weights)
    assert estimate.value == pytest.approx(task.measure(predict(network, task, held), torch.as_tensor(held.y)))
    (again,) = FinalTraining(everything=True).estimate([ARCHITECTURE], setting, fidelity=3)
    assert again == estimate, "asked again, it answers from what it kept"


def test_what_cross_validation_said_is_the_value_and_nothing_is_left_out_of_what_is_learned_from(task, tmp_path):
    setting = Setting(SPACE, task, seed=1, folder=tmp_path)
    told = {"folds": 2, "fold_sizes": [7, 6]}
    known = Trial(0, ARCHITECTURE, "", "folds:count=5,number=1", 1, "completed", 0.625, extra=told)
    (estimate,) = FinalTraining(everything=True, known=known).estimate([ARCHITECTURE], setting, fidelity=1)
    assert estimate.value == 0.625 and estimate.extra["cross_validated"]
    assert estimate.extra["examples"] == len(task.train) + len(task.valid)
    assert estimate.extra["valid_examples"] == 13, "two of the folds were measured"
    assert not any(name.startswith("valid") for row in estimate.curve for name in row)


def test_the_last_weights_are_averaged_where_nothing_chooses_an_epoch(task, monkeypatch):
    seen = []

    class StopError(Exception):
        pass

    def look(network, wide, recipe, **_):
        seen.append((recipe.averaged_epochs, recipe.fit_on))
        raise StopError

    monkeypatch.setattr(final, "train", look)
    for epochs, everything in ((19, True), (30, True), (2, True), (30, False)):
        with pytest.raises(StopError):
            FinalTraining(everything=everything).estimate([ARCHITECTURE], Setting(SPACE, task), fidelity=epochs)
    assert seen == [(3, "train+valid"), (5, "train+valid"), (1, "train+valid"), (1, "train")]


class Slow:
    """A clock that goes faster the longer it is asked: as on a machine that becomes slow half-way."""

    def __init__(self, monkeypatch, pace):
        self.now = 0.0
        self.pace = pace
        train = final.train

        def slowed(*args, on_epoch=None, **keywords):
            def told(row):
                row["seconds"] = self.pace(row["epoch"])
                return bool(on_epoch is not None and on_epoch(row))

            outcome = train(*args, on_epoch=told, **{**keywords, "on_step": None})  # which has the real clock
            for row in outcome.curve:
                row["seconds"] = self.pace(row["epoch"])
            return dataclasses.replace(outcome, seconds=outcome.curve[-1]["seconds"])

        monkeypatch.setattr(final, "train", slowed)


def test_on_a_machine_that_becomes_slow_the_rest_gets_fewer_epochs(task, tmp_path, monkeypatch):
    # Planned: 20 epochs of a second. From the fourth on each takes two.
    Slow(monkeypatch, lambda epoch: epoch if epoch <= 3 else 3 + 2 * (epoch - 3))
    setting = Setting(SPACE, task, seed=1, folder=tmp_path)
    (estimate,) = FinalTraining(seconds=20.0).estimate([ARCHITECTURE], setting, fidelity=20)
    done = len(estimate.curve)
    assert 5 < done < 20
    assert estimate.extra["planned_epochs"] == 20 and estimate.extra["epochs"] == done
    rates = [row["learning_rate"] for row in estimate.curve]
    assert rates[-1] < 0.1 * max(rates), "the learning rate still falls to nothing"
    assert math.isfinite(estimate.value)


def test_a_machine_that_becomes_slower_still_gets_fewer_again(task, monkeypatch):
    """Half-way each epoch takes twice as long, and in what is left then ten times: the seconds are kept."""
    train, trainings = final.train, []

    def slowed(*args, on_epoch, **keywords):
        pace = (lambda e: min(e, 10) + 2 * max(0, e - 10)) if not trainings else (lambda e: 10.0 * e)
        trainings.append(args[2].epochs)

        def told(row):
            row["seconds"] = pace(row["epoch"])
            return on_epoch(row)

        outcome = train(*args, on_epoch=told, **{**keywords, "on_step": None})
        for row in outcome.curve:
            row["seconds"] = pace(row["epoch"])
        return dataclasses.replace(outcome, seconds=outcome.curve[-1]["seconds"])

    monkeypatch.setattr(final, "train", slowed)
    (estimate,) = FinalTraining(seconds=100.0).estimate([ARCHITECTURE], Setting(SPACE, task), fidelity=100)
    assert len(trainings) > 2 and trainings[0] == 100
    assert estimate.curve[-1]["seconds"] <= 103
    assert [row["epoch"] for row in estimate.curve] == list(range(1, len(estimate.curve) + 1))


class Steps:
    """A clock by which each step of training takes a second, from a step on `slow`: read by the trainer itself."""

    def __init__(self, monkeypatch, slow, since, once=0.0):
        self.now, self.steps = 0.0, 0
        descend, train = course.descend, final.train

        def stepped(*args):
            self.steps += 1
            self.now += (slow if self.steps > since else 1.0) + self.once
            self.once = 0.0
            descend(*args)

        def begun(*args, **keywords):
            self.once = once
            return train(*args, **keywords)

        monkeypatch.setattr(final, "train", begun)

        monkeypatch.setattr(course, "descend", stepped)
        for module in (course, trainer):
            monkeypatch.setattr(module, "time", SimpleNamespace(perf_counter=lambda: self.now))


@pytest.mark.parametrize(("slow", "since"), [(1.0, 0), (1.6, 0), (4.0, 0), (4.0, 90), (20.0, 60)])
def test_a_machine_that_becomes_slow_within_an_epoch_does_not_overrun(task, monkeypatch, slow, since):
    """Three epochs of 38 steps of a second are planned: they end by 5 % late, or a step, whatever steps take then."""
    long = dataclasses.replace(task, train=Split(np.tile(task.train.x, (8, 1, 1, 1)), np.tile(task.train.y, 8)))
    recipe = Recipe.default(long, 3)
    steps = math.ceil(len(long.train) / recipe.batch_size)
    seconds = 3.0 * steps
    clock = Steps(monkeypatch, slow, since)
    (estimate,) = FinalTraining(seconds=seconds).estimate([ARCHITECTURE], Setting(SPACE, long), fidelity=3)
    assert 0.6 * seconds <= clock.now <= max(1.05 * seconds, seconds + 2 * slow)
    rates = [row["learning_rate"] for row in estimate.curve]
    assert estimate.extra["epochs"] == round(min(clock.steps / steps, 3)), "of an epoch that was cut, its part counts"
    if slow < 10:  # otherwise there is time for two steps
        assert rates[-1] < 0.25 * max(rates), "the learning rate falls in what is left"
    assert math.isfinite(estimate.value)


def test_what_is_left_is_filled_to_its_end_by_epochs_of_less_than_all_examples(task, monkeypatch):
    """Six epochs of 19 steps are planned, steps take 1.3 times as long: 4.6 epochs fit, not 4."""
    long = dataclasses.replace(task, train=Split(np.tile(task.train.x, (4, 1, 1, 1)), np.tile(task.train.y, 4)))
    seconds = 6.0 * math.ceil(len(long.train) / Recipe.default(long, 6).batch_size)
    clock = Steps(monkeypatch, 1.3, 0)
    (estimate,) = FinalTraining(seconds=seconds).estimate([ARCHITECTURE], Setting(SPACE, long), fidelity=6)
    assert 0.95 * seconds <= clock.now <= 1.02 * seconds
    assert len(estimate.curve) == estimate.extra["epochs"] == 5


@pytest.mark.parametrize(("most", "passes"), [(None, 6), (7, 7), (100, 10)])
def test_a_machine_that_is_quicker_than_planned_trains_longer(task, monkeypatch, most, passes):
    """Six epochs of 19 steps of a second are planned, steps take .6 of it: ten fit, if so many may be made."""
    long = dataclasses.replace(task, train=Split(np.tile(task.train.x, (4, 1, 1, 1)), np.tile(task.train.y, 4)))
    seconds = 6.0 * math.ceil(len(long.train) / Recipe.default(long, 6).batch_size)
    clock = Steps(monkeypatch, 0.6, 0)
    estimator = FinalTraining(seconds=seconds, most=most)
    (estimate,) = estimator.estimate([ARCHITECTURE], Setting(SPACE, long), fidelity=6)
    assert estimate.extra["epochs"] == passes and estimate.extra["planned_epochs"] == 6
    assert clock.now <= 1.02 * seconds
    if passes == 10:
        assert clock.now >= 0.97 * seconds
    rates = [row["learning_rate"] for row in estimate.curve]
    assert rates[-1] < 0.25 * max(rates) and rates[3:] == sorted(rates[3:], reverse=True), "it goes on falling"


def test_what_the_first_step_of_a_part_takes_is_not_taken_for_its_pace(task, monkeypatch):
    """Where steps turn out quicker, the longer schedule begins with a step of 12 seconds: it is not cut for that."""
    long = dataclasses.replace(task, train=Split(np.tile(task.train.x, (4, 1, 1, 1)), np.tile(task.train.y, 4)))
    seconds = 12.0 * math.ceil(len(long.train) / Recipe.default(long, 12).batch_size)
    clock = Steps(monkeypatch, 0.6, 0, once=12.0)
    (estimate,) = FinalTraining(seconds=seconds, most=100).estimate([ARCHITECTURE], Setting(SPACE, long), fidelity=12)
    assert estimate.extra["epochs"] >= 17 and 0.95 * seconds <= clock.now <= 1.05 * seconds
    rates = [row["learning_rate"] for row in estimate.curve]
    assert rates[7:] == sorted(rates[7:], reverse=True) and min(rates[:-3]) > 0.01 * max(rates), "it falls evenly"


def test_a_training_that_was_stopped_half_way_ends_in_the_same_weights(task, tmp_path, monkeypatch):
    setting = Setting(SPACE, task, seed=1, folder=tmp_path / "whole")
    Path(setting.folder).mkdir()
    FinalTraining().estimate([ARCHITECTURE], setting, fidelity=6)
    form = SPACE.canonical(ARCHITECTURE)
    whole, _ = checkpoint.read(final_weights(setting.folder, form, 6))

    broken = Setting(SPACE, task, seed=1, folder=tmp_path / "broken")
    Path(broken.folder).mkdir()
    train, epochs = final.train, []

    class PowerCutError(Exception):
        pass

    def cut(*args, on_epoch=None, **keywords):
        def told(row):
            epochs.append(row["epoch"])
            if len(epochs) == 3:
                raise PowerCutError
            return on_epoch(row)

        return train(*args, on_epoch=told, **keywords)

    monkeypatch.setattr(final, "train", cut)
    with pytest.raises(PowerCutError):
        FinalTraining().estimate([ARCHITECTURE], broken, fidelity=6)
    monkeypatch.setattr(final, "train", train)
    FinalTraining().estimate([ARCHITECTURE], broken, fidelity=6)
    again, _ = checkpoint.read(final_weights(broken.folder, form, 6))
    assert all(torch.equal(whole[name], again[name]) for name in whole)
