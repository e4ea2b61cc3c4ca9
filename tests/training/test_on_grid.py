"""Training on few bits: what layers compute with, what is left when it ends, and that it helps."""

from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from torch import nn

from archscout.core.errors import UsageError
from archscout.core.task import Task
from archscout.deploy.quantise import Quantisation, quantise
from archscout.deploy.reading import read
from archscout.testing import tiny_task
from archscout.training.objective import Objective
from archscout.training.on_grid import OnGrid
from archscout.training.recipe import Recipe
from archscout.training.trainer import predict, train


def network() -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        layers: list[nn.Module] = []
        for given, out in pairwise((1, 8, 8)):
            layers += [nn.Conv2d(given, out, 3, padding=1), nn.BatchNorm2d(out), nn.ReLU()]
        return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, tiny_task().outputs))


@pytest.fixture(scope="module")
def task() -> Task:
    return tiny_task(examples=60)


def test_layers_compute_with_few_numbers_and_end_with_rounded_weights(task: Task) -> None:
    net, x = network(), task.tensors(task.train)[0]
    names = set(net.state_dict())
    seen: list[torch.Tensor] = []
    with Objective(OnGrid("w2a3")).attached(net, x[:2], "cpu"):
        hooked = net[3].register_forward_hook(lambda layer, given, _: seen.append(given[0].detach()))
        net(x[:4])
        hooked.remove()
        assert len(seen[0].unique()) <= 8, "inputs of 3 bits"
        weight = net[3].weight.detach()
        assert all(len(row.unique()) <= 3 for row in weight), "weights of 2 bits, without the least integer"
        assert len(net[0].weight[0].unique()) > 8, "the first layer has 8 bits"
    assert set(net.state_dict()) == names
    assert isinstance(net[3].weight, nn.Parameter)
    assert torch.equal(net[3].weight.detach(), weight)


def test_training_on_few_bits_prepares_for_them(task: Task) -> None:
    lost = {}
    for bits in ("", "w2a8"):
        net = network()
        recipe = Recipe(12, 16, learning_rate=0.05, augment=False, precision="float32", bits=bits)
        outcome = train(net, task, recipe, seed=0)
        assert outcome.curve[-1]["train_loss"] < outcome.curve[0]["train_loss"]
        program = read(net.eval(), task.input_shape)
        x = task.tensors(task.train)[0]
        layers = [o for o in program.operators if o.weight is not None]
        how = Quantisation(bias_correction=False)
        how = replace(how, layers={layers[1].output: how.preset.with_bits(2, 8)})
        exact = predict(net, task, task.train)
        off = quantise(program, x, how).run(x) - exact
        lost[bits] = float(off.pow(2).mean() / exact.var())
    assert lost["w2a8"] < 0.3 * lost[""], lost


def test_wrong_bits_are_named() -> None:
    for wrong, said in (
        ({"bits": "w1a8"}, "'w1a8' are no bits"),
        ({"bits": "w4a8", "sparsity": "2:4"}, "without sparsity"),
    ):
        with pytest.raises(UsageError, match=said):
            Recipe(1, **wrong)
    assert Recipe.named("quantised", tiny_task(), 3).bits == "w4a8"
