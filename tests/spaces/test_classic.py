"""The classic space, against networks that are written out by hand and closed forms."""

import csv
import io
import itertools
import shlex

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from torch import nn

from archscout.core.errors import UsageError
from archscout.core.estimator import Setting
from archscout.core.registry import create
from archscout.core.seeds import stream
from archscout.costs.programs import counts
from archscout.networks.pick import build
from archscout.networks.stacked import Unstackable, stack
from archscout.networks.tracing import trace_architecture
from archscout.spaces.classic import KINDS, REFERENCES, Classic
from archscout.supernets.supernet import Supernet
from archscout.testing import SpaceConformance, tiny_task
from archscout.testing.space import architectures

TEXT = "stem16k5s1_plain24x2k3-pool_residual64x2k5_inverted32x2k3e4-stride_bottleneck128x3-stride"


class TestClassic(SpaceConformance):
    networks = 4

    def space(self):
        return Classic(width=64)


class TestClassicOnColourImages(SpaceConformance):
    networks = 3
    examples = 10

    def space(self):
        return Classic(width=64)

    def task(self):
        return tiny_task((3, 33, 24), classes=5)


# -- the set ----------------------------------------------------------------------------------------------------------


def test_the_size_has_a_closed_form():
    """Kernels count for the first two stages whatever the kind, later for one of the four kinds, with expansions."""
    widths = (7, 9, 7, 8, 7)
    early = (3 + 3) * 2
    late = 3 + 2 * 3
    stages = [w * 3 * 3 * (early if n < 2 else late) for n, w in enumerate(widths)]
    assert Classic().size() == 6 * 2 * 2 * sum(int(np.prod(stages[:n], dtype=object)) for n in (2, 3, 4, 5))


def test_networks_are_drawn_as_people_draw_them():
    space = Classic()
    drawn = [space.sample(stream(seed)) for seed in range(300)]
    kinds = [a[f"stage{n}.kind"] for a in drawn for n in range(1, a["stages"] + 1)]
    assert {kind: kinds.count(kind) / len(kinds) for kind in KINDS} == pytest.approx(
        {"plain": 0.4, "residual": 0.4, "bottleneck": 0.1, "inverted": 0.1}, abs=0.06
    )
    for a in drawn:
        widths = [a["stem.width"], *(a[f"stage{n}.width"] for n in range(1, a["stages"] + 1))]
        # The narrowest option of a stage may be more than twice as wide as what came before.
        assert all(w <= 2 * before or w in (16, 32, 64) for before, w in itertools.pairwise(widths))
        assert all(w >= before or w == 128 for before, w in itertools.pairwise(widths))


def test_stages_that_go_on_as_the_one_before_are_one_network():
    space, task = Classic(), tiny_task()
    texts = [
        "stem16k3s1_plain32x3k3-pool_residual64x1k3",
        "stem16k3s1_plain32x1k3-pool_plain32x2k3_residual64x1",
        "stem16k3s1_plain32x2k3-pool_plain32x1k3_residual64x1",
    ]
    forms = {space.canonical(space.parse(text)) for text in texts[1:]}
    assert len(forms) == 1
    # The weights are drawn in the order of the layers, so that one seed makes them the same.
    x = torch.randn(2, 1, 8, 8)
    outputs = [build(space, space.parse(text), task).eval()(x) for text in texts]
    assert torch.equal(outputs[0], outputs[1])
    assert torch.equal(outputs[1], outputs[2])
    # A stage that halves the map, or a kernel that differs, is another network.
    others = [texts[1].replace("x2k3", "x2k5"), texts[1].replace("residual64x1", "residual64x1-pool")]
    assert forms.isdisjoint(space.canonical(space.parse(text)) for text in others)


# -- text -------------------------------------------------------------------------------------------------------------


