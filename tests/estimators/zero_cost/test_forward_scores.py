"""Scores of forward passes against plain NumPy, on the tensors that hooks see."""

import copy
import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import nn

from archscout.core.errors import UsageError
from archscout.core.estimator import Setting
from archscout.core.registry import create
from archscout.core.seeds import derive
from archscout.estimators.zero_cost.bn_gamma import BnGamma, best, gammas
from archscout.estimators.zero_cost.dextr import _curvature
from archscout.estimators.zero_cost.freedarts import Saliency, _gradient, _Sum, saliency
from archscout.estimators.zero_cost.harness import Subject
from archscout.estimators.zero_cost.initialisation import kaiming, normal
from archscout.estimators.zero_cost.near import effective_rank
from archscout.estimators.zero_cost.vkdnw import _first_entries
from archscout.networks.choices import OneOf
from archscout.networks.pick import MixedOp
from archscout.spaces.model import ModelSpace
from archscout.supernets.supernet import Supernet
from archscout.testing.tasks import tiny_task

SPACE = create("space", "nasbench201:width=4,cells=1")
SETTING = Setting(SPACE, tiny_task((3, 16, 16), 4, 60).sealed(), seed=5)
CELL = SPACE.parse("|nor_conv_3x3~0|+|skip_connect~0|avg_pool_3x3~1|+|nor_conv_1x1~0|none~1|skip_connect~2|")


def value(name: str) -> float:
    estimate = create("estimator", name).estimate([CELL], SETTING)[0]
    assert not estimate.reason, estimate.reason
    return estimate.value


def outputs(network: nn.Module, x: torch.Tensor) -> list[tuple[nn.Module, torch.Tensor]]:
    seen: list[tuple[nn.Module, torch.Tensor]] = []
    handles = [
        m.register_forward_hook(lambda m, _, y: seen.append((m, y)))
        for m in network.modules()
        if not list(m.children()) and type(m).__name__ != "Zero"
    ]
    with torch.no_grad():
        network(x)
    for handle in handles:
        handle.remove()
    return seen


def test_das_is_naswot_taken_apart() -> None:
    whole, ability, half = (value(f"das:batch=16,share={share}") for share in (1, 0, 0.5))
    assert whole == pytest.approx(value("naswot:batch=16"))
    assert ability < 0
    assert half == pytest.approx((whole + ability) / 2)


def test_das_after_training_is_another_number() -> None:
    before, after = (value(f"das:batch=16,share=0,steps={steps}") for steps in (0, 3))
    assert before != after
    assert after == value("das:batch=16,share=0,steps=3")


