"""Random changes of whole batches of images at once; every draw comes from the generator given.

All take and return N x C x H x W tensors and leave their input alone.
"""

from __future__ import annotations

import torch
from torch import Generator, Tensor


def shift(x: Tensor, pixels: int, fill: Tensor, generator: Generator) -> Tensor:
    """Each image moved by up to `pixels` along both axes; what comes in from outside has the colour `fill` (C)."""
    n, channels, height, width = x.shape
    padded = fill.view(1, -1, 1, 1).expand(n, channels, height + 2 * pixels, width + 2 * pixels).clone()
    padded[:, :, pixels : pixels + height, pixels : pixels + width] = x
    # A view of every window of every image, of which one each is copied out.
    windows = padded.unfold(2, height, 1).unfold(3, width, 1)
    down, right = torch.randint(2 * pixels + 1, (2, n), generator=generator, device=x.device)
    return windows[torch.arange(n, device=x.device), :, down, right]


def flip(x: Tensor, generator: Generator) -> Tensor:
    """Each image mirrored left to right with probability one half."""
    mirrored = torch.rand(len(x), generator=generator, device=x.device) < 0.5
    return torch.where(mirrored.view(-1, 1, 1, 1), x.flip(3), x)


def cutout(x: Tensor, side: int, fill: Tensor, generator: Generator) -> Tensor:
    """A square of `side` pixels painted over with the colour `fill` (C); it may reach over the border.

    DeVries, Taylor 2017, arXiv 1708.04552.
    """
    n, _, height, width = x.shape
    inside = []
    for size in (height, width):
        start = torch.randint(1 - side, size, (n, 1), generator=generator, device=x.device)
        place = torch.arange(size, device=x.device)
        inside.append((place >= start) & (place < start + side))
    mask = inside[0].view(n, 1, height, 1) & inside[1].view(n, 1, 1, width)
    return torch.where(mask, fill.view(1, -1, 1, 1), x)
