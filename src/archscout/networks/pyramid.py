"""Light decoders: the maps at the ends of the stages of a network as one, in which each place knows its surroundings.

All take maps with any channels, the finest first, and give one with `width` channels. They are written so that each
convolution reads one map: over several side by side, it is the sum of one over each.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from archscout.networks.elastic import Number, batch_norm, conv2d
from archscout.networks.operations import ConvBNActivation


def larger(x: Tensor, like: Tensor) -> Tensor:
    """A coarse map at the size of a finer one."""
    return F.interpolate(x, like.shape[2:], mode="bilinear", align_corners=False)


class UNetDecoder(nn.Module):
    """From the coarsest map to the finest, at each step a convolution of what is known and of the map of that size.

    The expanding path of U-Net (Ronneberger, Fischer, Brox 2015, arXiv 1505.04597), of one width and one convolution.
    """

    def __init__(self, channels: Sequence[Number], width: Number) -> None:
        super().__init__()
        *finer, coarsest = channels
        self.bottom = ConvBNActivation(coarsest, width, 1, activation=nn.ReLU())
        self.known = nn.ModuleList(conv2d(width, width, 3) for _ in finer)
        self.seen = nn.ModuleList(conv2d(count, width, 3) for count in finer)
        self.norms = nn.ModuleList(batch_norm(width) for _ in finer)

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        x: Tensor = self.bottom(maps[-1])
        for place in reversed(range(len(self.seen))):
            fine = maps[place]
            x = F.relu(self.norms[place](self.known[place](larger(x, fine)) + self.seen[place](fine)))
        return x


class SumDecoder(nn.Module):
    """Each map projected, brought to the size of the finest, and summed (as in Lin et al. 2017, arXiv 1612.03144)."""

    def __init__(self, channels: Sequence[Number], width: Number) -> None:
        super().__init__()
        self.laterals = nn.ModuleList(conv2d(count, width, 1) for count in channels)
        self.norm = batch_norm(width)

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        total: Tensor = self.laterals[0](maps[0])
        for lateral, coarse in zip(list(self.laterals)[1:], maps[1:], strict=True):
            total = total + larger(lateral(coarse), total)
        return F.relu(self.norm(total))


class FuseDecoder(nn.Module):
    """The second map, for details, and the last one with its mean, for what is around, fused under a gate of channels.

    As BiSeNet does (Yu et al. 2018, arXiv 1808.00897), the details coming from the same path.
    """

    def __init__(self, channels: Sequence[Number], width: Number) -> None:
        super().__init__()
        self.detail = ConvBNActivation(channels[1], width, 3, activation=nn.ReLU())
        self.context = ConvBNActivation(channels[-1], width, 1, activation=nn.ReLU())
        self.mean = conv2d(width, width, 1, bias=True)
        self.gate = nn.Sequential(
            conv2d(width, width, 1, bias=True), nn.ReLU(), conv2d(width, width, 1, bias=True), nn.Sigmoid()
        )

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        detail: Tensor = self.detail(maps[1])
        context: Tensor = self.context(maps[-1])
        context = context + self.mean(context.mean((2, 3), keepdim=True))
        fused = detail + larger(context, detail)
        gate: Tensor = self.gate(fused.mean((2, 3), keepdim=True))
        return fused + fused * gate


DECODERS = {"unet": UNetDecoder, "sum": SumDecoder, "fuse": FuseDecoder}
