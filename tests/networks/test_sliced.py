"""The supernet of a trained network's cuts against the networks that are cut."""

import copy
import importlib.util
from pathlib import Path

import pytest
import torch

from archscout.core.errors import UsageError
from archscout.core.registry import create
from archscout.core.seeds import stream
from archscout.networks.cutting import cut
from archscout.networks.gate import Gate
from archscout.spaces.trained import BackboneSpace, TrainedSpace
from archscout.supernets.distributions import Distribution
from archscout.supernets.evaluate import accuracy, recalibrate
from archscout.supernets.extent import ends, kinds
from archscout.supernets.phases import Phase, Settings, fit
from archscout.supernets.plans import Sandwich
from archscout.supernets.supernet import Supernet
from archscout.supernets.terms import Labels, Mean, distillation
from archscout.testing.tasks import tiny_task

_spec = importlib.util.spec_from_file_location("zoo", Path(__file__).with_name("zoo.py"))
zoo = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(zoo)

TASK = tiny_task((3, 16, 16), classes=5)
X, Y = TASK.tensors(TASK.train)


@pytest.fixture(scope="module", params=["resnet", "mobilenet", "vit"])
def space(request: pytest.FixtureRequest) -> TrainedSpace:
    return TrainedSpace(zoo.zoo_network(request.param), input_shape=(3, 16, 16))


def twin_of(space, supernet, architecture):
    return cut(supernet.network.whole, list(space.groups.values()), space.cut_of(architecture))


def test_every_cut_answers_as_the_network_that_is_cut(space):
    supernet = Supernet(space, TASK).eval()
    rng = stream(0)
    for architecture in [*ends(supernet), *(space.sample(rng) for _ in range(4))]:
        twin = twin_of(space, supernet, architecture).eval()
        with torch.no_grad():
            torch.testing.assert_close(supernet.select(architecture)(X[:4]), twin(X[:4]), rtol=1e-5, atol=1e-5)
            torch.testing.assert_close(supernet.extract(architecture).eval()(X[:4]), twin(X[:4]), rtol=1e-5, atol=1e-5)


def test_training_a_cut_is_training_its_twin(space):
    """Outputs, weights and running statistics stay together over three steps of SGD."""
    for seed in range(2):
        architecture = space.sample(stream(seed))
        supernet = Supernet(space, TASK).train()
        twin = twin_of(space, supernet, architecture).train()
        supernet.select(architecture)
        for network in (supernet, twin):
            optimizer = torch.optim.SGD(network.parameters(), lr=0.01)
            for _ in range(3):
                optimizer.zero_grad()
                TASK.loss(network(X[:16]), Y[:16]).backward()
                optimizer.step()
        state = supernet.extract(architecture).state_dict()
        for name, value in twin.state_dict().items():
            torch.testing.assert_close(state[name], value, rtol=1e-4, atol=1e-5, msg=name)


def test_ends_are_the_network_and_its_smallest_cut(space):
    supernet = Supernet(space, TASK)
    smallest, largest = ends(supernet)
    assert largest == space.widest
    counts = [sum(p.numel() for p in supernet.extract(end).parameters()) for end in (smallest, largest)]
    assert counts[1] == sum(p.numel() for p in space.module.parameters()) > 2 * counts[0]
    assert set(kinds(supernet).values()) <= {"width", "depth", "kernel"}


def test_a_sandwich_teaches_the_cuts_and_leaves_the_network():
    space = TrainedSpace(zoo.zoo_network("resnet"), input_shape=(3, 16, 16))
    supernet = Supernet(space, TASK)
    phase = Phase(plan=Sandwich(1), objective=Mean([Labels(teacher_only=True), distillation]), rate=(0.02, 0.01))
    before = {name: tensor.clone() for name, tensor in supernet.network.whole.state_dict().items()}
    trained = fit(supernet, Distribution(space), [phase], Settings(12, 16, augment=False), seed=0)
    assert trained.history[-1]["loss"] < trained.history[0]["loss"]
    after = supernet.network.whole.state_dict()
    assert any(not torch.equal(before[name], after[name]) for name in before)
    assert all(torch.equal(value, space.module.state_dict()[name]) for name, value in before.items())


def test_recalibration_reaches_the_statistics_of_the_cut():
    space = TrainedSpace(zoo.zoo_network("mobilenet"), input_shape=(3, 16, 16))
    supernet = Supernet(space, TASK)
    architecture = space.sample(stream(1))
    twin = copy.deepcopy(twin_of(space, supernet, architecture)).train()
    for module in twin.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = None  # the plain mean of what it sees
            module.reset_running_stats()
    batches = [(X[:8], Y[:8]), (X[8:16], Y[8:16])]
    with torch.no_grad():
        for x, _ in batches:
            twin(x)
    recalibrate(supernet, architecture, batches)
    ours = supernet.extract(architecture)
    for (name, module), other in zip(twin.named_modules(), ours.modules(), strict=True):
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.testing.assert_close(other.running_var, module.running_var, rtol=1e-4, atol=1e-5, msg=name)
    assert 0.0 <= accuracy(supernet, architecture, batches, (X, Y)) <= 1.0


def test_cuts_are_not_mixed():
    space = TrainedSpace(zoo.zoo_network("resnet"), input_shape=(3, 16, 16))
    supernet = Supernet(space, TASK)
    gates = {choice.name: Gate((0,)) for choice in space.choices}
    with pytest.raises(UsageError, match="cannot be mixed"):
        supernet.gate(gates)(X[:2])


@pytest.mark.slow
def test_a_backbone_is_a_supernet_behind_what_adapts_it():
    space = BackboneSpace(create("backbone", "efficientnet_lite0"), 32, weights=False)
    supernet = Supernet(space, TASK).eval()
    architecture = space.sample(stream(0))
    twin = copy.deepcopy(supernet.network.whole)
    twin.network = cut(twin.network, list(space.groups.values()), space.cut_of(architecture))
    with torch.no_grad():
        torch.testing.assert_close(supernet.select(architecture)(X[:2]), twin.eval()(X[:2]), rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(supernet.extract(architecture).eval()(X[:2]), twin(X[:2]), rtol=1e-4, atol=1e-5)
    smallest, largest = ends(supernet)
    assert largest == space.widest and smallest != largest
    TASK.loss(supernet.train().select(architecture)(X[:4]), Y[:4]).backward()
    assert any(parameter.grad is not None for parameter in supernet.network.whole.network.parameters())
