"""The deployed form against the network that it came from: fewer operators, the same answers."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from archscout.core.errors import DataNotice
from archscout.core.registry import create
from archscout.core.seeds import stream
from archscout.deploy import form as deployed_form
from archscout.deploy.form import Centred, form
from archscout.networks.choices import BatchNorm2d, Conv2d, Kernel, Linear, OneOf, Width
from archscout.networks.outputs import named
from archscout.networks.pick import build
from archscout.networks.tracing import trace
from archscout.spaces.model import ModelSpace
from archscout.spaces.trained import TrainedSpace
from archscout.tasks.image_task import ImageTask
from archscout.tasks.images import Deployed
from archscout.testing.tasks import tiny_heads, tiny_multilabel, tiny_regression, tiny_segmentation, tiny_task


def unusual(network: nn.Module) -> nn.Module:
    """With statistics and scales of batch normalisation that are not those of a new network."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, tensor in network.state_dict().items():
            if tensor.is_floating_point() and tensor.ndim == 1 and name not in ("mean", "std"):
                tensor.copy_(torch.rand(tensor.shape, generator=generator) + (0.5 if "var" in name else -0.5))
    return network.eval()


def same(network: nn.Module, shape: tuple[int, ...], scale: float = 1.0) -> nn.Module:
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    folded = form(network, shape)
    x = torch.randn(5, *shape, generator=torch.Generator().manual_seed(3)) * scale
    with torch.no_grad():
        expected, answer = network.eval()(x), folded(x)
    assert (answer - expected).abs().max() <= 1e-5 * max(1.0, float(expected.abs().max()))
    assert all(torch.equal(before[name], tensor) for name, tensor in network.state_dict().items()), "it was changed"
    return folded


def kinds(network: nn.Module) -> list[str]:
    return [type(m).__name__ for m in network.modules() if not any(m.children()) and not isinstance(m, nn.Identity)]


def test_what_parametrizations_compute_becomes_a_plain_weight() -> None:
    network = nn.Sequential(
        nn.utils.parametrizations.spectral_norm(nn.Conv2d(1, 4, 3)), nn.BatchNorm2d(4), nn.Flatten(),
        nn.utils.parametrizations.orthogonal(nn.Linear(4 * 36, 3)),
    )  # fmt: skip
    assert kinds(same(unusual(network), (1, 8, 8))) == ["Conv2d", "Flatten", "Linear"]
    assert network[0].parametrizations.weight, "copies share their class with the original"
    network(torch.rand(2, 1, 8, 8))


FOLDED = {
    "nasbench201:width=4,cells=1": 0.5, "mobile": 0.5, "darts:width=4,layers=3": 0.5, "fbnetv2": 0.5,
    "classic:width=64": 0.0, "nasbench101:width=8": 0.0, "fbnet": 0.0, "nasbench_macro:width=4": 0.0,
    "enas:width=4,layers=4": 1.0,
}  # fmt: skip
"""The most of its layers of batch normalisation that a network of a space keeps; those behind pooling, for example."""


@pytest.mark.parametrize("name", FOLDED)
@pytest.mark.parametrize("seed", [2, 3])
def test_batch_norm_of_built_in_networks_is_folded(name: str, seed: int) -> None:
    space, task = create("space", name), tiny_task((3, 32, 32))
    network = unusual(build(space, space.sample(stream(seed)), task))
    folded = same(network, task.input_shape)
    before, left = (kinds(each).count("BatchNorm2d") for each in (network, folded))
    assert before
    assert left <= FOLDED[name] * before
    assert left < before or FOLDED[name] == 1


@pytest.mark.parametrize("make", [tiny_segmentation, tiny_heads, tiny_regression, tiny_multilabel])
def test_networks_of_every_head_are_folded_with_their_stored_images(make: Callable[[], ImageTask]) -> None:
    task = make()
    space = create("space", "classic:width=64")
    architecture = space.parse("stem8k3s1_residual16x1k3-stride_plain32x1k3-pool")
    network = task.deploy(unusual(build(space, architecture, task)))
    x = torch.rand(5, 1, 8, 8, generator=torch.Generator().manual_seed(3)) * 255
    folded = form(network, task.input_shape)
    with torch.no_grad():
        expected, answers = (named(each.eval()(x)) for each in (network, folded))
    for name, answer in answers.items():
        assert (answer - expected[name]).abs().max() <= 1e-5 * max(1.0, float(expected[name].abs().max()))
    # The decoder normalises a sum of maps, into which nothing can be folded.
    assert kinds(folded).count("BatchNorm2d") == (task.kind == "image segmentation")


class Own(nn.Module):
    """A module of a user's own with layers that are used in turn, twice, and beside each other."""

    def __init__(self) -> None:
        super().__init__()
        width = Width(4, 8)
        self.stem = Conv2d(3, width, Kernel(3, 5))
        self.norm = BatchNorm2d(width)
        self.left, self.right = Conv2d(width, width, 3), Conv2d(width, width, 1)
        self.act = OneOf([nn.ReLU(), nn.SiLU()])
        self.after = BatchNorm2d(width)
        self.head = Linear(width, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.act(self.norm(self.stem(x)))
        x = self.after(self.left(x) + self.right(x))
        return self.head(self.act(x).mean((2, 3)))


def test_a_module_of_a_user_s_own_is_folded_as_far_as_it_can_be() -> None:
    space, task = ModelSpace(Own()), tiny_task((3, 16, 16))
    for architecture in space.extremes():
        folded = same(unusual(build(space, architecture, task)), task.input_shape)
        # The sum has two sources: its normalisation stays.
        assert kinds(folded).count("BatchNorm2d") == 1


def test_a_cut_of_a_trained_network_is_folded() -> None:
    network = unusual(
        nn.Sequential(
            nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 8, 3, 2, 1), nn.BatchNorm2d(8),
            nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 3),
        )
    )  # fmt: skip
    task = tiny_task((3, 8, 8))
    space = TrainedSpace(network, input_shape=task.input_shape)
    for architecture in [*space.extremes(), *(space.sample(stream(seed)) for seed in range(2))]:
        assert "BatchNorm2d" not in kinds(same(unusual(build(space, architecture, task)), task.input_shape))


