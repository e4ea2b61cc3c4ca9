"""A supernet against the stand-alone networks that are cut out of it."""

import copy
import warnings

import cloudpickle
import pytest
import torch
from torch import nn

from archscout.core.choice import Choice
from archscout.core.errors import UsageError
from archscout.core.registry import create
from archscout.core.seeds import stream
from archscout.core.space import Space
from archscout.networks.choices import Linear, OneOf, Width
from archscout.networks.pick import build
from archscout.spaces.model import ModelSpace
from archscout.supernets.supernet import Supernet
from archscout.testing import tiny_task

SPACES = ("nasbench201:width=4,cells=1", "mobile:stages=2,depth=2")


@pytest.mark.parametrize("name", SPACES)
def test_training_a_slice_is_training_the_twin(name):
    """Three steps of SGD on both: outputs, weights and running statistics stay together."""
    space, task = create("space", name), tiny_task()
    x, y = task.tensors(task.train)
    for seed in range(4):
        architecture = space.sample(stream(seed))
        supernet = Supernet(space, task, seed=seed)
        twin = supernet.extract(architecture)
        supernet.select(architecture)
        for network in (supernet, twin):
            optimizer = torch.optim.SGD(network.parameters(), lr=0.05)
            for _ in range(3):
                optimizer.zero_grad()
                task.loss(network(x), y).backward()
                optimizer.step()
        trained = supernet.extract(architecture).state_dict()
        for key, value in twin.state_dict().items():
            assert torch.allclose(trained[key], value, atol=1e-5), key
        with torch.no_grad():
            outputs, expected = supernet.eval()(x), twin.eval()(x)
        assert torch.allclose(outputs, expected, atol=1e-4)


@pytest.mark.parametrize("name", SPACES)
def test_what_does_not_run_does_not_move(name):
    space, task = create("space", name), tiny_task()
    x, y = task.tensors(task.train)
    first, last = list(space.extremes())
    supernet = Supernet(space, task)
    before = {key: value.clone() for key, value in supernet.extract(last).state_dict().items()}
    supernet.select(first)
    task.loss(supernet(x), y).backward()
    with torch.no_grad():
        for parameter in supernet.parameters():
            if parameter.grad is not None:
                parameter -= parameter.grad
    after = supernet.extract(last).state_dict()
    moved = sum(int((after[key] != value).sum()) for key, value in before.items())
    total = sum(value.numel() for value in before.values())
    assert 0 < moved < total


def test_extraction_leaves_the_supernet_as_it_was():
    space, task = create("space", SPACES[0]), tiny_task()
    supernet = Supernet(space, task).eval()
    first, second = space.sample(stream(0)), space.sample(stream(1))
    x, _ = task.tensors(task.valid)
    supernet.select(first)
    before = {key: value.clone() for key, value in supernet.state_dict().items()}
    expected = supernet(x)
    twin = supernet.extract(second)
    with torch.no_grad():
        for parameter in twin.parameters():
            parameter.fill_(7.0)
    assert torch.equal(supernet(x), expected)
    assert all(torch.equal(before[key], value) for key, value in supernet.state_dict().items())


def test_the_seed_decides_the_weights():
    space, task = create("space", SPACES[1]), tiny_task()
    torch.manual_seed(9)
    state = torch.random.get_rng_state()
    first, again, other = (Supernet(space, task, seed=seed).state_dict() for seed in (1, 1, 2))
    assert torch.equal(torch.random.get_rng_state(), state)
    assert all(torch.equal(first[key], again[key]) for key in first)
    assert any(not torch.equal(first[key], other[key]) for key in first)


def test_selecting_chains():
    space, task = create("space", SPACES[0]), tiny_task()
    supernet = Supernet(space, task)
    assert supernet.select(space.sample(stream(0))) is supernet


@pytest.mark.parametrize("name", SPACES)
def test_a_supernet_travels_and_stays_itself(name):
    space, task = create("space", name), tiny_task()
    supernet = Supernet(space, task).eval()
    architectures = [space.sample(stream(seed)) for seed in range(3)]
    x, _ = task.tensors(task.valid)
    with torch.no_grad():
        expected = [supernet.select(architecture)(x) for architecture in architectures]
        for twin in (copy.deepcopy(supernet), cloudpickle.loads(cloudpickle.dumps(supernet))):
            supernet.select(architectures[0])
            for architecture, outputs in zip(architectures, expected, strict=True):
                assert torch.equal(twin.select(architecture)(x), outputs)
            assert torch.equal(supernet(x), expected[0])


