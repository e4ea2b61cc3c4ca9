"""The layer-wise space of ENAS (Pham et al. 2018, arXiv 1802.03268), at the size for which D-VAE (Zhang et al. 2019,
arXiv 1904.11088) published accuracies: six layers, each an operation on the layer before it and skip connections."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property, partial

from torch import Tensor, nn

from archscout.core.architecture import Architecture
from archscout.core.choice import Choice, Option
from archscout.core.errors import UsageError
from archscout.core.graph import Graph, Node
from archscout.core.registry import register
from archscout.core.space import Pick, Space
from archscout.core.task import Task
from archscout.networks.elastic import now
from archscout.networks.operations import ConvBNActivation, FactorizedReduce
from archscout.networks.padding import read
from archscout.spaces.images import check_images
from archscout.spaces.sizes import check_sizes

OPERATIONS = ("conv_3x3", "sep_conv_3x3", "conv_5x5", "sep_conv_5x5", "avg_pool_3x3", "max_pool_3x3")
_EXAMPLE = "[[1],[4,0],[5,0,0],[0,1,1,1],[2,1,1,1,1],[3,0,0,0,0,1]]"


@register("space", "enas")
class ENAS(Space):
    """Six layers with 6 operations and any skip connections between them: 1.53 x 10^9 architectures.

    The text is the published one: a list for each layer, of the number of its operation (0: conv 3 x 3, 1: separable
    3 x 3, 2: conv 5 x 5, 3: separable 5 x 5, 4: average pool, 5: max pool) and, for the stem and each layer but the one
    right before, 1 where there is a skip connection from it: `[[1],[4,0],[5,0,0],[0,1,1,1],[2,1,1,1,1],[3,0,0,0,0,1]]`.

    Args:
        width: channels of every layer. Default: 36, as in the published search, for inputs of 32 x 32 and more, 8
            below.
        layers: how many; 6 unless given (12 is the other published size).

    The network is that in which the accuracies were measured, with weights shared: a layer is its operation (after a
    1 x 1 convolution) plus the skipped layers, normalised; after a third and two thirds of the layers, all that has
    been made so far is halved. The reductions of outputs that no later layer takes are built, as in the published code,
    but do not run. Different from it: there is no dropout before the head.
    """

    def __init__(self, width: int | None = None, layers: int = 6) -> None:
        check_sizes("enas", width=width, layers=layers)
        self.name = "enas"
        self.width, self.layers = width, layers

    @cached_property
    def choices(self) -> Sequence[Choice]:
        choices = []
        for layer in range(1, self.layers + 1):
            choices.append(Choice(f"layer {layer}", OPERATIONS))
            choices += [Choice(f"skip {source}->{layer}", (0, 1)) for source in range(layer - 1)]
        return tuple(choices)

    # -- text -----------------------------------------------------------------------------------------------------

    def format(self, values: Mapping[str, Option]) -> str:
        rows = []
        for layer in range(1, self.layers + 1):
            skips = [int(values[f"skip {source}->{layer}"]) for source in range(layer - 1)]
            rows.append([OPERATIONS.index(str(values[f"layer {layer}"])), *skips])
        return json.dumps(rows, separators=(",", ":"))

    def read(self, text: str) -> dict[str, Option]:
        short = text.strip() if len(text) <= 80 else text.strip()[:77] + "..."
        try:
            rows = json.loads(text)
        except (ValueError, RecursionError):
            rows = None
        if not isinstance(rows, list) or len(rows) != self.layers:
            raise UsageError(f"'{short}' is not a list of {self.layers} layers: write them as in {_EXAMPLE}.")
        values: dict[str, Option] = {}
        for layer, row in enumerate(rows, start=1):
            if not isinstance(row, list) or len(row) != layer or any(type(number) is not int for number in row):
                raise UsageError(
                    f"layer {layer} of '{short}' must be a list of {layer} whole numbers: its operation, then skips."
                )
            if not 0 <= row[0] < len(OPERATIONS):
                raise UsageError(f"layer {layer} of '{short}' has operation {row[0]}: use 0 to {len(OPERATIONS) - 1}.")
            if set(row[1:]) - {0, 1}:
                raise UsageError(f"layer {layer} of '{short}' has a skip that is neither 0 nor 1.")
            values[f"layer {layer}"] = OPERATIONS[row[0]]
            values |= {f"skip {source}->{layer}": bit for source, bit in enumerate(row[1:])}
        return values

    # -- forms ----------------------------------------------------------------------------------------------------

    def graph(self, architecture: Architecture) -> Graph:
        """Input, layers, output; each layer has an edge from the one before it and one for each skip connection."""
        layers = range(1, self.layers + 1)
        names = [f"layer {layer}" for layer in layers]
        edges = [(layer - 1, layer) for layer in (*layers, self.layers + 1)]
        edges += [(i, j) for j in layers for i in range(j - 1) if architecture[f"skip {i}->{j}"]]
        nodes = (Node("input"), *(Node(str(architecture[name]), group=name) for name in names), Node("output"))
        return Graph(nodes, tuple(sorted(edges)))

    # -- network --------------------------------------------------------------------------------------------------

    def check_task(self, task: Task) -> None:
        check_images(self, task)

    def network(self, task: Task, pick: Pick) -> nn.Module:
        width = self.width or (8 if min(task.input_shape[1:]) < 32 else 36)
        return Network(task, pick, width, self.layers)


class Network(nn.Module):
    """Stem, layers, head; the outputs of all layers so far are kept for skip connections."""

    def __init__(self, task: Task, pick: Pick, width: int, layers: int) -> None:
        super().__init__()
        third = layers // 3
        self.halvings = (third, 2 * third) if third else ()
        self.stem = ConvBNActivation(task.input_shape[0], width, 3)
        self.operations, self.norms, self.reductions = nn.ModuleList(), nn.ModuleList(), nn.ModuleDict()
        self.skips = {(i, j): pick.number(f"skip {i}->{j}") for j in range(1, layers + 1) for i in range(j - 1)}
        for layer in range(1, layers + 1):
            self.operations.append(pick(f"layer {layer}", _builders(width)))
            self.norms.append(nn.BatchNorm2d(width) if layer > 1 else nn.Identity())
            if layer in self.halvings:
                for i in range(layer + 1):
                    self.reductions[f"{i}after{layer}"] = FactorizedReduce(width, width, activation=False)
        self.head = task.head(width)

    def forward(self, x: Tensor) -> Tensor:
        maps: dict[int, Tensor] = {0: self.stem(x)}
        for layer, (operation, norm) in enumerate(zip(self.operations, self.norms, strict=True), start=1):
            y = operation(maps[layer - 1])
            for i in range(layer - 1):
                if now(self.skips[i, layer]):
                    y = y + maps[i]
            maps[layer] = norm(y)
            if layer in self.halvings:
                maps = {i: self.reductions[f"{i}after{layer}"](y) for i, y in maps.items() if self._needed(i, layer)}
        return read(self.head, maps[len(self.operations)], x)

    def _needed(self, node: int, layer: int) -> bool:
        """Whether the output of `made` is taken by a layer after `layer`."""
        later = range(layer + 1, len(self.operations) + 1)
        return node == layer or any(now(self.skips[node, j]) for j in later)


class Separable(nn.Sequential):
    """Depthwise convolution, 1 x 1 convolution, batch normalisation, ReLU."""

    def __init__(self, channels: int, kernel: int) -> None:
        super().__init__(
            nn.Conv2d(channels, channels, kernel, padding=kernel // 2, groups=channels, bias=False),
            ConvBNActivation(channels, channels, 1, activation=nn.ReLU()),
        )


def _builders(width: int) -> dict[Option, partial[nn.Sequential]]:
    def after_projection(build: Callable[[], nn.Module]) -> nn.Sequential:
        return nn.Sequential(ConvBNActivation(width, width, 1, activation=nn.ReLU()), build())

    return {
        "conv_3x3": partial(after_projection, partial(ConvBNActivation, width, width, 3, activation=nn.ReLU())),
        "sep_conv_3x3": partial(after_projection, partial(Separable, width, 3)),
        "conv_5x5": partial(after_projection, partial(ConvBNActivation, width, width, 5, activation=nn.ReLU())),
        "sep_conv_5x5": partial(after_projection, partial(Separable, width, 5)),
        "avg_pool_3x3": partial(after_projection, partial(nn.AvgPool2d, 3, 1, 1, count_include_pad=False)),
        "max_pool_3x3": partial(after_projection, partial(nn.MaxPool2d, 3, 1, 1)),
    }
