"""Programs against the networks that they were read from."""

import pytest
import torch
from torch import Tensor, nn

from archscout.core.errors import ArchscoutError, UsageError
from archscout.core.registry import create
from archscout.core.seeds import stream
from archscout.deploy.program import Program
from archscout.deploy.reading import read
from archscout.networks.operations import FactorizedReduce
from archscout.networks.pick import build
from archscout.tasks.image_task import Mirrored
from archscout.testing.tasks import tiny_task


def unusual(network: nn.Module) -> nn.Module:
    """With statistics of batch normalisation that are not those of a new network."""
    generator = torch.Generator().manual_seed(1)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            for tensor in (module.running_mean, module.running_var, module.weight, module.bias):
                tensor.data.copy_(torch.rand(tensor.shape, generator=generator) + 0.3)
    return network.eval()


def kinds(program: Program) -> list[str]:
    return [o.kind + ("+" if o.clamps else "") for o in program.operators]


@pytest.mark.parametrize("name", ["nasbench201:width=4,cells=1", "classic", "nasbench_macro"])
def test_networks_of_spaces_answer_as_they_do(name: str) -> None:
    space, task = create("space", name), tiny_task((3, 16, 16))
    network = task.deploy(unusual(build(space, space.sample(stream(3)), task))).eval()
    program = read(network, task.input_shape)
    x = torch.rand(3, 3, 16, 16, generator=torch.Generator().manual_seed(2)) * 255
    with torch.no_grad():
        torch.testing.assert_close(program.run(x), network(x), rtol=1e-4, atol=1e-4)


def test_without_weights_the_operators_are_the_same() -> None:
    space, task = create("space", "nasbench201:width=4,cells=1"), tiny_task((3, 16, 16))
    architecture = space.sample(stream(5))
    with_weights = read(build(space, architecture, task), task.input_shape)
    without = read(build(space, architecture, task, device="meta"), task.input_shape)
    assert kinds(without) == kinds(with_weights)
    assert without.macs == with_weights.macs
    assert without.shapes == with_weights.shapes