def test_the_text_says_every_choice():
    architecture = Classic().parse(TEXT)
    assert architecture["stages"] == 4
    assert architecture["stem.kernel"] == 5
    assert architecture["stage1.down"] == "pool"
    assert architecture["stage2.kind"] == "residual"
    assert architecture["stage2.down"] == "none"
    assert architecture["stage3.expansion"] == 4
    assert architecture["stage4.width"] == 128
    assert "stage4.kernel" not in architecture
    assert "stage5.kind" not in architecture
    assert str(architecture) == TEXT
    assert shlex.quote(TEXT) == TEXT
    written = io.StringIO()
    csv.writer(written).writerow([TEXT])
    assert written.getvalue() == f"{TEXT}\r\n"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda text: text.split("_")[0], "has 0 stages where space 'classic' has 2 to 5"),
        (lambda text: text + "_plain64x1_plain64x1", "has 6 stages"),
        (lambda text: text.replace("stem16", "stem17"), "'17', the stem.width of .* must be one of 8, 16"),
        (lambda text: text.replace("stem", "root"), "'root16k5s1' in .* is no stem: write stem<width>k<kernel>s"),
        (lambda text: text.replace("plain24", "plan24"), "'plan24x2k3-pool', stage 1 of .*, is no stage"),
        (lambda text: text.replace("-pool", "-pull"), "'plain24x2k3-pull', stage 1 .* is no stage"),
        (lambda text: text.replace("plain24", "plain25"), "'25', the stage1.width .* one of 16, 24"),
        (lambda text: text.replace("x2k5", "x4k5"), "'4', the stage2.depth .* one of 1, 2, 3"),
        (lambda text: text.replace("x2k5", "x2"), "stage 2 .* must have its kernel: write it like residual64x1k3-pool"),
        (lambda text: text.replace("e4", ""), "stage 3 .* must have its expansion: .* inverted64x1k3e6-pool"),
        (lambda text: text.replace("128x3", "128x3k3"), "stage 4 .* must have no kernel: .* bottleneck64x1-pool"),
        (lambda text: text.replace("x2k5", "x2k5e2"), "stage 2 .* must have no expansion"),
    ],
)
def test_a_malformed_text_is_one_clear_sentence(change, message):
    with pytest.raises(UsageError, match=message) as caught:
        Classic().parse(change(TEXT))
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize("name", ["classic:width=63", "classic:width=64.0", "classic:width=true"])
def test_wrong_parameters_are_refused(name):
    with pytest.raises(UsageError, match="width of space 'classic' must be a whole number of 64 or more"):
        create("space", name)


def test_too_small_images_are_refused():
    with pytest.raises(UsageError, match=r"at least 4 x 4 pixels; task 'tiny8x3' has inputs of shape \(1, 8, 3\)"):
        Classic().check_task(tiny_task((1, 8, 3)))


# -- networks ---------------------------------------------------------------------------------------------------------


def convolution(inputs, outputs, kernel=3, stride=1):
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()
    )


class BasicBlock(nn.Module):
    """As ResNet has it (He et al. 2016, figure 2), with a projection where the shape changes."""

    def __init__(self, inputs, outputs, stride):
        super().__init__()
        self.first = convolution(inputs, outputs, 3, stride)
        self.second = convolution(outputs, outputs)[:2]
        change = stride > 1 or inputs != outputs
        self.shortcut = convolution(inputs, outputs, 1, stride)[:2] if change else nn.Identity()

    def forward(self, x):
        return torch.relu(self.shortcut(x) + self.second(self.first(x)))


def resnet(blocks, width, classes):
    """ResNet-(6 blocks + 2) for small images."""
    layers = [convolution(3, width)]
    inputs = width
    for stage in range(3):
        for block in range(blocks):
            layers.append(BasicBlock(inputs, width * 2**stage, 2 if stage and not block else 1))
            inputs = width * 2**stage
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(inputs, classes))


def four_convolutions(classes):
    layers = [convolution(3, 64)]
    for inputs, outputs in ((64, 128), (128, 256), (256, 256)):
        layers += [nn.MaxPool2d(2), convolution(inputs, outputs)]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(256, classes))


