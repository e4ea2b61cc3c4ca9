"""The space of NAS-Bench-Macro (Su et al. 2021, arXiv 2103.11922): eight layers, each one of three blocks of mobile
networks."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property, partial

from torch import Tensor, nn

from archscout.core.architecture import Architecture
from archscout.core.choice import Choice, Option
from archscout.core.errors import UsageError
from archscout.core.graph import Graph, Node
from archscout.core.registry import register
from archscout.core.space import Pick, Space
from archscout.core.task import Task
from archscout.networks.body import Body
from archscout.networks.operations import ConvBNActivation
from archscout.spaces.images import check_images
from archscout.spaces.sizes import check_sizes

STAGES = (2, 3, 3)
"""Layers of each stage; the first of a stage halves height and width and doubles the channels."""

LAYERS = tuple(f"layer {number}" for number in range(1, sum(STAGES) + 1))
OPERATIONS = ("identity", "mb3_k3", "mb6_k5")
FIRST = frozenset(itertools.accumulate(STAGES[:-1], initial=0))
"""The places of the layers that are the first of their stage."""


REFERENCES: Mapping[str, str] = {"all_mb3_k3": "11111111", "best_cifar10": "22212220", "all_mb6_k5": "22222222"}
"""The networks of one block alone, and the one with the best published accuracy."""


@register("space", "nasbench_macro")
class NASBenchMacro(Space):
    """Eight layers with 3 blocks: 6,561 architectures, 3,969 different networks.

    The text is the published one: eight digits, 0 for identity, 1 for an inverted residual of expansion 3 and kernel 3,
    2 for one of expansion 6 and kernel 5, as in `02012100`.

    Args:
        width: channels of the stem; the last layer has 8 times and the network's end 40 times as many. Default: the
            published 32 for inputs of 32 x 32 and more, 8 below.

    Layers 1, 3 and 6 have stride 2; an identity there is a 1 x 1 convolution with batch normalisation. Elsewhere it is
    a wire, so that it does not matter at which of these layers of a stage it stands: the published table has up to four
    accuracies for one network. Parameters and multiply-adds are the published ones.
    """

    def __init__(self, width: int | None = None) -> None:
        check_sizes("nasbench_macro", width=width)
        self.name = "nasbench_macro"
        self.width = width

    @cached_property
    def choices(self) -> Sequence[Choice]:
        return tuple(Choice(name, OPERATIONS) for name in LAYERS)

    # -- text -----------------------------------------------------------------------------------------------------

    def format(self, values: Mapping[str, Option]) -> str:
        return "".join(str(OPERATIONS.index(str(values[name]))) for name in LAYERS)

    def read(self, text: str) -> dict[str, Option]:
        digits = text.strip()
        if len(digits) != len(LAYERS) or set(digits) - set("012"):
            raise UsageError(
                f"'{text[:80]}' is no architecture of NAS-Bench-Macro: write eight digits, each 0 (identity), "
                "1 (expansion 3, kernel 3) or 2 (expansion 6, kernel 5), as in 02012100."
            )
        return {name: OPERATIONS[int(digit)] for name, digit in zip(LAYERS, digits, strict=True)}

    # -- forms ----------------------------------------------------------------------------------------------------

    def simplify(self, architecture: Architecture) -> Architecture:
        """Identities that are wires come after the other layers of their stage."""
        digits, place = [], 0
        for layers in STAGES:
            stage = architecture.text[place : place + layers]
            later = stage[1:].replace("0", "")
            digits.append(stage[0] + later.ljust(layers - 1, "0"))
            place += layers
        return self.architecture(self.read("".join(digits)))

    def canonical(self, architecture: Architecture) -> str:
        return self.simplify(architecture).text

    def graph(self, architecture: Architecture) -> Graph:
        """The chain of layers."""
        layers = (Node(str(option), group=name) for name, option in architecture.items())
        return Graph((Node("input"), *layers, Node("output")), tuple((i, i + 1) for i in range(len(LAYERS) + 1)))

    def references(self) -> Mapping[str, Architecture]:
        return {name: self.parse(text) for name, text in REFERENCES.items()}

    # -- network --------------------------------------------------------------------------------------------------

    def check_task(self, task: Task) -> None:
        check_images(self, task)

    def network(self, task: Task, pick: Pick) -> nn.Module:
        width = self.width or (8 if min(task.input_shape[1:]) < 32 else 32)
        layers: list[nn.Module] = [ConvBNActivation(task.input_shape[0], width, 3, activation=nn.ReLU())]
        inputs = width
        ends: list[int] = []
        channels: list[int] = []
        for place, name in enumerate(LAYERS):
            stride = 2 if place in FIRST else 1
            outputs = inputs * stride
            if stride == 2:
                ends.append(len(layers) - 1)
                channels.append(inputs)
            layers.append(
                pick(
                    name,
                    {
                        "identity": nn.Identity
                        if stride == 1
                        else partial(ConvBNActivation, inputs, outputs, 1, stride=stride),
                        "mb3_k3": partial(InvertedResidual, inputs, outputs, 3, 3, stride),
                        "mb6_k5": partial(InvertedResidual, inputs, outputs, 6, 5, stride),
                    },
                )
            )
            inputs = outputs
        layers.append(ConvBNActivation(inputs, 40 * width, 1, activation=nn.ReLU()))
        ends, channels = [*ends, len(layers) - 1], [*channels, 40 * width]  # the last stage is read after the tail
        return Body(layers, ends, channels, [2**stage for stage in range(len(ends))]).with_head(task)

    def extremes(self) -> Iterator[Architecture]:
        """All identities, all small blocks, all large blocks."""
        return (self.architecture(dict.fromkeys(LAYERS, operation)) for operation in OPERATIONS)


class InvertedResidual(nn.Module):
    """Expand (1 x 1), filter each channel, project (1 x 1); residual where the shape stays."""

    def __init__(self, inputs: int, outputs: int, expansion: int, kernel: int, stride: int) -> None:
        super().__init__()
        hidden = inputs * expansion
        self.layers = nn.Sequential(
            ConvBNActivation(inputs, hidden, 1, activation=nn.ReLU()),
            ConvBNActivation(hidden, hidden, kernel, stride, depthwise=True, activation=nn.ReLU()),
            ConvBNActivation(hidden, outputs, 1),
        )
        self.residual = stride == 1

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.layers(x)
        return x + y if self.residual else y
