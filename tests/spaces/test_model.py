"""A user's own module as a space, against networks that are written out by hand."""

import copy

import cloudpickle
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from archscout.core.errors import UsageError
from archscout.core.seeds import stream
from archscout.networks.choice_layer import ChoiceLayer
from archscout.networks.choices import (
    BatchNorm2d,
    Computed,
    Conv2d,
    Depth,
    Kernel,
    Linear,
    OneOf,
    Width,
)
from archscout.networks.elastic import Elastic
from archscout.networks.numbers import NumberChoice
from archscout.networks.pick import build
from archscout.spaces.model import ModelSpace
from archscout.supernets.supernet import Supernet
from archscout.testing import SpaceConformance, tiny_task
from archscout.training.trainer import Recipe, train


class Block(nn.Module):
    def __init__(self, width):
        super().__init__()
        hidden = width * Width(1, 2, name="expansion")
        self.conv = OneOf(
            {
                "full": Conv2d(width, width, Kernel(3, 5)),
                "bottleneck": nn.Sequential(
                    Conv2d(width, hidden, 1),
                    BatchNorm2d(hidden),
                    OneOf({"relu": nn.ReLU(), "gelu": nn.GELU()}),
                    Conv2d(hidden, hidden, Kernel(3, 5), depthwise=True, bias=False),
                    Conv2d(hidden, width, 1),
                ),
                "none": nn.Identity(),
            }
        )
        self.norm = BatchNorm2d(width)

    def forward(self, x):
        return x + self.norm(self.conv(x))


class Net(nn.Module):
    """Everything at once: shared numbers and names, arithmetic, nesting, ties, loose tensors, a number in forward."""

    def __init__(self, classes=3):
        super().__init__()
        self.width = Width(4, 6, 8)
        self.stem = Conv2d(1, self.width, Kernel(3, 5), stride=2)
        self.act = OneOf({"relu": nn.ReLU(), "hswish": nn.Hardswish(), 0.5: nn.Dropout(0.5)}, name="act")
        self.body = Depth([Block(self.width) for _ in range(2)], minimum=0)
        self.act2 = OneOf({"relu": nn.ReLU(), "hswish": nn.Hardswish(), 0.5: nn.Dropout(0.5)}, name="act")
        self.scale = nn.Parameter(torch.full((), 0.7))
        self.register_buffer("shift", torch.full((), 0.1))
        features = Width(6, 10)
        self.neck = Linear(self.width * 16, features)
        self.head = nn.Sequential(nn.ReLU(), Linear(features, 12), nn.Linear(12, classes))
        self.again = self.head[2]

    def forward(self, x):
        x = self.body(self.act(self.stem(x)))
        x = x.view(len(x), self.width, 16)
        x = self.act2(x.flatten(1) * self.scale + self.shift)
        return self.head(self.neck(x))


class Gate(nn.Module):
    """Two inputs, of which a choice decides the use; one name is used at places that depend on different choices."""

    def __init__(self):
        super().__init__()
        kernel = Kernel(3, 5, name="kernel")
        self.left = OneOf({"conv": Conv2d(1, 4, kernel), "plain": Conv2d(1, 4, 1)})
        self.right = OneOf({"conv": Conv2d(1, 4, kernel), "plain": Conv2d(1, 4, 1)})
        self.join = OneOf({"add": Add(), "first": First()})
        self.head = nn.Linear(4, 3)

    def forward(self, x):
        return self.head(self.join(self.left(x), self.right(x)).mean((2, 3)))


class Add(nn.Module):
    def forward(self, a, b):
        return a + b


class First(nn.Module):
    def forward(self, a, b):
        return a


class TestNet(SpaceConformance):
    def space(self):
        return ModelSpace(Net())


class TestGate(SpaceConformance):
    networks = 16

    def space(self):
        return ModelSpace(Gate(), name="gate")


