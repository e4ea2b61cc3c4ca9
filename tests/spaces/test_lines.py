"""The space of networks that read lines, against one that is written out by hand."""

import pytest
import torch
from torch import nn

from archscout.core.errors import UsageError
from archscout.networks.pick import build
from archscout.spaces.lines import Lines
from archscout.testing import SpaceConformance, tiny_lines, tiny_task


class TestLines(SpaceConformance):
    networks = 4
    examples = 12

    def space(self):
        return Lines(width=32)

    def task(self):
        return tiny_lines(24)


def test_the_size_has_a_closed_form():
    """Three kinds, five widths, three depths, two kernels, two poolings for each stage; three ends."""
    each = 3 * 5 * 3 * 2 * 2
    assert Lines().size() == 3 * sum(each**stages for stages in (2, 3, 4))


def test_the_small_crnn_is_the_one_that_is_written_out():
    def layer(inputs, outputs):
        return [nn.Conv2d(inputs, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()]

    class CRNN(nn.Module):
        def __init__(self):
            super().__init__()
            self.body = nn.Sequential(
                *layer(1, 16), nn.MaxPool2d(2), *layer(16, 32), nn.MaxPool2d(2), *layer(32, 64),
                nn.MaxPool2d((2, 1)), *layer(64, 128), *layer(128, 128),
            )  # fmt: skip
            self.inner = nn.Sequential(nn.Conv2d(128, 128, 1, bias=False), nn.BatchNorm2d(128), nn.ReLU())
            self.lstm = nn.LSTM(128, 64, batch_first=True, bidirectional=True)
            self.outer = nn.Sequential(nn.Conv2d(128, 128, 1, bias=False), nn.BatchNorm2d(128))
            self.head = nn.Linear(128, 4)

        def forward(self, x):
            x = self.body(x)
            y, _ = self.lstm(self.inner(x).mean(2).transpose(1, 2))
            x = (x + self.outer(y.transpose(1, 2)[:, :, None])).mean(2)
            return self.head(x.transpose(1, 2)).transpose(1, 2)

    task, space = tiny_lines(), Lines()
    network, expected = build(space, space.references()["crnn_small"], task).eval(), CRNN().eval()
    expected.load_state_dict(dict(zip(expected.state_dict(), network.state_dict().values(), strict=True)))
    x = torch.randn(2, 1, 16, 32)
    torch.testing.assert_close(network(x), expected(x))


def test_what_is_no_line_or_no_stage_is_refused():
    with pytest.raises(UsageError, match="at least 16 x 16 pixels"):
        Lines().check_task(tiny_task())
    for text, message in (
        ("plain32x1k3s22_plain32x1k3s22", "must end in none, conv, lstm"),
        ("plain32x1k3s22_lstm", "has 1 stages where space 'lines' has 2 to 4"),
        ("plain32x1k3s22_odd32x1k3s22_lstm", "'odd32x1k3s22', stage 2 of"),
        ("plain32x1k3s12_plain32x1k3s22_lstm", "must be one of 21, 22"),
    ):
        with pytest.raises(UsageError, match=message):
            Lines().parse(text)
