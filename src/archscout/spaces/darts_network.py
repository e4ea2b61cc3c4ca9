"""The network of DARTS: cells whose nodes sum operations, each cell reading the two before it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor, nn

from archscout.core.choice import Option
from archscout.core.space import Pick
from archscout.core.task import Task
from archscout.networks.operations import FactorizedReduce, Noise, ReLUConvBN, SeparableConv, Zero
from archscout.networks.padding import read
from archscout.spaces.darts_parts import NOISE

ABSENT = "none"
CELLS = ("normal", "reduce")
NODES = (2, 3, 4, 5)
"""The intermediate nodes; 0 and 1 are the outputs of the cell before the last and of the last."""


class Network(nn.Module):
    """Stem, cells, head; each cell takes the outputs of the two before it.

    Args:
        task, pick: see `archscout.core.space.Space.network`.
        slots: see `CellNetwork`.
        width: channels of a node of the first cells.
        layers: cells.
        reductions: which of them, counted from 0, are reduction cells.
        stem: whether there is one; without it the first cells read the input.
    """

    def __init__(
        self,
        task: Task,
        pick: Pick,
        slots: Sequence[tuple[str, int, int, int]],
        width: int,
        layers: int,
        reductions: Sequence[int],
        *,
        stem: bool = True,
    ) -> None:
        super().__init__()
        inputs = task.input_shape[0]
        before = last = 3 * width if stem else inputs
        normalised = (nn.Conv2d(inputs, last, 3, padding=1, bias=False), nn.BatchNorm2d(last)) if stem else ()
        self.stem = nn.Sequential(*normalised)
        self.cells = nn.ModuleList()
        channels, halved = width, False
        ends: list[tuple[int, int]] = []  # the last cell before each halving, and its channels
        for layer in range(layers):
            reduce = layer in reductions
            if reduce:
                ends.append((layer - 1, last))
                channels *= 2
            self.cells.append(CellNetwork((before, last), channels, pick, slots, reduce=reduce, halved=halved))
            before, last, halved = last, len(NODES) * channels, reduce
        ends.append((layers - 1, last))
        self.stages = [cell for cell, _ in ends]
        tapped = task.tapped_head([count for _, count in ends], [2**stage for stage in range(len(ends))])
        self.tapped = tapped is not None
        self.head = tapped if self.tapped else task.head(last)

    def forward(self, x: Tensor) -> Tensor:
        before = last = self.stem(x)
        maps = []
        for place, cell in enumerate(self.cells):
            before, last = last, cell(before, last)
            if self.tapped and place in self.stages:
                maps.append(last)
        return read(self.head, maps if self.tapped else last, x)


class CellNetwork(nn.Module):
    """Four nodes, each the sum of its edges, joined: 4 x `channels` channels.

    Args:
        inputs: channels of the outputs of the cell before the last and of the last.
        channels: of each node.
        pick: decides the operation of each edge.
        slots: the choices (cell, source, node, copy).
        reduce: whether edges from the two inputs have stride 2.
        halved: whether the last cell was a reduction cell, so that the output of the one before it is halved too.
    """

    def __init__(
        self,
        inputs: tuple[int, int],
        channels: int,
        pick: Pick,
        slots: Sequence[tuple[str, int, int, int]],
        *,
        reduce: bool,
        halved: bool,
    ) -> None:
        super().__init__()
        self.before = FactorizedReduce(inputs[0], channels) if halved else ReLUConvBN(inputs[0], channels, 1)
        self.last = ReLUConvBN(inputs[1], channels, 1)
        self.edges = nn.ModuleDict()
        self.ends: dict[int, list[tuple[int, str]]] = {j: [] for j in NODES}
        for cell, i, j, copy in slots:
            if cell == CELLS[reduce]:
                key = f"{i}to{j}" + "second" * copy
                stride = 2 if reduce and i < 2 else 1
                self.edges[key] = pick(choice_name(cell, i, j, copy), _builders(channels, stride))
                self.ends[j].append((i, key))
        self.stride = 2 if reduce else 1

    def forward(self, before: Tensor, last: Tensor) -> Tensor:
        nodes: list[Tensor | None] = [self.before(before), self.last(last)]
        for ends in self.ends.values():
            total: Tensor | None = None
            for i, key in ends:
                source = nodes[i]
                term = None if source is None else self.edges[key](source)
                if term is not None:
                    total = term if total is None else total + term
            nodes.append(total)
        outputs = [node for node in nodes[2:] if node is not None]
        like = outputs[0] if outputs else nodes[1][:, :, :: self.stride, :: self.stride]  # type: ignore[index]
        return torch.cat([torch.zeros_like(like) if node is None else node for node in nodes[2:]], 1)


def _builders(channels: int, stride: int) -> dict[Option, Callable[[], nn.Module]]:
    separable = partial(SeparableConv, channels, channels, stride=stride)
    return {
        ABSENT: Zero,
        NOISE: partial(Noise, stride),
        "max_pool_3x3": partial(nn.MaxPool2d, 3, stride, 1),
        "avg_pool_3x3": partial(nn.AvgPool2d, 3, stride, 1, count_include_pad=False),
        "skip_connect": nn.Identity if stride == 1 else partial(FactorizedReduce, channels, channels),
        "sep_conv_3x3": partial(separable, kernel=3, repeats=2),
        "sep_conv_5x5": partial(separable, kernel=5, repeats=2),
        "dil_conv_3x3": partial(separable, kernel=3, dilation=2),
        "dil_conv_5x5": partial(separable, kernel=5, dilation=2),
    }


def choice_name(cell: str, source: int, node: int, copy: int) -> str:
    """The choice of the operation between two nodes of a cell; `copy` is 1 for a second edge of the two."""
    return f"{cell} {source}->{node}" + " second" * copy