class Leaf(nn.Module):
    def __init__(self):
        super().__init__()
        block = nn.Sequential(Conv2d(1, 1, Kernel(3, 5)), nn.Tanh())
        self.tied = Depth([block, block, block])
        self.head = Linear(64, 3, bias=False)

    def forward(self, x):
        return self.head(self.tied(x).flatten(1))


class TestTiedBlocks(SpaceConformance):
    """One block that runs up to three times, with one set of weights."""

    def space(self):
        return ModelSpace(Leaf())


def names(space):
    return [choice.name for choice in space.choices]


def test_choices_have_the_path_of_their_layer_or_their_name():
    assert names(ModelSpace(Net())) == [
        "stem.outputs",
        "stem.kernel",
        "act",
        "body",
        "body.0.conv",
        "body.0.conv.full.kernel",
        "expansion",
        "body.0.conv.bottleneck.2",
        "body.0.conv.bottleneck.3.kernel",
        "body.1.conv",
        "body.1.conv.full.kernel",
        "body.1.conv.bottleneck.2",
        "body.1.conv.bottleneck.3.kernel",
        "neck.outputs",
    ]


def test_size_is_the_number_that_a_reader_counts():
    # A block: full (2 kernels), bottleneck (2 activations x 2 kernels) or none. The expansion (2) is shared by the
    # blocks, so it is open wherever one runs. Outside: width, kernel of the stem, activation, features.
    block = 2 + 2 * 2 + 1
    assert ModelSpace(Net()).size() == 3 * 2 * 3 * 2 * (1 + 2 * block + 2 * block**2)


def test_what_several_places_use_is_active_wherever_one_of_them_is_built():
    space = ModelSpace(Gate())
    (kernel,) = (choice for choice in space.choices if choice.name == "kernel")
    assert kernel.condition is None
    assert space.size() == 2 * 2 * 2 * 2
    # Four of the sixteen use no kernel in pairs: left and right plain, for either join.
    assert len({space.canonical(architecture) for architecture in space}) == 14
    unused = space.parse("left=plain,kernel=5,right=plain,join=add")
    assert space.simplify(unused) == space.parse("left=plain,kernel=3,right=plain,join=add")


def test_a_shared_choice_under_one_parent_depends_on_it():
    options = {"a": Conv2d(1, 1, Kernel(3, 5, name="k")), "b": Conv2d(1, 1, Kernel(3, 5, name="k")), "c": nn.Identity()}
    space = ModelSpace(nn.Sequential(OneOf(options, name="op"), nn.Flatten(), nn.Linear(64, 3)))
    (kernel,) = (choice for choice in space.choices if choice.name == "k")
    assert kernel.condition.choice == "op"
    assert set(kernel.condition.values) == {"a", "b"}
    assert space.size() == 5


def test_the_module_runs_as_it_stands_with_the_largest_numbers():
    torch.manual_seed(0)
    net = Net()
    assert net.stem(torch.zeros(2, 1, 8, 8)).shape == (2, 8, 4, 4)
    assert net.stem.largest.kernel_size == (5, 5)
    assert net(torch.zeros(2, 1, 8, 8)).shape == (2, 3)
    assert len([*net.parameters()]) > 10
    twin = copy.deepcopy(net)
    assert isinstance(twin.stem, Conv2d)
    assert twin.stem.numbers["outputs"] is twin.width is not net.width