class Odd(Space):
    """What the usual spaces have none of: tied layers and weights, buffers that are not saved, absent tensors."""

    name = "odd"
    choices = (Choice("act", ("relu", "tanh")),)

    def network(self, task, pick):
        return OddNetwork(pick, task.outputs)


class OddNetwork(nn.Module):
    def __init__(self, pick, outputs):
        super().__init__()
        self.first = nn.Linear(64, 64)
        self.second = self.first
        self.shared = self.first.weight
        self.register_buffer("saved", torch.ones(3))
        self.register_buffer("passing", torch.ones(2), persistent=False)
        self.register_buffer("absent", None)
        self.register_parameter("missing", None)
        self.act = pick("act", {"relu": nn.ReLU, "tanh": nn.Tanh})
        self.none = None
        self.head = nn.Linear(64, outputs)

    def forward(self, x):
        return self.head(self.act(self.second(self.first(x.flatten(1)) * self.passing[0]) * self.saved[0]))


def test_ties_and_passing_buffers_are_extracted_right():
    space, task = Odd(), tiny_task()
    supernet = Supernet(space, task)
    supernet.network.saved.fill_(2.0)
    x, _ = task.tensors(task.valid)
    for architecture in space:
        twin = supernet.extract(architecture)
        assert twin.first.weight is twin.second.weight is twin.shared
        assert torch.allclose(twin(x), supernet.select(architecture)(x), atol=1e-6)


def test_the_twin_has_exactly_the_tensors_of_the_stand_alone_network():
    for name in SPACES:
        space, task = create("space", name), tiny_task()
        supernet = Supernet(space, task)
        for seed in range(10):
            architecture = space.sample(stream(seed))
            twin, plain = supernet.extract(architecture), build(space, architecture, task)
            assert {k: v.shape for k, v in twin.state_dict().items()} == {
                k: v.shape for k, v in plain.state_dict().items()
            }
            assert [type(module) for module in twin.modules()] == [type(module) for module in plain.modules()]


class ReadsSizes(nn.Module):
    """Code of its own that reads what only the largest layer has in a supernet."""

    def __init__(self, read):
        super().__init__()
        self.width = width = Width(4, 8, name="w")
        self.body, self.head, self.read = Linear(64, width), Linear(width, 3), read

    def forward(self, x):
        return self.read(self, self.head(self.body(x.flatten(1))))


@pytest.mark.parametrize(
    ("read", "reason"),
    [
        (lambda net, y: y * net.body.out_features, "alone: its code"),
        (lambda net, y: y + net.head.weight.sum(), "alone: its code"),
        (lambda net, y: y + y.new_ones(2, net.width) @ net.head.weight.T, r"alone \(RuntimeError: .*its code"),
    ],
)
def test_a_module_that_answers_otherwise_with_shared_weights_is_refused(read, reason):
    space = ModelSpace(ReadsSizes(read))
    with pytest.raises(UsageError, match=rf"with shared weights, architecture 'w=[48]' .* as it does {reason}"):
        Supernet(space, tiny_task())


def test_a_module_that_draws_random_numbers_is_compared_for_the_same_ones():
    space = ModelSpace(ReadsSizes(lambda net, y: y + torch.rand(3)))
    supernet = Supernet(space, tiny_task())
    assert supernet.training
    assert supernet.selection.values == {}


def test_parts_that_were_scripted_keep_their_weights():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        scripted = torch.jit.script(nn.Linear(64, 4))
    net = nn.Sequential(nn.Flatten(), scripted, OneOf([nn.ReLU(), nn.Tanh()], name="act"), nn.Linear(4, 3))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # a copy of a scripted part looks at gradients
        space = ModelSpace(net)
        network = Supernet(space, tiny_task()).extract(space.parse("act=Tanh"))
    assert torch.equal(network[1].weight, scripted.weight)
