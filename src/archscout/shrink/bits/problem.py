"""The choice of bits as a problem that all methods share: what can be chosen, what it costs, and what it does.

Choices are the bits of each layer's weights and, where a limit depends on them, of each value that a layer reads. What
a choice does is measured: the network runs in floating point with rounded weights and values, on examples.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from archscout.core.errors import UsageError
from archscout.deploy.program import Operator, Program, unclamped
from archscout.deploy.quantise import Quantisation, bias_word, grids_of, homes, layer_of
from archscout.deploy.schemes import Grid
from archscout.shrink import knapsack
from archscout.shrink.bits.hessian import BITS, Loss, weighted
from archscout.shrink.bits.limits import Limit

Choice = tuple[int, ...]
"""Of each choice the position of its bits: layers with weights in order, then values."""

_LARGEST_GROUP = 300_000
"""Combinations of bits of a value and of all layers that read it."""


@dataclass(frozen=True)
class Group:
    """A value and the layers that read it, whose costs hang together: their places, and that of the value (or none)."""

    layers: tuple[int, ...]
    value: int | None

    @property
    def places(self) -> tuple[int, ...]:
        return self.layers if self.value is None else (*self.layers, self.value)


class BitProblem:
    """Which bits each layer and value gets, so that limits are kept and the loss rises least.

    Args:
        program: as read, in floating point.
        examples: stored inputs, that ranges are taken from and the loss is of.
        loss: of their outputs.
        how: schemes and observer; its bits are those of whatever is not chosen (the input, values that no layer reads).
        limits: what is to be kept; activations are chosen where one depends on them.
        bits: what can be chosen, ascending.
        span: the least and largest number that a stored input can have.

    Raises:
        UsageError: there is no limit, or the cheapest choice breaks one.
    """

    def __init__(
        self,
        program: Program,
        examples: Tensor,
        loss: Loss,
        how: Quantisation,
        limits: Sequence[Limit],
        *,
        bits: Sequence[int] = BITS,
        span: tuple[float, float] | None = None,
    ) -> None:
        if not limits:
            raise UsageError("bits are chosen within a limit: give the bytes of the weights, or bit operations.")
        self.program, self.examples, self.loss, self.how = program, examples, loss, how
        self.limits, self.bits = tuple(limits), tuple(bits)
        self.layers: list[Operator] = weighted(program)
        self.home = homes(program)
        sources = [self.home[operator.inputs[0]] for operator in self.layers]
        chosen = any(limit.of_activations for limit in limits)
        self.values = sorted({value for value in sources if value != 0}) if chosen else []
        self.sources = [len(self.layers) + self.values.index(v) if v in self.values else None for v in sources]
        """Of each layer the place of the value that it reads among the choices; None where its bits are not chosen."""
        self.known: dict[Choice, float] = {}
        """The loss of every choice that was measured."""
        self.groups = self._groups()
        self._check()
        self._round(span)

    @property
    def places(self) -> range:
        """All choices."""
        return range(len(self.layers) + len(self.values))

    # -- costs --------------------------------------------------------------------------------------------------------

    def cost(self, limit: Limit, choice: Choice) -> float:
        """What a choice costs of what is limited."""
        return sum(self._layer_cost(limit, layer, choice) for layer in range(len(self.layers)))

    def keeps(self, choice: Choice) -> bool:
        """Whether a choice is within all limits."""
        return all(self.cost(limit, choice) <= limit.most for limit in self.limits)

    def _layer_cost(self, limit: Limit, layer: int, choice: Sequence[int]) -> float:
        source = self.sources[layer]
        activation = self.how.preset.activations.bits if source is None else self.bits[choice[source]]
        return limit.cost(layer, self.bits[choice[layer]], activation)

    def _groups(self) -> list[Group]:
        alone = [Group((layer,), None) for layer, source in enumerate(self.sources) if source is None]
        by_value = [Group(tuple(layer for layer, source in enumerate(self.sources) if source == place), place)
                    for place in range(len(self.layers), len(self.layers) + len(self.values))]  # fmt: skip
        return alone + by_value

    def _check(self) -> None:
        none = [np.zeros(len(self.bits)) for _ in self.places]
        for limit in self.limits:
            costs = [self._group_costs(limit, group, self._combinations(group)) for group in self.groups]
            least = sum(float(each.min()) for each in costs)
            if not least <= limit.most:
                raise UsageError(
                    f"{limit.what} {least:,.0f} {limit.unit} with the fewest bits ({min(self.bits)} at least), above "
                    f"the limit of {limit.most:,.0f}: give a higher limit, or a smaller network."
                )
        if len(self.limits) > 1 and self._best(none) is None:
            raise UsageError("no choice of bits keeps all limits at once: give a higher one, or a smaller network.")

    def _combinations(self, group: Group) -> np.ndarray:
        """Positions of bits (combinations x choices of the group)."""
        count = len(group.places)
        if len(self.bits) ** count > _LARGEST_GROUP:
            raise UsageError(
                f"{count - 1} layers read one value, too many to choose their bits together: leave out the limits that "
                "depend on activations."
            )
        return np.array(list(itertools.product(range(len(self.bits)), repeat=count)))

    def _group_costs(self, limit: Limit, group: Group, combinations: np.ndarray) -> np.ndarray:
        costs = np.zeros(len(combinations))
        for column, layer in enumerate(group.layers):
            table = np.array([
                [limit.cost(layer, w, a) for a in self._activation_bits(group)] for w in self.bits
            ])  # fmt: skip
            of_value = combinations[:, -1] if group.value is not None else 0
            costs += table[combinations[:, column], of_value]
        return costs

    def _activation_bits(self, group: Group) -> Sequence[int]:
        return self.bits if group.value is not None else (self.how.preset.activations.bits,)

    # -- choosing -----------------------------------------------------------------------------------------------------

    def settle(self, harms: Sequence[np.ndarray]) -> Choice:
        """The choice within the limits whose harms (of each choice at each position) add up to the least: exactly."""
        choice = self._best(harms)
        assert choice is not None  # checked at the start
        return choice

    def _best(self, harms: Sequence[np.ndarray]) -> Choice | None:
        options, of_groups = [], []
        costs: list[list[np.ndarray]] = [[] for _ in self.limits]
        for group in self.groups:
            combinations = self._combinations(group)
            tables = [self._group_costs(limit, group, combinations) for limit in self.limits]
            possible = np.isfinite(tables).all(0)
            options.append(combinations[possible])
            of_groups.append(sum(np.asarray(harms[place])[options[-1][:, column]]
                                 for column, place in enumerate(group.places)))  # fmt: skip
            for table, cost in zip(tables, costs, strict=True):
                cost.append(table[possible])
        chosen = knapsack.choose(of_groups, costs, [limit.most for limit in self.limits])
        if chosen is None:
            return None
        choice = [0] * len(self.places)
        for group, combinations, option in zip(self.groups, options, chosen, strict=True):
            for place, position in zip(group.places, combinations[option], strict=True):
                choice[place] = int(position)
        return tuple(choice)

    def rolled_back(self, choice: Choice) -> Choice:
        """A choice with one bit less here and there, in turn, until it keeps the limits (as HAQ does)."""
        lowered = list(choice)
        while not self.keeps(tuple(lowered)):
            if not any(lowered):  # costs that do not fall with bits
                return self.settle([np.abs(np.arange(len(self.bits)) - wanted) for wanted in choice])
            for place in self.places:
                if lowered[place] and not self.keeps(tuple(lowered)):
                    lowered[place] -= 1
        return tuple(lowered)

    def uniform(self) -> Choice:
        """The highest bits that all can have; everything at the fewest and rolled back where none keep the limits."""
        for position in reversed(range(len(self.bits))):
            if self.keeps(choice := (position,) * len(self.places)):
                return choice
        return self.rolled_back((0,) * len(self.places))

    # -- what it does -------------------------------------------------------------------------------------------------

    def _round(self, span: tuple[float, float] | None) -> None:
        plain = replace(self.how, bias_correction=False, layers={})
        by_bits = {bits: replace(plain, weight_bits=bits, activation_bits=bits) for bits in self.bits}
        with torch.no_grad():
            self.fixed = grids_of(self.program, self.examples, plain, span)
            each = (
                {b: grids_of(self.program, self.examples, how, span) for b, how in by_bits.items()}
                if self.values
                else {}
            )
            self.grids = [[each[b][value] for b in self.bits] for value in self.values]
            self.weights: list[Tensor] = []
            """Of each layer its weight at each position of bits, stacked."""
            self.scales: list[list[Tensor]] = []
            """And the scales of these."""
            self.means = _means(self.program, self.examples)
            """Of each layer the mean of each channel in floating point, before its activation."""
            for operator in self.layers:
                layers = [layer_of(operator, self.fixed, how) for how in by_bits.values()]
                self.weights.append(torch.stack([layer.grid.dequantise(layer.weight) for layer in layers]))
                self.scales.append([layer.grid.scale for layer in layers])

    def outputs(self, mixture: Sequence[int | Tensor]) -> Tensor:
        """The answers for the examples, with each choice at a position, or at a mixture of all (weights that add to 1).

        Gradients flow into mixtures, and through rounding as if it were not there, within the range of the grid.
        """
        places = {operator.output: place for place, operator in enumerate(self.layers)}
        values = {0: self._on_grid(0, self.program.normalised(self.examples), mixture)}
        for operator, dead in zip(self.program.operators, self.program.dead_after(), strict=True):
            place, inputs = places.get(operator.output), [values[v] for v in operator.inputs]
            y = unclamped(operator, inputs) if place is None else self._products(place, inputs, mixture)
            y = y.clamp(*operator.clamp) if operator.clamps else y
            values[operator.output] = self._on_grid(operator.output, y, mixture)
            for value in dead:
                del values[value]
        return values[self.program.output].reshape(len(self.examples), *self.program.answer_shape)

    def _products(self, place: int, inputs: Sequence[Tensor], mixture: Sequence[int | Tensor]) -> Tensor:
        """What a layer gives before its activation, with the mean error of each channel taken off where that is asked.

        Biases are in units of the sums of products, which are coarse where bits are few; in a mixture as they are.
        """
        operator, unit = self.layers[place], self._unit(place, mixture)
        bias = operator.weighted()[1]
        weight = _mixed(self.weights[place], mixture[place])
        y = unclamped(replace(operator, weight=weight, bias=_in_units(bias, unit)), inputs)
        if not self.how.bias_correction:
            return y
        off = self.means[place] - y.transpose(0, 1).flatten(1).mean(1)
        return y + _in_units(off, unit).view(1, -1, *[1] * (y.dim() - 2))

    def _unit(self, place: int, mixture: Sequence[int | Tensor]) -> Tensor | None:
        """What 1 stands for in the sums of a layer; None in a mixture."""
        source, position = self.sources[place], mixture[place]
        of_source = None if source is None else mixture[source]
        if not isinstance(position, int) or isinstance(of_source, Tensor):
            return None
        value = self.home[self.layers[place].inputs[0]]
        read = self.fixed[value] if of_source is None else self.grids[self.values.index(value)][of_source]
        return read.scale * self.scales[place][position]

    def loss_of(self, choice: Choice) -> float:
        """The loss with rounded weights and values; infinite where it is not a number."""
        if choice not in self.known:
            with torch.no_grad():
                value = float(self.loss(self.outputs(choice)))
            self.known[choice] = value if math.isfinite(value) else math.inf
        return self.known[choice]

    def best(self) -> Choice:
        """The measured choice within the limits that loses least."""
        return min((choice for choice in self.known if self.keeps(choice)), key=self.known.__getitem__)

    def _on_grid(self, value: int, x: Tensor, mixture: Sequence[int | Tensor]) -> Tensor:
        home = self.home[value]
        if home not in self.values:
            return _rounded(self.fixed[home], x)
        number = self.values.index(home)
        grids, position = self.grids[number], mixture[len(self.layers) + number]
        if isinstance(position, int):
            return _rounded(grids[position], x)
        return sum((_rounded(grid, x) * share for grid, share in zip(grids, position, strict=True)), torch.zeros(()))

    def quantisation(self, choice: Choice) -> Quantisation:
        """`how`, with the bits of a choice."""
        weights = {operator.output: self.bits[choice[place]] for place, operator in enumerate(self.layers)}
        of_values = {value: self.bits[choice[len(self.layers) + number]] for number, value in enumerate(self.values)}
        chosen = {
            value: self.how.preset.with_bits(weights.get(value), of_values.get(value))
            for value in sorted(weights.keys() | of_values.keys())
        }
        return replace(self.how, layers={**self.how.layers, **chosen})


def _means(program: Program, examples: Tensor) -> list[Tensor]:
    means, values = [], {0: program.normalised(examples)}
    for operator, dead in zip(program.operators, program.dead_after(), strict=True):
        y = unclamped(operator, [values[v] for v in operator.inputs])
        if operator.weight is not None:
            means.append(y.transpose(0, 1).flatten(1).mean(1))
        values[operator.output] = y.clamp(*operator.clamp) if operator.clamps else y
        for value in dead:
            del values[value]
    return means


def _mixed(stack: Tensor, position: int | Tensor) -> Tensor:
    return stack[position] if isinstance(position, int) else torch.tensordot(position, stack, 1)


def _in_units(bias: Tensor, unit: Tensor | None) -> Tensor:
    return bias if unit is None else (bias_word(bias.double() / unit) * unit).float()


def _rounded(grid: Grid, x: Tensor) -> Tensor:
    """As `Grid.rounded` in single precision, of a grid with one scale, with gradients of numbers in its range."""
    scale, zero = float(grid.scale), int(grid.zero)
    inside = x.clamp((grid.low - zero) * scale, (grid.high - zero) * scale)
    return inside + (torch.round(inside / scale) * scale - inside).detach()