def test_a_network_is_the_one_written_by_hand():
    torch.manual_seed(0)
    width, kernel, features = 6, 5, 10
    by_hand = nn.Sequential(
        nn.Conv2d(1, width, kernel, 2, kernel // 2),
        nn.Hardswish(),
        nn.Conv2d(width, width, 3, 1, 1),
        nn.BatchNorm2d(width),
        nn.Linear(width * 16, features),
        nn.Linear(features, 12),
        nn.Linear(12, 3),
    )
    space, task = ModelSpace(Net()), tiny_task()
    text = "stem.outputs=6,stem.kernel=5,act=hswish,body=1,body.0.conv=full,body.0.conv.full.kernel=3,expansion=2"
    network = build(space, space.parse(f"{text},neck.outputs=10"), task).eval()
    stem, act, conv, norm, neck, hidden, head = by_hand.eval()
    network.load_state_dict(
        {
            "scale": torch.tensor(0.7),
            "shift": torch.tensor(0.1),
            **{f"stem.{name}": value for name, value in stem.state_dict().items()},
            **{f"body.0.conv.{name}": value for name, value in conv.state_dict().items()},
            **{f"body.0.norm.{name}": value for name, value in norm.state_dict().items()},
            **{f"neck.{name}": value for name, value in neck.state_dict().items()},
            **{f"head.1.{name}": value for name, value in hidden.state_dict().items()},
            **{f"head.2.{name}": value for name, value in head.state_dict().items()},
            **{f"again.{name}": value for name, value in head.state_dict().items()},
        }
    )
    x = torch.randn(4, 1, 8, 8)
    y = act(stem(x))
    y = y + norm(conv(y))
    y = act(y.flatten(1) * 0.7 + 0.1)
    y = head(hidden(F.relu(neck(y))))
    assert torch.allclose(network(x), y, atol=1e-6)


def test_a_stand_alone_network_has_no_trace_of_the_search():
    space, task = ModelSpace(Net()), tiny_task()
    for seed in range(10):
        network = build(space, space.sample(stream(seed)), task)
        assert isinstance(network, Net)
        assert network.training
        assert isinstance(network.width, int)
        for module in network.modules():
            assert not isinstance(module, ChoiceLayer)
            own = {key: value for key, value in vars(module).items() if key not in ("_modules", "_parameters")}
            assert not any(isinstance(value, NumberChoice | Computed | Elastic) for value in own.values())
            assert type(module).__module__.startswith("torch.nn") or type(module) in (Net, Block)
        assert network.again is network.head[2]


def test_options_that_are_not_taken_are_not_built():
    space = ModelSpace(Gate())
    network = build(space, space.parse("left=plain,kernel=3,right=conv,join=first"), tiny_task())
    assert isinstance(network.left, nn.Conv2d)
    assert network.left.kernel_size == (1, 1)
    assert network.right.kernel_size == (3, 3)
    assert isinstance(network.join, First)


def test_a_number_in_forward_follows_the_supernet():
    class Reshaping(nn.Module):
        def __init__(self):
            super().__init__()
            self.width = Width(2, 4)
            self.stem = Conv2d(1, self.width, 3)
            self.head = nn.Linear(64, 3)

        def forward(self, x):
            return self.head(self.stem(x).view(len(x), self.width, 64).sum(1))

    space, task = ModelSpace(Reshaping()), tiny_task()
    supernet = Supernet(space, task).eval()
    x = torch.randn(3, 1, 8, 8)
    for architecture in space:
        assert torch.allclose(supernet.select(architecture)(x), supernet.extract(architecture).eval()(x), atol=1e-6)


def test_ties_and_loose_tensors_survive():
    space, task = ModelSpace(Net()), tiny_task()
    architecture = space.sample(stream(0))
    for network in (build(space, architecture, task), build(space, architecture, task, device="meta")):
        assert network.again.weight is network.head[2].weight
        assert network.scale.shape == ()
    assert float(build(space, architecture, task).scale.detach()) == pytest.approx(0.7)

    space = ModelSpace(Leaf())
    counts = {
        device: sum(
            p.numel() for p in build(space, space.parse("tied=3,tied.0.0.kernel=5"), task, device=device).parameters()
        )
        for device in ("cpu", "meta")
    }
    assert counts == {"cpu": 26 + 192, "meta": 26 + 192}


def test_weights_are_new_where_none_was_given_and_the_module_is_left_alone():
    net = Net()
    with torch.no_grad():
        net.head[2].weight.fill_(3.0)
        net.stem.largest.weight.fill_(5.0)
    before = {name: value.clone() for name, value in net.state_dict().items()}
    space, task = ModelSpace(net), tiny_task()
    network = build(space, space.sample(stream(1)), task, seed=1)
    assert bool((network.head[2].weight == 3).all())
    assert network.stem.weight.shape != net.stem.largest.weight.shape
    assert 0 < network.stem.weight.abs().max() < 1
    assert network.neck.weight.std() > 0
    assert all(torch.equal(before[name], value) for name, value in net.state_dict().items())
    assert net.training
    assert net.act2.name == "act"
    assert net.width.name is None


def test_a_module_that_initialises_its_parts_has_the_last_word():
    class Calm(nn.Module):
        def __init__(self):
            super().__init__()
            self.body = OneOf({"relu": nn.ReLU(), "tanh": nn.Tanh()})
            self.head = nn.Linear(64, 3)
            self.reset_parameters()

        def reset_parameters(self):
            nn.init.zeros_(self.head.weight)

        def forward(self, x):
            return self.head(self.body(x).flatten(1))

    space = ModelSpace(Calm())
    network = build(space, space.sample(stream(0)), tiny_task())
    assert not network.head.weight.any()
    assert network.head.bias.any()


def test_classes_of_a_script_can_be_sent_to_workers():
    class Local(nn.Module):
        def __init__(self):
            super().__init__()
            self.body = nn.Sequential(
                Conv2d(1, Width(2, 4, name="w"), 3), nn.Flatten(), Linear(Width(2, 4, name="w") * 64, 3)
            )

        def forward(self, x):
            return self.body(x)

    space, task = ModelSpace(Local()), tiny_task()
    again = cloudpickle.loads(cloudpickle.dumps(space))
    architecture = space.parse("w=4")
    weights, others = (build(s, again.parse("w=4"), task).state_dict() for s in (space, again))
    assert architecture == again.parse("w=4")
    assert all(torch.equal(weights[name], others[name]) for name in weights)


class Bare(nn.Module):
    def __init__(self, outputs=3, layer=None):
        super().__init__()
        self.body = layer or OneOf({"relu": nn.ReLU(), "tanh": nn.Tanh()})
        self.head = nn.Linear(64, outputs)

    def forward(self, x):
        return self.head(self.body(x).flatten(1))


def test_a_module_with_the_wrong_head_is_one_clear_error():
    space, task = ModelSpace(Bare(outputs=7)), tiny_task()
    architecture = space.sample(stream(0))
    for attempt in (
        lambda: space.check_task(task),
        lambda: build(space, architecture, task),
        lambda: Supernet(space, task),
    ):
        with pytest.raises(UsageError, match=r"'Bare' returns Tensor of shape \(2, 7\).*needs \(2, 3\).*3 outputs"):
            attempt()


def test_an_option_with_the_wrong_head_is_found_when_it_is_built():
    space = ModelSpace(
        nn.Sequential(nn.Flatten(), OneOf({"good": nn.Linear(64, 3), "bad": nn.Linear(64, 5)}, name="head"))
    )
    space.check_task(tiny_task())
    with pytest.raises(UsageError, match=r"shape \(2, 5\)"):
        build(space, space.parse("head=bad"), tiny_task())


def test_a_module_that_does_not_run_is_one_clear_error():
    with pytest.raises(UsageError, match=r"'Bare' cannot run on inputs of shape \(1, 9, 9\)") as caught:
        ModelSpace(Bare()).check_task(tiny_task((1, 9, 9)))
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ModelSpace("net"), "made of a torch.nn.Module, not of 'net'"),
        (lambda: ModelSpace(nn.Linear(2, 2)), "contains no choice"),
        (lambda: OneOf({}), "no option"),
        (lambda: OneOf({"a": 3}), "each with its module"),
        (lambda: OneOf({("a",): nn.ReLU()}), "texts or numbers"),
        (lambda: Depth([]), "cannot run at least 1"),
        (lambda: Depth([nn.ReLU()], minimum=2), "cannot run at least 2"),
        (lambda: Width(), "whole numbers above zero"),
        (lambda: Width(4, 4), "whole numbers above zero"),
        (lambda: Width(4, 0), "whole numbers above zero"),
        (lambda: Kernel(3, 4), "odd"),
        (lambda: Conv2d(3, "8", 3), "as outputs, not '8'"),
        (lambda: Conv2d(Width(4, 8), Width(4, 8), 3, depthwise=True), "as many outputs as inputs"),
        (
            lambda: ModelSpace(nn.Sequential(Conv2d(1, Width(2, 4, name="w"), 1), Conv2d(4, Width(2, 8, name="w"), 1))),
            "two choices of module 'Sequential' are named 'w'",
        ),
        (
            lambda: ModelSpace(
                nn.Sequential(Conv2d(1, Width(1, 3, name="n"), 1), Conv2d(4, 4, Kernel(1, 3, name="n")))
            ),
            "two choices .* named 'n', Width of .* and Kernel of",
        ),
        (
            lambda: ModelSpace(nn.Sequential(nn.Linear(64, Width(2, 3)))),
            r"torch's Linear \('0'\) was given Width\(2, 3\)",
        ),
        (lambda: ModelSpace(Bare(layer=OneOf({"a,b": nn.ReLU(), "c": nn.Tanh()}))), "without comma"),
        (lambda: ModelSpace(Bare(layer=OneOf({"1": nn.ReLU(), 1: nn.Tanh()}))), "different texts"),
    ],
)
def test_wrong_use_is_one_clear_error(make, message):
    with pytest.raises(UsageError, match=message) as caught:
        make()
    assert len(str(caught.value).splitlines()) == 1


