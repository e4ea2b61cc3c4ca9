"""The FBNet space: its text, its closed form of parameters, and networks written out by hand."""

import pytest
import torch

from archscout.core.errors import UsageError
from archscout.core.estimator import Setting
from archscout.core.registry import create
from archscout.core.seeds import stream
from archscout.networks.pick import build
from archscout.networks.tracing import trace_architecture
from archscout.spaces.fbnet import HEAD, KINDS, LAYERS, OPTIONS, STEM, FBNet
from archscout.testing import SpaceConformance, tiny_task

TEXT = "7_8_1_8_4_8_8_8_7_4_1_4_7_3_2_7_3_2_4_2_4_5"


class TestFBNet(SpaceConformance):
    examples = 8
    networks = 2

    def space(self):
        return FBNet()

    def task(self):
        return tiny_task((3, 16, 16), classes=4)


def test_the_layers_are_the_published_ones() -> None:
    assert len(LAYERS) == 22
    assert [layer.outputs for layer in LAYERS] == [16, *[24] * 4, *[32] * 4, *[64] * 4, *[112] * 4, *[184] * 4, 352]
    assert [number for number, layer in enumerate(LAYERS) if layer.stride == 2] == [1, 5, 9, 17]
    assert FBNet().size() == 9**22


def test_parameters_agree_with_the_closed_form() -> None:
    space, task = FBNet(), tiny_task((3, 16, 16), classes=4)
    for number in range(5):
        architecture = space.sample(stream(number, "fbnet"))
        expected = 3 * 9 * STEM + 2 * STEM + LAYERS[-1].outputs * HEAD + 2 * HEAD + HEAD * 4 + 4
        for layer, option in zip(LAYERS, architecture.values(), strict=True):
            if option == "skip":
                expected += 0 if layer.keeps_shape else layer.inputs * layer.outputs + 2 * layer.outputs
            else:
                kind = KINDS[option]
                hidden = layer.inputs * kind.expansion
                expected += hidden * (layer.inputs + layer.outputs) // kind.groups + hidden * kind.kernel**2
                expected += 4 * hidden + 2 * layer.outputs
        network = build(space, architecture, task, device="meta")
        assert sum(parameter.numel() for parameter in network.parameters()) == expected


def test_small_images_are_halved_three_times_and_large_ones_five_times() -> None:
    """Published parameters and multiply-adds (M) of one network for CIFAR-100; counters differ in what is free."""
    space = FBNet()
    small, large = (Setting(space, tiny_task((3, side, side), classes=100, examples=2)) for side in (32, 224))
    maps = [
        max(node.size for node in trace_architecture(s.space, space.parse(TEXT), s.task).nodes[-5:])
        for s in (small, large)
    ]
    assert maps == [4 * HEAD * 4 * 4, 4 * HEAD * 7 * 7]
    counted = [create("cost", name).measure(space.parse(TEXT), small).value for name in ("params", "macs")]
    assert counted[0] == 1_790_500
    assert counted[1] == pytest.approx(70_098_816, rel=0.06)


def test_grouped_layers_mix_their_groups() -> None:
    space = FBNet()
    grouped = space.architecture({f"layer {n}": "k3_e1_g2" for n in range(1, 23)})
    network = build(space, grouped, tiny_task((3, 16, 16), classes=4)).eval()
    block = network[1]
    shuffled = block.shuffle(torch.arange(16.0).reshape(1, 16, 1, 1)).flatten().tolist()
    assert shuffled == [0, 8, 1, 9, 2, 10, 3, 11, 4, 12, 5, 13, 6, 14, 7, 15]


def test_text_is_that_of_the_published_tables() -> None:
    architecture = FBNet().parse(TEXT)
    assert str(architecture) == TEXT
    assert [OPTIONS.index(str(option)) for option in architecture.values()] == [int(d) for d in TEXT.split("_")]


@pytest.mark.parametrize(
    ("text", "says"), [("7_8", "2 layers"), (TEXT.replace("7_8", "7_9"), "layer 2"), (TEXT[:-1] + "x", "layer 22")]
)
def test_malformed_text_is_refused(text: str, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        FBNet().parse(text)
