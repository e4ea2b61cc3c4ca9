"""From feature maps of several sizes to one output for each pixel."""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from archscout.networks.elastic import Number, conv2d, now

WIDTH = 32


class Decoder(nn.Module):
    """A light decoder: each map is projected to a few channels, brought to the size of the finest, summed, and read.

    These are the lateral connections of a feature pyramid (Lin et al. 2017, arXiv 1612.03144) and one convolution.

    Args:
        channels: of each map, the finest first; 0 while a stage of a supernet is left out, whose map is missing then.
        outputs: for each pixel.
        size: height and width of the outputs.
    """

    def __init__(self, channels: Sequence[Number], outputs: int, size: Sequence[int]) -> None:
        super().__init__()
        self.size = tuple(size)
        self.laterals = Laterals(channels)
        self.norm = nn.BatchNorm2d(WIDTH)
        self.mix = nn.Conv2d(WIDTH, WIDTH, 3, padding=1)
        self.classifier = nn.Conv2d(WIDTH, outputs, 1)

    def forward(self, maps: Tensor | Sequence[Tensor]) -> Tensor:
        maps = [maps] if isinstance(maps, Tensor) else list(maps)
        finest = maps[0].shape[2:]
        first, *others = self.laterals.active()
        total: Tensor = first(maps[0])
        for lateral, coarse in zip(others, maps[1:], strict=True):
            total = total + F.interpolate(lateral(coarse), finest, mode="bilinear", align_corners=False)
        outputs: Tensor = self.classifier(F.relu(self.mix(F.relu(self.norm(total)))))
        if outputs.shape[2:] == self.size:
            return outputs
        return F.interpolate(outputs, self.size, mode="bilinear", align_corners=False)


class Laterals(nn.ModuleList):
    """A projection for each map; those of maps that there are not at the moment are left out."""

    def __init__(self, channels: Sequence[Number]) -> None:
        super().__init__(conv2d(count, WIDTH, 1) for count in channels)
        self.channels = tuple(channels)

    def active(self) -> list[nn.Module]:
        return [lateral for lateral, count in zip(self, self.channels, strict=True) if now(count)]
