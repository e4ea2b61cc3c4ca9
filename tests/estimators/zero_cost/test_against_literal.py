"""Every fast form against the slow, literal one, on the same weights and the same batch."""

import copy
import math
from types import ModuleType

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from archscout.core.architecture import Architecture
from archscout.core.errors import UndefinedScore
from archscout.core.estimator import Setting
from archscout.core.registry import create
from archscout.core.seeds import derive, stream
from archscout.estimators.zero_cost import kernel
from archscout.estimators.zero_cost.constant_outputs import constant_outputs, images
from archscout.estimators.zero_cost.expression import expression
from archscout.estimators.zero_cost.harness import Asked, Subject, score
from archscout.estimators.zero_cost.initialisation import normal
from archscout.estimators.zero_cost.layers import check_layers_are_all
from archscout.estimators.zero_cost.one_channel import constant_weights, fits
from archscout.estimators.zero_cost.operators import operators
from archscout.estimators.zero_cost.skeleton import skeleton
from archscout.estimators.zero_cost.te_nas_regions import _crops
from archscout.networks.choices import OneOf
from archscout.networks.pick import build
from archscout.spaces.model import ModelSpace
from archscout.spaces.thin import cell_alone, thin
from archscout.supernets.supernet import Supernet
from archscout.testing.tasks import tiny_task

BATCH = 12
PASSES = ("grad_norm", "snip", "plain", "fisher", "grasp", "jacob_cov", "epe_nas", "zico", "knas", "gradsign")


@pytest.fixture(params=["nasbench201:width=4,cells=2", "mobile"])
def setting(request: pytest.FixtureRequest) -> Setting:
    return Setting(create("space", request.param), tiny_task((3, 16, 16), 4, 40).sealed(), seed=7)


@pytest.fixture
def cells() -> Setting:
    return Setting(create("space", "nasbench201:width=4,cells=2"), tiny_task((3, 16, 16), 4, 40).sealed(), seed=7)


def sample(setting: Setting, count: int) -> list[Architecture]:
    return [setting.space.sample(stream(number, "literal")) for number in range(count)]


def fresh(setting: Setting, architecture: Architecture, literal: ModuleType) -> nn.Module:
    """The network that the scores see."""
    seed = derive(setting.seed, "weights", setting.space.canonical(architecture))
    return literal.train_mode(build(setting.space, architecture, setting.task, seed=seed))


def value(name: str, setting: Setting, architecture: Architecture) -> float:
    estimate = create("estimator", name).estimate([architecture], setting)[0]
    assert not estimate.reason, estimate.reason
    return estimate.value


@pytest.mark.parametrize("name", PASSES)
def test_backward_passes(name: str, setting: Setting, literal: ModuleType) -> None:
    if name == "grasp" and setting.space.name == "mobile":
        pytest.skip("h-sigmoid has no second derivative in PyTorch")
    if name == "gradsign" and setting.space.name == "mobile":
        setting = Setting(create("space", "mobile"), tiny_task((3, 32, 32), 4, 40).sealed(), seed=7)
    for architecture in sample(setting, 3):
        subject = Subject(architecture, setting, {}, {})
        batches = [subject.inputs(BATCH, part) for part in (0, 1)]
        x, y = batches[0]
        network = fresh(setting, architecture, literal)
        form = getattr(literal, name)
        if name == "zico":
            expected = form(network, batches)
        elif name == "jacob_cov":
            expected = form(network, x)
        elif name == "epe_nas":
            expected = form(network, x, y, setting.task.outputs)
        else:
            expected = form(network, x, y)
        # Signs of gradients that are zero but for rounding may fall either way.
        tolerance = {"gradsign": 5e-3, "zico": 1e-3, "jacob_cov": 2e-3, "grasp": 5e-3, "plain": 2e-3}.get(name, 1e-4)
        found = value(f"{name}:batch={BATCH}", setting, architecture)
        assert found == pytest.approx(expected, rel=tolerance, abs=1e-5)