class Several(Bare):
    def forward(self, x):
        return super().forward(x), None


class Untrained(Bare):
    def train(self, mode=True):
        super().train(mode)


def test_what_a_module_must_return():
    with pytest.raises(UsageError, match=r"returns tuple: its forward pass must return one tensor of shape \(2, 3\)"):
        ModelSpace(Several()).check_task(tiny_task())
    with pytest.raises(UsageError, match="must return the module itself"):
        ModelSpace(Untrained())


def test_a_layer_that_is_not_registered_is_one_clear_error():
    class Hidden(Bare):
        def __init__(self):
            super().__init__()
            self.hidden = [OneOf({"a": nn.ReLU()})]

    with pytest.raises(UsageError, match=r"in no registered layer.*nn\.ModuleList"):
        build(ModelSpace(Hidden()), ModelSpace(Hidden()).sample(stream(0)), tiny_task())


class Scripted(nn.Module):
    """A part of it is of TorchScript, which takes no hooks, and whose weights are copied as what is computed."""

    def __init__(self) -> None:
        super().__init__()
        self.first = torch.jit.script(nn.Conv2d(1, 4, 3, padding=1))
        self.act = OneOf({"relu": nn.ReLU(), "tanh": nn.Tanh()})
        self.last = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3))

    def forward(self, x):
        return self.last(self.act(self.first(x)))


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_part_of_torchscript_is_trained() -> None:
    space, task = ModelSpace(Scripted()), tiny_task()
    architecture = space.parse("act=relu")
    network = build(space, architecture, task, seed=1)
    assert all(weight.is_leaf and weight.requires_grad for weight in network.parameters())
    before = {name: weight.detach().clone() for name, weight in network.named_parameters()}
    outcome = train(network, task, Recipe(2, 16), seed=1)
    assert len(outcome.curve) == 2 and not outcome.diverged
    assert not any(torch.equal(weight, before[name]) for name, weight in network.named_parameters())
