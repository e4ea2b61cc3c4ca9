"""A quantised program in floating point, with gradients: what quantisation-aware training and reconstruction move.

Weights are parameters, and every grid is a quantiser of the chosen kind. On the `deployable` track all values are
brought to integers, as devices do it, and what was trained becomes integers again. On the `academic` one only the
inputs of convolutions and linear layers are, and their weights; it stands for no program of integers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from archscout.core.errors import UsageError, nearest
from archscout.deploy.program import Operator, Program, unclamped
from archscout.deploy.quantise import Layer, Quantisation, Quantised, bias_word, homes, quantise
from archscout.deploy.quantisers import Fixed, Quantiser

TRACKS = ("deployable", "academic")
FOLDS = ("merged", "running", "batch")
"""What becomes of batch normalisation in training: see `Norm`."""


class Norm(nn.Module):
    """Batch normalisation behind a convolution whose weight it is folded into, so that what is rounded is deployed.

    It is made anew from the mean and variance of each channel on examples, and changes nothing at first. With `running`
    these stay, and its gain and shift are trained. With `batch`, sums are normalised by the statistics of each batch
    while the running ones, by which the rounded weight is scaled, follow (Krishnamoorthi 2018, arXiv 1806.08342);
    `frozen`, it is as `running`. With `merged` there is none: weights and biases are trained as they are.

    Args:
        sums: what the convolution gives without its bias, N x C x H x W.
        bias: of the convolution, (C,).
    """

    mean: Tensor
    variance: Tensor

    def __init__(self, sums: Tensor, bias: Tensor, *, momentum: float = 0.1) -> None:
        super().__init__()
        self.momentum, self.frozen = momentum, False
        self.register_buffer("mean", sums.mean((0, 2, 3)))
        self.register_buffer("variance", sums.var((0, 2, 3), correction=0) + 1e-5)
        self.gain = nn.Parameter(self.variance.sqrt())
        self.shift = nn.Parameter(bias + self.mean)

    def factor(self) -> Tensor:
        """What each channel of the weight is multiplied by."""
        return self.gain / self.variance.sqrt()

    def bias(self) -> Tensor:
        return self.shift - self.mean * self.factor()

    def batch(self, sums: Tensor) -> tuple[Tensor, Tensor]:
        """What the sums of the folded weight are multiplied by, and the bias, by the statistics of a batch."""
        mean, variance = sums.mean((0, 2, 3)), sums.var((0, 2, 3), correction=0) + 1e-5
        factor = (self.variance.clone() / variance).sqrt()  # the weight was folded by what they were
        with torch.no_grad():
            self.mean.lerp_(mean, self.momentum)
            self.variance.lerp_(variance, self.momentum)
        return factor, self.shift - mean * self.gain / variance.sqrt()


class Simulation(nn.Module):
    """A quantised program whose weights and grids are trained; takes normalised inputs (the value 0).

    Args:
        quantised: where it starts: the program, and grids after training.
        weights, activations: the kinds of quantisers.
        examples: stored inputs, some tens to hundreds.
        track: of `TRACKS`.
        fold: of `FOLDS`.

    Raises:
        UsageError: there is no such track or way to fold.
    """

    def __init__(
        self,
        quantised: Quantised,
        examples: Tensor,
        *,
        weights: type[Quantiser] = Fixed,
        activations: type[Quantiser] = Fixed,
        track: str = "deployable",
        fold: str = "merged",
    ) -> None:
        super().__init__()
        for value, known, what in ((track, TRACKS, "track"), (fold, FOLDS, "way to fold batch normalisation")):
            if value not in known:
                raise UsageError(f"quantisation has no {what} '{value}': {nearest(value, known)}")
        self.start, self.program, self.how = quantised, quantised.program, quantised.how
        self.track, self.fold = track, fold
        self.drop, self.generator = 0.0, torch.Generator()
        """The share of numbers that are left as they are, each drawn anew (QDrop); with 1, values have no grid."""
        self.weights, self.biases = nn.ParameterDict(), nn.ParameterDict()
        self.of_weights, self.of_values, self.norms = nn.ModuleDict(), nn.ModuleDict(), nn.ModuleDict()
        self.home = homes(self.program)
        read = {v for o in self.program.operators if o.weight is not None for v in o.inputs}
        with torch.no_grad():
            seen: dict[int, Tensor] = {}
            self.program.run(examples, seen.__setitem__)
            for operator in self.program.operators:
                if operator.weight is not None:
                    self._layer(operator, weights, seen[operator.inputs[0]])
            for made, x in seen.items():
                if track == "deployable" or made in read:
                    self._value(self.source(made), activations, x)

    def source(self, value: int) -> int:
        """The value whose grid a value has."""
        return self.home[value]

    def _layer(self, operator: Operator, kind: type[Quantiser], x: Tensor) -> None:
        key = str(operator.output)
        weight, bias = operator.weighted()
        scheme = self.how.of(operator).weights
        self.weights[key] = nn.Parameter(weight.detach().clone())
        self.biases[key] = nn.Parameter(bias.detach().clone())
        self.of_weights[key] = kind(scheme, self.start.layers[operator.output].grid, weight.detach(), weight=True)
        if self.fold != "merged" and operator.kind == "conv":
            sums = unclamped(replace(operator, bias=torch.zeros_like(bias)), [x])
            self.norms[key] = Norm(sums, bias)
            del self.biases[key]

    def _value(self, value: int, kind: type[Quantiser], x: Tensor) -> None:
        if str(value) in self.of_values:
            return
        maker = next((o for o in self.program.operators if o.output == value), None)
        scheme = self.how.preset.activations if maker is None else self.how.of(maker).activations
        # The range of inputs is known, and is not to be learned away.
        kind = Fixed if value == 0 else kind
        self.of_values[str(value)] = kind(scheme, self.start.grids[value], x, weight=False)

    def forward(self, x: Tensor) -> Tensor:
        values = {0: self.quantised_value(0, x)}
        for operator, dead in zip(self.program.operators, self.program.dead_after(), strict=True):
            values[operator.output] = self.calculate(operator, [values[v] for v in operator.inputs])
            for value in dead:
                del values[value]
        return values[self.program.output].reshape(len(x), *self.program.answer_shape)

    def calculate(self, operator: Operator, inputs: Sequence[Tensor]) -> Tensor:
        """What an operator makes of its inputs."""
        if operator.weight is None:
            y = unclamped(operator, inputs)
        else:
            if self.track == "academic":
                inputs = [inputs[0] if self.drop == 1 else self.on_grid(operator.inputs[0], inputs[0])]
            y = self._weighted(operator, inputs)
        return self.quantised_value(operator.output, y.clamp(*operator.clamp) if operator.clamps else y)

    def quantised_value(self, value: int, x: Tensor) -> Tensor:
        if self.track != "deployable" or self.drop == 1:
            return x
        y = self.on_grid(value, x)
        if not self.drop:
            return y
        return torch.where(torch.rand(x.shape, generator=self.generator) < self.drop, x, y)

    def on_grid(self, value: int, x: Tensor) -> Tensor:
        """A value by its quantiser."""
        answer: Tensor = self.of_values[str(self.source(value))](x)
        return answer

    def _weighted(self, operator: Operator, inputs: Sequence[Tensor]) -> Tensor:
        key = str(operator.output)
        weight, bias = self.folded(operator)
        rounded = self.of_weights[key](weight)
        norm = self._norm(operator) if self.fold == "batch" and self.training else None
        if norm is not None and not norm.frozen:
            none = torch.zeros_like(bias)
            sums = unclamped(replace(operator, weight=self.weights[key], bias=none), inputs)
            factor, bias = norm.batch(sums)
            shape = (1, -1, *[1] * (sums.dim() - 2))
            sums = unclamped(replace(operator, weight=rounded, bias=none), inputs)
            return sums * factor.view(shape) + bias.view(shape)
        return unclamped(replace(operator, weight=rounded, bias=bias), inputs)

    def folded(self, operator: Operator) -> tuple[Tensor, Tensor]:
        """The weight that is rounded, and the bias."""
        key = str(operator.output)
        norm = self._norm(operator)
        if norm is None:
            return self.weights[key], self.biases[key]
        return self.weights[key] * norm.factor().view(-1, 1, 1, 1), norm.bias()

    def _norm(self, operator: Operator) -> Norm | None:
        norm = self.norms[key] if (key := str(operator.output)) in self.norms else None
        assert norm is None or isinstance(norm, Norm)
        return norm

    def freeze(self) -> None:
        """Normalise by running statistics from here on."""
        for norm in self.norms.values():
            assert isinstance(norm, Norm)
            norm.frozen = True

    def integers(self) -> Quantised:
        """The program of integers that it has become. Raises `UsageError` on the academic track, which has none."""
        if self.track != "deployable":
            raise UsageError("the academic track leaves values between layers as they are: it has no integers.")
        grids = {v: self._quantiser(self.of_values, self.source(v)).grid() for v in self.start.grids}
        layers = {}
        with torch.no_grad():
            for operator in self.program.operators:
                if operator.weight is None:
                    continue
                own = self._quantiser(self.of_weights, operator.output)
                weight, bias = self.folded(operator)
                grid = own.grid()
                unit = grids[operator.inputs[0]].scale * grid.scale
                layers[operator.output] = Layer(own.integers(weight), grid, bias_word(bias.detach().cpu() / unit))
        return replace(self.start, grids=grids, layers=layers)

    def _quantiser(self, of: nn.ModuleDict, value: int) -> Quantiser:
        own = of[str(value)]
        assert isinstance(own, Quantiser)
        return own


def academic(program: Program, how: Quantisation, bits: int = 8) -> Quantisation:
    """`how`, with weights and inputs of the first and the last layer at 8 bits, as papers have it."""
    layers = [o for o in program.operators if o.weight is not None]
    source = homes(program)[layers[-1].inputs[0]]
    own = dict(how.layers)
    for operator in program.operators:
        preset = own.get(operator.output, how.preset)
        if operator is layers[0] or operator is layers[-1]:
            preset = preset.with_bits(bits, None)
        if operator.output == source:
            preset = preset.with_bits(None, bits)
        own[operator.output] = preset
    return replace(how, layers=own)


def simulate(
    program: Program,
    examples: Tensor,
    how: Quantisation,
    *,
    span: tuple[float, float] | None = None,
    weights: type[Quantiser] = Fixed,
    activations: type[Quantiser] = Fixed,
    track: str = "deployable",
    fold: str = "merged",
) -> Simulation:
    """A simulation that starts from the grids that `quantise` gives; arguments are as there and as of `Simulation`."""
    if track == "academic":
        how = academic(program, how)
    start = quantise(program, examples, replace(how, bias_correction=False), span=span)
    start = replace(start, how=how)
    return Simulation(start, examples, weights=weights, activations=activations, track=track, fold=fold)