def test_every_kind_of_layer_takes_its_batch_norm() -> None:
    network = unusual(
        nn.Sequential(
            nn.Conv2d(3, 6, 3, groups=3, bias=False), nn.BatchNorm2d(6), nn.ReLU(),
            nn.ConvTranspose2d(6, 4, 3), nn.BatchNorm2d(4, affine=False), nn.ReLU(), nn.Flatten(2),
            nn.Conv1d(4, 5, 3), nn.BatchNorm1d(5), nn.ReLU(), nn.Flatten(), nn.Linear(5 * 62, 7), nn.BatchNorm1d(7),
        )
    )  # fmt: skip
    assert "BatchNorm2d" not in (left := kinds(same(network, (3, 8, 8)))) and "BatchNorm1d" not in left


def test_what_another_operator_reads_is_left_alone() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.norm, self.other = nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.BatchNorm2d(4)
            self.shared = nn.Conv2d(4, 4, 3, padding=1)

        def forward(self, x: Tensor) -> Tensor:
            y = self.conv(x)
            y = y + self.norm(y)
            return self.other(self.shared(self.shared(y))).transpose(2, 3)

    assert kinds(same(unusual(Twice()), (3, 6, 6))).count("BatchNorm2d") == 2


def test_a_transposed_map_is_not_taken_for_the_map() -> None:
    class Turned(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = nn.Linear(6, 6), nn.Linear(6, 6)

        def forward(self, x: Tensor) -> Tensor:
            return self.second(self.first(x).transpose(1, 2))

    assert kinds(same(Turned(), (6, 6))) == ["Linear", "Linear"]


@pytest.mark.parametrize(
    ("layers", "left"),
    [
        ([nn.Linear(48, 8), nn.Linear(8, 8), nn.Linear(8, 4)], 1),
        ([nn.Linear(48, 2), nn.Linear(2, 48)], 2),  # a bottleneck is cheaper as it is
    ],
)
def test_linear_chains(layers: list[nn.Module], left: int) -> None:
    assert kinds(same(nn.Sequential(nn.Flatten(), *layers), (3, 4, 4))).count("Linear") == left


@pytest.mark.parametrize(
    ("first", "second", "left"),
    [
        (nn.Conv2d(3, 8, 1), nn.Conv2d(8, 4, 3), 1),
        (nn.Conv2d(3, 8, 1, bias=False), nn.Conv2d(8, 4, 3, padding=1), 1),
        (nn.Conv2d(3, 8, 1), nn.Conv2d(8, 4, 3, padding=1), 2),  # the bias of the first does not reach the padding
        (nn.Conv2d(3, 8, 3, stride=2, padding=1), nn.Conv2d(8, 4, 1), 1),
        (nn.Conv2d(3, 6, 3, groups=3), nn.Conv2d(6, 4, 1), 2),
    ],
)
def test_chains_of_convolutions(first: nn.Module, second: nn.Module, left: int) -> None:
    assert kinds(same(nn.Sequential(first, second), (3, 7, 7))).count("Conv2d") == left


def test_normalisation_of_stored_images() -> None:
    mean, std = (120.0, 100.0, 90.0), (60.0, 55.0, 50.0)
    padded = Deployed(nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU()), mean, std)
    assert isinstance(same(padded, (3, 6, 6), 255.0), Centred)
    plain = Deployed(nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)), mean, std)
    assert kinds(same(unusual(plain), (3, 6, 6), 255.0)) == ["Conv2d"]
    kept = Deployed(nn.Sequential(nn.ReLU(), nn.Conv2d(3, 4, 3)), mean, std)
    assert isinstance(same(kept, (3, 6, 6), 255.0), Deployed)


def test_without_weights_for_counting() -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU()).to("meta")
    labels = [node.label for node in trace(form(network, (3, 6, 6)), (3, 6, 6)).nodes]
    assert labels == ["input", "conv 3x3", "relu", "output"]


def test_a_network_that_does_not_run_on_zeros_comes_back_as_it_is() -> None:
    class Odd(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            if float(x.sum()) == 0:
                raise ValueError("nothing to see")
            return x

    assert type(form(Odd(), (3,))) is Odd


def test_what_cannot_be_folded_though_it_runs_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)).eval()

    def broken(*_: object) -> bool:
        raise KeyError("weight")

    monkeypatch.setattr(deployed_form, "_fold", broken)
    with pytest.warns(DataNotice, match=r"deployed as it is, for folding it failed \(KeyError: 'weight'\)"):
        same = form(network, (3, 8, 8))
    x = torch.randn(2, 3, 8, 8)
    assert torch.equal(same(x), network(x))
