"""The space of networks for pixels, against a U-Net that is written out by hand."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from archscout.core.errors import UsageError
from archscout.networks.pick import build
from archscout.networks.tracing import trace_architecture
from archscout.spaces.load import automatic_space
from archscout.spaces.segmentation import REFERENCES, Segmentation
from archscout.testing import SpaceConformance, tiny_segmentation, tiny_task


class TestSegmentation(SpaceConformance):
    networks = 4
    examples = 12

    def space(self):
        return Segmentation(width=32)

    def task(self):
        return tiny_segmentation(24, side=16)


class TestOfClasses(SpaceConformance):
    """Networks for pixels are networks for classes, too."""

    networks = 2
    examples = 4

    def space(self):
        return Segmentation(width=16)

    def task(self):
        return tiny_task((3, 17, 20))


def test_the_size_has_a_closed_form():
    """Three kinds, five widths, three depths, two kernels, three dilations of four stages; three decoders."""
    assert Segmentation().size() == 2 * (3 * 5 * 3 * 2 * 3) ** 4 * 3 * 3


def test_the_small_unet_is_the_one_that_is_written_out():
    def layers(inputs, outputs, count=2, kernel=3):
        row = []
        for number in range(count):
            convolution = nn.Conv2d(outputs if number else inputs, outputs, kernel, padding=kernel // 2, bias=False)
            row += [convolution, nn.BatchNorm2d(outputs), nn.ReLU()]
        return nn.Sequential(*row)

    class UNet(nn.Module):
        def __init__(self):
            super().__init__()
            widths = [16, 32, 64, 128]
            self.stem = layers(1, 16, 1)
            self.down = nn.ModuleList(layers(i, o) for i, o in zip([16, *widths[:-1]], widths, strict=True))
            self.bottom = layers(128, 32, 1, 1)
            # Over what is known and the map of that size side by side, in one convolution.
            self.up = nn.ModuleList(nn.Conv2d(32 + width, 32, 3, padding=1, bias=False) for width in widths[:3])
            self.norms = nn.ModuleList(nn.BatchNorm2d(32) for _ in range(3))

        def forward(self, x):
            x, maps = self.stem(x), []
            for number, stage in enumerate(self.down):
                x = stage(F.max_pool2d(x, 2) if number else x)
                maps.append(x)
            x = self.bottom(x)
            for number in (2, 1, 0):
                x = F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
                x = F.relu(self.norms[number](self.up[number](torch.cat([x, maps[number]], 1))))
            return x

    task, space = tiny_segmentation(8, side=16), Segmentation()
    network, expected = build(space, space.parse(REFERENCES["unet_small"]), task).eval(), UNet().eval()
    for mine, theirs in (
        (network.stem, expected.stem), (network.stages, expected.down), (network.decoder.bottom, expected.bottom),
        (network.decoder.norms, expected.norms),
    ):  # fmt: skip
        theirs.load_state_dict(dict(zip(theirs.state_dict(), mine.state_dict().values(), strict=True)))
    for number in range(3):
        weights = [part[number].weight for part in (network.decoder.known, network.decoder.seen)]
        expected.up[number].weight.data = torch.cat(weights, 1).data
    x = torch.randn(2, 1, 16, 24)
    maps, inner = [], network.stem(x)
    for stage in network.stages:
        inner = stage(inner)
        maps.append(inner)
    torch.testing.assert_close(network.decoder(maps), expected(x))


def test_what_is_searched_without_being_told_and_what_is_refused():
    assert automatic_space(tiny_segmentation(8, side=16)).name == "segmentation"
    with pytest.raises(UsageError, match="at least 16 x 16 pixels"):
        Segmentation().check_task(tiny_task())
    good = REFERENCES["unet_small"]
    for text, message in (
        (good.removeprefix("s1_"), "has 5 parts where space 'segmentation' has 6"),
        (good.replace("s1", "x"), "'x' in .* cannot be read"),
        (good.replace("plain16x2", "plain17x2"), "'17', the stage1.width of .*, must be one of 16, 32"),
        (good.replace("unet32", "net32"), "'net', the decoder of"),
    ):
        with pytest.raises(UsageError, match=message):
            Segmentation().parse(text)


def test_the_graph_says_what_the_decoder_reads():
    space = Segmentation()
    for name, taps in (("unet", [2, 3, 4, 5]), ("fuse", [3, 5])):
        graph = space.graph(space.parse(REFERENCES["unet_small"].replace("unet", name)))
        assert [start for start, end in graph.edges if end == 6] == taps
    task = tiny_segmentation(8, side=16)
    costs = {name: trace_architecture(space, space.parse(text), task).macs for name, text in REFERENCES.items()}
    assert costs["unet_halved"] < costs["unet"]
