"""A network as a program: the few operators that integer arithmetic, ONNX Runtime's int8 and C for a device share.

`archscout.deploy.reading` makes it of a network.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

KINDS = (
    "conv", "linear", "max_pool", "average_pool", "mean", "add", "multiply", "clamp", "table", "channels", "concat",
)  # fmt: skip
"""What an operator can be: `mean` averages over height and width, `multiply` is the product of a map and one of its
size or of one pixel, `clamp` is ReLU, ReLU6 and the like, `table` any other function of single numbers, and `channels`
takes some of the input's channels, in any order."""

Pair = tuple[int, int]


@dataclass(frozen=True)
class Operator:
    """One operator. Values (what it reads and makes) are numbers; 0 is the input of the network.

    Args:
        kind: one of `KINDS`.
        inputs: the values that it reads.
        output: the value that it makes.
        weight: of a convolution (O x I/groups x H x W), of a linear layer (O x I).
        bias: (O,), where there is a weight.
        kernel, stride, padding, dilation: of a convolution or pooling: (height, width). Padding is above and on the
            left; where it is negative, rows and columns of the map are not read.
        after: the padding below and on the right, where it is another one.
        groups: of a convolution.
        count_padding: of average pooling: whether padding counts in the mean.
        clamp: the lowest and highest number of the output.
        function: of a table: what each number becomes.
        channels: of `channels`: for each one of the output, that of the input.
    """

    kind: str
    inputs: tuple[int, ...]
    output: int
    weight: Tensor | None = None
    bias: Tensor | None = None
    kernel: Pair = (1, 1)
    stride: Pair = (1, 1)
    padding: Pair = (0, 0)
    after: Pair | None = None
    dilation: Pair = (1, 1)
    groups: int = 1
    count_padding: bool = True
    clamp: tuple[float, float] = (-math.inf, math.inf)
    function: Callable[[Tensor], Tensor] | None = None
    channels: tuple[int, ...] = ()

    @property
    def clamps(self) -> bool:
        return self.clamp != (-math.inf, math.inf)

    @property
    def depthwise(self) -> bool:
        """Whether each output channel reads one input channel of its own."""
        return self.kind == "conv" and self.weight is not None and self.groups == self.weight.shape[0] > 1

    def padded(self, x: Tensor, number: float = 0.0) -> Tensor:
        """A map (N x C x H x W) with a number around it."""
        (top, left), (bottom, right) = self.padding, self.after or self.padding
        return F.pad(x, (left, right, top, bottom), value=number)

    def applied(self, x: Tensor) -> Tensor:
        """The function of a table."""
        assert self.function is not None
        return self.function(x)

    def weighted(self) -> tuple[Tensor, Tensor]:
        """Weight and bias of an operator that has them."""
        assert self.weight is not None and self.bias is not None
        return self.weight, self.bias


@dataclass(frozen=True)
class Program:
    """Operators in the order in which they run.

    Args:
        operators: each reads what the input or an operator before it made.
        shapes: of each value, without the batch dimension: (C, H, W) or (C,).
        output: the value that is the answer.
        answer_shape: of the answer as the network gives it, without the batch dimension.
        mean, std: what the stored input (C x 1 x 1) is normalised with before the first operator.
    """

    operators: tuple[Operator, ...]
    shapes: Mapping[int, tuple[int, ...]]
    output: int
    answer_shape: tuple[int, ...]
    mean: Tensor
    std: Tensor

    @property
    def macs(self) -> int:
        """Multiply-adds of convolutions and linear layers for one example."""
        return sum(self.macs_of(operator) for operator in self.operators)

    def macs_of(self, operator: Operator) -> int:
        if operator.weight is None:
            return 0
        return operator.weight.numel() * math.prod(self.shapes[operator.output][1:])

    def normalised(self, x: Tensor) -> Tensor:
        """The value 0: inputs as they are stored (N x C x H x W), normalised."""
        return (x - self.mean) / self.std

    def run(self, x: Tensor, seen: Callable[[int, Tensor], None] | None = None) -> Tensor:
        """The answers in floating point for a batch of stored inputs; `seen` is called with every value."""
        values = {0: self.normalised(x)}
        if seen is not None:
            seen(0, values[0])
        for operator, dead in zip(self.operators, self.dead_after(), strict=True):
            values[operator.output] = calculate(operator, [values[v] for v in operator.inputs])
            if seen is not None:
                seen(operator.output, values[operator.output])
            for value in dead:
                del values[value]
        return values[self.output].reshape(len(x), *self.answer_shape)

    def dead_after(self) -> list[list[int]]:
        """For each operator, the values that nothing reads after it."""
        last = {self.output: len(self.operators)}
        for place in reversed(range(len(self.operators))):
            for value in (*self.operators[place].inputs, self.operators[place].output):
                last.setdefault(value, place)
        return [[value for value, place in last.items() if place == here] for here in range(len(self.operators))]


def calculate(operator: Operator, inputs: Sequence[Tensor]) -> Tensor:
    """What an operator makes of its inputs in floating point, clamped."""
    y = unclamped(operator, inputs)
    return y.clamp(*operator.clamp) if operator.clamps else y


def unclamped(operator: Operator, inputs: Sequence[Tensor]) -> Tensor:
    """As `calculate`, before the clamp."""
    x, o = inputs[0], operator
    match o.kind:
        case "conv":
            weight, bias = o.weighted()
            x, padding = (x, o.padding) if o.after is None else (o.padded(x), (0, 0))
            return F.conv2d(x, weight, bias, o.stride, padding, o.dilation, o.groups)
        case "linear":
            return F.linear(x.flatten(1), *o.weighted())
        case "max_pool":
            return F.max_pool2d(o.padded(x, -math.inf), o.kernel, o.stride)
        case "average_pool":
            return added(o, x) / pixels_read(o, x)
        case "mean":
            return x.mean((2, 3), keepdim=True)
        case "add":
            return x + inputs[1]
        case "multiply":
            return x * inputs[1]
        case "table":
            return o.applied(x)
        case "channels":
            return x[:, list(o.channels)]
        case "concat":
            return torch.cat(list(inputs), 1)
    return x


def added(o: Operator, x: Tensor) -> Tensor:
    """The sums of what an average pooling reads."""
    return F.avg_pool2d(o.padded(x), o.kernel, o.stride, divisor_override=1)


def pixels_read(o: Operator, x: Tensor) -> Tensor:
    """By how many each sum of an average pooling is divided, (1, 1, H, W)."""
    count = added(o, torch.ones_like(x[:1, :1]))
    return torch.full_like(count, o.kernel[0] * o.kernel[1]) if o.count_padding else count