def test_a_hundred_classes_and_more_take_the_other_formula(literal: ModuleType) -> None:
    setting = Setting(create("space", "nasbench201:width=4,cells=1"), tiny_task((3, 8, 8), 101, 202).sealed())
    architecture = sample(setting, 1)[0]
    x, y = Subject(architecture, setting, {}, {}).inputs(64)
    expected = literal.epe_nas(fresh(setting, architecture, literal), x, y, 101)
    assert value("epe_nas", setting, architecture) == pytest.approx(expected, rel=1e-3)


def test_synaptic_flow_is_a_derivative_beside_the_value(setting: Setting, literal: ModuleType) -> None:
    """On cells by growth, on mobile (h-swish) by a backward pass."""
    for architecture in sample(setting, 4):
        expected = literal.synflow(fresh(setting, architecture, literal), setting.task.input_shape)
        assert value("synflow", setting, architecture) == pytest.approx(expected, rel=1e-12)


def test_the_expected_flow_is_the_mean_over_initialisations(cells: Setting, literal: ModuleType) -> None:
    architecture = cells.space.parse(
        "|nor_conv_3x3~0|+|skip_connect~0|avg_pool_3x3~1|+|none~0|nor_conv_1x1~1|skip_connect~2|"
    )
    expected = math.exp(value("synflow:expected=true", cells, architecture))
    flows = [
        math.exp(literal.synflow(build(cells.space, architecture, cells.task, seed=seed), cells.task.input_shape))
        for seed in range(60)
    ]
    mean = sum(flows) / len(flows)
    error = (sum((flow - mean) ** 2 for flow in flows) / len(flows) / (len(flows) - 1)) ** 0.5
    assert error / mean < 0.05
    assert abs(expected - mean) < 4 * error


@pytest.mark.parametrize("shape", [(3, 16, 16), (1, 8, 8), (3, 9, 11)])
def test_epsilon_on_one_channel(shape: tuple[int, int, int], literal: ModuleType) -> None:
    setting = Setting(create("space", "nasbench201:width=4,cells=2"), tiny_task(shape, 4, 40).sealed(), seed=2)
    undefined = 0
    for architecture in sample(setting, 12):
        subject = Subject(architecture, setting, {}, {})
        x, _ = subject.inputs(16)
        # What the library does not build, for it is dead, is built here.
        network = literal.nasbench201(architecture.text, 4, 2, shape[0], setting.task.outputs)
        expected = literal.epsilon(network, x)
        bones = skeleton(setting.space, architecture, setting.task)
        assert fits(bones, operators(subject))
        in_turn = constant_weights(bones, x, (1e-7, 1.0))
        for weight, outputs in zip((1e-7, 1.0), in_turn, strict=True):
            one = constant_outputs(expression(bones, shape[1:]), images(x, x.dtype), weight)
            assert torch.allclose(one, outputs, rtol=2e-5, atol=1e-6 * float(outputs.abs().max()))
        (precise,) = constant_weights(bones, x.double(), (1e-5,))
        one = constant_outputs(expression(bones, shape[1:]), images(x, torch.float64), 1e-5)
        assert torch.allclose(one, precise, rtol=1e-9, atol=1e-12 * float(precise.abs().max()))
        estimate = create("estimator", "epsilon:batch=16").estimate([architecture], setting)[0]
        assert math.isnan(expected) == math.isnan(estimate.value)
        if math.isnan(expected):
            undefined += 1
            assert "same output" in estimate.reason
        else:
            assert estimate.value == pytest.approx(expected, rel=2e-5, abs=2e-6)
    assert 0 < undefined < 12