def resnet9(classes):
    """The network of the DAWNBench entry; mean in place of its last maximum."""
    return nn.Sequential(
        convolution(3, 64), convolution(64, 128), nn.MaxPool2d(2), BasicBlock(128, 128, 1), convolution(128, 256),
        nn.MaxPool2d(2), convolution(256, 512), nn.MaxPool2d(2), BasicBlock(512, 512, 1),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(512, classes),
    )  # fmt: skip


def run_order(network, x):
    """The layers with weights, in the order in which they run."""
    order = []
    layers = [layer for layer in network.modules() if isinstance(layer, nn.Conv2d | nn.BatchNorm2d | nn.Linear)]
    handles = [layer.register_forward_hook(lambda layer, *_: order.append(layer)) for layer in layers]
    with torch.no_grad():
        network.eval()(x)
    for handle in handles:
        handle.remove()
    return order


@pytest.mark.parametrize(
    ("name", "twin"),
    [
        ("plain", lambda: four_convolutions(10)),
        ("resnet8", lambda: resnet(1, 16, 10)),
        ("resnet14", lambda: resnet(2, 16, 10)),
        ("resnet20", lambda: resnet(3, 16, 10)),
        ("resnet9", lambda: resnet9(10)),
    ],
)
def test_references_are_the_networks_of_their_name(name, twin):
    """With the weights of a twin that is written by hand they answer alike."""
    space, task = Classic(), tiny_task((3, 32, 32), classes=10, examples=10)
    network, other = build(space, space.references()[name], task), twin()
    for module in other.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.uniform_(module.running_mean, -0.5, 0.5)
    x = torch.randn(3, 3, 32, 32)
    order = list(zip(run_order(network, x), run_order(other, x), strict=True))
    assert [str(mine) for mine, _ in order] == [str(theirs) for _, theirs in order]
    for mine, theirs in order:
        mine.load_state_dict(theirs.state_dict())
    with torch.no_grad():
        assert torch.allclose(network.eval()(x), other.eval()(x), atol=1e-5)


def test_references_come_in_sizes():
    space, task = Classic(), tiny_task((3, 32, 32), classes=10, examples=10)
    macs = {
        name: sum(node.macs for node in trace_architecture(space, a, task).nodes)
        for name, a in space.references().items()
    }
    assert set(macs) == set(REFERENCES)
    # Four powers of ten hold them, and no gap is larger than a factor of four.
    sizes = sorted(macs.values())
    assert sizes[0] < 3e6
    assert sizes[-1] > 3e8
    assert max(b / a for a, b in itertools.pairwise(sizes)) < 4
    assert set(Classic(width=64).references()) < set(REFERENCES)


@settings(max_examples=25, deadline=None)
@given(architecture=architectures(Classic(width=64)))
def test_any_network_takes_any_image(architecture):
    space = Classic(width=64)
    for shape in ((1, 8, 8), (3, 28, 30), (1, 65, 4)):
        task = tiny_task(shape, examples=4)
        network = build(space, architecture, task)
        assert network(torch.randn(2, *shape)).shape == (2, 3)


