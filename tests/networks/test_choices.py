"""Choices in modules of one's own: layers of every kind, plain values, and numbers that must be seen."""

import copy
import itertools
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrizations

import archscout
from archscout.core.errors import UsageError
from archscout.core.seeds import stream
from archscout.networks.choices import (
    BatchNorm2d,
    Conv1d,
    Conv2d,
    ConvTranspose2d,
    Depth,
    Embedding,
    GroupNorm,
    Kernel,
    LayerNorm,
    Linear,
    OneOf,
    Value,
    Width,
)
from archscout.networks.numbers import same_number
from archscout.networks.pick import build
from archscout.spaces.model import ModelSpace
from archscout.supernets.supernet import Supernet
from archscout.testing import SpaceConformance, tiny_task


class Wide(nn.Module):
    """Every kind of layer with choices, plain values in attributes and in torch's layers, widths read in forward."""

    def __init__(self) -> None:
        super().__init__()
        self.width = width = Width(4, 8, name="w")
        self.stem = Conv2d(1, width, Kernel(3, 5, name="k"), padding=Value(1, 2, name="pad"), dilation=1)
        self.grouped = Conv2d(width, width, 3, dilation=Value(1, 2, name="d"), groups=Value(1, 2, 4, name="g"))
        self.norm = GroupNorm(Value(1, 2, name="groups"), width)
        self.up = ConvTranspose2d(width, width, Kernel(3, 5, name="up"), 2)
        self.skip = OneOf([nn.ReLU(), None, nn.ReLU()], name="skip")
        self.line = Conv1d(width, 2 * width, Kernel(1, 3, name="line"))
        self.last = LayerNorm([width, 2])
        self.words = Embedding(5, width)
        self.drop = nn.Dropout(Value(0.0, 0.25, name="drop"))
        self.scale = Value(1.0, 0.5)
        self.heads = Value(2, 4, name="heads")
        self.act = Value("relu", "gelu", name="act")
        self.head = Linear(width, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = F.adaptive_avg_pool2d(self.skip(self.up(self.norm(self.grouped(self.stem(x))))), 2)
        x = self.line(x.flatten(2)).reshape(len(x), 2, self.width, 4)[:, 0]
        x = self.last(x.reshape(len(x), self.width, 2, 2).mean(3)).transpose(1, 2) * self.scale
        x = getattr(F, self.act)(x.reshape(len(x), self.heads, -1)).reshape(len(x), -1, self.width // 2 * 2)
        return self.drop(self.head(x.mean(1) + self.words(torch.zeros(len(x), dtype=torch.long, device=x.device))))


class TestWide(SpaceConformance):
    networks = 12

    def space(self) -> ModelSpace:
        return ModelSpace(Wide())


def test_a_value_becomes_what_is_chosen_wherever_it_lies() -> None:
    space, task = ModelSpace(Wide()), tiny_task()
    base = {choice.name: choice.options[-1] for choice in space.choices}
    network = build(space, space.architecture(base), task)
    assert (network.drop.p, network.scale, network.heads, network.act) == (0.25, 0.5, 4, "gelu")
    assert {type(value) for value in (network.scale, network.heads, network.act)} == {float, int, str}
    assert (network.grouped.groups, network.grouped.dilation, network.norm.num_groups) == (4, (2, 2), 2)
    assert network.last.normalized_shape == (8, 2)
    assert network.line.weight.shape == (16, 8, 3)
    assert network.words.weight.shape == (5, 8)


def test_a_supernet_runs_as_each_network_does() -> None:
    space, task = ModelSpace(Wide()), tiny_task()
    supernet = Supernet(space, task).eval()
    x = torch.randn(3, 1, 8, 8)
    for number in range(8):
        architecture = space.sample(stream(number))
        network = supernet.extract(architecture).eval()
        torch.testing.assert_close(supernet.select(architecture)(x), network(x))
    twin = copy.deepcopy(supernet)
    twin.select(space.sample(stream(99)))(x)
    torch.testing.assert_close(supernet.select(architecture)(x), network(x))


@pytest.mark.parametrize("kernel", [2, 3, 4, 5])
def test_a_transposed_convolution_enlarges_exactly(kernel: int) -> None:
    assert ConvTranspose2d(2, 3, kernel, 2)(torch.zeros(1, 2, 5, 7)).shape == (1, 3, 10, 14)


def test_the_module_runs_as_it_stands_with_first_values() -> None:
    net = Wide()
    assert net(torch.zeros(2, 1, 8, 8)).shape == (2, 3)
    assert net.drop.p == 0.0
    assert 1 - net.scale == 0.0
    assert f"{net.act}" == "relu"
    again = pickle.loads(pickle.dumps(copy.deepcopy(net)))
    assert again.heads.options == (2, 4)
    assert ModelSpace(again).digest == ModelSpace(net).digest


def test_options_of_a_list_are_called_after_their_class() -> None:
    assert OneOf([nn.ReLU(), nn.GELU(), None]).options == ("ReLU", "GELU", "none")
    assert OneOf([nn.ReLU(), nn.Tanh(), nn.ReLU()]).options == ("ReLU0", "Tanh", "ReLU2")
    assert OneOf({"a": None, "b": nn.ReLU()}, name="o")(torch.tensor(-1.0)) == -1


def test_numbers_of_numpy_are_numbers() -> None:
    assert Width(np.int64(4), np.int32(8)).options == (4, 8)
    assert all(type(option) is int for option in Kernel(np.int64(3), 5).options)
    assert Conv2d(np.int64(3), 4, np.int8(3)).largest.in_channels == 3
    assert Value(np.float32(0.5), 1).options == (0.5, 1.0)
    for wrong in (True, np.bool_(True), 2.0, "8"):
        with pytest.raises(UsageError, match="whole number"):
            Width(4, wrong)
    with pytest.raises(UsageError, match="whole number"):
        Linear(True, 2)


def test_the_same_number_twice_is_the_same_number() -> None:
    w, v = Width(4, 8, name="w"), Width(2, 4)
    Conv2d(w * 2, w * 2, 3, depthwise=True)
    Conv2d(Width(4, 8, name="w"), w, 3, depthwise=True)
    Conv2d(w * 2, 2 * w, 3, depthwise=True)
    Conv2d(w + w, w * 2, 3, depthwise=True)
    assert same_number(w // 2 * 2, w)
    assert not same_number(v // 4, v)
    for inputs, outputs in ((w, v), (w, w * 2), (w, 8), (Width(4, 8), Width(4, 8))):
        with pytest.raises(UsageError, match="as many outputs as inputs"):
            Conv2d(inputs, outputs, 3, depthwise=True)


def test_comparisons_that_hold_whatever_is_chosen_are_plain() -> None:
    w = Width(4, 8)
    assert w > 0
    assert w % 2 == 0
    assert w <= 8
    assert w == w
    assert w != 5


def made(function: Callable[[Width], Any]) -> nn.Module:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            width = Width(4, 8, name="w")
            self.stem = Conv2d(1, width, 3)
            self.made = function(width)
            self.pool = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
            self.head = Linear(width, 3)

        def forward(self, x: Tensor) -> Tensor:
            x = self.stem(x)
            if isinstance(self.made, nn.Module):
                x = self.made(x)
            elif isinstance(self.made, Tensor):
                x = x * self.made
            return self.head(self.pool(x))

    return Net()


BAKED = {
    "Conv2d": lambda w: nn.Conv2d(w, w, 3, padding=1),
    "GroupNorm": lambda w: nn.GroupNorm(2, w),
    "LayerNorm": lambda w: nn.LayerNorm([w, 8, 8]),
    "BatchNorm2d": lambda w: nn.BatchNorm2d(w),
    "ConvTranspose2d": lambda w: nn.ConvTranspose2d(w, w, 1),
    "deep": lambda w: nn.Sequential(nn.ModuleDict({"a": nn.BatchNorm2d(w * 1)})["a"]),
}


@pytest.mark.parametrize("name", BAKED)
def test_a_layer_of_torch_that_would_keep_a_width_is_refused(name: str) -> None:
    kind = "BatchNorm2d" if name == "deep" else name
    with pytest.raises(UsageError, match=rf"torch's {kind} \('made.*use archscout's own {kind}"):
        ModelSpace(made(BAKED[name]))


PLAIN = {
    "parameter": lambda w: nn.Parameter(torch.ones(w, 1, 1)),
    "int": lambda w: nn.BatchNorm2d(int(w)),
    "range": lambda w: nn.Sequential(*(nn.ReLU() for _ in range(w))),
    "if": lambda w: nn.ReLU() if w > 4 else nn.GELU(),
    "max": lambda w: nn.BatchNorm2d(max(w, 6)),
}


@pytest.mark.parametrize("name", PLAIN)
def test_a_width_that_was_taken_as_a_plain_number_is_refused(name: str) -> None:
    with pytest.raises(UsageError, match=r"was taken as a plain number where Net .*line \d+|torch's BatchNorm2d"):
        ModelSpace(made(PLAIN[name]))


@pytest.mark.parametrize("function", [lambda w: w * 0.5, lambda w: w / 2, lambda w: 0.5 * w, lambda w: w + 0.5])
def test_arithmetic_that_gives_no_whole_number_is_refused_where_it_is_written(function: Any) -> None:
    with pytest.raises(UsageError, match="no whole number"):
        function(Width(4, 8))


def test_layers_of_torch_that_read_a_number_when_they_run_take_it() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.pool = nn.AdaptiveAvgPool2d(Width(1, 2, name="size"))
            self.attention = nn.MultiheadAttention(8, Value(2, 4, name="heads"), batch_first=True)
            self.stem, self.head = nn.Conv2d(1, 8, 3), nn.Linear(8, 3)

        def forward(self, x: Tensor) -> Tensor:
            x = self.pool(self.stem(x)).flatten(2).transpose(1, 2)
            return self.head(self.attention(x, x, x)[0].mean(1))

    space, task = ModelSpace(Net()), tiny_task()
    network = build(space, space.parse("size=2,heads=4"), task)
    assert (network.pool.output_size, network.attention.num_heads, network.attention.head_dim) == (2, 4, 2)
    supernet = Supernet(space, task).eval()
    for architecture in space:
        x = torch.randn(2, 1, 8, 8)
        torch.testing.assert_close(supernet.select(architecture)(x), supernet.extract(architecture).eval()(x))


def test_lazy_layers_follow_the_widths_before_them() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = nn.Sequential(Conv2d(1, Width(4, 8, name="w"), 3), nn.LazyBatchNorm2d(), nn.Flatten())
            self.head = nn.LazyLinear(3)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(self.body(x))

    space, task = ModelSpace(Net()), tiny_task()
    space.check_task(task)
    for width, device in itertools.product((4, 8), ("cpu", "meta")):
        network = build(space, space.parse(f"w={width}"), task, device=device)
        assert (network.head.in_features, network.body[1].num_features) == (64 * width, width)
    one, two = (build(space, space.parse("w=4"), task, seed=seed).head.weight for seed in (1, 2))
    assert not torch.equal(one, two)
    assert archscout.cost("params").measure(
        space.parse("w=4"), archscout_setting(space, task)
    ).value == 40 + 8 + 256 * 3 + 3  # fmt: skip
    with pytest.raises(UsageError, match="lazy layers"):
        Supernet(space, task)


def archscout_setting(space: ModelSpace, task: Any) -> Any:
    from archscout.core.estimator import Setting

    return Setting(space, task)


def test_a_space_of_which_most_does_not_run_is_refused() -> None:
    net = nn.Sequential(Conv2d(1, Width(2, 4, 8, name="w"), 3), nn.Flatten(), nn.Linear(8 * 64, 3))
    with pytest.raises(UsageError, match=r"2 of 3 architectures .* do not run, the first 'w=2': .*follow the choices"):
        ModelSpace(net).check_task(tiny_task())


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Value(), "must be given different"),
        (lambda: Value(1, 1), "must be given different"),
        (lambda: Value(1, "a"), "of one kind"),
        (lambda: Value(nn.ReLU()), "must be given different"),
        (lambda: Value(float("nan"), 1.0), "of one kind"),
        (lambda: OneOf(None), "no option"),  # type: ignore[arg-type]
        (lambda: OneOf("relu"), "no option"),  # type: ignore[arg-type]
        (lambda: GroupNorm("2", 4), "as groups"),  # type: ignore[arg-type]
    ],
)
def test_wrong_use_is_one_clear_error(make: Callable[[], Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        make()


def test_a_value_that_a_layer_is_made_with_is_refused() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.drop = nn.Dropout(Value(0.1, 0.2) / 2)

    with pytest.raises(UsageError, match="compute with it in the forward pass"):
        Net()
    with pytest.raises(UsageError, match=r"torch's Linear \('0'\)"):
        ModelSpace(nn.Sequential(nn.Linear(4, Value(2, 3)), OneOf([nn.ReLU(), None])))


def test_values_and_widths_are_exported_by_name() -> None:
    assert archscout.Value is Value
    for kind in (BatchNorm2d, Conv1d, ConvTranspose2d, Depth, Embedding, GroupNorm, LayerNorm):
        assert getattr(archscout, kind.__name__) is kind


def test_arithmetic_that_rounds_is_a_number() -> None:
    w = Width(3, 8, name="w")
    values = {3: (2, 4, 0, 9), 8: (4, 8, 2, 64)}
    numbers = (-(-w // 2), -(-w // 4) * 4, w % 3, w**2)
    assert [number.largest() for number in numbers] == list(values[8])
    for option, expected in values.items():
        assert tuple(number.resolve(lambda _, option=option: option) for number in numbers) == expected
    with pytest.raises(UsageError, match="no whole number"):
        _ = w**-1


def test_hooks_of_layers_with_choices_stay() -> None:
    def make() -> nn.Module:
        net = nn.Sequential(nn.Flatten(), Linear(64, Width(4, 8, name="w")), OneOf([nn.ReLU(), nn.Tanh()], name="o"))
        net.append(Linear(Width(4, 8, name="w"), 3))
        net[1].register_forward_pre_hook(lambda _module, inputs: (inputs[0] * 2,))
        net[2].register_forward_hook(lambda _module, _inputs, y: y * 3)
        net[3].largest.register_forward_hook(lambda _module, _inputs, y: y + 1)
        net[2].register_full_backward_hook(lambda _module, gradients, _outputs: (gradients[0] * 0,))
        return net

    space, task, x = ModelSpace(make()), tiny_task(), torch.rand(2, 1, 8, 8)
    supernet = Supernet(space, task).eval()
    for architecture in space:
        network = supernet.extract(architecture)
        act = torch.relu if architecture["o"] == "ReLU" else torch.tanh
        first, last = network[1], network[3]
        by_hand = F.linear(act(F.linear(x.flatten(1) * 2, first.weight, first.bias)) * 3, last.weight, last.bias) + 1
        torch.testing.assert_close(network(x), by_hand)
        torch.testing.assert_close(supernet.select(architecture)(x), by_hand)
        network(x).sum().backward()
        assert last.weight.grad is not None
        assert not first.weight.grad.any()


def test_layers_with_choices_share_weights() -> None:
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            width = Width(4, 8, name="w")
            self.words, self.body = Embedding(3, width), Linear(64, width)
            self.head = Linear(width, 3, bias=False)
            self.head.weight = self.words.weight
            nn.init.constant_(self.body.bias, 0.5)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(self.body(x.flatten(1)) + self.words(torch.zeros(len(x), dtype=torch.long)))

    space, task = ModelSpace(Tied()), tiny_task()
    for architecture in space:
        width = architecture["w"]
        for device in ("cpu", "meta"):
            network = build(space, architecture, task, device=device)
            assert network.head.weight is network.words.weight
            assert sum(p.numel() for p in network.parameters()) == 3 * width + 64 * width + width
    assert network.body.bias.shape == (8,)
    assert bool((build(space, space.parse("w=8"), task).body.bias == 0.5).all())
    supernet = Supernet(space, task).eval()
    assert supernet.network.head.weight is supernet.network.words.weight


def bound(kind: str) -> nn.Module:
    net = nn.Sequential(nn.Flatten(), Linear(64, Width(4, 8, name="w")), nn.Linear(64, 8))
    if kind == "shared with a plain layer":
        net[2].weight = net[1].weight
    elif kind == "parametrization":
        parametrizations.weight_norm(net[1].largest)
    else:
        net[2].weight.register_hook(lambda gradient: gradient * 0)
    return net


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("shared with a plain layer", "layer '2' shares a weight with a layer that has choices"),
        ("parametrization", "layer '1' has a parametrization, which layers with choices cannot keep"),
        ("gradient hook", r"parameter '2\.weight' .* has a hook on its gradient, which copies lose"),
    ],
)
def test_what_copies_would_lose_is_refused(kind: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        ModelSpace(bound(kind))
