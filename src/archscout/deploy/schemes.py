"""How numbers become integers: schemes as data, and the grid that a scheme lays over a range.

The presets are named after the kind of software that has such integers (MQBench: Li et al. 2021, arXiv 2111.03759).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from archscout.core import options
from archscout.core.errors import UsageError, nearest

LEAST_BITS, MOST_BITS = 2, 8


@dataclass(frozen=True)
class Scheme:
    """How a tensor is quantised.

    Args:
        bits: 2 to 8; the integers are signed.
        symmetric: whether the integer of the number 0 is 0.
        per_channel: whether each output channel of a weight has a scale of its own.
        power_of_two: whether scales are powers of two, for shifts instead of multiplications.
        narrow: whether the least integer is left out, so that there are as many negative as positive ones.

    Raises:
        UsageError: no scheme has so many bits.
    """

    bits: int = 8
    symmetric: bool = True
    per_channel: bool = False
    power_of_two: bool = False
    narrow: bool = False

    def __post_init__(self) -> None:
        if type(self.bits) is not int or not LEAST_BITS <= self.bits <= MOST_BITS:
            raise UsageError(f"no scheme has {self.bits} bits: use {LEAST_BITS} to {MOST_BITS}.")

    @property
    def low(self) -> int:
        return int(self.narrow) - (1 << (self.bits - 1))

    @property
    def high(self) -> int:
        return (1 << (self.bits - 1)) - 1

    def grid(self, low: Tensor, high: Tensor) -> Grid:
        """The grid over the ranges from `low` to `high` (R,), widened to hold 0, which is always an integer.

        >>> Scheme(symmetric=False).grid(torch.tensor([0.0]), torch.tensor([2.55])).scale
        tensor([0.0100], dtype=torch.float64)
        """
        low, high = low.double().clamp(max=0), high.double().clamp(min=0)
        if self.symmetric:
            scale = torch.maximum(low / self.low, high / self.high)
        else:
            scale = (high - low) / (self.high - self.low)
        scale = torch.where(scale > 1e-30, scale, torch.ones_like(scale))
        if self.power_of_two:
            scale = torch.exp2(torch.ceil(torch.log2(scale)))
        scale = scale.float().double()  # what runs it stores single precision
        zero = torch.zeros_like(scale) if self.symmetric else torch.round(self.low - low / scale)
        return Grid(scale, zero.clamp(self.low, self.high).long(), self.low, self.high)


@dataclass(frozen=True)
class Grid:
    """Integers `low` to `high`, of which q stands for the number `scale * (q - zero)`.

    Args:
        scale: (1,), or (R,) with one scale for each row; float64 that single precision holds.
        zero: the integer that stands for 0, int64, of the same shape.
    """

    scale: Tensor
    zero: Tensor
    low: int
    high: int

    def quantise(self, x: Tensor) -> Tensor:
        """The nearest integers, halves to even, as int64; with several scales, each is of one row of x (R, ...)."""
        scale, zero = self._shaped(x)
        return (torch.round(x.double() / scale) + zero).clamp(self.low, self.high).long()

    def dequantise(self, q: Tensor) -> Tensor:
        """The numbers that integers stand for, as float32."""
        scale, zero = self._shaped(q)
        return ((q - zero) * scale).float()

    def rounded(self, x: Tensor) -> Tensor:
        """Each number as the grid has it."""
        return self.dequantise(self.quantise(x))

    def bound(self, value: float) -> int:
        """The integer of a bound such as that of ReLU6, within the grid; of one scale."""
        if value in (float("inf"), -float("inf")):
            return self.high if value > 0 else self.low
        return int(self.quantise(torch.tensor([value])))

    def _shaped(self, x: Tensor) -> tuple[Tensor, Tensor]:
        if self.scale.numel() == 1:
            return self.scale, self.zero
        shape = (-1, *[1] * (x.dim() - 1))
        return self.scale.view(shape), self.zero.view(shape)


@dataclass(frozen=True)
class Preset:
    """The schemes of weights and activations that a kind of software has."""

    weights: Scheme
    activations: Scheme

    def with_bits(self, weights: int | None, activations: int | None) -> Preset:
        """The same with other bits. Raises `UsageError` for bits that no scheme has."""
        return Preset(
            self.weights if weights is None else replace(self.weights, bits=weights),
            self.activations if activations is None else replace(self.activations, bits=activations),
        )


_BY_CHANNEL = Scheme(per_channel=True, narrow=True)
_ASYMMETRIC = Scheme(symmetric=False)

PRESETS: Mapping[str, Preset] = {
    "microcontroller": Preset(_BY_CHANNEL, _ASYMMETRIC),
    "academic": Preset(Scheme(), Scheme(symmetric=False)),
    "tensorrt-like": Preset(_BY_CHANNEL, Scheme()),
    "openvino-like": Preset(Scheme(per_channel=True), Scheme()),
    "snpe-like": Preset(_ASYMMETRIC, _ASYMMETRIC),
    "qnn-like": Preset(_ASYMMETRIC, _ASYMMETRIC),
    "ppl-cuda-like": Preset(replace(_ASYMMETRIC, per_channel=True), _ASYMMETRIC),
    "vitis-like": Preset(Scheme(power_of_two=True), Scheme(power_of_two=True)),
}
"""`microcontroller` is what TensorFlow Lite Micro and CMSIS-NN have, and the default."""

DEFAULT = "microcontroller"


def preset(name: str) -> Preset:
    """A preset by name. Raises `UsageError`."""
    if options.text(name, "the scheme") not in PRESETS:
        raise UsageError(f"there is no quantisation scheme '{name}': {nearest(name, PRESETS)}")
    return PRESETS[name]
