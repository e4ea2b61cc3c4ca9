"""Inherited scores: many at once against one by one, recalibration against its definition, the fast pool too."""

import pytest
import torch
from torch import nn

from archscout.core.registry import create
from archscout.core.seeds import stream
from archscout.networks.pick import build
from archscout.supernets import evaluate
from archscout.supernets.distributions import is_product
from archscout.supernets.pooling import FastAveragePool
from archscout.supernets.supernet import Supernet
from archscout.testing import tiny_task


def trained(space, task, steps=3):
    """A supernet that is not at its start, so that shifts and scales differ."""
    supernet = Supernet(space, task)
    optimizer = torch.optim.SGD(supernet.parameters(), lr=0.1)
    x, y = task.tensors(task.train)
    for seed in range(steps):
        optimizer.zero_grad()
        task.loss(supernet.select(space.sample(stream(seed)))(x), y).backward()
        optimizer.step()
    return supernet


@pytest.mark.parametrize("name", ["nasbench201:width=4,cells=1", "mobile:stages=2,depth=2"])
def test_many_at_once_are_one_by_one(name):
    space, task = create("space", name), tiny_task((3, 8, 8))
    supernet = trained(space, task)
    rng = stream(7)
    architectures = [space.sample(rng) for _ in range(70)]
    data = task.tensors(task.valid)
    together, apart = (evaluate.losses(supernet, architectures, data, many=many) for many in (True, False))
    assert torch.allclose(together, apart, atol=1e-5)
    assert apart.std() > 1e-3, "else this tests nothing"
    scores = [evaluate.scores(supernet, architectures[:9], [data, data], many=many) for many in (True, False)]
    assert scores[0] == scores[1]
    assert evaluate.batchable(supernet) == name.startswith("nasbench201")


@pytest.mark.parametrize(
    ("name", "free", "mixed"),
    [
        ("nasbench201:width=4,cells=1", True, True),
        ("mobile:stages=2,depth=2", True, True),
        ("enas:width=4,layers=3", True, False),
        ("darts:width=2,layers=3,part=s4", False, True),
        ("nasbench101:width=8,cells=1", False, False),
    ],
)
def test_what_a_space_allows_is_found_out(name, free, mixed):
    """Skips of ENAS and edges of NAS-Bench-101 are wiring: no gate can weigh them."""
    space, task = create("space", name), tiny_task((1, 8, 8))
    assert is_product(space) == free
    assert evaluate.mixable(Supernet(space, task)) == mixed


def test_looking_changes_nothing():
    space, task = create("space", "nasbench201:width=4,cells=1"), tiny_task()
    supernet = trained(space, task).eval()
    before = {key: value.clone() for key, value in supernet.state_dict().items()}
    data = task.tensors(task.valid)
    evaluate.losses(supernet, list(space.extremes()) * 2, data)
    assert all(torch.equal(before[key], value) for key, value in supernet.state_dict().items())
    assert not supernet.training and not any(module.training for module in supernet.modules())
    assert "forward" not in vars(supernet.network[0][1])


def test_recalibration_takes_the_mean_over_the_batches():
    space, task = create("space", "nasbench201:width=4,cells=1"), tiny_task()
    supernet = trained(space, task)
    architecture = space.sample(stream(3))
    x, y = task.tensors(task.train)
    batches = [(x[:16], y[:16]), (x[16:32], y[16:32]), (x[32:], y[32:])]
    valid = task.tensors(task.valid)
    found = evaluate.accuracy(supernet, architecture, batches, valid, batch_size=7)
    stem = supernet.network[0]
    with torch.no_grad():
        maps = [stem[0](part) for part, _ in batches]
    assert torch.allclose(stem[1].running_mean, torch.stack([m.mean((0, 2, 3)) for m in maps]).mean(0), atol=1e-5)
    assert torch.allclose(stem[1].running_var, torch.stack([m.var((0, 2, 3)) for m in maps]).mean(0), rtol=1e-4)
    assert stem[1].momentum == 0.1
    # The calibrated supernet hands over a network that is ready for use.
    twin = supernet.extract(architecture).eval()
    with torch.no_grad():
        assert found == task.measure(twin(valid[0]), valid[1])


def test_recalibration_forgets_what_other_paths_left():
    space, task = create("space", "mobile:stages=2,depth=2"), tiny_task((3, 16, 16))
    supernet = trained(space, task)
    architecture = space.sample(stream(3))
    data = task.tensors(task.train)
    first = evaluate.accuracy(supernet, architecture, [data], data)
    supernet.train()
    with torch.no_grad():
        supernet.select(space.sample(stream(4)))(data[0] + 5)
    assert evaluate.accuracy(supernet, architecture, [data], data) == first


@pytest.mark.parametrize("shape", [(2, 3, 5, 7), (1, 1, 1, 1), (4, 2, 16, 16), (2, 2, 1, 9)])
def test_the_fast_pool_is_the_slow_one(shape):
    x = torch.randn(shape, generator=torch.Generator().manual_seed(0), requires_grad=True)
    slow = nn.AvgPool2d(3, 1, 1, count_include_pad=False)
    assert torch.allclose(FastAveragePool()(x), slow(x), atol=1e-6)
    weights = torch.randn(shape, generator=torch.Generator().manual_seed(1))
    gradients = [torch.autograd.grad((pool(x) * weights).sum(), x)[0] for pool in (FastAveragePool(), slow)]
    assert torch.allclose(*gradients, atol=1e-6)


def test_a_supernet_has_the_fast_pool_and_a_network_the_plain_one():
    space, task = create("space", "nasbench201:width=4,cells=1"), tiny_task()
    supernet = Supernet(space, task)
    assert sum(isinstance(module, FastAveragePool) for module in supernet.modules()) == 18
    architecture = space.architecture({choice.name: "avg_pool_3x3" for choice in space.choices})
    network = build(space, architecture, task)
    assert sum(isinstance(module, FastAveragePool) for module in network.modules()) == 0
