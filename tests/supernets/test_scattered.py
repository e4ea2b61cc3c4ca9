"""Scattered and grouped paths: each example, each group, as if it went its own way alone."""

import importlib.util
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch

from archscout.core.errors import UsageError
from archscout.core.registry import create
from archscout.core.seeds import stream
from archscout.supernets.distributions import Distribution
from archscout.supernets.scattered import Scattered, grouped, scattered
from archscout.supernets.supernet import Supernet
from archscout.testing import tiny_task

_spec = importlib.util.spec_from_file_location("toy", Path(__file__).with_name("toy.py"))
toy = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(toy)


@pytest.mark.parametrize("name", ["toy", "nasbench201:width=4,cells=1"])
def test_each_example_takes_its_own_path(name):
    """With running statistics nothing joins the examples of a batch, so that each can be run alone."""
    space = toy.Toy() if name == "toy" else create("space", name)
    supernet = Supernet(space, tiny_task(examples=24), seed=1)
    step = toy.make_step(space, supernet=supernet, distribution=Distribution(space))
    supernet.eval()
    (job,) = scattered(step)
    x = step.train[0]
    codes = {n: np.empty(len(x), int) for n in job.gates}
    for choice, gate in job.gates.items():
        start = 0
        for option, count in enumerate(gate.counts):
            codes[choice][gate.order[start : start + count]] = option
            start += count
    together = step.outputs(job.path, x)
    for place in range(len(x)):
        values = {c.name: c.options[codes[c.name][place]] for c in space.choices}
        alone = step.outputs(space.architecture(values), x[place : place + 1])
        assert torch.allclose(together[place], alone[0], atol=1e-4), values


def test_options_are_taken_equally_often_and_all_of_them_learn():
    step = toy.make_step()
    (job,) = scattered(step)
    count = len(step.train[1])
    for choice, gate in job.gates.items():
        options = len(next(c for c in step.supernet.space.choices if c.name == choice).options)
        assert max(gate.counts) - min(gate.counts) <= 1
        assert sum(gate.counts) == count
        assert len(gate.counts) == options
    step.loss(job.path, step.train).backward()
    for places in step.supernet.mixed().values():
        assert all(p.grad is not None and p.grad.abs().sum() > 0 for place in places for p in place.parameters())
    # The option of the first example, by its place in the order; choices are independent of one another.
    pairs = Counter()
    for number in range(200):
        gates = scattered(toy.make_step(number=number))[0].gates
        pairs[(gates["first"].back[0].item(), gates["second"].back[0].item())] += 1
    assert len(pairs) == 6
    assert min(pairs.values()) > 15


def test_numbers_cannot_be_scattered():
    space = create("space", "mobile:stages=2,depth=2")
    step = toy.make_step(space, supernet=Supernet(space, tiny_task()), distribution=Distribution(space))
    for plan in (scattered, grouped):
        with pytest.raises(UsageError, match="in space 'mobile"):
            plan(step)
    gate = Scattered(stream(0).integers(2, size=4), 2)
    with pytest.raises(UsageError, match="one input"):
        gate.mix([torch.nn.Identity()] * 2, torch.zeros(4, 1), torch.zeros(4, 1))


def test_each_group_is_a_batch_of_its_own():
    """The loss and the gradient of a batch of groups are the mean of those of each group along its path alone."""
    space = create("space", "nasbench201:width=4,cells=1")
    supernet = Supernet(space, tiny_task(examples=48), seed=1)
    step = toy.make_step(space, supernet=supernet, distribution=Distribution(space))
    task = supernet.task
    step.train = task.tensors(task.train.head(48))
    (job,) = grouped(step)
    weights = dict(supernet.named_parameters())
    loss = step.loss(job.path, step.train)
    found = torch.autograd.grad(loss, list(weights.values()), allow_unused=True)
    codes = job.path.codes
    paths = [{n: int(codes[n][place]) for n in codes} for place in range(3)]
    assert len({tuple(path.values()) for path in paths}) == 3
    x, y = step.train
    losses = []
    for place, path in enumerate(paths):
        architecture = space.architecture({c.name: c.options[path[c.name]] for c in space.choices})
        losses.append(step.loss(architecture, (x[place::3], y[place::3])))
    alone = torch.autograd.grad(sum(losses) / 3, list(weights.values()), allow_unused=True)
    assert torch.allclose(loss, sum(losses) / 3, atol=1e-5)
    for name, one, other in zip(weights, found, alone, strict=True):
        assert (one is None) == (other is None), name
        assert one is None or torch.allclose(one, other, atol=1e-4), name


def test_groups_share_out_a_batch_of_any_size():
    space = create("space", "nasbench201:width=4,cells=1")
    supernet = Supernet(space, tiny_task(examples=48), seed=1)
    step = toy.make_step(space, supernet=supernet, distribution=Distribution(space))
    task = supernet.task
    for size, groups in ((48, 3), (40, 2), (37, 1), (9, 1)):
        step.train = task.tensors(task.train.head(size))
        (job,) = grouped(step)
        assert len(job.path.present) == groups
        assert step.outputs(job.path, step.train[0]).shape[0] == size
