"""Inherited scores as an estimator."""

import dataclasses

import pytest

from archscout.core.errors import UsageError
from archscout.core.estimator import Setting
from archscout.core.registry import create
from archscout.core.seeds import derive, stream
from archscout.estimators import supernet as module
from archscout.estimators.supernet import Inherited
from archscout.supernets.distributions import Distribution
from archscout.supernets.phases import Phase, Settings, fit
from archscout.supernets.supernet import Supernet
from archscout.testing import EstimatorConformance, tiny_task

SPACE = create("space", "nasbench201:width=4,cells=1")


class TestConformance(EstimatorConformance):
    examples = 2

    def estimator(self) -> Inherited:
        return Inherited(steps=2, batch=8)


def test_scores_are_those_of_the_trained_supernet_and_it_is_trained_once(monkeypatch):
    task = tiny_task()
    setting = Setting(SPACE, task.sealed(), seed=4)
    architectures = [SPACE.sample(stream(seed)) for seed in range(3)]
    fits = []
    monkeypatch.setattr(module, "fit", lambda *args, **named: fits.append(1) or fit(*args, **named))
    first = create("estimator", "supernet:steps=5,batch=16").estimate(architectures, setting)
    again = create("estimator", "supernet:steps=5,batch=16").estimate(architectures[::-1], setting)
    assert len(fits) == 1
    assert [e.value for e in first] == [e.value for e in again][::-1]
    seed = derive(4, "supernet")
    supernet = Supernet(SPACE, task, seed=seed)
    fit(supernet, Distribution(SPACE), [Phase()], Settings(steps=5, batch_size=16), seed=seed)
    x, y = task.tensors(task.valid)
    supernet.train()
    for architecture, estimate in zip(architectures, first, strict=True):
        loss = task.loss(supernet.select(architecture)(x), y).item()
        assert estimate.value == pytest.approx(-loss, abs=1e-5)
    other = dataclasses.replace(setting, seed=5)
    assert Inherited(5, 16).estimate(architectures[:1], other)[0].value != first[0].value
    assert len(fits) == 2


def test_estimators_that_are_asked_by_turns_train_once_each(monkeypatch):
    fits = []
    monkeypatch.setattr(module, "fit", lambda *args, **named: fits.append(1) or fit(*args, **named))
    setting = Setting(SPACE, tiny_task().sealed(), seed=11)
    made = [create("estimator", f"{name}:steps=2,batch=8") for name in ("supernet", "rsws", "oneshot")]
    for seed in range(2):
        for estimator in made:
            estimator.estimate([SPACE.sample(stream(seed))], setting)
    assert len(fits) == 2, "supernet and rsws share theirs"
    for seed in range(12, 18):
        made[0].estimate([SPACE.sample(stream(seed))], dataclasses.replace(setting, seed=seed))
    assert len(module._supernets) == module.KEPT


def test_wrong_numbers_are_refused():
    with pytest.raises(UsageError, match="steps"):
        Inherited(steps=0)


class TestAllOptionsAtOnce(EstimatorConformance):
    count = 3
    examples = 2

    def estimator(self):
        return create("estimator", "oneshot:steps=3,batch=8")

    def space(self):
        return create("space", "nasbench201:width=2,cells=1")


def test_the_names_of_the_study_say_accuracies():
    setting = Setting(create("space", "nasbench201:width=2,cells=1"), tiny_task().sealed())
    architecture = setting.space.sample(stream(0, "study"))
    for name in ("rsws", "oneshot"):
        (found,) = create("estimator", f"{name}:steps=3,batch=8").estimate([architecture], setting)
        assert 0 <= found.value <= 1
