"""Observers: which range of the numbers that were seen a grid should cover.

An observer works on rows: one for a tensor of activations, one for each channel of a weight. What is outside of the
range becomes its nearest end.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping

import torch
from torch import Tensor

from archscout.core import options
from archscout.core.errors import UsageError, nearest
from archscout.core.seeds import derive
from archscout.deploy.schemes import Scheme

_SAMPLE = 2**16
"""Numbers of a row that are kept by an observer that looks at how they are spread."""

Range = tuple[Tensor, Tensor]


class Observer(ABC):
    """Sees batches of rows (R x N), and says the range of each row: two tensors (R,)."""

    def __init__(self, scheme: Scheme) -> None:
        self.scheme = scheme

    @abstractmethod
    def update(self, rows: Tensor) -> None:
        """Look at one batch."""

    @abstractmethod
    def range(self) -> Range:
        """The range after all that was seen."""


class MinMax(Observer):
    """From the least to the largest number."""

    def __init__(self, scheme: Scheme) -> None:
        super().__init__(scheme)
        self.seen: Range | None = None

    def update(self, rows: Tensor) -> None:
        low, high = rows.amin(1), rows.amax(1)
        self.seen = (low, high) if self.seen is None else self.joined(self.seen, (low, high))

    def joined(self, before: Range, new: Range) -> Range:
        return torch.minimum(before[0], new[0]), torch.maximum(before[1], new[1])

    def range(self) -> Range:
        assert self.seen is not None
        return self.seen


class Moving(MinMax):
    """The moving average (.9) of the least and the largest number of each batch (Jacob et al. 2018, 1712.05877)."""

    def joined(self, before: Range, new: Range) -> Range:
        return 0.9 * before[0] + 0.1 * new[0], 0.9 * before[1] + 0.1 * new[1]


class _Sampling(MinMax):
    """Keeps some numbers of all that were seen, drawn at random, besides the extremes.

    Evenly spaced ones would be of the same few columns of every feature map, such as the left border.
    """

    def __init__(self, scheme: Scheme) -> None:
        super().__init__(scheme)
        self.generator = torch.Generator().manual_seed(derive(0, "observer"))
        self.count, self.kept = 0, torch.empty(0)

    def update(self, rows: Tensor) -> None:
        super().update(rows)
        self.count += rows.shape[1]
        if self.kept.shape[-1] == _SAMPLE:
            new = torch.rand(_SAMPLE, generator=self.generator) < rows.shape[1] / self.count
            self.kept[:, new] = self._drawn(rows, int(new.sum()))
        else:
            together = torch.cat([self.kept, rows], 1) if len(self.kept) else rows.clone()
            self.kept = together if self.count <= _SAMPLE else self._drawn(together, _SAMPLE)

    def sample(self) -> Tensor:
        """Rows of at most `_SAMPLE` numbers, in which everything that was seen is as likely."""
        return self.kept

    def _drawn(self, rows: Tensor, size: int) -> Tensor:
        return rows[:, torch.randint(rows.shape[1], (size,), generator=self.generator)]


class Quantile(_Sampling):
    """All but one in ten thousand numbers on each side."""

    def range(self) -> Range:
        rows, outside = self.sample().sort(1).values, 1e-4
        last = rows.shape[1] - 1
        return rows[:, round(outside * last)], rows[:, round((1 - outside) * last)]


class Deviations(_Sampling):
    """Mean plus and minus three standard deviations, within what was seen."""

    def range(self) -> Range:
        rows = self.sample()
        mean, spread = rows.mean(1), 3 * rows.std(1, correction=0)
        low, high = super().range()
        return torch.maximum(mean - spread, low), torch.minimum(mean + spread, high)


class MeanSquare(_Sampling):
    """The share of the full range whose grid is nearest to the numbers, by mean square (in steps of 2 %).

    Least and largest number are scaled by the same share: with rows on one side of 0 (after ReLU) that is the one end.
    """

    def range(self) -> Range:
        rows = self.sample()
        low, high = super().range()
        best = torch.full((len(rows),), torch.inf)
        kept = torch.ones(len(rows))
        for share in torch.arange(50, 9, -1) / 50:
            grid = self.scheme.grid(low * share, high * share)
            error = (grid.rounded(rows) - rows).pow(2).mean(1)
            better = error < best
            best, kept = torch.where(better, error, best), torch.where(better, share, kept)
        return low * kept, high * kept


OBSERVERS: Mapping[str, type[Observer]] = {
    "min_max": MinMax,
    "moving": Moving,
    "quantile": Quantile,
    "mse": MeanSquare,
    "deviations": Deviations,
}


def observer(name: str) -> type[Observer]:
    """An observer by name. Raises `UsageError`."""
    if options.text(name, "the observer") not in OBSERVERS:
        raise UsageError(f"there is no observer '{name}': {nearest(name, OBSERVERS)}")
    return OBSERVERS[name]