class Residual(nn.Module):
    """What is written in place, read twice, flattened and joined."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(2, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1, groups=4)
        self.norm, self.last = nn.BatchNorm2d(4), nn.Linear(8 * 9, 3)
        self.activation, self.pool = nn.ReLU(inplace=True), nn.MaxPool2d(2)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        y = self.second(torch.relu(x)) + torch.relu(x)
        y = self.activation(self.norm(y))
        x += y
        return self.last(self.pool(torch.cat([x, nn.functional.relu6(y)], 1)).flatten(1))


def test_in_place_shared_and_joined_values() -> None:
    network = unusual(Residual())
    program = read(network, (2, 6, 6))
    x = torch.randn(2, 2, 6, 6, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        torch.testing.assert_close(program.run(x), network(x), rtol=1e-4, atol=1e-5)
    assert kinds(program).count("clamp+") == 2, "equal ReLUs of one value are one"
    assert "conv+" in kinds(program), "batch normalisation after a sum is a depthwise convolution with its ReLU"


class Halved(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x[:, :, ::2]


class Outer(nn.Module):
    """The product of a map and one of its channels."""

    def forward(self, x: Tensor) -> Tensor:
        return x * x[:, :1]


class Turned(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.transpose(2, 3)


class Scaled(nn.Module):
    """Constants: one, one for each channel, in front and behind, where something else reads the map and where not."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 4, 1)
        self.weight, self.gains = nn.Parameter(torch.tensor([0.3])), nn.Parameter(torch.rand(1, 4, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        x = torch.sigmoid(self.weight) * self.first(x)
        y = torch.relu(self.second(x) * self.gains)
        return (x + 3.0 * y) / 2 - 1.5


class Parts(nn.Module):
    """Channels that are taken, parted, shuffled, joined and written over."""

    def forward(self, x: Tensor) -> Tensor:
        x = torch.cat([x, -1 * x], 1)
        first, second = x.split([2, 4], 1)
        second = nn.functional.channel_shuffle(second, 2)
        grouped = second.view(len(x), 2, 2, *x.shape[2:]).transpose(1, 2).reshape(second.shape)
        return torch.cat([nn.functional.silu(first), grouped[:, 1::2], x[:, 3].unsqueeze(1), torch.relu_(second)], 1)


class Taken(nn.Module):
    """A convolution of a part of a map with zeros below and on the right."""

    def __init__(self, part: tuple[slice, slice], padding: int) -> None:
        super().__init__()
        self.part, self.conv = part, nn.Conv2d(3, 4, 1, 2, padding)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(nn.functional.pad(x, (0, 1, 0, 1))[:, :, *self.part])


class Changing(nn.Module):
    """Another operator each time."""

    calls = 0

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        return nn.functional.relu(x) if self.calls % 2 else x + x


@pytest.mark.parametrize(
    ("layer", "named"),
    [
        (nn.Softmax(1), "'softmax': leave it off"),
        (nn.LayerNorm(8), "'native_layer_norm': use batch normalisation"),
        (nn.AvgPool2d(3, 2, 1, ceil_mode=True), "count_include_pad=False"),
        (nn.Sequential(nn.ZeroPad2d(1), nn.MaxPool2d(2)), "'constant_pad_nd': give the padding"),
        (nn.ConstantPad2d(1, 2.0), "'constant_pad_nd': give the padding"),
        (nn.ConvTranspose2d(3, 3, 2), "'transposed convolution': enlarge no maps"),
        (nn.Sequential(nn.Flatten(2), nn.Conv1d(3, 3, 3)), "'convolution': use two-dimensional ones"),
        (nn.AdaptiveMaxPool2d(3), "'adaptive_max_pool2d': pool to one pixel"),
        (nn.Linear(8, 4), "flatten whole maps"),
        (Halved(), "'slice': take whole channels"),
        (Outer(), "'mul': multiply a map by a constant"),
        (Turned(), "'transpose': change the order of channels alone"),
        (Mirrored(nn.Conv2d(3, 3, 1)), "'flip': leave mirrored=true off the data"),
    ],
)
def test_other_operators_are_refused_by_name(layer: nn.Module, named: str) -> None:
    with pytest.raises(UsageError, match="integer code") as error:
        read(nn.Sequential(nn.Conv2d(3, 3, 1), layer), (3, 8, 8))
    assert named in str(error.value)


@pytest.mark.parametrize("shape", [(3, 8, 8), (3, 7, 9), (3, 5, 6)])
@pytest.mark.parametrize(
    "layer",
    [
        nn.MaxPool2d(2, ceil_mode=True),
        nn.MaxPool2d(3, 2, 1, ceil_mode=True),
        nn.AvgPool2d(3, 2, ceil_mode=True),
        nn.AvgPool2d(3, 3, 1, ceil_mode=True, count_include_pad=False),
        nn.Sequential(nn.ZeroPad2d((0, 1, 2, 0)), nn.Conv2d(3, 4, 3, 2, 1)),
        FactorizedReduce(3, 5),
        Taken((slice(1, None), slice(2, None)), 0),
        Taken((slice(0, 4), slice(1, 5)), 0),
    ],
)
def test_windows_beyond_the_map_and_uneven_zeros_answer_as_they_do(
    layer: nn.Module, shape: tuple[int, int, int]
) -> None:
    network = unusual(nn.Sequential(nn.Conv2d(3, 3, 1), layer))
    program = read(network, shape)
    x = torch.randn(2, *shape, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        torch.testing.assert_close(program.run(x), network(x), rtol=1e-4, atol=1e-5)


class Gates(nn.Module):
    """Gated linear units of maps and of numbers, the largest number of a channel, and of parts of it."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.third = nn.Conv2d(3, 8, 1), nn.Linear(4, 6), nn.Linear(4 * 6, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = nn.functional.glu(self.first(x), 1)
        parts = self.third(nn.functional.adaptive_max_pool2d(x, (2, 3)).flatten(1))
        return nn.functional.glu(self.second(x.amax((2, 3)))) + parts


@pytest.mark.parametrize("part", [Scaled(), Parts(), nn.GELU("tanh")])
def test_constants_functions_and_parts_of_channels_answer_as_they_do(part: nn.Module) -> None:
    program = read(part, (3, 6, 5))
    x = torch.randn(2, 3, 6, 5, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        torch.testing.assert_close(program.run(x), part(x), rtol=1e-4, atol=1e-5)


def test_gates_and_largest_numbers_answer_as_they_do() -> None:
    network, shape = unusual(Gates()), (3, 6, 9)
    x = torch.randn(2, *shape, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        torch.testing.assert_close(read(network, shape).run(x), network(x), rtol=1e-4, atol=1e-5)


def test_a_gain_goes_into_the_layer_before_it() -> None:
    assert kinds(read(Scaled(), (3, 6, 5))) == ["conv", "conv+", "conv", "add", "conv"]


@pytest.mark.parametrize(
    "taken", [Taken((slice(1, None), slice(1, None)), 1), Taken((slice(None, None, 2), slice(None)), 0)]
)
def test_a_part_of_a_map_that_no_padding_stands_for_is_refused(taken: nn.Module) -> None:
    with pytest.raises(UsageError, match="'constant_pad_nd': give the padding"):
        read(taken, (3, 8, 8))


def test_code_that_does_not_do_the_same_each_time_is_found_out() -> None:
    with pytest.raises(ArchscoutError, match="answers differently"):
        read(nn.Sequential(nn.Conv2d(3, 3, 1), Changing()), (3, 8, 8))


def test_a_constant_answer_has_no_code() -> None:
    class Constant(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.zeros(len(x), 2)

    with pytest.raises(UsageError, match="does not depend on its input"):
        read(Constant(), (3, 8, 8))
