"""Random changes of whole batches at once; every draw comes from the generator given.

All take and return N x C x H x W tensors (`slide` and `stripe` N x C x ... x length too) and leave their input alone.
With several generators, each draws for one of as many equal parts of the batch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Generator, Tensor


def shift(x: Tensor, pixels: int, fill: Tensor, *generators: Generator) -> Tensor:
    """Each image moved by up to `pixels` along both axes; what comes in from outside has the colour `fill` (C)."""
    n, channels, height, width = x.shape
    padded = fill.view(1, -1, 1, 1).expand(n, channels, height + 2 * pixels, width + 2 * pixels).clone()
    padded[:, :, pixels : pixels + height, pixels : pixels + width] = x
    # A view of every window of every image, of which one each is copied out.
    windows = padded.unfold(2, height, 1).unfold(3, width, 1)
    down, right = _draw(lambda k, g: torch.randint(2 * pixels + 1, (2, k), generator=g, device=x.device), n, generators)
    return windows[torch.arange(n, device=x.device), :, down, right]


def flip(x: Tensor, *generators: Generator) -> Tensor:
    """Each image mirrored left to right with probability one half."""
    mirrored = _draw(lambda k, g: torch.rand(k, generator=g, device=x.device), len(x), generators) < 0.5
    return torch.where(mirrored.view(-1, 1, 1, 1), x.flip(3), x)


def cutout(x: Tensor, side: int, fill: Tensor, *generators: Generator) -> Tensor:
    """A square of `side` pixels painted over with the colour `fill` (C); it may reach over the border.

    DeVries, Taylor 2017, arXiv 1708.04552.
    """
    n, _, height, width = x.shape

    def inside(size: int) -> Tensor:
        start = _draw(lambda k, g: torch.randint(1 - side, size, (k, 1), generator=g, device=x.device).T, n, generators)
        place = torch.arange(size, device=x.device)
        return (place >= start.T) & (place < start.T + side)

    mask = inside(height).view(n, 1, height, 1) & inside(width).view(n, 1, 1, width)
    return torch.where(mask, fill.view(1, -1, 1, 1), x)


def colour_jitter(x: Tensor, strength: float, *generators: Generator) -> Tensor:
    """Contrast and brightness of each image changed at random, and of several channels the saturation.

    Contrast and saturation become up to `strength` stronger or weaker, about the mean of the image and about its grey
    form; brightness moves by up to `strength`, in units of the inputs (standard deviations, once normalised). What a
    lamp or a camera changes (Howard 2013, arXiv 1312.5402).
    """
    n = len(x)
    draws = _draw(lambda k, g: 2 * torch.rand(3, k, generator=g, device=x.device) - 1, n, generators)
    contrast, brightness, saturation = (strength * draws).view(3, n, 1, 1, 1).unbind()
    mean = x.mean((1, 2, 3), keepdim=True)
    x = (x - mean).mul_(1 + contrast).add_(mean + brightness)
    if x.shape[1] > 1:
        grey = x.mean(1, keepdim=True)
        x.sub_(grey).mul_(1 + saturation).add_(grey)
    return x


def slide(x: Tensor, steps: int, fill: float, *generators: Generator) -> Tensor:
    """Each example moved by up to `steps` places along its last dimension; what comes in is `fill`."""
    n, length = len(x), x.shape[-1]
    by = _draw(lambda k, g: torch.randint(-steps, steps + 1, (1, k), generator=g, device=x.device), n, generators)[0]
    source = torch.arange(length, device=x.device) - by[:, None]
    inside = ((source >= 0) & (source < length)).view(n, *[1] * (x.ndim - 2), length)
    place = source.clamp(0, length - 1).view(n, *[1] * (x.ndim - 2), length).expand(x.shape)
    return torch.where(inside, x.gather(-1, place), fill)


def stripe(x: Tensor, most: int, dim: int, *generators: Generator) -> Tensor:
    """Of each example, up to `most` neighbouring places along `dim` set to 0, the mean (Park et al. 2019, arXiv
    1904.08779)."""
    n, size = len(x), x.shape[dim]
    most = min(most, size - 1)
    width = _draw(lambda k, g: torch.randint(most + 1, (1, k), generator=g, device=x.device), n, generators)[0]
    where = _draw(lambda k, g: torch.rand((1, k), generator=g, device=x.device), n, generators)[0]
    start = (where * (size - width + 1)).long()
    place = torch.arange(size, device=x.device)
    hidden = (place >= start[:, None]) & (place < (start + width)[:, None])
    return x.masked_fill(hidden.view(n, *(size if axis == dim else 1 for axis in range(1, x.ndim))), 0.0)


def _draw(draw: Callable[[int, Generator], Tensor], n: int, generators: Sequence[Generator]) -> Tensor:
    """What `draw` draws for each part, along the last dimension."""
    parts = [draw(n // len(generators), generator) for generator in generators]
    return parts[0] if len(parts) == 1 else torch.cat(parts, -1)
