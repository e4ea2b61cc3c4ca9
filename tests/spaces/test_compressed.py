"""Bits and N:M as choices: against counts by hand, and a training that keeps them."""

import pytest
import torch

from archscout.core.errors import UsageError
from archscout.core.registry import create
from archscout.core.seeds import stream
from archscout.costs.weight_bytes import stored_bytes
from archscout.deploy.form import form
from archscout.networks.few_bits import FewBits, attach
from archscout.networks.pick import build
from archscout.spaces.compressed import Compressed
from archscout.spaces.nasbench201 import NASBench201
from archscout.supernets.supernet import Supernet
from archscout.testing import SpaceConformance, tiny_task
from archscout.training.recipe import Recipe
from archscout.training.trainer import train

TEXT = "resnet8@w8n4_w4n2_w2n1"


class TestCompressed(SpaceConformance):
    """Of a space whose networks can share weights."""

    networks = 2
    examples = 6

    def space(self):
        return Compressed(NASBench201(width=4, cells=1), parts=2)

    def task(self):
        return tiny_task((3, 8, 8))


def test_bits_and_zeros_are_what_was_chosen_after_a_training():
    space, task = create("space", "compressed"), tiny_task((3, 8, 8), classes=3)
    network = build(space, space.named(TEXT), task)
    train(network, task, Recipe.default(task, 1), seed=0)
    layers = [layer for layer in network.modules() if hasattr(layer, "parametrizations")]
    kinds = {(layer.parametrizations.weight[0].bits, layer.parametrizations.weight[0].kept) for layer in layers}
    assert kinds == {(8, 4), (4, 2), (2, 1)}
    for layer in layers:
        few = layer.parametrizations.weight[0]
        weight = layer.weight.detach()
        assert max(len(row.unique()) for row in weight.flatten(1)) <= 2**few.bits - 1
        if few.kept < 4 and weight.shape[1] % 4 == 0:
            groups = weight.movedim(1, -1).reshape(-1, 4)
            assert int((groups != 0).sum(1).max()) <= few.kept
    x = torch.randn(2, 3, 8, 8)
    plain = form(network.eval(), (3, 8, 8))
    assert not any(hasattr(layer, "parametrizations") for layer in plain.modules())
    torch.testing.assert_close(plain(x), network(x), atol=1e-4, rtol=1e-4)


def test_bytes_are_counted_by_hand():
    layer = torch.nn.Conv2d(10, 6, 3)
    attach(layer, FewBits(4, 2))
    # Of ten inputs two groups of four: two of each with 4 + 2 bits; two inputs are left over, whole.
    assert stored_bytes(layer) == (6 * 9 * (2 * 2 * 6 + 2 * 4)) // 8 + 4 * 6
    space, task = create("space", "compressed"), tiny_task((3, 8, 8))
    sizes = [stored_bytes(build(space, space.named(f"resnet8@{parts}"), task, device="meta"))
             for parts in ("w8n4_w8n4_w8n4", "w4n4_w4n4_w4n4", "w4n2_w4n2_w4n2", "w2n1_w2n1_w2n1")]  # fmt: skip
    assert sizes == sorted(sizes, reverse=True)
    assert len(set(sizes)) == 4


def test_widths_cannot_be_shared_and_texts_are_checked():
    space, task = create("space", "compressed"), tiny_task((3, 8, 8))
    with pytest.raises(UsageError, match="cannot share weights of few bits"):
        Supernet(space, task)
    for text in ("resnet8@w4n2", "resnet8@w4n2_w4n2_w4", "resnet8@w3n2_w4n2_w4n2"):
        with pytest.raises(UsageError):
            space.named(text)
    with pytest.raises(UsageError, match="1 to 16 parts"):
        Compressed("classic", 0)
    architecture = space.sample(stream(0))
    assert space.parse(architecture.text) == architecture
    assert space.size() == space.of.size() * 9**3
