"""Quantisers that learn: numbers brought to a grid in the forward pass, with a gradient for them and for the grid.

All are one class with one or two methods of their own. What rounding does to a gradient is left out (straight through,
Bengio et al. 2013, arXiv 1308.3432); what differs is which numbers of the grid are learned and how.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from archscout.core.errors import UsageError, nearest
from archscout.deploy.schemes import Grid, Scheme

_LEAST_SCALE = 1e-8


def rounded(x: Tensor) -> Tensor:
    """The nearest integers, with the gradient of x itself."""
    return x + (x.round() - x).detach()


class Quantiser(nn.Module, ABC):
    """Brings a tensor to a grid: `forward` gives the numbers that its integers stand for.

    Args:
        scheme: what kinds of grids there are.
        grid: where it starts; of one scale, or one for each row of the tensor.
        x: an example of what is quantised: a weight (whole), or a batch of activations.
        weight: whether it is a weight.
    """

    zero: Tensor

    def __init__(self, scheme: Scheme, grid: Grid, x: Tensor, *, weight: bool) -> None:
        super().__init__()
        self.scheme, self.low, self.high, self.weight = scheme, grid.low, grid.high, weight
        self.register_buffer("zero", grid.zero.float())
        self.start(grid.scale.float(), x)

    @abstractmethod
    def start(self, scale: Tensor, x: Tensor) -> None:
        """Set parameters and buffers so that the grid is the one it starts with."""

    @abstractmethod
    def scale(self, x: Tensor | None = None) -> Tensor:
        """The scale, with its gradient; `x` is what is quantised, where that matters to the gradient."""

    def zeros(self) -> Tensor:
        """The integer that stands for 0, with its gradient."""
        return self.zero

    def shaped(self, x: Tensor) -> Tensor:
        """What is brought to the grid in the place of x."""
        return x

    def forward(self, x: Tensor) -> Tensor:
        x = self.shaped(x)
        scale, zero = self._rows(self.scale(x), x), self._rows(self.zeros(), x)
        return (rounded((x / scale + zero).clamp(self.low, self.high)) - zero) * scale

    def grid(self) -> Grid:
        """The grid as it is now."""
        scale = self.scale().detach().float().cpu().double()
        zero = self.zeros().detach().cpu().round().clamp(self.low, self.high).long()
        return Grid(scale, zero, self.low, self.high)

    def integers(self, x: Tensor) -> Tensor:
        """The integers of x, int64."""
        return self.grid().quantise(self.shaped(x).detach().cpu())

    def _rows(self, numbers: Tensor, x: Tensor) -> Tensor:
        return numbers if numbers.numel() == 1 else numbers.view(-1, *[1] * (x.dim() - 1))


class Fixed(Quantiser):
    """The grid stays; the gradient of numbers outside of it is zero."""

    fixed: Tensor

    def start(self, scale: Tensor, x: Tensor) -> None:
        self.register_buffer("fixed", scale)

    def scale(self, x: Tensor | None = None) -> Tensor:
        return self.fixed


class LSQ(Quantiser):
    """The scale is learned (Esser et al. 2020, arXiv 1902.08153).

    With v = x / scale, its gradient is round(v) - v for each number inside of the grid and the integer of the grid's
    end (less that of 0) for each outside, divided by the square root of how many numbers share it times the largest
    integer. Where the scheme has powers of two, the nearest one is taken.
    """

    def start(self, scale: Tensor, x: Tensor) -> None:
        self.learned = nn.Parameter(scale.clone())

    def scale(self, x: Tensor | None = None) -> Tensor:
        scale = self.learned.abs().clamp(min=_LEAST_SCALE)
        if self.scheme.power_of_two:
            scale = torch.exp2(rounded(torch.log2(scale)))
        return scale if x is None else self.slowed(scale, x)

    def slowed(self, parameter: Tensor, x: Tensor) -> Tensor:
        """The same number with a gradient that does not grow with how many numbers share it."""
        share = x.numel() / parameter.numel() if self.weight else x[0].numel()
        factor = 1 / math.sqrt(max(share, 1) * (self.high - self.low if self.zero.any() else self.high))
        return parameter * factor + (parameter * (1 - factor)).detach()


class LSQPlus(LSQ):
    """The integer of 0 is learned too, where the scheme is asymmetric (Bhalgat et al. 2020, arXiv 2004.09576).

    The gradient of the integer is minus the scale for each number outside of the grid, and zero inside.
    """

    def start(self, scale: Tensor, x: Tensor) -> None:
        super().start(scale, x)
        self.offset = nn.Parameter(self.zero.clone(), requires_grad=not self.scheme.symmetric)

    def zeros(self) -> Tensor:
        return rounded(self.offset).clamp(self.low, self.high)


class PACT(Quantiser):
    """The ends of the range are learned (Choi et al. 2018, arXiv 1805.06085): of activations.

    The gradient of an end is the sum of those of all numbers beyond it. An end at 0 stays there; a symmetric range
    has one number for both. Weights have a grid that stays, as in the paper's experiments with DoReFa.
    """

    fixed: Tensor

    def start(self, scale: Tensor, x: Tensor) -> None:
        self.register_buffer("fixed", scale)
        self.learns = not self.weight
        if self.learns and self.scheme.symmetric:
            self.low = -self.high  # one end for both sides
        self.top = nn.Parameter(scale * (self.high - self.zero), requires_grad=self.learns)
        bottom = scale * (self.low - self.zero)
        free = self.learns and not self.scheme.symmetric and bool((bottom < 0).all())
        self.bottom = nn.Parameter(bottom, requires_grad=free)

    def scale(self, x: Tensor | None = None) -> Tensor:
        if not self.learns:
            return self.fixed
        if self.scheme.symmetric:
            scale = self.top.abs() / self.high
        else:
            scale = (self.top.clamp(min=0) - self.bottom.clamp(max=0)) / (self.high - self.low)
        scale = scale.detach().clamp(min=_LEAST_SCALE)
        return torch.exp2(torch.ceil(torch.log2(scale) - 1e-6)) if self.scheme.power_of_two else scale

    def zeros(self) -> Tensor:
        if self.scheme.symmetric or not self.learns:
            return self.zero
        return (self.low - self.bottom.detach().clamp(max=0) / self.scale()).round().clamp(self.low, self.high)

    def forward(self, x: Tensor) -> Tensor:
        if not self.learns:
            return super().forward(x)
        bottom = -self.top if self.scheme.symmetric else self.bottom
        inside = torch.minimum(torch.maximum(x, bottom), self.top)
        return inside + (super().forward(inside) - inside).detach()


class DoReFa(Fixed):
    """Weights are bent by tanh before they are rounded (Zhou et al. 2016, arXiv 1606.06160); activations as `Fixed`.

    The largest weight stays as large as it was at the start, where the paper makes it 1: a trained network begins near
    what it was.
    """

    largest: Tensor

    def start(self, scale: Tensor, x: Tensor) -> None:
        super().start(scale, x)
        self.register_buffer("largest", x.abs().max().clamp(min=_LEAST_SCALE))

    def shaped(self, x: Tensor) -> Tensor:
        if not self.weight:
            return x
        bent = torch.tanh(x)
        return self.largest * bent / bent.abs().max().clamp(min=_LEAST_SCALE)


class DSQ(Fixed):
    """The gradient of rounding is that of a staircase of tanh (Gong et al. 2019, arXiv 1908.05033).

    In the interval around an integer's border m, of width scale, the stair is tanh(k (x - m)) / (1 - alpha) with
    k = ln(2 / alpha - 1) / scale; numbers outside of the grid have no gradient. Alpha and the range are not learned.
    """

    alpha = 0.2

    def forward(self, x: Tensor) -> Tensor:
        scale, zero = self._rows(self.scale(), x), self._rows(self.zeros(), x)
        v = (x / scale + zero).clamp(self.low, self.high)
        border = v.detach().floor() + 0.5
        steep = math.log(2 / self.alpha - 1)
        stair = border + 0.5 * torch.tanh(steep * (v - border)) / (1 - self.alpha)
        return (stair + (v.round() - stair).detach() - zero) * scale


class TQT(Quantiser):
    """The logarithm of the threshold is learned, and scales are powers of two (Jain et al. 2020, arXiv 1903.08066).

    Its gradient is scale ln 2 times that of the scale of `LSQ`, before the latter's division.
    """

    def start(self, scale: Tensor, x: Tensor) -> None:
        # The nearest power, so that the grid that was chosen is not made twice as coarse.
        self.logarithm = nn.Parameter(torch.log2(scale).round() - 0.5)

    def scale(self, x: Tensor | None = None) -> Tensor:
        upwards = self.logarithm + (self.logarithm.ceil() - self.logarithm).detach()
        return torch.exp2(upwards)


class SoftRounding(Fixed):
    """Each weight is rounded up or down by what its own number says (AdaRound, Nagel et al. 2020, arXiv 2004.10568).

    Between down and up lies h = clamp(1.2 sigmoid(v) - 0.1, 0, 1), which starts where the weight lies; `hardness` draws
    every h to 0 or 1, and `integers` take the nearer.
    """

    down: Tensor

    def start(self, scale: Tensor, x: Tensor) -> None:
        super().start(scale, x)
        with torch.no_grad():
            steps = x / self._rows(scale, x) + self._rows(self.zero, x)
            self.register_buffer("down", steps.floor())
            share = (steps - steps.floor() + 0.1) / 1.2
            self.v = nn.Parameter(torch.log(share / (1 - share)))

    def up(self) -> Tensor:
        """h of each weight."""
        return (1.2 * torch.sigmoid(self.v) - 0.1).clamp(0, 1)

    def hardness(self, beta: float) -> Tensor:
        """The sum over weights of 1 - |2h - 1|^beta."""
        return (1 - (2 * self.up() - 1).abs().pow(beta)).sum()

    def forward(self, x: Tensor) -> Tensor:
        return self._numbers(self.up(), x)

    def integers(self, x: Tensor) -> Tensor:
        return (self.down + (self.up() > 0.5)).clamp(self.low, self.high).detach().long()

    def harden(self) -> None:
        """Take the nearer of down and up for good."""
        with torch.no_grad():
            self.v.copy_(torch.where(self.up() > 0.5, 10.0, -10.0))

    def _numbers(self, up: Tensor, x: Tensor) -> Tensor:
        zero = self._rows(self.zero, x)
        return ((self.down + up).clamp(self.low, self.high) - zero) * self._rows(self.scale(), x)


QUANTISERS: Mapping[str, type[Quantiser]] = {
    "ste": Fixed,
    "lsq": LSQ,
    "lsq_plus": LSQPlus,
    "pact": PACT,
    "dorefa": DoReFa,
    "dsq": DSQ,
    "tqt": TQT,
}
"""Those of quantisation-aware training."""


def quantiser(name: str) -> type[Quantiser]:
    """A quantiser by name. Raises `UsageError`."""
    if name not in QUANTISERS:
        raise UsageError(f"there is no quantiser '{name}': {nearest(name, QUANTISERS)}")
    return QUANTISERS[name]