def test_one_channel_stands_for_all_on_mobile_networks(literal: ModuleType) -> None:
    setting = Setting(create("space", "mobile"), tiny_task((3, 16, 16), 4, 40).sealed())
    compared = 0
    for architecture in sample(setting, 4):
        subject = Subject(architecture, setting, {}, {})
        x, _ = subject.inputs(12)
        bones = skeleton(setting.space, architecture, setting.task)
        assert fits(bones, operators(subject))
        found = constant_weights(bones, x, (0.5, 1.0))
        for weight, outputs in zip((0.5, 1.0), found, strict=True):
            network = literal.train_mode(build(setting.space, architecture, setting.task))
            with torch.no_grad():
                for name, parameter in network.named_parameters():
                    parameter.fill_(0.0 if "bias" in name else weight)
                expected = network(x)
            assert torch.allclose(outputs, expected[:, 0], rtol=1e-3, atol=1e-4 * float(expected.abs().max()))
            assert torch.allclose(expected[:, 0], expected[:, -1], rtol=1e-4)
            compared += bool(expected[:, 0].std() > 0)
    assert compared


class _Functional(nn.Module):
    """A user's own module, which normalises and adds by code that no layer shows."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 4, 3, padding=1, bias=False)
        self.second = nn.Conv2d(4, 4, 3, padding=1, bias=False)
        self.activation = OneOf({"relu": nn.ReLU(), "none": nn.Identity()})
        self.head = nn.Linear(4, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.activation(F.batch_norm(self.first(x), None, None, training=True)) + 0.1
        return self.head((y + self.second(y)).mean((2, 3)))


def test_epsilon_of_a_module_of_the_users_own(literal: ModuleType) -> None:
    space = ModelSpace(_Functional())
    setting = Setting(space, tiny_task((3, 16, 16), 4, 40).sealed(), seed=2)
    architecture = space.architecture({"activation": "relu"})
    x, _ = Subject(architecture, setting, {}, {}).inputs(16)
    expected = literal.epsilon(build(space, architecture, setting.task), x, 1e-2, 1.0)
    assert value("epsilon:batch=16,low=0.01", setting, architecture) == pytest.approx(expected, rel=1e-4)


class _OfVectors(nn.Module):
    """A user's own module that normalises vectors by its own code, for which one example is too few."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(768, 6)
        self.activation = OneOf({"relu": nn.ReLU(), "none": nn.Identity()})
        self.head = nn.Linear(6, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if len(x) < 2:
            raise ValueError("expected more than one example")
        x = self.first(x.flatten(1))
        return self.head(self.activation((x - x.mean(0)) / x.std(0)))


def test_gradsign_of_a_module_that_takes_no_example_alone() -> None:
    space = ModelSpace(_OfVectors())
    setting = Setting(space, tiny_task((3, 16, 16), 4, 40).sealed(), seed=2)
    (estimate,) = create("estimator", "gradsign:batch=8").estimate(
        [space.architecture({"activation": "relu"})], setting
    )
    assert math.isnan(estimate.value)
    assert "alone" in estimate.reason


class _Centred(nn.Conv2d):
    """A layer of a user's own, whose weights have the mean 0."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.conv2d(x, self.weight - self.weight.mean(), self.bias, self.stride, self.padding)


class _WithCentred(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 4, 3, padding=1)
        self.second = _Centred(4, 4, 3, padding=1)
        self.norm = nn.BatchNorm2d(4)
        self.activation = OneOf({"relu": nn.ReLU(), "none": nn.Identity()})
        self.head = nn.Linear(4, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.activation(self.norm(self.second(self.first(x)))).mean((2, 3)))


@pytest.mark.parametrize(
    ("name", "reason"),
    [("epsilon", "same output"), ("te_nas_ntk", "outside of layers"), ("vkdnw", "outside of layers")],
)
def test_a_users_own_layer_is_not_taken_for_a_plain_one(name: str, reason: str) -> None:
    """With one constant for all weights it gives zeros; the gradients of its weights are not those of a convolution."""
    space = ModelSpace(_WithCentred())
    setting = Setting(space, tiny_task((3, 16, 16), 4, 40).sealed(), seed=2)
    (estimate,) = create("estimator", f"{name}:batch=8").estimate([space.architecture({"activation": "relu"})], setting)
    assert math.isnan(estimate.value)
    assert reason in estimate.reason


def test_the_layers_of_plain_modules_are_all() -> None:
    check_layers_are_all(_Functional(), torch.rand(2, 3, 16, 16))
    with pytest.raises(UndefinedScore, match="outside of layers"):
        check_layers_are_all(_WithCentred(), torch.rand(2, 3, 16, 16))


@pytest.mark.parametrize("size", [2, 20])
def test_gradsign_of_a_module_of_the_users_own(size: int, literal: ModuleType) -> None:
    space = ModelSpace(_Functional())
    setting = Setting(space, tiny_task((3, 16, 16), 4, 40).sealed(), seed=2)
    architecture = space.architecture({"activation": "relu"})
    expected = literal.gradsign(
        fresh(setting, architecture, literal), *Subject(architecture, setting, {}, {}).inputs(size)
    )
    assert value(f"gradsign:batch={size}", setting, architecture) == pytest.approx(expected, rel=2e-3)


@pytest.mark.parametrize("inner", [False, True])
def test_the_tangent_kernel(setting: Setting, literal: ModuleType, inner: bool) -> None:
    for architecture in sample(setting, 1):
        network = fresh(setting, architecture, literal).double()
        x = Subject(architecture, setting, {}, {}).inputs(BATCH)[0].double()
        expected = literal.tangent_kernel(network, x, inner)
        found = kernel.gram(network, x, inner=inner)
        assert torch.allclose(found, expected, rtol=1e-9, atol=1e-9 * float(expected.abs().max()))


def test_scores_of_the_tangent_kernel(cells: Setting, literal: ModuleType) -> None:
    for architecture in sample(cells, 3):
        subject = Subject(architecture, cells, {}, {})
        ratios, least = [], []
        for number in range(3):
            network = literal.train_mode(copy.deepcopy(kernel.thin_network(subject, number)))
            assert sum(p.numel() for p in network.parameters()) < 20000
            values = torch.linalg.eigvalsh(
                literal.tangent_kernel(network, subject.inputs(BATCH, number)[0].contiguous()).double()
            )
            ratios.append(-math.log(values[-1] / values[0]))
            least.append(float(values[0]) / BATCH)
        assert value(f"te_nas_ntk:batch={BATCH}", cells, architecture) == pytest.approx(sorted(ratios)[1], rel=1e-2)
        assert value(f"eigen_nas:batch={BATCH}", cells, architecture) == pytest.approx(sum(least) / 3, rel=1e-2)


def test_generalisation_of_the_tangent_kernel(cells: Setting, literal: ModuleType) -> None:
    for architecture in sample(cells, 2):
        subject = Subject(architecture, cells, {}, {})
        (x, y), (other, targets) = subject.inputs(BATCH, 0), subject.inputs(BATCH, 1)
        network = literal.train_mode(copy.deepcopy(kernel.thin_network(subject, 0)))
        theta = literal.tangent_kernel(network, torch.cat([x, other]).contiguous(), inner=True).double()
        coded, wanted = (torch.eye(4, dtype=torch.float64)[labels] for labels in (y, targets))
        coded, wanted = coded - coded.mean(0), wanted - wanted.mean(0)
        seen = theta[:BATCH, :BATCH]
        ridge = 1e-6 * seen.trace() / BATCH * torch.eye(BATCH)
        prediction = theta[BATCH:, :BATCH] @ torch.linalg.inv(seen + ridge) @ coded
        expected = -float(((prediction - wanted) ** 2).sum(1).mean())
        assert value(f"teg_mse:batch={BATCH},repeats=1", cells, architecture) == pytest.approx(expected, rel=2e-2)


def test_patterns_of_units(setting: Setting, literal: ModuleType) -> None:
    for architecture in sample(setting, 2):
        subject = Subject(architecture, setting, {}, {})
        for batch in (9, 20):  # in a table, and by comparing
            x, _ = subject.inputs(batch)
            expected = [literal.swap(subject.initialised(normal, "swap", repeat), x) for repeat in range(2)]
            assert value(f"swap:batch={batch},repeats=2", setting, architecture) == sum(expected) / 2


@pytest.mark.parametrize("network", ["cell", "thin"])
def test_linear_regions(cells: Setting, literal: ModuleType, network: str) -> None:
    architecture = sample(cells, 1)[0]
    subject = Subject(architecture, cells, {}, {})
    space = cell_alone(cells.space) if network == "cell" else thin(cells.space, width=1, cells=1)
    assert space is not None
    task = tiny_task((1, 3, 3), 4, 40)
    crops = [_crops(subject.inputs(1000, part)[0], 3, stream(cells.seed, "crops", 0, part)) for part in range(3)]
    seed = derive(cells.seed, "regions", space.canonical(architecture), 0)
    alone = literal.train_mode(build(space, architecture, task, seed=seed))
    name = f"te_nas_regions:repeats=1,network={network}"
    assert value(name, cells, architecture) == literal.regions(alone, crops)
    supernet = Supernet(space, task, seed=derive(cells.seed, "shared", "regions", 0))
    shared = literal.train_mode(supernet.extract(architecture))
    assert value(f"{name},shared=true", cells, architecture) == literal.regions(shared, crops)


def test_the_published_network_of_regions_is_one_cell_without_stem(cells: Setting) -> None:
    """What the original code calls C=1, N=1, depth=1, use_stem=False; in DARTS depth=2."""
    space = cell_alone(cells.space)
    assert space is not None
    architecture = space.parse("|nor_conv_3x3~0|+|skip_connect~0|none~1|+|nor_conv_1x1~0|none~1|avg_pool_3x3~2|")
    network = build(space, architecture, tiny_task((1, 3, 3), 4, 40))
    convolutions = [m.kernel_size for m in network.modules() if isinstance(m, nn.Conv2d)]
    assert convolutions == [(1, 1)]  # the edge 0->1 leads nowhere
    assert sum(isinstance(m, nn.ReLU) for m in network.modules()) == 2
    darts = cell_alone(create("space", "darts"))
    assert darts is not None
    genotype = darts.sample(stream(0, "cells"))
    network = build(darts, genotype, tiny_task((1, 3, 3), 4, 40))
    assert [cell.stride for cell in network.cells] == [1, 2]  # type: ignore[union-attr]
    assert not list(network.stem.children())  # type: ignore[union-attr]
    assert network(torch.zeros(2, 1, 3, 3)).shape == (2, 4)


def test_the_kernel_of_shared_weights_is_that_of_a_supernet_s_part(cells: Setting, literal: ModuleType) -> None:
    architecture = sample(cells, 1)[0]
    subject = Subject(architecture, cells, {}, {})
    space = thin(cells.space, width=3, cells=1)
    supernet = Supernet(space, cells.task, seed=derive(cells.seed, "shared", "thin", 0))
    network = literal.train_mode(supernet.extract(space.simplify(architecture)))
    values = torch.linalg.eigvalsh(literal.tangent_kernel(network, subject.inputs(BATCH)[0].contiguous()).double())
    found = value(f"te_nas_ntk:batch={BATCH},repeats=1,shared=true", cells, architecture)
    assert found == pytest.approx(-math.log(values[-1] / values[0]), rel=1e-2)


def test_scores_asked_for_together_are_those_asked_for_alone(cells: Setting) -> None:
    names = [f"{name}:batch={BATCH}" for name in (*PASSES, "naswot", "das", "near", "dextr")]
    architectures = sample(cells, 2)
    columns = score(architectures, names, cells)
    for name in names:
        alone = create("estimator", name).estimate(architectures, cells)
        for one, other in zip(alone, columns[name], strict=True):
            # ZiCo divides by deviations next to nothing: the layout that GraSP asks for shows, which rounds otherwise.
            close = 1e-2 if name.startswith("zico") else 1e-5
            assert one.value == pytest.approx(other.value, rel=close, nan_ok=True)


def test_asked_is_what_scores_declare(cells: Setting) -> None:
    """A Subject without any declaration can still be asked for a gradient of another part."""
    subject = Subject(sample(cells, 1)[0], cells, {BATCH: Asked()}, {})
    assert subject.gradients(BATCH, 1).gradients
