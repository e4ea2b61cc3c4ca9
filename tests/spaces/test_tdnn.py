"""The space of time-delay networks, against an ECAPA-like one that is written out by hand."""

import pytest
import torch
from torch import nn

from archscout.core.errors import UsageError
from archscout.networks.pick import build
from archscout.spaces.load import automatic_space
from archscout.spaces.tdnn import TDNN
from archscout.testing import SpaceConformance, tiny_audio, tiny_speakers, tiny_task


class TestTDNN(SpaceConformance):
    networks = 4
    examples = 12

    def space(self):
        return TDNN(width=32)

    def task(self):
        return tiny_speakers(24)


class TestOfClasses(SpaceConformance):
    networks = 2
    examples = 4

    def space(self):
        return TDNN(width=32)

    def task(self):
        return tiny_audio(24)


def test_the_size_has_a_closed_form():
    """Kernel and width of each layer, and the width of the last one."""
    assert TDNN().size() == 5 * sum((3 * 5) ** (1 + depth) for depth in (2, 3, 4))


def convolution(inputs, outputs, kernel, dilation=1):
    padding = dilation * (kernel // 2)
    layer = nn.Conv1d(inputs, outputs, kernel, padding=padding, dilation=dilation, bias=False)
    return nn.Sequential(layer, nn.BatchNorm1d(outputs), nn.ReLU())


class Block(nn.Module):
    def __init__(self, dilation):
        super().__init__()
        self.enter = convolution(64, 64, 1)
        self.inner = nn.ModuleList(convolution(8, 8, 3, dilation) for _ in range(7))
        self.leave = convolution(64, 64, 1)
        self.down, self.up = nn.Conv1d(64, 16, 1, bias=False), nn.Conv1d(16, 64, 1, bias=False)

    def forward(self, x):
        groups = self.enter(x).chunk(8, 1)
        parts = [groups[0], self.inner[0](groups[1])]
        for number in range(2, 8):
            parts.append(self.inner[number - 1](groups[number] + parts[-1]))
        y = self.leave(torch.cat(parts, 1))
        return x + y * torch.sigmoid(self.up(torch.relu(self.down(y.mean(2, keepdim=True)))))


class ECAPA(nn.Module):
    """Two blocks; one convolution over their outputs side by side."""

    def __init__(self):
        super().__init__()
        self.first = convolution(12, 64, 5)
        self.blocks = nn.ModuleList([Block(2), Block(3)])
        self.last = nn.Conv1d(128, 192, 1, bias=False)
        self.norm = nn.BatchNorm1d(192)

    def forward(self, x):
        x = self.first(x[:, 0])
        one = self.blocks[0](x)
        two = self.blocks[1](x + one)
        return torch.relu(self.norm(self.last(torch.cat([one, two], 1))))[:, :, None]


def copied(theirs, mine):
    theirs.load_state_dict(dict(zip(theirs.state_dict(), mine.state_dict().values(), strict=True)))


def test_the_small_one_is_the_one_that_is_written_out():
    task, space = tiny_speakers(), TDNN()
    network, expected = build(space, space.references()["tdnn_small"], task).eval(), ECAPA().eval()
    begin, steps, end, _ = network
    copied(expected.first, begin.layer)
    for block, step in zip(expected.blocks, steps, strict=True):
        copied(block, step.block)
    expected.last.weight.data = torch.cat([step.part.weight for step in steps], 1).data
    copied(expected.norm, end.norm)
    x = torch.randn(3, 1, 12, 15)
    torch.testing.assert_close(network[:3](x), expected(x))


def test_what_is_searched_without_being_told_and_what_is_refused():
    assert automatic_space(tiny_speakers()).name == "tdnn"
    with pytest.raises(UsageError, match="needs spectrograms"):
        TDNN().check_task(tiny_task((3, 8, 8)))
    for text, message in (
        ("k5w50_k3w50_cat50", "has 1 blocks where space 'tdnn' has 2 to 4"),
        ("k5w50_k3w50_k3w50_50", "'50' in .* cannot be read"),
        ("k5w50_k3w50_k7w50_cat50", "'7', the layer2.kernel of .*, must be one of 1, 3, 5"),
    ):
        with pytest.raises(UsageError, match=message):
            TDNN().parse(text)
