"""Zeros around a map, and parts of what comes of it, as the padding of the convolution that reads them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

Sides = tuple[int, int]
"""Of height and width."""


@dataclass(frozen=True)
class Padded:
    """A map (N x C x H x W) with zeros around it.

    Args:
        value: of the program, the map without them.
        before: rows above it and columns on its left; negative where some of its own were taken away.
        after: the same below and on the right.
        map: the tensor itself, of which others are views.
    """

    value: int
    before: Sides
    after: Sides
    map: Tensor

    def padding(self, view: Tensor, own: Sides) -> tuple[Sides, Sides] | None:
        """What a convolution with a padding of its `own` pads before and after the value where it reads a view.

        None where no padding is the same: the view has a step or not all channels, or rows of the map were taken away
        and then replaced by zeros.
        """
        whole = self.map
        if view.dim() != 4 or view.stride() != whole.stride() or view.shape[:2] != whole.shape[:2]:
            return None
        row, rest = divmod(int(view.storage_offset()) - int(whole.storage_offset()), whole.stride(2))
        column = rest // whole.stride(3)
        sides = [
            _merged((self.before[side] - start, self.after[side] - (whole.shape[2 + side] - start - size)), own[side])
            for side, (start, size) in enumerate(zip((row, column), view.shape[2:], strict=True))
        ]
        (top, bottom), (left, right) = (side or (0, 0) for side in sides)
        return ((top, left), (bottom, right)) if all(side is not None for side in sides) else None


def _merged(ends: Sides, own: int) -> Sides | None:
    """The padding at both ends of a side, with as many zeros at each."""
    return None if own and min(ends) < 0 else (ends[0] + own, ends[1] + own)


def padded(value: int, x: Tensor, pad: Sequence[int], number: float, result: Tensor) -> Padded | None:
    """What `constant_pad_nd` makes of a map; None where it pads other than height and width, or with other numbers."""
    if number != 0 or x.dim() != 4 or any(pad[4:]):
        return None
    left, right, top, bottom = [*pad[:4], 0, 0, 0, 0][:4]
    return Padded(value, (top, left), (bottom, right), result)
