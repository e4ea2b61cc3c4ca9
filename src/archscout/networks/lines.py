"""Heads and layers that read images of lines of text: from a feature map to a symbol at each place, left to right."""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from archscout.networks.decoder import WIDTH, Laterals
from archscout.networks.elastic import Number, linear
from archscout.networks.operations import ConvBNActivation


class LineHead(nn.Module):
    """The mean over the height, and a linear layer at each place: N x outputs x places.

    Args:
        channels: of the feature map.
        outputs: at each place.
        places: how many there are at least; a narrower map is stretched.
    """

    def __init__(self, channels: Number, outputs: int, places: int) -> None:
        super().__init__()
        self.places = places
        self.classifier = linear(channels, outputs)

    def forward(self, x: Tensor) -> Tensor:
        x = x.mean(2)
        if x.shape[2] < self.places:
            x = F.interpolate(x, self.places, mode="linear", align_corners=False)
        y: Tensor = self.classifier(x.transpose(1, 2))
        return y.transpose(1, 2)


class TappedLineHead(nn.Module):
    """For networks that make maps as narrow as they make them low: the ends of all stages, brought to one width.

    Each map is averaged over its height and projected, as in a feature pyramid (`decoder.Decoder`); the sum is mixed by
    a convolution from left to right.

    Args:
        channels: of each map, the finest first; 0 while a stage of a supernet is left out, whose map is missing then.
        outputs: at each place.
        places: how many there are.
    """

    def __init__(self, channels: Sequence[Number], outputs: int, places: int) -> None:
        super().__init__()
        self.size = (1, places)
        self.laterals = Laterals(channels)
        self.norm = nn.BatchNorm2d(WIDTH)
        self.mix = nn.Conv2d(WIDTH, WIDTH, (1, 5), padding=(0, 2))
        self.classifier = nn.Conv2d(WIDTH, outputs, 1)

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        rows = [
            F.interpolate(lateral(one.mean(2, keepdim=True)), self.size, mode="bilinear", align_corners=False)
            for lateral, one in zip(self.laterals.active(), maps, strict=True)
        ]
        total = rows[0]
        for row in rows[1:]:
            total = total + row
        y: Tensor = self.classifier(F.relu(self.mix(F.relu(self.norm(total)))))
        return y.squeeze(2)


class ReadBothWays(nn.Module):
    """What a bidirectional LSTM makes of a map, read column by column, added to it (Shi et al. 2015, arXiv 1507.05717).

    Args:
        channels: of the map, which keeps them.
        hidden: units of each direction.
    """

    def __init__(self, channels: Number, hidden: int) -> None:
        super().__init__()
        self.inner = ConvBNActivation(channels, 2 * hidden, 1, activation=nn.ReLU())
        self.lstm = nn.LSTM(2 * hidden, hidden, batch_first=True, bidirectional=True)
        self.outer = ConvBNActivation(2 * hidden, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        states, _ = self.lstm(self.inner(x).mean(2).transpose(1, 2))
        y: Tensor = self.outer(states.transpose(1, 2).unsqueeze(2))
        return x + y
