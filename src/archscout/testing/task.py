"""What every task promises, as tests."""

from __future__ import annotations

import dataclasses
import json
import math
from abc import ABC, abstractmethod
from typing import Any

import cloudpickle
import torch
from torch import nn

from archscout.core import panel as panels
from archscout.core.registry import create, factory
from archscout.core.seeds import stream
from archscout.core.space import Space
from archscout.core.task import Split, Task
from archscout.networks.outputs import each, named
from archscout.networks.pick import build
from archscout.tasks.load import undescribe
from archscout.tasks.meters import meter_of
from archscout.training.trainer import Recipe, answers, train


class TaskConformance(ABC):
    """The contract of a `Task`. Inherit it and give the task, with a few dozen examples in each split.

    >>> class TestMine(TaskConformance):                  # doctest: +SKIP
    ...     def task(self): return my_task()
    """

    registered = True
    """Whether the kind has a name, so that networks load."""

    learns = True
    """Whether a few epochs make the loss smaller."""

    @abstractmethod
    def task(self) -> Task:
        """A new task, equal each time."""

    def space(self) -> Space:
        """Whose networks are tried."""
        return create("space", "nasbench201:width=8,cells=1")  # type: ignore[no-any-return]

    def _network(self, task: Task) -> nn.Module:
        space = self.space()
        space.check_task(task)
        return build(space, space.sample(stream(1, "task conformance")), task).eval()

    def _outputs(self, task: Task, split: Split) -> tuple[nn.Module, Any, Any]:
        network = self._network(task)
        x, y = task.tensors(split)
        with torch.no_grad():
            return network, network(x), y

    def test_inputs_are_finite_and_of_the_shape_that_it_says(self) -> None:
        task = self.task()
        for split in (task.train, task.valid, task.test):
            if split is not None:
                x, y = task.tensors(split)
                assert x.shape == (len(split), *task.input_shape)
                assert x.dtype == torch.float32
                assert bool(x.isfinite().all())
                assert len(y) == len(split)

    def test_the_loss_is_one_number_with_a_gradient_for_every_output(self) -> None:
        task = self.task()
        _, outputs, y = self._outputs(task, task.train)
        outputs = each(outputs, lambda tensor: tensor.clone().requires_grad_())
        loss = task.loss(outputs, y, 0.1)
        assert loss.ndim == 0
        loss.backward()
        assert math.isfinite(float(loss.detach()))
        for name, tensor in named(outputs).items():
            assert tensor.grad is not None, name
            assert bool(tensor.grad.isfinite().all()), name
            assert float(tensor.grad.abs().sum()) > 0, name

    def test_the_metric_is_one_number_whatever_the_batches(self) -> None:
        task = self.task()
        _, outputs, y = self._outputs(task, task.valid)
        whole = task.measure(outputs, y)
        assert isinstance(whole, float)
        assert math.isfinite(whole)
        assert not task.metric.percentage or 0 <= whole <= 1
        assert task.merit(outputs, y) == task.metric.oriented(whole)
        meter = meter_of(task)
        for start in range(0, len(y), 5):
            meter.update(each(outputs, lambda tensor, at=start: tensor[at : at + 5]), y[start : start + 5])  # type: ignore[misc]
        assert math.isclose(meter.value(), whole, rel_tol=1e-5, abs_tol=1e-7)

    def test_what_changes_examples_follows_its_generator_and_leaves_them_alone(self) -> None:
        task = self.task()
        x, y = task.tensors(task.train)
        before = x.clone(), y.clone()
        one, two = (task.transform(x, y, torch.Generator().manual_seed(3)) for _ in range(2))
        assert torch.equal(x, before[0])
        assert torch.equal(y, before[1])
        for again, first, like in zip(two, one, (x, y), strict=True):
            assert torch.equal(again, first)
            assert (first.shape, first.dtype) == (like.shape, like.dtype)
        several = task.transform_each([x, x], [y, y], [torch.Generator().manual_seed(seed) for seed in (3, 4)])
        assert torch.equal(several[0][0], one[0])
        assert torch.equal(several[1][0], one[1])

    def test_a_network_learns(self) -> None:
        task = self.task()
        network = self._network(task)
        outcome = train(network, task, Recipe(4, 16, learning_rate=0.1), seed=0)
        assert not outcome.diverged
        assert outcome.best_epoch > 0
        if self.learns:
            assert outcome.curve[-1]["train_loss"] < outcome.curve[0]["train_loss"]
        values = [row[f"valid_{task.metric}"] for row in outcome.curve]
        assert outcome.valid_metric == (max if task.metric.direction == "higher" else min)(values)

    def test_the_review_is_panels_that_can_be_written(self) -> None:
        task = self.task()
        split = task.test if task.test is not None else task.valid
        for panel in task.review(answers(self._network(task), task, split, batch_size=7)):
            assert panels.read(json.loads(json.dumps(panel.as_json()))) is not None
            assert panel.title

    def test_a_deployed_network_takes_inputs_as_they_are_stored(self) -> None:
        task = self.task()
        network, outputs, _ = self._outputs(task, task.valid)
        x = torch.from_numpy(task.valid.x).float()
        stored = x if x.shape[1:] == tuple(task.deployed_shape) or x.ndim != 4 else x.permute(0, 3, 1, 2)
        with torch.no_grad():
            deployed = task.deploy(network).eval()(stored)
        assert set(named(deployed)) == set(named(outputs))
        for name, tensor in named(deployed).items():
            assert tensor.shape == named(outputs)[name].shape
            assert bool(tensor.isfinite().all())

    def test_its_description_makes_a_task_that_deploys_alike(self) -> None:
        if not self.registered:
            return
        task = self.task()
        assert factory("kind", task.kind) is type(task)
        again = undescribe(json.loads(json.dumps(task.describe())))
        assert type(again) is type(task)
        assert json.dumps(again.describe()) == json.dumps(task.describe())
        network = self._network(task)
        other = build(self.space(), self.space().sample(stream(1, "task conformance")), again).eval()
        other.load_state_dict(network.state_dict())
        x = torch.rand(3, *task.deployed_shape)
        with torch.no_grad():
            ours, theirs = (one.eval()(x) for one in (task.deploy(network), again.deploy(other)))
        assert all(torch.equal(tensor, named(theirs)[name]) for name, tensor in named(ours).items())

    def test_sealed_it_has_no_test_split_and_stays_itself_in_another_process(self) -> None:
        task = self.task()
        sealed = task.sealed()
        assert sealed.test is None
        assert sealed.metric == task.metric
        again = cloudpickle.loads(cloudpickle.dumps(task))
        assert again.digest == task.digest == self.task().digest
        changed = dataclasses.replace(task, train=task.train.head(len(task.train) - 1))
        assert changed.digest != task.digest
