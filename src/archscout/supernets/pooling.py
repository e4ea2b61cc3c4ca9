"""The average pool of 3 x 3 without padding in the count, several times as fast on a processor as torch's own.

It is the dearest operation of cell spaces there. Two sums of three shifted copies, one a direction, times one over the
number of pixels that a place sees, are the same values.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class FastAveragePool(nn.Module):
    """`nn.AvgPool2d(3, 1, 1, count_include_pad=False)`, which has no weights."""

    def forward(self, x: Tensor) -> Tensor:
        height, width = x.shape[2:]
        rows = F.pad(x, (0, 0, 1, 1))
        rows = rows[:, :, :height] + rows[:, :, 1:-1] + rows[:, :, 2:]
        both = F.pad(rows, (1, 1))
        both = both[..., :width] + both[..., 1:-1] + both[..., 2:]
        return both * (_share(height, x).view(-1, 1) * _share(width, x))


def _share(size: int, like: Tensor) -> Tensor:
    """One over how many pixels of a line each place averages: three, two at the ends."""
    place = torch.arange(size, device=like.device)
    return 1 / (1 + (place > 0) + (place < size - 1)).to(like.dtype)


def speed_up(network: nn.Module) -> None:
    """Put the fast form wherever a module has the slow one."""
    for parent in list(network.modules()):
        for name, child in parent.named_children():
            if isinstance(child, nn.AvgPool2d) and _is_three(child):
                setattr(parent, name, FastAveragePool())


def _is_three(pool: nn.AvgPool2d) -> bool:
    sizes = [
        size if isinstance(size, tuple) else (size, size) for size in (pool.kernel_size, pool.stride, pool.padding)
    ]
    plain = not pool.count_include_pad and not pool.ceil_mode and pool.divisor_override is None
    return plain and sizes == [(3, 3), (1, 1), (1, 1)]
