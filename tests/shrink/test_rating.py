"""Harms, importance and costs of cuts against doing them."""

import copy
import importlib.util
import itertools
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from archscout.core.choice import Option
from archscout.core.errors import UsageError
from archscout.core.estimator import Setting
from archscout.core.registry import create
from archscout.core.seeds import stream
from archscout.networks.cutting import cut
from archscout.networks.pick import build
from archscout.shrink import rating
from archscout.shrink.accounts import accounts
from archscout.shrink.engine import plan, shave
from archscout.spaces.trained import TrainedSpace
from archscout.testing.tasks import tiny_task

_spec = importlib.util.spec_from_file_location("zoo", Path(__file__).parents[1] / "networks" / "zoo.py")
zoo = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(zoo)

TASK = tiny_task((3, 16, 16), classes=5)
X, Y = TASK.tensors(TASK.train)


@pytest.fixture(scope="module", params=["resnet", "mobilenet", "unet", "vit"])
def space(request: pytest.FixtureRequest) -> TrainedSpace:
    return TrainedSpace(zoo.zoo_network(request.param), input_shape=(3, 16, 16))


def test_a_hidden_cut_answers_as_the_cut_network_and_is_undone(space: TrainedSpace) -> None:
    network = copy.deepcopy(space.module)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    rng = stream(0)
    with torch.no_grad():
        for _ in range(5):
            what = space.cut_of(space.sample(rng))
            smaller = cut(network, list(space.groups.values()), what)
            with rating.hidden(network, space, what):
                torch.testing.assert_close(network(X[:4]), smaller(X[:4]), rtol=1e-4, atol=1e-5)
    assert all(torch.equal(before[name], tensor) for name, tensor in network.state_dict().items())


def test_accounts_are_exact(space: TrainedSpace) -> None:
    task = TASK if space.name != "trained:UNet" else tiny_task((3, 16, 16), classes=2)
    setting = Setting(space, task)
    known = accounts(space.module, space, X[:1])
    params, macs = create("cost", "params"), create("cost", "macs")
    rng = stream(1)
    products = 0.0
    if space.name == "trained:ViT":  # matrix products of attention are no layers
        products = macs.measure(space.widest, setting).value - known.costs(space.widest)["macs"]
    for _ in range(5):
        architecture = space.simplify(space.sample(rng))
        counted = known.costs(architecture)
        assert counted["params"] == params.measure(architecture, setting).value
        if not products:
            assert counted["macs"] == pytest.approx(macs.measure(architecture, setting).value, rel=1e-9)
        assert 0 < counted["latency"] <= known.costs(space.widest)["latency"]
    known.others["blocks.0.nowhere"] = 1.0
    for choice in space.choices:
        each = [known.costs({**architecture, choice.name: option}) for option in choice.options]
        assert known.alternatives(architecture)[choice.name] == each


def test_what_breaks_a_limit_by_little_is_cut_a_little_more(space: TrainedSpace) -> None:
    """Nothing that was cut comes back, little more goes than must, and what costs no harm goes first."""
    known = accounts(space.module, space, X[:1])
    harms = {choice.name: np.linspace(0.0, 1.0, len(choice.options)) for choice in space.choices}
    free = max(space.choices, key=lambda choice: len(choice.options))
    harms[free.name] = np.zeros(len(free.options))
    middle = {choice.name: choice.options[min(1, len(choice.options) - 2)] for choice in space.choices}
    around = space.simplify(space.architecture(middle))

    def costs_of(architecture: Mapping[str, Option]) -> dict[str, float]:
        return {"params": known.costs(architecture)["params"]}

    limit = 0.93 * costs_of(around)["params"]
    found = shave(space, known, harms, {"params": limit}, costs_of, around)
    assert 0.8 * limit < found.costs["params"] <= limit
    lower = {c.name: c.index(found.architecture[c.name]) - c.index(around[c.name]) for c in space.choices}
    assert all(places >= 0 for places in lower.values()) and lower[free.name] > 0
    assert shave(space, known, harms, {"params": 1e9}, costs_of, around).architecture == around
    disturbed = iter([10.0] + [1.0] * 1000)

    def once_too_high(architecture: Mapping[str, Option]) -> dict[str, float]:
        return {"params": next(disturbed) * costs_of(architecture)["params"]}

    found = shave(space, known, harms, {"params": limit}, once_too_high, around)
    assert 0.7 * limit < found.costs["params"] <= limit, "one measurement that is far too high costs a tenth at most"
    with pytest.raises(UsageError, match="no cut of this network keeps the limits"):
        shave(space, known, harms, {"params": 1.0}, costs_of, around)


def test_divergence() -> None:
    outputs = torch.randn(6, 4)
    assert rating.divergence(outputs, outputs) == pytest.approx(0, abs=1e-6)
    p, q = torch.tensor([[0.5, 0.5]]), torch.tensor([[0.9, 0.1]])
    expected = 0.5 * np.log(0.5 / 0.9) + 0.5 * np.log(0.5 / 0.1)
    assert rating.divergence(q.log(), p.log()) == pytest.approx(expected, rel=1e-5)
    assert rating.divergence(torch.zeros(3, 1), torch.ones(3, 1)) == 1


