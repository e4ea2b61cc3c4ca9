"""The FBNetV2 spaces: their published cardinalities, their text, split attention written out."""

import pytest
import torch
import torch.nn.functional as F

from archscout.core.errors import UsageError
from archscout.core.registry import create
from archscout.core.seeds import stream
from archscout.networks.pick import build
from archscout.spaces.fbnetv2 import FBNetV2, SplitAttention
from archscout.supernets.distributions import Distribution, is_product, layers
from archscout.supernets.supernet import Supernet
from archscout.testing import SpaceConformance, tiny_task

TEXT = "k3e75c1r_k5e600c10hs_k0e75c2r_k3e300c4h_k5e150c15rs"


class TestFBNetV2(SpaceConformance):
    examples = 8
    networks = 2

    def space(self):
        return FBNetV2(unit=2)


class TestDeep(SpaceConformance):
    examples = 4
    networks = 1

    def space(self):
        return FBNetV2("deep", unit=2)


def test_a_block_has_the_published_numbers_of_options():
    space = FBNetV2()
    sizes = [len(choice.options) for choice in space.choices[:5]]
    assert sorted(sizes) == [2, 2, 3, 6, 10]
    joint = Distribution(space, layers(space))
    assert [variable.size for variable in joint.variables] == [720] * 5
    assert sum(len(logits) for logits in Distribution(space).logits) == 5 * 23
    assert space.size() == 720**5
    assert FBNetV2("fine").size() == 720**10
    assert FBNetV2("wide").size() == (3 * 6 * 14 * 2 * 2 * 3) ** 5
    assert is_product(FBNetV2("deep"))


def test_text_and_what_no_block_leaves_open():
    space = FBNetV2()
    architecture = space.parse(TEXT)
    assert str(architecture) == TEXT
    assert architecture["stage2.channels"] == 10
    assert architecture["stage2.squeeze"] is True
    other = space.parse(TEXT.replace("k0e75c2r", "k0e600c2hs"))
    assert space.canonical(other) == space.canonical(architecture) == TEXT
    assert space.canonical(space.parse(TEXT.replace("k0e75c2r", "k0e75c3r"))) != TEXT
    for text, message in [
        ("k3e75c1r", "has 1 blocks where"),
        (TEXT.replace("k3e75c1r", "k7e75c1r"), "kernel of 'stage1' .* must be one of"),
        (TEXT.replace("k3e75c1r", "k3e75c1x"), "is no block"),
        (TEXT.replace("k3e75c1r", "k3e75c1ra2"), "is no block"),
    ]:
        with pytest.raises(UsageError, match=message):
            space.parse(text)
    with pytest.raises(UsageError, match="no variant"):
        FBNetV2("large")
    with pytest.raises(UsageError, match="unit"):
        FBNetV2(unit=0)


def test_parameters_of_a_network_counted_by_hand():
    task = tiny_task()
    space = FBNetV2(unit=4)
    network = build(space, space.parse("k3e300c2r_k0e75c1r_k0e75c2r_k0e75c4r_k0e75c6r"), task, device="meta")
    colours = task.input_shape[0]
    stem = colours * 8 * 9 + 16
    block = 8 * 24 + 48 + 24 * 9 + 48 + 24 * 8 + 16
    absent = sum(i * o + 2 * o for i, o in ((8, 4), (4, 8), (8, 16), (16, 24)))
    tail = 24 * 64 + 128 + 64 * task.outputs + task.outputs
    assert sum(p.numel() for p in network.parameters()) == stem + block + absent + tail


def test_split_attention_is_a_convex_sum_of_its_filters():
    torch.manual_seed(0)
    module = SplitAttention(6, 3, 1, 2).eval()
    x = torch.randn(2, 6, 5, 5)
    parts = [filtered(x) for filtered in module.filters]
    means = F.relu(module.reduce((parts[0] + parts[1]).mean((2, 3), keepdim=True)))
    first, second = (weigh(means) for weigh in module.weigh)
    share = torch.sigmoid(first - second)
    assert torch.allclose(module(x), share * parts[0] + (1 - share) * parts[1], atol=1e-6)


def test_the_supernet_and_a_network_agree_with_splits_and_all():
    space, task = create("space", "fbnetv2:variant=wide,unit=2"), tiny_task()
    supernet = Supernet(space, task, seed=2)
    x, _ = task.tensors(task.valid)
    architecture = space.sample(stream(5))
    network = supernet.extract(architecture).eval()
    supernet.eval()
    assert torch.allclose(supernet.select(architecture)(x), network(x), atol=1e-4)
