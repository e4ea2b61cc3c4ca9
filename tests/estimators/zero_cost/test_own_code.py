"""Scores do not depend on whether a user's own code calls layers, or the functions that do the same."""

import math
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from archscout.core.estimator import Setting
from archscout.core.registry import create
from archscout.core.trial import Estimate
from archscout.estimators.zero_cost import subject
from archscout.estimators.zero_cost.normalising import by_batch_statistics
from archscout.networks.choices import OneOf
from archscout.spaces.model import ModelSpace
from archscout.testing import tiny_task

RECTIFIERS = {
    "clamp": lambda x: x.clamp(min=0),
    "clamp_min": lambda x: x.clamp_min(0),
    "function": torch.relu,
    "maximum": lambda x: torch.maximum(x, torch.zeros_like(x)),
    "where": lambda x: torch.where(x > 0, x, torch.zeros_like(x)),
    "mask": lambda x: x * (x > 0),
    "threshold": lambda x: F.threshold(x, 0, 0),
}


class Net(nn.Module):
    """One network in several ways of writing it; `silu` is another one, with that activation."""

    def __init__(self, way: str) -> None:
        super().__init__()
        self.way = way
        self.option = OneOf({"a": nn.Identity(), "b": nn.Tanh()}, name="o")
        self.first, self.second = nn.Conv2d(1, 4, 3, padding=1, bias=False), nn.Conv2d(4, 4, 3, padding=1)
        self.norm, self.pool, self.flat = nn.BatchNorm2d(4), nn.AdaptiveAvgPool2d(1), nn.Flatten()
        self.relu: nn.Module = nn.SiLU() if "silu" in way else nn.ReLU()
        self.head = nn.Linear(4, 3)

    def activate(self, x: Tensor) -> Tensor:
        if self.way == "silu by hand":
            return x * torch.sigmoid(x)
        return RECTIFIERS.get(self.way, self.relu)(x)

    def forward(self, x: Tensor) -> Tensor:
        norm, second, head = self.norm, self.second, self.head
        x = self.first(x)
        if self.way == "batch_norm":
            x = F.batch_norm(x, norm.running_mean, norm.running_var, norm.weight, norm.bias, self.training)
        else:
            x = norm(x)
        x = self.activate(x)
        if self.way == "conv2d":
            y = F.conv2d(x, second.weight, second.bias, padding=1)
        elif self.way == "conv2d and bias":
            y = F.conv2d(x, second.weight, padding=1)
            y += second.bias.view(1, -1, 1, 1)
        else:
            y = second(x)
        y = self.activate(y.flatten(1)).view_as(y) if self.way == "flat" else self.activate(y)
        x = self.option(torch.stack([x, y]).sum(0) if self.way == "stack" else x + y)
        x = self._pooled(x)
        if self.way == "matmul":
            return x @ head.weight.T + head.bias
        if self.way == "addmm":
            return torch.addmm(head.bias, x, head.weight.t())
        if self.way == "einsum":
            return torch.einsum("nd,kd->nk", x, head.weight) + head.bias
        return self.head(x)

    def _pooled(self, x: Tensor) -> Tensor:
        if self.way == "mean":
            return x.mean((2, 3))
        if self.way == "mean by mean":
            return x.mean(3).mean(2)
        if self.way == "sum":
            return x.sum((2, 3)) / x[0, 0].numel()
        if self.way == "einsum over places":
            return torch.einsum("nchw->nc", x) / x[0, 0].numel()
        return self.pool(x).view(len(x), -1) if self.way == "view" else self.flat(self.pool(x))


WAYS = (
    *RECTIFIERS, "conv2d", "conv2d and bias", "batch_norm", "matmul", "addmm", "einsum", "mean", "mean by mean", "sum",
    "einsum over places", "stack", "flat", "view",
)  # fmt: skip
FORWARD = ("meco:size=8", "near:batch=8", "dextr:batch=8", "zen:batch=4", "naswot:batch=8", "nonlinear_units")
BACKWARD = ("fisher:batch=8", "gradsign:batch=4", "snip:batch=8", "grasp:batch=8", "jacob_cov:batch=8", "synflow")
OTHERS = (
    "vkdnw:batch=4",
    "l_swag:batch=8",
    "swap:batch=4,repeats=1",
    "epsilon:batch=8",
    "te_nas_ntk:repeats=1,batch=4",
    "nasgraph",
    "eigen_nas:repeats=1,batch=4",
    "epsilon_log:batch=4",
    "knas:batch=8",
    "zico:batch=8",
    "das:batch=8",
)


def estimates(way: str, names: tuple[str, ...]) -> dict[str, Estimate]:
    torch.set_num_threads(1)
    space = ModelSpace(Net(way), name="written")
    setting = Setting(space, tiny_task(examples=60).sealed())
    return {name: create("estimator", name).estimate([space.parse("o=a")], setting)[0] for name in names}


@pytest.fixture(scope="module")
def expected() -> dict[str, Estimate]:
    values = estimates("modules", FORWARD + BACKWARD + OTHERS)
    assert all(math.isfinite(values[name].value) for name in FORWARD + BACKWARD), values
    return values