def test_units_are_ordered_by_what_the_loss_owes_them() -> None:
    """Against the definition: the gradient of the loss with respect to a gate on each unit's inputs, by hand."""
    network = nn.Sequential(nn.Flatten(), nn.Linear(3 * 256, 8), nn.ReLU(), nn.Linear(8, 5)).eval()
    space = TrainedSpace(network, input_shape=(3, 16, 16))
    whole = copy.deepcopy(space.module)
    rating.order_by_importance(whole, space, TASK, X, Y, 16)
    expected = torch.zeros(8)
    for start in range(0, 48, 16):
        gate = torch.ones(8, requires_grad=True)
        hidden = whole[2](whole[1](X[start : start + 16].flatten(1))) * gate
        loss = TASK.loss(whole[3](hidden), Y[start : start + 16])
        expected += torch.autograd.grad(loss, gate)[0].square()
    assert space.order["1"] == expected.argsort(descending=True).tolist()
    assert all(parameter.requires_grad for parameter in whole.parameters())


def test_harms_are_those_of_single_cuts() -> None:
    space = TrainedSpace(zoo.zoo_network("resnet"), input_shape=(3, 16, 16))
    harms = rating.harms(space.module, space, X[:16])
    with torch.no_grad():
        original = space.module(X[:16])
        for choice in space.choices:
            assert harms[choice.name][0] == 0 and (np.diff(harms[choice.name]) >= 0).all()
            one = space.architecture(dict(space.widest) | {choice.name: choice.options[1]})
            smaller = build(space, one, TASK).eval()
            assert harms[choice.name][1] == pytest.approx(rating.divergence(smaller(X[:16]), original), abs=1e-5)


def test_where_time_is_short_fewer_options_are_rated_and_the_others_lie_between() -> None:
    space = TrainedSpace(zoo.zoo_network("resnet"), input_shape=(3, 16, 16))
    every = rating.harms(space.module, space, X[:16])
    options = sum(len(choice.options) - 1 for choice in space.choices)
    runs: list[int] = []
    hook = space.module.register_forward_hook(lambda *_: runs.append(1))
    ticks = itertools.count()  # each look at the clock is a second later: one run of the network takes a second
    fewer = rating.harms(space.module, space, X[:16], options / 6, lambda: float(next(ticks)))
    hook.remove()
    assert len(space.choices) <= len(runs) - 3 < options  # besides: which layout it runs in, whole, and unchanged
    for choice in space.choices:
        assert fewer[choice.name][0] == 0
        assert (np.diff(fewer[choice.name]) >= 0).all()
        # What is not looked at cannot raise the harm of what lies beyond it.
        assert fewer[choice.name][-1] <= every[choice.name][-1] + 1e-6
        if len(choice.options) == 2:
            assert fewer[choice.name][1] == pytest.approx(every[choice.name][1], rel=1e-4)


def test_without_time_to_look_further_the_limits_are_kept_all_the_same() -> None:
    space = TrainedSpace(zoo.zoo_network("resnet"), input_shape=(3, 16, 16))
    known, measured = accounts(space.module, space, X[:1]), []

    def measure(architecture):
        measured.append(architecture.text)
        return known.costs(architecture)

    limit = {"params": 0.4 * known.costs(space.widest)["params"]}
    harms = rating.harms(space.module, space, X[:16])
    chosen = plan(space.module, space, known, harms, limit, measure, X[:16], seed=0, going=lambda: False)
    assert known.costs(chosen.architecture)["params"] <= limit["params"]
    assert chosen.rated == 1
    assert len(measured) <= 6


@pytest.mark.parametrize(
    "limits", [pytest.param({"params": 0.5}, marks=pytest.mark.slow), {"params": 0.7, "macs": 0.5}]
)
def test_a_plan_keeps_its_limits_and_beats_chance(limits: dict[str, float]) -> None:
    space = TrainedSpace(zoo.zoo_network("resnet"), input_shape=(3, 16, 16))
    setting, network = Setting(space, TASK), space.module
    costs = {name: create("cost", name) for name in limits}

    def measure(architecture):
        return {name: cost.measure(architecture, setting).value for name, cost in costs.items()}

    absolute = {name: share * measure(space.widest)[name] for name, share in limits.items()}
    rating.order_by_importance(network, space, TASK, X, Y, 16)
    harms = rating.harms(network, space, X)
    known = accounts(network, space, X[:1])
    chosen = plan(network, space, known, harms, absolute, measure, X, seed=0)
    assert all(measure(chosen.architecture)[name] <= limit for name, limit in absolute.items())
    with torch.no_grad():
        original = network(X)
    rng = stream(0)
    drawn = [space.sample(rng) for _ in range(300)]
    fitting = [a for a in drawn if all(known.costs(a)[name] <= limit for name, limit in absolute.items())]
    assert len(fitting) >= 3
    assert chosen.harm <= min(rating.harm_of(network, space, a, X, original) for a in fitting)


def test_the_same_seed_plans_the_same() -> None:
    space = TrainedSpace(zoo.zoo_network("mobilenet"), input_shape=(3, 16, 16))
    harms = rating.harms(space.module, space, X[:16])
    known = accounts(space.module, space, X[:1])

    def again():
        limit = {"params": 0.6 * known.costs(space.widest)["params"]}
        return plan(space.module, space, known, harms, limit, lambda a: known.costs(a), X[:16], seed=4).architecture

    assert again() == again()