@pytest.mark.parametrize(("side", "stem"), [(8, 8), (28, 28), (64, 64), (65, 33), (96, 48), (128, 64), (224, 56)])
def test_the_stem_halves_large_images(side, stem):
    task = tiny_task((1, side, side), examples=3)
    for stride in (1, 2):
        network = build(Classic(), Classic().parse(TEXT.replace("s1", f"s{stride}", 1)), task)
        shape = network[0](torch.zeros(1, 1, side, side)).shape
        assert shape[2:] == (-(-stem // stride),) * 2


def test_halving_ends_at_one_pixel():
    space = Classic()
    text = "stem16k3s2_plain32x1k3-pool_inverted32x1k3e2-stride_residual32x1-stride_plain32x1-pool_plain64x1-stride"
    network = build(space, space.parse(text), tiny_task()).eval()
    assert network[:2](torch.zeros(1, 1, 8, 8)).shape == (1, 64, 1, 1)


def test_the_shortcut_of_a_supernet_is_a_wire_where_widths_agree():
    space, task = Classic(width=64), tiny_task()
    supernet = Supernet(space, task).eval()
    x, _ = task.tensors(task.valid.head(4))
    for width, projections in ((16, 0), (32, 1)):
        architecture = space.parse(f"stem16k3s1_residual{width}x1k3_plain64x1k3")
        twin = supernet.extract(architecture).eval()
        one = [m for m in twin.modules() if isinstance(m, nn.Conv2d) and m.kernel_size == (1, 1)]
        assert len(one) == projections
        with torch.no_grad():
            assert torch.allclose(twin(x), supernet.select(architecture)(x), atol=1e-6)


def test_networks_whose_maps_have_one_shape_are_laid_side_by_side():
    space, task = Classic(), tiny_task()
    alike = ["residual32x1k3-stride", "residual32x2k3-pool", "plain32x1k5-pool", "bottleneck32x2k3-stride"]
    networks = [
        build(space, space.parse(f"stem16k3s1_{first}_plain64x{depth}k3-pool"), task)
        for first, depth in zip(alike, (1, 2, 1, 3), strict=True)
    ]
    x = torch.randn(6, 1, 8, 8)
    stacked = stack(networks, x)
    for network, outputs in zip(networks, stacked.train()(stacked.inputs(x)), strict=True):
        assert torch.allclose(network.train()(x), outputs, atol=1e-4)
    with pytest.raises(Unstackable):
        stack([networks[0], build(space, space.parse("stem24k3s1_plain32x1k3_plain96x1k3"), task)], x)


def test_a_small_network_learns():
    space, task = Classic(), tiny_task()
    for text in ("stem16k3s1_plain32x1k3-pool_residual64x1k3-stride", "stem16k3s1_bottleneck32x2k3_inverted32x2k3e4"):
        network = build(space, space.parse(text), task, seed=1)
        optimizer = torch.optim.Adam(network.parameters(), lr=0.01)
        x, y = task.tensors(task.train)
        for _ in range(15):
            optimizer.zero_grad()
            task.loss(network(x), y).backward()
            optimizer.step()
        x, y = task.tensors(task.valid)
        with torch.no_grad():
            # The running statistics have seen only 15 batches, so the batch's own are used.
            assert task.measure(network(x), y) > 0.9


@pytest.mark.slow
def test_the_whole_space_has_a_supernet():
    space, task = Classic(), tiny_task((3, 32, 32), examples=8)
    supernet = Supernet(space, task).eval()
    x, _ = task.tensors(task.valid.head(2))
    for architecture in space.references().values():
        with torch.no_grad():
            assert torch.allclose(supernet.extract(architecture).eval()(x), supernet.select(architecture)(x), atol=1e-4)


def test_the_graph_is_a_chain_of_blocks():
    graph = Classic().graph(Classic().parse(TEXT))
    assert graph.labels == (
        "input", "stem16k5s1", "plain24k3-pool", "plain24k3", "residual64k5", "residual64k5", "inverted32k3e4-stride",
        "inverted32k3e4", "bottleneck128-stride", "bottleneck128", "bottleneck128", "output",
    )  # fmt: skip
    assert graph.edges == tuple(itertools.pairwise(range(12)))


def test_small_references_take_less_than_resnet8_and_compute_about_as_much() -> None:
    space, task = create("space", "classic"), tiny_task((3, 32, 32), classes=10)
    setting = Setting(space, task.sealed())
    largest = counts(space.named("resnet8"), setting)
    for name, design in space.small_references().items():
        own = counts(design, setting)
        assert space.named(name) == design
        assert own.flash < largest.flash
        assert own.sram < 0.9 * largest.sram
        assert 0.6 * largest.instructions < own.instructions < largest.instructions
