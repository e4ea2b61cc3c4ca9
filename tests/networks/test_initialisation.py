"""What was given to a module is kept and what its layers drew is drawn anew, told apart without a record of either."""

import copy
import io
import warnings
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from archscout.networks.choices import Conv2d, Linear, OneOf, Width
from archscout.networks.initialisation import adopt, looks_drawn
from archscout.networks.pick import build
from archscout.spaces.model import ModelSpace
from archscout.testing import tiny_task


class Net(nn.Module):
    """Layers of many kinds, none of which was touched after it was made."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 8, 3, padding=1)
        self.norm = nn.BatchNorm2d(8)
        self.act = OneOf({"relu": nn.ReLU(), "gelu": nn.GELU()}, name="act")
        self.memory = nn.LSTM(8, 8, batch_first=True)
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)
        self.words = nn.Embedding(9, 8)
        self.head = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.act(self.norm(self.conv(x))).flatten(2).transpose(1, 2) + self.words.weight[0]
        x = self.memory(x)[0]
        return self.head((x + self.attention(x, x, x)[0]).mean(1))


def network(module: nn.Module, seed: int = 0, text: str = "act=relu") -> nn.Module:
    space = ModelSpace(module)
    return build(space, space.parse(text), tiny_task(), seed=seed)


def test_what_layers_drew_themselves_is_never_taken_for_given() -> None:
    for seed in range(30):
        torch.manual_seed(seed)
        net = Net()
        assert adopt(net).given == {}
        assert adopt(copy.deepcopy(net)).given == {}, "a copy has no record of how often it was written"
    stored = io.BytesIO()
    torch.save(net, stored)
    stored.seek(0)
    assert adopt(torch.load(stored, weights_only=False)).given == {}
    net(torch.rand(4, 1, 8, 8))
    assert adopt(net).given == {}, "a pass to try it out moves running statistics"


def test_fresh_layers_differ_by_seed_and_the_same_seed_gives_the_same() -> None:
    one, other, again = (network(Net(), seed).state_dict() for seed in (1, 2, 1))
    assert all(torch.equal(one[name], again[name]) for name in one)
    assert not torch.equal(one["head.weight"], other["head.weight"])


def loaded(net: Net) -> None:
    torch.manual_seed(7)
    net.load_state_dict({name: torch.randn_like(t) * 0.1 + 1 if t.is_floating_point() else t
                         for name, t in net.state_dict().items()})  # fmt: skip


def frozen(net: Net) -> None:
    net.conv.requires_grad_(False)


def by_its_own_code(net: Net) -> None:
    nn.init.orthogonal_(net.head.weight)


def by_data(net: Net) -> None:
    net.head.weight.data = torch.eye(8)[:3]


def replaced(net: Net) -> None:
    net.conv.weight = nn.Parameter(torch.eye(9)[:8].view(8, 1, 3, 3))


def trained(net: Net) -> None:
    optimizer = torch.optim.SGD(net.parameters(), 0.1)
    net(torch.rand(8, 1, 8, 8)).pow(2).sum().backward()
    optimizer.step()


@pytest.mark.parametrize(
    ("give", "names"),
    [
        (loaded, {"conv.weight", "conv.bias", "norm.weight", "norm.running_mean", "memory.weight_ih_l0",
                  "attention.in_proj_weight", "attention.out_proj.bias", "words.weight", "head.weight", "head.bias"}),
        (frozen, {"conv.weight", "conv.bias"}),
        (by_its_own_code, {"head.weight"}),
        (by_data, {"head.weight", "head.bias"}),
        (replaced, {"conv.weight", "conv.bias"}),
        (trained, {"conv.weight", "norm.weight", "norm.running_mean", "head.weight", "head.bias"}),
    ],
)  # fmt: skip
def test_what_was_given_is_kept_in_every_network(give: Callable[[Net], None], names: set[str]) -> None:
    net = Net()
    give(net)
    space = ModelSpace(net)
    assert names <= set(space.given)
    if give not in (loaded, trained):
        assert set(space.given) == names
    for seed in (1, 2):
        built = build(space, space.parse("act=gelu"), tiny_task(), seed=seed)
        for name in names:
            assert torch.equal(built.state_dict()[name], net.state_dict()[name]), name
        assert built.conv.weight.requires_grad == (give is not frozen)


def test_a_layer_with_choices_keeps_what_was_given_at_its_largest_size() -> None:
    class Wide(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            width = Width(2, 4, name="w")
            self.stem = Conv2d(1, width, 3)
            self.head = nn.Sequential(nn.Flatten(), Linear(width * 64, 3))

        def forward(self, x: Tensor) -> Tensor:
            return self.head(self.stem(x))

    net = Wide()
    nn.init.dirac_(net.stem.largest.weight)
    net.stem.requires_grad_(False)
    space, task = ModelSpace(net), tiny_task()
    assert space.given == {"stem.largest.weight": "frozen", "stem.largest.bias": "frozen"}
    wide, narrow = (build(space, space.parse(f"w={w}"), task) for w in (4, 2))
    assert torch.equal(wide.stem.weight, net.stem.largest.weight)
    assert not wide.stem.weight.requires_grad
    assert narrow.stem.weight.requires_grad, "frozen noise would be worse than nothing"
    assert not torch.equal(narrow.stem.weight, net.stem.largest.weight[:2])
    assert wide.head[1].weight.requires_grad


NORMALISED = {
    "weight": nn.utils.parametrizations.weight_norm,
    "spectral": nn.utils.parametrizations.spectral_norm,
    "weight, old": nn.utils.weight_norm,
    "spectral, old": nn.utils.spectral_norm,
}


@pytest.mark.parametrize("kind", NORMALISED)
def test_normalised_weights_start_from_the_seed(kind: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # the old kinds
        layer = NORMALISED[kind](nn.Linear(64, 3))
    net = nn.Sequential(nn.Flatten(), OneOf({"relu": nn.ReLU(), "tanh": nn.Tanh()}, name="act"), layer)
    net(torch.rand(2, 1, 8, 8))  # the old kinds cannot be copied after this
    assert adopt(net).given == {}
    first, second, again = (network(net, seed) for seed in (1, 2, 1))
    one, two, three = ([parameter.detach() for parameter in each.parameters()] for each in (first, second, again))
    assert not any(torch.equal(a, b) for a, b in zip(one, two, strict=True))
    assert all(torch.equal(a, b) for a, b in zip(one, three, strict=True))
    assert len(list(first.parameters())) == len(list(net.parameters()))
    if "spectral" in kind:
        assert float(torch.linalg.matrix_norm(first[2].weight.detach(), 2)) == pytest.approx(1, abs=0.05)
    else:
        assert float(first[2].weight.detach().abs().max()) <= 1 / 8 + 1e-6, "the bound of the plain layer"
    copy.deepcopy(first)


def test_a_computed_weight_without_an_inverse_starts_from_the_seed() -> None:
    class Symmetric(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x.triu() + x.triu(1).mT

    layer = nn.utils.parametrizations.parametrize.register_parametrization(nn.Linear(64, 64), "weight", Symmetric())
    net = nn.Sequential(nn.Flatten(), OneOf({"relu": nn.ReLU(), "tanh": nn.Tanh()}, name="act"), layer)
    net.append(nn.Linear(64, 3))
    assert adopt(net).given == {}
    first, second, again = (network(net, seed)[2].weight.detach() for seed in (1, 2, 1))
    assert torch.equal(first, first.mT)
    assert torch.equal(first, again)
    assert not torch.equal(first, second)
    assert 0.05 < float(first.std()) < 0.1, "as the plain layer draws it: uniform up to 1/8"


def test_draws_are_told_from_values() -> None:
    torch.manual_seed(0)
    for drawn in (torch.randn(8, 8), torch.rand(100) - 0.5, nn.init.trunc_normal_(torch.empty(50, 50), a=-2, b=2)):
        assert looks_drawn(drawn)
    for value in (torch.zeros(64), torch.eye(8), torch.tensor(0.7), torch.arange(64.0), torch.randn(500) ** 3):
        assert not looks_drawn(value)


def test_a_sparse_tensor_is_knowledge() -> None:
    class Graph(Net):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("edges", torch.eye(64).to_sparse())

    assert not looks_drawn(torch.eye(64).to_sparse())
    assert ModelSpace(Graph()).digest == ModelSpace(Graph()).digest


def test_a_module_that_draws_its_own_start_is_the_same_space_each_time() -> None:
    class Own(Net):
        def __init__(self) -> None:
            super().__init__()
            self.place = nn.Parameter(torch.randn(1, 8, 8, 8))
            nn.init.normal_(self.head.weight, std=0.02)

    assert ModelSpace(Own()).digest == ModelSpace(Own()).digest
    set_by_hand = Own()
    nn.init.eye_(set_by_hand.head.weight)
    assert ModelSpace(set_by_hand).digest != ModelSpace(Own()).digest
