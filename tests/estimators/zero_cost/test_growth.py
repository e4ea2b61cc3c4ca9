"""Second derivatives along the weights against those of autograd, by the gradient of a gradient."""

import copy
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from archscout.core.estimator import Setting
from archscout.core.registry import create
from archscout.core.seeds import stream
from archscout.estimators.zero_cost.growth import NoRule, grown
from archscout.estimators.zero_cost.harness import Subject, prepared
from archscout.testing.tasks import tiny_task

SPACES = ("nasbench201:width=4,cells=2", "darts:layers=3,width=4", "enas", "nasbench_macro")


def twice(network: nn.Module, loss: Tensor) -> list[Tensor]:
    """H theta + g."""
    weights = [p for p in network.parameters() if p.ndim > 1]
    first = torch.autograd.grad(loss, weights, create_graph=True, allow_unused=True, materialize_grads=True)
    product = sum(((w.detach() * g).sum() for w, g in zip(weights, first, strict=True)), torch.zeros(()))
    second = torch.autograd.grad(product, weights, allow_unused=True, materialize_grads=True)
    return [g.detach() + h for g, h in zip(first, second, strict=True)]


def compare(network: nn.Module, x: Tensor, y: Tensor) -> None:
    weights = [p for p in network.parameters() if p.ndim > 1]
    expected = twice(network, F.cross_entropy(network(x), y))
    found = grown(network, x, lambda outputs: F.cross_entropy(outputs, y), list(weights))
    scale = max(float(each.abs().max()) for each in expected)
    for one, other in zip(found, expected, strict=True):
        assert torch.allclose(other if one is None else one, other, rtol=1e-7, atol=1e-11 * scale)
        assert one is not None or not bool(other.any())


@pytest.mark.parametrize("name", SPACES)
def test_networks_of_spaces(name: str) -> None:
    setting = Setting(create("space", name), tiny_task((3, 32, 32), 4, 40).sealed(), seed=3)
    subject = Subject(setting.space.sample(stream(1, "growth")), setting, {}, {})
    x, y = subject.inputs(6)
    compare(copy.deepcopy(subject.network).double(), x.double(), y)


class Plain(nn.Module):
    """Layers with biases, functions in place of modules, sums that begin with 0, parts of padded maps."""

    def __init__(self, end: Callable[[Tensor], Tensor] = lambda x: x) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 4, 3, padding=1)
        self.norm = nn.BatchNorm2d(4, affine=False)
        self.weight = nn.Parameter(torch.randn((4, 4, 3, 3), generator=torch.Generator().manual_seed(4)) / 6)
        self.linear = nn.Linear(8, 5)
        self.scale = nn.Parameter(torch.ones((8, 1)))
        self.end = end

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(self.first(x))
        x = sum([x, F.relu(x), F.conv2d(x.relu(), self.weight, torch.ones(4, dtype=x.dtype), padding=1)])
        x = torch.cat([F.max_pool2d(x, 3, 1, 1), F.pad(x, (0, 1, 0, 1))[:, :, 1:, 1:]], 1)
        return self.linear(self.end(x).mean((2, 3)))  # type: ignore[no-any-return]


def test_functions_in_place_of_modules() -> None:
    torch.default_generator.manual_seed(2)
    network = prepared(Plain()).double()
    x = torch.randn((6, 3, 8, 8), dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    compare(network, x, torch.arange(6) % 5)


UNKNOWN: dict[str, Callable[[Tensor], Tensor]] = {
    "products": lambda x: x * x,
    "constants": lambda x: x + 1,
    "other functions": F.gelu,
    "means over examples": lambda x: x + x.mean(0).expand_as(x),
    "single examples": lambda x: x[:1].expand_as(x),
    "other padding": lambda x: F.pad(x, (1, 1, 1, 1), value=1.0),
    "weights that are made": lambda x: F.conv2d(x, torch.ones((8, 8, 1, 1), dtype=x.dtype)),
    "what is cut off": lambda x: x.detach(),
    "kept statistics": lambda x: F.batch_norm(x, torch.zeros(8).to(x), torch.ones(8).to(x)),
    "turned dimensions": lambda x: x.transpose(2, 3),
}


@pytest.mark.parametrize("name", UNKNOWN)
def test_what_has_no_rule_is_said(name: str) -> None:
    network, x = prepared(Plain(UNKNOWN[name])).double(), torch.ones((6, 3, 8, 8), dtype=torch.float64)
    with pytest.raises(NoRule, match=r"rule|parameters|statistics"):
        grown(network, x, lambda outputs: outputs.square().mean(), [])