def test_zen() -> None:
    subject = Subject(CELL, SETTING, {}, {})
    x = subject.normal(8, 3, 16, 16, keys=("zen", "x", 0))
    moved = x + 0.01 * subject.normal(8, 3, 16, 16, keys=("zen", "noise", 0))
    network = subject.initialised(normal, "zen", 0)
    weights = [m.weight for m in network.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    assert 0.9 < float(torch.cat([w.detach().flatten() for w in weights]).std()) < 1.1
    first, second = (outputs(network, each) for each in (x, moved))
    inputs_of_norms = [before for (_, before), (m, _) in pairwise(first) if isinstance(m, nn.BatchNorm2d)]
    last = [[y for m, y in seen if isinstance(m, nn.ReLU)][-1] for seen in (first, second)]
    change = np.abs((last[0] - last[1]).numpy()).sum((1, 2, 3)).mean()
    # The last normalisation comes after a sum, which no module makes: take its input from the one after it.
    scales = [math.log(math.sqrt(y.transpose(0, 1).flatten(1).var(1).mean())) for y in inputs_of_norms[:-1]]
    found = value("zen:batch=8")
    tail = found - math.log(change) - sum(scales)
    seen: list[torch.Tensor] = []
    norms = [m for m in network.modules() if isinstance(m, nn.BatchNorm2d)]
    handle = norms[-1].register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    with torch.no_grad():
        network(x)
    handle.remove()
    assert tail == pytest.approx(math.log(math.sqrt(seen[0].transpose(0, 1).flatten(1).var(1).mean())), rel=1e-3)


def test_zen_with_running_variances() -> None:
    """Those that PyTorch keeps through both passes."""
    subject = Subject(CELL, SETTING, {}, {})
    x = subject.normal(8, 3, 16, 16, keys=("zen", "x", 0))
    moved = x + 0.01 * subject.normal(8, 3, 16, 16, keys=("zen", "noise", 0))
    network = copy.deepcopy(subject.initialised(normal, "zen", 0))
    norms = [m for m in network.modules() if isinstance(m, nn.BatchNorm2d)]
    spreads = []
    for norm in norms:
        norm.register_forward_pre_hook(lambda _, inputs: spreads.append(inputs[0].var((0, 2, 3)).mean().log() / 2))
        norm.running_mean, norm.running_var = torch.zeros(norm.num_features), torch.ones(norm.num_features)
        norm.track_running_stats, norm.momentum = True, 0.1
        norm.train()
    with torch.no_grad():
        network(x)
        of_the_batch = sum(map(float, spreads))
        network(moved)
    running = sum(float(norm.running_var.mean().log()) / 2 for norm in norms)
    difference = value("zen:batch=8,running=true") - value("zen:batch=8")
    assert difference == pytest.approx(running - of_the_batch, abs=1e-4)
    assert abs(difference) > 1


def test_meco() -> None:
    subject = Subject(CELL, SETTING, {}, {})
    x = subject.normal(1, 3, 24, 24, keys=("meco",)).repeat(2, 1, 1, 1)
    total = 0.0
    for _, y in outputs(subject.network, x):
        if y.ndim == 4:
            total += np.linalg.eigvalsh(np.corrcoef(y[0].flatten(1).double().numpy()))[0]
    assert value("meco:size=24") == pytest.approx(total, abs=1e-4)


def test_near() -> None:
    subject = Subject(CELL, SETTING, {}, {})
    x, _ = subject.inputs(16)
    total = 0.0
    for module, y in outputs(subject.network, x):
        if hasattr(module, "weight") or isinstance(module, nn.ReLU):
            channels = y.shape[1]
            rows = (y.permute(0, 2, 3, 1).reshape(-1, channels) if y.ndim == 4 else y)[:channels]
            values = np.linalg.svd(rows.double().numpy(), compute_uv=False)
            shares = values[values > 0] / values.sum()
            total += math.exp(-(shares * np.log(shares)).sum())
    assert value("near:batch=16") == pytest.approx(total, rel=1e-5)


@pytest.mark.parametrize("rank", [1, 3, 5])
def test_effective_rank_of_orthogonal_directions(rank: int) -> None:
    rows = torch.zeros(6, 6, dtype=torch.float64)
    rows[range(rank), range(rank)] = 2.0
    assert effective_rank(rows) == pytest.approx(rank)


def test_az_nas_views() -> None:
    subject = Subject(CELL, SETTING, {}, {})
    network = subject.initialised(kaiming, "az_nas")
    x = subject.normal(8, 3, 16, 16, keys=("az_nas",))
    stem, first, reduction, second, _, third = (network[place] for place in range(6))
    with torch.no_grad():
        features, y = [], x
        for block in (stem, first, reduction, second, network[4], third):
            y = block(y)
            features.append(y)
    entropies = []
    for feature in features:
        rows = feature.permute(0, 2, 3, 1).reshape(-1, feature.shape[1]).double().numpy()
        values = np.linalg.eigvalsh(np.cov(rows.T, bias=True))
        shares = values / values.sum()
        entropies.append(-(shares * np.log(shares)).sum())
    assert value("az_expressivity:batch=8") == pytest.approx(sum(entropies), rel=1e-4)
    steps = np.diff(entropies)
    assert value("az_progressivity:batch=8") == pytest.approx(steps.min(), rel=1e-3)
    assert value("az_trainability:batch=8") < 0.01  # 2 - s - 1/s is at most 0


def test_vkdnw_perturbs_single_weights() -> None:
    """The Jacobian against finite differences of the first entry of each tensor."""
    subject = Subject(CELL, SETTING, {}, {})
    network = subject.initialised(kaiming, "vkdnw").double().eval()
    x = subject.inputs(3)[0].double()
    tensors = list(network.parameters())
    made, jacobian = _first_entries(network, tensors, x)
    step = 1e-6
    for place, tensor in enumerate(tensors):
        moved = []
        for sign in (1, -1):
            with torch.no_grad():
                tensor[(0,) * tensor.ndim] += sign * step
                moved.append(network(x))
                tensor[(0,) * tensor.ndim] -= sign * step
        assert torch.allclose(jacobian[..., place], (moved[0] - moved[1]) / (2 * step), rtol=1e-4, atol=1e-6)
    assert torch.allclose(made, network(x))


class Smooth(nn.Module):
    """A network without kinks, which finite differences of second order would trip over."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 6, 3)
        self.norm = nn.BatchNorm2d(6)
        self.activation = OneOf({"tanh": nn.Tanh(), "sigmoid": nn.Sigmoid()})
        self.last = nn.Linear(6, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.last(self.activation(self.norm(self.first(x))).mean((2, 3)))


def test_dextr_bends_like_finite_differences() -> None:
    space = ModelSpace(Smooth())
    setting = Setting(space, SETTING.task, seed=2)
    subject = Subject(space.architecture({"activation": "tanh"}), setting, {}, {})
    found = _curvature(subject)
    pair = subject.normal(2, 3, 16, 16, keys=("dextr",)).flatten(1).double()
    u, w = torch.linalg.qr(pair.T)[0].T
    network = subject.network.double()
    h = 1e-4
    with torch.no_grad():
        points = [network((u * math.cos(t) + w * math.sin(t)).reshape(1, 3, 16, 16))[0] for t in (-h, 0.0, h)]
    v, a = (points[2] - points[0]) / (2 * h), (points[2] - 2 * points[1] + points[0]) / h**2
    expected = math.sqrt(float(v @ v) * float(a @ a) - float(v @ a) ** 2) / float(v @ v) ** 1.5
    assert found == pytest.approx(expected, rel=1e-3)


def test_knas_code_is_a_covariance_of_halves() -> None:
    network = Subject(CELL, SETTING, {}, {})
    series = []
    for number in range(50):
        x, y = network.inputs(4, number)
        weights = [p for p in network.network.parameters() if p.numel() >= 50][:11]
        found = torch.autograd.grad(nn.functional.cross_entropy(network.network(x), y), weights)
        series.append([[float(g.flatten()[k]) for k in range(50)] for g in found])
    assert len(series[0]) == 11, "50 entries of each of 11 tensors, not of the first alone"
    expected = 0.0
    for tensor in range(11):
        for k in range(50):
            first = np.array([series[number][tensor][k] for number in range(25)])
            second = np.array([series[number][tensor][k] for number in range(25, 50)])
            expected += float((first - first.mean()) @ (second - second.mean())) / 2500
    assert value("knas_code:batch=4") == pytest.approx(expected, rel=1e-3)


def test_freedarts_is_a_derivative_by_each_operation() -> None:
    """Against finite differences of R where one operation of one edge is scaled."""

    table = saliency(SETTING, Saliency(alphas="one", norm=False))
    network = Supernet(SPACE, SETTING.task, seed=derive(5, "freedarts")).network.double().eval()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.abs_()
    alphas = {pair: torch.ones((), dtype=torch.float64) for pair in table}
    for module in network.modules():
        if isinstance(module, MixedOp):
            module.forward = _Sum(module, alphas)  # type: ignore[method-assign]
        elif isinstance(module, nn.BatchNorm2d):
            module.forward = lambda x: x  # type: ignore[method-assign]
    ones = torch.ones((1, 3, 16, 16), dtype=torch.float64)
    with torch.no_grad():
        for pair in (("edge 0->1", "nor_conv_3x3"), ("edge 2->3", "avg_pool_3x3"), ("edge 0->3", "none")):
            made = []
            for scale in (1.001, 0.999):
                alphas[pair] = torch.tensor(scale, dtype=torch.float64)
                made.append(float(network(ones).sum()))
            alphas[pair] = torch.ones((), dtype=torch.float64)
            assert table[pair] == pytest.approx((made[0] - made[1]) / 0.002, rel=1e-4, abs=1e-9)
    assert all(table[choice.name, "none"] == 0 for choice in SPACE.choices)


def test_freedarts_by_grasp_is_a_derivative_of_a_derivative() -> None:
    """Of the sum of alpha x dL/dalpha, by hand."""
    alpha, beta = (torch.tensor(value, dtype=torch.float64, requires_grad=True) for value in (0.3, 0.7))
    slopes = _gradient(alpha**2 * beta, [alpha, beta], again=True)
    # The sum of alpha x dL/dalpha is 3 alpha^2 beta here.
    assert [float(slope) for slope in slopes] == pytest.approx([6 * 0.3 * 0.7, 3 * 0.3**2])
    assert [float(s) for s in _gradient(alpha**2 * beta, [alpha, beta], again=False)] == pytest.approx([0.42, 0.09])


@pytest.mark.parametrize("signal", ["snip", "grasp"])
def test_freedarts_has_variants_by_the_loss(signal: str) -> None:
    table = saliency(SETTING, Saliency(signal))
    assert all(table[choice.name, "none"] == 0 for choice in SPACE.choices)
    assert all(value > 0 for (_, option), value in table.items() if option != "none")
    assert table == saliency(SETTING, Saliency(signal))


def test_freedarts_names_what_it_does_not_have() -> None:
    for text, why in {
        "freedarts:signal=snap": "did you mean 'snip'",
        "freedarts:alphas=two": "drawn or one",
        "freedarts:norm=2": "true or false",
    }.items():
        with pytest.raises(UsageError, match=why):
            create("estimator", text)


def test_bn_gamma_adds_up_scales_and_trains_nothing_else() -> None:

    estimator = BnGamma(steps=4, batch=8)
    supernet = estimator._trained(SETTING)
    fresh = type(supernet)(SPACE, SETTING.task, seed=derive(SETTING.seed, "bn_gamma"))
    for (name, trained), before in zip(supernet.named_parameters(), fresh.parameters(), strict=True):
        norm = isinstance(supernet.get_submodule(name.rpartition(".")[0]), nn.BatchNorm2d)
        assert norm or torch.equal(trained, before)
    table = gammas(supernet)
    assert {option for _, option in table} == {"nor_conv_1x1", "nor_conv_3x3"}
    expected = sum(table.get(pair, 0.0) for pair in CELL.items())
    assert estimator.estimate([CELL], SETTING)[0].value == pytest.approx(expected)
    chosen = best(table)
    assert all(
        table[choice, option] >= max(v for (c, _), v in table.items() if c == choice)
        for choice, option in chosen.items()
    )


def test_order_of_epsilon_counts_weights_of_the_least_deep_path() -> None:
    """Through nine weights (stem, its norm, two short cuts, the last norm, the classifier) and two for each cell that
    has no free path: three cells with a convolution of one stage on every path, 6 more."""
    free = SPACE.parse("|nor_conv_3x3~0|+|none~0|none~1|+|skip_connect~0|none~1|none~2|")
    forced = SPACE.parse("|nor_conv_3x3~0|+|none~0|none~1|+|none~0|skip_connect~1|none~2|")
    orders = []
    for architecture in (free, forced):
        with_order, without = (
            create("estimator", f"epsilon_log:batch=16,order={order}").estimate([architecture], SETTING)[0].value
            for order in (1.0, 0.0)
        )
        orders.append(with_order - without)
    assert orders[1] - orders[0] == pytest.approx(6, abs=0.05)


def test_swap_needs_two_examples_and_looks_at_all_that_it_is_given() -> None:
    with pytest.raises(UsageError, match="batch"):
        create("estimator", "swap:batch=1")
    assert create("estimator", "swap:batch=64").batch == 64
