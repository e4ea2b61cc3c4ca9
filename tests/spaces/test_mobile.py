"""The mobile space, against closed forms and networks that are written out by hand."""

import csv
import io
import itertools
import shlex

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from archscout.core.errors import UsageError
from archscout.core.registry import create
from archscout.core.seeds import stream
from archscout.networks.pick import build
from archscout.spaces.mobile import InvertedResidual, Mobile, SqueezeExcitation
from archscout.supernets.supernet import Supernet
from archscout.testing import SpaceConformance, tiny_task

TEXT = "w75-k3e4r-k5e6hs_w100-k3e2r_w50-k7e3rs-k3e2h-k5e3h_w75-k3e4hs"


class TestMobile(SpaceConformance):
    def space(self):
        return Mobile()


class TestMobileOnColourImages(SpaceConformance):
    examples = 8
    networks = 4

    def space(self):
        return Mobile(width=16, stages=3, depth=4)

    def task(self):
        return tiny_task((3, 33, 24), classes=5)


class TestMobileOfOneStage(SpaceConformance):
    """Small enough to be enumerated in part, and the first stage is the last."""

    def space(self):
        return Mobile(stages=1, depth=2)


# -- the set ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("stages", "depth"), [(1, 1), (1, 3), (2, 2), (4, 3), (6, 4)])
def test_the_size_has_a_closed_form(stages, depth):
    block = 3 * 4 * 2 * 2
    assert Mobile(stages=stages, depth=depth).size() == (3 * sum(block**n for n in range(1, depth + 1))) ** stages


def test_the_space_is_larger_than_a_trillion():
    assert Mobile().size() > 10**12
    assert isinstance(Mobile().size(), int)


def test_choices_of_a_block_are_active_only_where_it_runs():
    architecture = Mobile().parse(TEXT)
    assert architecture["stage1.depth"] == 2
    blocks = {tuple(name.split(".")[:2]) for name in architecture if ".block" in name}
    assert blocks == {
        ("stage1", "block1"), ("stage1", "block2"), ("stage2", "block1"),
        ("stage3", "block1"), ("stage3", "block2"), ("stage3", "block3"), ("stage4", "block1"),
    }  # fmt: skip


# -- text -------------------------------------------------------------------------------------------------------------


def test_the_text_says_every_choice():
    architecture = Mobile().parse(TEXT)
    assert architecture["stage1.width"] == 75
    assert architecture["stage1.block2.kernel"] == 5
    assert architecture["stage1.block2.expansion"] == 6
    assert architecture["stage1.block2.activation"] == "hswish"
    assert architecture["stage1.block2.squeeze"] is True
    assert architecture["stage1.block1.activation"] == "relu"
    assert architecture["stage1.block1.squeeze"] is False
    assert str(architecture) == TEXT


def test_the_text_needs_no_quotes_anywhere():
    space = Mobile()
    for seed in range(50):
        text = str(space.sample(stream(seed)))
        assert shlex.quote(text) == text
        written = io.StringIO()
        csv.writer(written).writerow([text])
        assert written.getvalue() == f"{text}\r\n"
        assert not text.startswith("-")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda text: text + "_w50-k3e2r", "has 5 stages where space 'mobile' has 4"),
        (lambda text: "w75", "has 1 stages where space 'mobile' has 4: write w75-"),
        (lambda text: text.replace("w75-", "w76-", 1), "'w76', the width of stage 1 .* must be one of w50, w75, w100"),
        (lambda text: text.replace("w75-", "", 1), "'k3e4r', the width of stage 1"),
        (lambda text: text.replace("_w100-k3e2r", "_w100"), r"stage 2 \('w100'\) of .* has 0 blocks: write 1 to 3"),
        (lambda text: text.replace("_w100-", "_w100-k3e2r-k3e2r-k3e2r-"), "stage 2 .* has 4 blocks: write 1 to 3"),
        (
            lambda text: text.replace("k5e6hs", "k5e6sh"),
            "'k5e6sh', block 2 of stage 1 .*, is no block: write k<kernel>",
        ),
        (lambda text: text.replace("k5e6hs", "k5e6"), "'k5e6', block 2 of stage 1"),
        (lambda text: text.replace("k5e6hs", ""), "'', block 2 of stage 1"),
        (lambda text: text.replace("k5e6hs", "k9e6hs"), "'9', the kernel of block 2 of stage 1 .* one of 3, 5, 7"),
        (lambda text: text.replace("k5e6hs", "k05e6hs"), "'05', the kernel"),
        (lambda text: text.replace("k5e6hs", "k5e5hs"), "'5', the expansion of block 2 .* one of 2, 3, 4, 6"),
        (lambda text: text.replace("k5e6hs", "k5e6ts"), "'t', the activation of block 2"),
        (lambda text: text.replace("-", ","), "the width of stage 1"),
    ],
)
def test_a_malformed_text_is_one_clear_sentence(change, message):
    with pytest.raises(UsageError, match=message) as caught:
        Mobile().parse(change(TEXT))
    assert len(str(caught.value).splitlines()) == 1