@pytest.mark.parametrize("way", WAYS)
def test_a_score_is_one_value_or_says_that_it_is_undefined(way: str, expected: dict[str, Estimate]) -> None:
    for name, estimate in estimates(way, FORWARD + BACKWARD + OTHERS).items():
        if math.isnan(estimate.value):
            assert estimate.reason, name
            assert name in OTHERS or way in ("einsum", "flat"), f"{name}: {estimate.reason}"
        else:
            assert estimate.value == pytest.approx(expected[name].value, rel=1e-3), name


def test_a_sigmoid_times_its_input_is_an_activation() -> None:
    layers, by_hand = estimates("silu", FORWARD), estimates("silu by hand", FORWARD)
    for name, estimate in layers.items():
        assert by_hand[name].value == pytest.approx(estimate.value, rel=1e-3), name


class OwnWeights(nn.Module):
    """The same layers, as such or as bare parameters, in parts of a user's own or not."""

    def __init__(self, way: str) -> None:
        super().__init__()
        first, head = nn.Conv2d(1, 4, 3, padding=1), nn.Linear(4, 3)
        self.way = way
        if way == "layers":
            self.first, self.head = first, head
        else:
            self.weights = nn.ParameterList([first.weight.detach(), first.bias.detach(), head.weight.detach()])
            self.last = nn.Parameter(head.bias.detach())

    def forward(self, x: Tensor) -> Tensor:
        if self.way == "layers":
            return self.head(F.relu(self.first(x)).mean((2, 3)))
        weight, bias, head = self.weights
        x = F.relu(F.conv2d(x, weight, bias, padding=1)).mean((2, 3))
        return torch.matmul(x, head.T).add(self.last)


def test_bare_parameters_are_weights_like_those_of_layers(monkeypatch: pytest.MonkeyPatch) -> None:
    def values(way: str) -> dict[str, Estimate]:
        def build(*_: object, **__: object) -> nn.Module:
            torch.manual_seed(0)
            return OwnWeights(way)

        monkeypatch.setattr(subject, "build", build)
        return estimates("modules", FORWARD + BACKWARD + ("swap:batch=4,repeats=1", "epsilon:batch=8"))

    with torch.random.fork_rng(devices=[]):
        layers, bare = values("layers"), values("bare")
    for name in ("meco:size=8", "near:batch=8", "dextr:batch=8", "naswot:batch=8", *BACKWARD):
        assert bare[name].value == pytest.approx(layers[name].value, rel=1e-3, nan_ok=True), bare[name].reason
    for name in ("zen:batch=4", "swap:batch=4,repeats=1", "epsilon:batch=8"):
        assert math.isnan(bare[name].value), name
        assert bare[name].reason


class InPlace(nn.Module):
    """A sum that changes a layer's output in place, or not; layers with made weights."""

    def __init__(self, way: str) -> None:
        super().__init__()
        self.way, self.first, self.second = way, nn.Conv2d(1, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1)
        if way == "made":
            nn.utils.parametrizations.weight_norm(self.second)
        self.head = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        y = self.second(F.relu(x))
        if self.way == "in place":
            y += x
        else:
            y = y + x
        return self.head(y.mean((2, 3)))


def test_layers_are_seen_as_they_were(monkeypatch: pytest.MonkeyPatch) -> None:
    def values(way: str, *names: str) -> list[Estimate]:
        def build(*_: object, **__: object) -> nn.Module:
            torch.manual_seed(0)
            return InPlace(way)

        monkeypatch.setattr(subject, "build", build)
        return list(estimates("modules", names).values())

    with torch.random.fork_rng(devices=[]):
        names = (*FORWARD, *BACKWARD, "l_swag:batch=8")
        for one, other in zip(values("", *names), values("in place", *names), strict=True):
            assert other.value == pytest.approx(one.value, rel=1e-3), one
        for made in values("made", "swap:batch=4,repeats=1", "l_swag:batch=8", "gradsign:batch=4", "vkdnw:batch=4"):
            assert "makes its weights" in made.reason


def test_batch_statistics_of_one_thread_are_not_those_of_another():
    class Normalised(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("mean", torch.zeros(3))
            self.register_buffer("variance", torch.ones(3))
            self.meet = None

        def forward(self, x):
            if self.meet is not None:
                self.meet.wait()  # both threads are within a module that normalises
            return F.batch_norm(x, self.mean, self.variance, training=self.training)

    meet = threading.Barrier(2, timeout=20)
    x = torch.randn(8, 3, 4, 4, generator=torch.Generator().manual_seed(0)) * 5 + 2

    def answer(_) -> torch.Tensor:
        network = Normalised().eval()
        by_batch_statistics(network)
        network.meet = meet
        return network(x)

    with ThreadPoolExecutor(2) as pool:
        for outputs in pool.map(answer, range(2)):
            assert torch.allclose(outputs.mean((0, 2, 3)), torch.zeros(3), atol=1e-5)
