"""Post-training quantisation of the deployed form, and the integer arithmetic that it stands for, number by number.

What runs here is what the C code of a device computes, byte for byte: products are added up exactly, and sums are
brought to the scale of the output by a multiplication in fixed point (Jacob et al. 2018, arXiv 1712.05877). ONNX
Runtime multiplies by floating-point scales instead, which differs by a step where a number lies half-way.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from archscout.core import options
from archscout.core.errors import DataError, UsageError
from archscout.deploy.observers import MinMax, observer
from archscout.deploy.program import Operator, Program, added, pixels_read, unclamped
from archscout.deploy.schemes import DEFAULT, LEAST_BITS, Grid, Preset, preset

SHARED = ("max_pool", "average_pool", "channels")
"""What gives integers of the same grid as its input."""

_LOCKSTEP = 2**25
"""Numbers of the largest value that are held at once where layers are corrected one after the other."""

LEAST = -128
"""The least integer of 8 bits."""

_WORD = 2**31
_EXACT = 2**24
"""Up to here single precision holds all integers."""


@dataclass(frozen=True)
class Quantisation:
    """How a network is quantised after training.

    Args:
        scheme: a preset of `archscout.deploy.schemes`.
        weight_bits, activation_bits: instead of the preset's.
        observer: which ranges activations get (`archscout.deploy.observers`); weights of fewer than 8 bits get theirs
            by mean square, others their full range.
        bias_correction: whether the mean error of each channel on the calibration examples goes into its bias (Nagel
            et al. 2019, arXiv 1906.04721).
        layers: schemes of single operators, by the value that they make.

    Raises:
        UsageError: an unknown scheme or observer, or bits that no scheme has.
    """

    scheme: str = DEFAULT
    weight_bits: int | None = None
    activation_bits: int | None = None
    observer: str = "mse"
    bias_correction: bool = True
    layers: Mapping[int, Preset] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("weight_bits", "activation_bits"):
            bits = getattr(self, name)
            object.__setattr__(self, name, bits if bits is None else options.whole(bits, name, LEAST_BITS))
        object.__setattr__(self, "bias_correction", options.switch(self.bias_correction, "bias_correction"))
        if not all(isinstance(each, Preset) for each in options.mapping(self.layers, "layers", "{3: preset}").values()):
            raise UsageError("layers must be a dict of presets by the value that an operator makes.")
        _ = self.preset
        observer(self.observer)

    @property
    def preset(self) -> Preset:
        return preset(self.scheme).with_bits(self.weight_bits, self.activation_bits)

    def of(self, operator: Operator) -> Preset:
        return self.layers.get(operator.output, self.preset)


@dataclass(frozen=True)
class Layer:
    """Integers of an operator with weights: `weight` on its grid, `bias` (within 32 bits) in units of the sums."""

    weight: Tensor
    grid: Grid
    bias: Tensor

    @property
    def centred(self) -> Tensor:
        """The weight less the integer that stands for 0."""
        shape = (-1, *[1] * (self.weight.dim() - 1))
        return self.weight - self.grid.zero.view(shape)


@dataclass(frozen=True)
class Factor:
    """A positive number in fixed point, `factor / 2**shift`: (R,) each, int64."""

    factor: Tensor
    shift: Tensor

    def times(self, sums: Tensor) -> Tensor:
        """The nearest integer of each sum (N x R x ...) times the number, halves up."""
        shape = (1, -1, *[1] * (sums.dim() - 2))
        factor, shift = self.factor.view(shape), self.shift.view(shape)
        return (sums * factor + (torch.ones_like(shift) << (shift - 1))) >> shift


def factor_of(ratio: Tensor) -> Factor:
    """A positive ratio (R,) below 2**30 with a factor of 31 bits, so that sums of 32 bits times it are 63 bits."""
    mantissa, exponent = torch.frexp(ratio.double())
    factor, shift = torch.round(mantissa * _WORD).long(), 31 - exponent.long()
    rounded_up = factor == _WORD
    factor, shift = torch.where(rounded_up, factor // 2, factor), torch.where(rounded_up, shift - 1, shift)
    tiny = (shift - 62).clamp(min=0)
    return Factor(factor >> tiny.clamp(max=40), shift - tiny)


def factors_of_sum(ratios: Sequence[float]) -> tuple[list[int], int]:
    """Factors of the terms of a sum and their common shift, so that the sum of all is below 32 bits."""
    shift = max(1, min(30, 21 - math.frexp(max(ratios))[1]))
    return [round(ratio * 2**shift) for ratio in ratios], shift


@dataclass(frozen=True)
class Quantised:
    """A program with integers in it.

    Args:
        program: what was quantised.
        grids: of each value.
        layers: of each operator with weights, by the value that it makes.
        how: what was asked for.
    """

    program: Program
    grids: Mapping[int, Grid]
    layers: Mapping[int, Layer]
    how: Quantisation

    def run(self, x: Tensor) -> Tensor:
        """The answers for a batch of stored inputs (N x C x H x W, float32), as numbers."""
        return self.grids[self.program.output].dequantise(self.integers(x))

    def integers(self, x: Tensor) -> Tensor:
        """The answers as integers."""
        values = {0: self.entry(x)}
        for operator, dead in zip(self.program.operators, self.program.dead_after(), strict=True):
            values[operator.output] = self.calculate(operator, [values[v] for v in operator.inputs])
            for value in dead:
                del values[value]
        return values[self.program.output].reshape(len(x), *self.program.answer_shape)

    def entry(self, x: Tensor) -> Tensor:
        """The integers of stored inputs."""
        return self.grids[0].quantise(self.program.normalised(x))

    def calculate(self, operator: Operator, inputs: Sequence[Tensor]) -> Tensor:
        """The integers that an operator makes of integers."""
        grid = self.grids[operator.output]
        if operator.kind == "max_pool":
            return unclamped(operator, [inputs[0].float()]).long()
        if operator.kind == "average_pool":
            return self._average(operator, inputs[0])
        if operator.kind == "channels":
            return inputs[0][:, list(operator.channels)]
        if operator.kind == "table":
            return self.table(operator)[inputs[0] - LEAST]
        if operator.kind == "add":
            factors, shift = self.sum_factors(operator)
            centred = (q - self.grids[v].zero for q, v in zip(inputs, operator.inputs, strict=True))
            left, right = (q * factor for q, factor in zip(centred, factors, strict=True))
            y = (left + right + (1 << (shift - 1))) >> shift
        elif operator.kind == "multiply":
            left, right = (q - self.grids[v].zero for q, v in zip(inputs, operator.inputs, strict=True))
            y = self.factor(operator, operator.inputs[0]).times(left * right)
        elif operator.kind == "concat":
            parts = zip(inputs, operator.inputs, strict=True)
            y = torch.cat([self.factor(operator, v).times(q - self.grids[v].zero) for q, v in parts], 1)
        else:
            sums = self.sums(operator, inputs[0]) if operator.weight is not None else self._plain(operator, inputs[0])
            y = self.factor(operator, operator.inputs[0]).times(sums)
        return (y + grid.zero).clamp(grid.bound(operator.clamp[0]), grid.bound(operator.clamp[1]))

    def sums(self, operator: Operator, q: Tensor) -> Tensor:
        """The exact sums of products, with the bias, of an operator with weights."""
        layer = self.layers[operator.output]
        weight = layer.centred
        largest = 2 * 255 * int(weight.abs().flatten(1).sum(1).max())
        x = (q - self.grids[operator.inputs[0]].zero).to(torch.float32 if largest < _EXACT else torch.float64)
        exact = replace(operator, weight=weight.to(x), bias=torch.zeros(len(weight), dtype=x.dtype))
        sums = unclamped(exact, [x]).long()
        return sums + layer.bias.view(1, -1, *[1] * (sums.dim() - 2))

    def factor(self, operator: Operator, source: int) -> Factor:
        """What brings the sums of an operator to the grid of its output."""
        ratio = self.unit(operator, source) / self.grids[operator.output].scale
        if operator.kind == "mean":
            ratio = ratio / math.prod(self.program.shapes[source][1:])
        return factor_of(ratio)

    def unit(self, operator: Operator, source: int) -> Tensor:
        """The number that 1 stands for in the sums of an operator: one, or one for each channel."""
        scale = self.grids[source].scale
        if operator.kind == "multiply":
            return scale * self.grids[operator.inputs[1]].scale
        return scale * self.layers[operator.output].grid.scale if operator.weight is not None else scale

    def table(self, operator: Operator) -> Tensor:
        """What a table makes of each integer of 8 bits, from the least on: (256,), int64."""
        integers = torch.arange(LEAST, LEAST + 256)
        return self.grids[operator.output].quantise(
            operator.applied(self.grids[operator.inputs[0]].dequantise(integers))
        )

    def sum_factors(self, operator: Operator) -> tuple[list[int], int]:
        """`factors_of_sum` of a sum of values."""
        scale = self.grids[operator.output].scale
        return factors_of_sum([float(self.grids[v].scale / scale) for v in operator.inputs])

    def _plain(self, operator: Operator, q: Tensor) -> Tensor:
        q = q - self.grids[operator.inputs[0]].zero
        return q.sum((2, 3), keepdim=True) if operator.kind == "mean" else q

    def _average(self, operator: Operator, q: Tensor) -> Tensor:
        zero = int(self.grids[operator.inputs[0]].zero)
        # What is added up for padding, where it counts, is 0.
        sums = torch.round(added(operator, (q - zero).double())).long()
        count = pixels_read(operator, q.double()).round().long()
        sums = sums + zero * count
        down = torch.div(sums, count, rounding_mode="floor")
        twice = 2 * (sums - down * count)
        return down + ((twice > count) | ((twice == count) & (down % 2 == 1))).long()  # halves to even

    @property
    def weight_bytes(self) -> int:
        """Bytes that weights take at their bits (whole bytes a layer), with biases and factors of 32 bits."""
        total = 0
        for operator in self.program.operators:
            if operator.weight is not None:
                bits = self.how.of(operator).weights.bits
                total += math.ceil(operator.weight.numel() * bits / 8) + 8 * operator.weight.shape[0]
        return total

    @property
    def input_bits(self) -> list[int]:
        """Bits of what each layer with weights reads, in order."""
        layers = [operator for operator in self.program.operators if operator.weight is not None]
        grids = [self.grids[operator.inputs[0]] for operator in layers]
        return [(grid.high - grid.low).bit_length() for grid in grids]

    @property
    def bit_operations(self) -> int:
        """Multiply-adds times bits of the weight times bits of what is read, for one example."""
        layers = [operator for operator in self.program.operators if operator.weight is not None]
        return sum(
            self.program.macs_of(operator) * self.how.of(operator).weights.bits * bits
            for operator, bits in zip(layers, self.input_bits, strict=True)
        )


def quantise(
    program: Program,
    examples: Tensor,
    how: Quantisation | None = None,
    *,
    span: tuple[float, float] | None = None,
    batch: int = 32,
) -> Quantised:
    """Quantise a program after training, with ranges from examples.

    Args:
        program: of the network.
        examples: some tens to some hundreds of stored inputs, N x C x H x W, float32.
        how: schemes, observer and corrections.
        span: the least and largest number that a stored input can have; that of the examples where None.
        batch: examples that are looked at together.

    Raises:
        DataError: there is no example, or one has numbers that are not finite.
    """
    how = how or Quantisation()
    if not len(examples) or not bool(torch.isfinite(examples).all()):
        raise DataError("the examples that ranges are taken from are none, or not finite: give finite ones.")
    with torch.no_grad():
        grids = grids_of(program, examples, how, span, batch)
        layers = {o.output: layer_of(o, grids, how) for o in program.operators if o.weight is not None}
        quantised = Quantised(program, grids, layers, how)
        return corrected(quantised, examples) if how.bias_correction else quantised


def homes(program: Program) -> dict[int, int]:
    """Of each value the one whose grid it has: itself, or what pooling that keeps the grid read."""
    home = {0: 0}
    for operator in program.operators:
        home[operator.output] = home[operator.inputs[0]] if operator.kind in SHARED else operator.output
    return home


def grids_of(
    program: Program, examples: Tensor, how: Quantisation, span: tuple[float, float] | None = None, batch: int = 32
) -> dict[int, Grid]:
    """The grid of each value, with ranges from examples; arguments are those of `quantise`."""
    home = homes(program)
    schemes = {0: how.preset.activations}
    schemes |= {o.output: how.of(o).activations for o in program.operators if home[o.output] == o.output}
    kind = observer(how.observer)
    # An image is seldom all black or white, but those that are must not be cut off.
    observers = {v: (MinMax if v == 0 else kind)(scheme) for v, scheme in schemes.items()}

    def seen(value: int, x: Tensor) -> None:
        if value in observers:
            observers[value].update(x.reshape(1, -1))

    for part in torch.split(examples, batch):
        program.run(part, seen)
    if span is not None:
        corners = torch.tensor(span).view(2, 1, 1, 1).expand(2, len(program.mean), 1, 1)
        observers[0].update(program.normalised(corners).reshape(1, -1))
    own = {v: schemes[v].grid(*observers[v].range()) for v in observers}
    return {value: own[source] for value, source in home.items()}


def layer_of(operator: Operator, grids: Mapping[int, Grid], how: Quantisation) -> Layer:
    """The integers of an operator with weights, on the grids of values."""
    weight, bias = operator.weighted()
    scheme = how.of(operator).weights
    rows = weight.flatten(1) if scheme.per_channel else weight.reshape(1, -1)
    seen = observer("min_max" if scheme.bits == 8 else "mse")(scheme)
    seen.update(rows)
    grid = scheme.grid(*seen.range())
    unit = grids[operator.inputs[0]].scale * grid.scale
    return Layer(grid.quantise(weight), grid, bias_word(bias.double() / unit))


def bias_word(x: Tensor) -> Tensor:
    """The nearest integers of 32 bits."""
    return torch.round(x).clamp(1 - _WORD, _WORD - 1).long()


def corrected(quantised: Quantised, examples: Tensor) -> Quantised:
    """With the mean error of each channel, before its activation, taken off the bias, layer after layer."""
    program = quantised.program
    most = max(1, _LOCKSTEP // max(math.prod(shape) for shape in program.shapes.values()))
    examples = examples[:most]
    layers = dict(quantised.layers)
    quantised = replace(quantised, layers=layers)
    numbers, integers = {0: program.normalised(examples)}, {0: quantised.entry(examples)}
    for operator, dead in zip(program.operators, program.dead_after(), strict=True):
        exact = unclamped(operator, [numbers[v] for v in operator.inputs])
        if operator.weight is not None:
            layer, source = layers[operator.output], operator.inputs[0]
            unit = quantised.unit(operator, source)
            means = [x.transpose(0, 1).flatten(1).double().mean(1)
                     for x in (exact, quantised.sums(operator, integers[source]))]  # fmt: skip
            layers[operator.output] = replace(layer, bias=bias_word(layer.bias + means[0] / unit - means[1]))
        numbers[operator.output] = exact.clamp(*operator.clamp)
        integers[operator.output] = quantised.calculate(operator, [integers[v] for v in operator.inputs])
        for value in dead:
            del numbers[value], integers[value]
    return quantised