# -- networks ---------------------------------------------------------------------------------------------------------


def shapes(network, task):
    """The sizes of the feature maps after the stem and each stage, in pixels."""
    sides = []
    for layer in list(network)[:-1]:
        layer.register_forward_hook(lambda *call: sides.append(tuple(call[2].shape[2:])))
    with torch.no_grad():
        network.eval()(torch.zeros(1, *task.input_shape))
    return sides


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ((1, 4, 4), [4, 4, 4, 4, 4]),
        ((1, 8, 8), [8, 8, 8, 4, 4]),
        ((1, 16, 16), [16, 16, 8, 8, 4]),
        ((1, 28, 28), [14, 14, 14, 7, 7]),
        ((3, 32, 32), [16, 16, 8, 8, 4]),
        ((3, 64, 64), [32, 32, 16, 8, 4]),
        ((3, 96, 96), [48, 48, 24, 12, 6]),
        ((3, 224, 224), [112, 56, 28, 14, 7]),
    ],
)
def test_strides_follow_the_input(shape, expected):
    task = tiny_task(shape, examples=3)
    space = Mobile()
    for architecture in (*space.extremes(), space.parse(TEXT)):
        sides = shapes(build(space, architecture, task), task)
        assert sides[:-1] == [(side, side) for side in expected]


@pytest.mark.parametrize("stages", [1, 2, 3, 4, 5, 6])
def test_no_map_is_smaller_than_four_pixels(stages):
    space = Mobile(width=8, stages=stages, depth=1)
    architecture = next(iter(space.extremes()))
    for side in (*range(4, 40, 3), 60, 61, 127, 128, 224):
        task = tiny_task((1, side, side + 1), examples=3)
        sides = shapes(build(space, architecture, task), task)
        assert min(min(pair) for pair in sides) >= 4
        # Nor is any larger than it must be, where there are stages enough to halve it.
        if side < 8 * 2 ** (stages + (side >= 24)):
            assert min(sides[-1]) <= 8


@pytest.mark.parametrize(("side", "width"), [(8, 8), (28, 8), (32, 16), (96, 16), (128, 24), (224, 24)])
def test_widths_follow_the_input(side, width):
    task = tiny_task((1, side, side), examples=3)
    assert build(Mobile(), Mobile().parse(TEXT), task, device="meta")[0][0].out_channels == width
    given = build(Mobile(width=32), Mobile().parse(TEXT), task, device="meta")
    assert given[0][0].out_channels == 32


def count(architecture, channels, classes, inputs):
    """The parameters, layer by layer, by the definition of an inverted-residual block."""
    full = {1: 16, 2: 24, 3: 40, 4: 64}
    total = 9 * channels * 16 + 2 * 16
    for stage in range(1, 5):
        outputs = full[stage] * architecture[f"stage{stage}.width"] // 100
        for block in range(1, architecture[f"stage{stage}.depth"] + 1):
            name = f"stage{stage}.block{block}"
            hidden = inputs * architecture[f"{name}.expansion"]
            total += inputs * hidden + 2 * hidden
            total += hidden * architecture[f"{name}.kernel"] ** 2 + 2 * hidden
            if architecture[f"{name}.squeeze"]:
                total += hidden * (hidden // 4) + hidden // 4 + (hidden // 4) * hidden + hidden
            total += hidden * outputs + 2 * outputs
            inputs = outputs
    return total + inputs * 128 + 2 * 128 + 128 * classes + classes


def test_parameters_have_a_closed_form():
    space, task = Mobile(width=16), tiny_task((3, 32, 32), classes=10, examples=10)
    for seed in range(30):
        architecture = space.sample(stream(seed))
        network = build(space, architecture, task, device="meta")
        assert sum(p.numel() for p in network.parameters()) == count(architecture, 3, 10, inputs=16)


def by_hand(block, x, kernel, stride, activation, squeeze, residual):
    def normalise(y, norm):
        return F.batch_norm(y, norm.running_mean, norm.running_var, norm.weight, norm.bias)

    y = activation(normalise(F.conv2d(x, block.expand[0].weight), block.expand[1]))
    y = F.conv2d(y, block.filter[0].weight, stride=stride, padding=kernel // 2, groups=y.shape[1])
    y = activation(normalise(y, block.filter[1]))
    if squeeze:
        means = y.mean((2, 3))
        reduced = F.relu(F.linear(means, block.squeeze.reduce.weight[:, :, 0, 0], block.squeeze.reduce.bias))
        gate = F.linear(reduced, block.squeeze.excite.weight[:, :, 0, 0], block.squeeze.excite.bias)
        y = y * ((gate + 3).clamp(0, 6) / 6)[:, :, None, None]
    y = normalise(F.conv2d(y, block.project[0].weight), block.project[1])
    return x + y if residual else y


def test_a_block_is_the_one_written_by_hand():
    space, task = Mobile(), tiny_task((1, 8, 8))
    architecture = space.parse(TEXT)
    network = build(space, architecture, task)
    with torch.no_grad():
        for tensor in network.state_dict().values():
            if tensor.is_floating_point():
                tensor.uniform_(0.1, 0.6)
        x = network.eval()[0](torch.randn(2, 1, 8, 8))
        for stage in range(1, 5):
            for position, block in enumerate(network[stage], start=1):
                name = f"stage{stage}.block{position}"
                y = by_hand(
                    block,
                    x,
                    kernel=architecture[f"{name}.kernel"],
                    stride=2 if (stage, position) == (3, 1) else 1,
                    activation={"relu": F.relu, "hswish": F.hardswish}[architecture[f"{name}.activation"]],
                    squeeze=architecture[f"{name}.squeeze"],
                    residual=position > 1,
                )
                assert torch.allclose(block(x), y, rtol=1e-4), name
                x = block(x) / block(x).std()


def test_a_stand_alone_network_is_of_torch_layers():
    task = tiny_task()
    own = {InvertedResidual, SqueezeExcitation}
    for seed in range(5):
        network = build(Mobile(), Mobile().sample(stream(seed)), task)
        for module in network.modules():
            assert (
                type(module) in own
                or isinstance(module, nn.Sequential | nn.Identity | nn.ReLU | nn.Hardswish | nn.Hardsigmoid)
                or type(module) in (nn.Conv2d, nn.BatchNorm2d, nn.Linear)
                or module is network[-1]
            )


def test_the_supernet_holds_one_tensor_for_all_kernels_and_widths():
    space, task = Mobile(), tiny_task()
    supernet = Supernet(space, task)
    largest = build(space, list(space.extremes())[1], task)
    assert sum(p.numel() for p in supernet.parameters()) == sum(p.numel() for p in largest.parameters())


def test_every_choice_changes_the_outputs_of_a_supernet():
    space, task = Mobile(stages=2, depth=2), tiny_task()
    supernet = Supernet(space, task).eval()
    x, _ = task.tensors(task.valid)
    start = space.parse("w75-k3e4r-k5e6hs_w100-k3e2r-k3e2r")
    with torch.no_grad():
        outputs = [supernet.select(a)(x) for a in (start, *space.neighbours(start))]
    for one, other in itertools.combinations(outputs, 2):
        assert not torch.equal(one, other)


# -- the rest ---------------------------------------------------------------------------------------------------------


def test_the_graph_is_a_chain_of_blocks():
    graph = Mobile().graph(Mobile().parse(TEXT))
    assert graph.labels == (
        "input", "stem", "k3e4r-w75", "k5e6hs-w75", "k3e2r-w100", "k7e3rs-w50", "k3e2h-w50", "k5e3h-w50", "k3e4hs-w75",
        "tail", "output",
    )  # fmt: skip
    assert graph.edges == tuple(itertools.pairwise(range(11)))
    assert graph.nodes[3].group == "stage 1"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("mobile:width=12", "width of space 'mobile' must be a multiple of 8 .* not 12"),
        ("mobile:width=0", "width of space 'mobile' must be a whole number above zero, not 0"),
        ("mobile:stages=1.5", "stages of space 'mobile' must be a whole number above zero, not 1.5"),
        ("mobile:depth=true", "depth of space 'mobile' must be a whole number above zero, not True"),
        ("mobile:detph=2", r"no parameter 'detph': did you mean 'depth'\?"),
    ],
)
def test_wrong_parameters_are_refused(name, message):
    with pytest.raises(UsageError, match=message):
        create("space", name)


def test_references_are_the_published_blocks():
    references = Mobile().references()
    assert str(references["mobilenet_v3_small"]).split("_")[2] == "w75-k5e4hs-k5e6hs-k5e6hs"
    plain = [name for name in references if "v3" not in name]
    for name, architecture in references.items():
        squeezed = any(value for choice, value in architecture.items() if choice.endswith(".squeeze"))
        assert squeezed == (name not in plain)
    assert references["mobilenet_v2"]["stage4.depth"] == 3
    assert Mobile(depth=1, stages=6).references()["mobilenet_v2"]["stage6.block1.expansion"] == 6


def test_too_small_images_are_refused():
    with pytest.raises(UsageError, match=r"at least 4 x 4 pixels; task 'tiny8x3' has inputs of shape \(1, 8, 3\)"):
        Mobile().check_task(tiny_task((1, 8, 3)))


def test_a_small_network_learns():
    """Loss falls and the patterns are told apart after a few steps: strides, widths and residuals do not block it."""
    space, task = Mobile(), tiny_task()
    network = build(space, space.parse("w100-k3e3r_w100-k3e3h_w100-k5e2rs_w100-k3e3h"), task, seed=1)
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
