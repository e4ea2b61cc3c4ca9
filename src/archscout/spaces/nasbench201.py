"""The space of NAS-Bench-201 (Dong, Yang 2020, arXiv 2001.00326): a cell of four nodes whose six edges carry one of
five operations, repeated in three stages."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from archscout.core.architecture import Architecture
from archscout.core.choice import Choice, Option
from archscout.core.errors import UsageError, nearest
from archscout.core.graph import Graph, Node
from archscout.core.registry import register
from archscout.core.space import Pick, Space
from archscout.core.task import Task
from archscout.networks.body import Body
from archscout.networks.operations import ReLUConvBN, Zero
from archscout.spaces import nasbench201_counts
from archscout.spaces.images import check_images
from archscout.spaces.nasbench201_counts import EDGES, OPERATIONS
from archscout.spaces.sizes import check_sizes

CHOICES = tuple(f"edge {i}->{j}" for i, j in EDGES)
PATHS = tuple(
    tuple(f"edge {i}->{j}" for i, j in itertools.pairwise(nodes))
    for nodes in ((0, 3), (0, 1, 3), (0, 2, 3), (0, 1, 2, 3))
)
"""From input to output, by the edges of each."""

REFERENCES: Mapping[str, str] = {
    "one_conv": "|nor_conv_3x3~0|+|none~0|none~1|+|skip_connect~0|skip_connect~1|none~2|",
    "resnet": "|nor_conv_3x3~0|+|none~0|nor_conv_3x3~1|+|skip_connect~0|none~1|skip_connect~2|",
    "best_imagenet": "|nor_conv_1x1~0|+|nor_conv_1x1~0|nor_conv_3x3~1|+|skip_connect~0|nor_conv_3x3~1|nor_conv_3x3~2|",
    "best_cifar10": "|nor_conv_3x3~0|+|nor_conv_3x3~0|nor_conv_3x3~1|+|skip_connect~0|nor_conv_3x3~1|nor_conv_1x1~2|",
    "best_cifar100": "|nor_conv_3x3~0|+|nor_conv_3x3~0|nor_conv_3x3~1|+|skip_connect~0|nor_conv_3x3~1|nor_conv_3x3~2|",
    "all_conv3x3": "|nor_conv_3x3~0|+|nor_conv_3x3~0|nor_conv_3x3~1|+|nor_conv_3x3~0|nor_conv_3x3~1|nor_conv_3x3~2|",
}
"""One residual convolution; two, as in ResNet; the cells with the best published test accuracies after 200 epochs on
each of the three data sets; and convolutions alone."""

# The graph of a cell has an operation an edge; only the labels differ.
_INPUT, _OUTPUT = Node("input"), Node("output")
_NODES = {(name, operation): Node(operation, group=name) for name in CHOICES for operation in OPERATIONS}
_WIRING = tuple(
    sorted(
        [(0, k + 1) for k, (i, _) in enumerate(EDGES) if i == 0]
        + [(a + 1, b + 1) for (a, (_, j)), (b, (i, _)) in itertools.product(enumerate(EDGES), repeat=2) if i == j]
        + [(k + 1, 7) for k, (_, j) in enumerate(EDGES) if j == 3]
    )
)


@register("space", "nasbench201")
class NASBench201(Space):
    """Cells of 4 nodes and 6 edges with 5 operations: 15,625 architectures, 5,260 different networks.

    Args:
        width: channels of the first stage (doubled twice). Default: the published 16 for inputs of 32 x 32 and more, 8
            below.
        cells: cells in each of the three stages. Default: the published 5 for inputs of 32 x 32 and more, 1 below.

    An operation that no input reaches, or whose output reaches nothing, is not built. (The published code builds it;
    its parameter counts include it.) The batch normalisation of an operation on an unreachable node would add a
    constant in the published code; here it adds nothing.
    """

    wired = True

    def __init__(self, width: int | None = None, cells: int | None = None) -> None:
        check_sizes("nasbench201", width=width, cells=cells)
        self.name = "nasbench201"
        self.width, self.cells = width, cells

    @cached_property
    def choices(self) -> Sequence[Choice]:
        return tuple(Choice(name, OPERATIONS) for name in CHOICES)

    # -- text: |op~0|+|op~0|op~1|+|op~0|op~1|op~2| ------------------------------------------------------------------

    def format(self, values: Mapping[str, Option]) -> str:
        by_node = [[f"{values[c]}~{i}" for c, (i, j) in zip(CHOICES, EDGES, strict=True) if j == n] for n in (1, 2, 3)]
        return "+".join(f"|{'|'.join(node)}|" for node in by_node)

    def read(self, text: str) -> dict[str, Option]:
        nodes = text.strip().split("+")
        if len(nodes) != 3:
            raise UsageError(
                f"'{text}' has {len(nodes)} nodes where NAS-Bench-201 has 3: write |op~0|+|op~0|op~1|+|op~0|op~1|op~2|."
            )
        values: dict[str, Option] = {}
        for target, node in enumerate(nodes, start=1):
            parts = node.strip().split("|")
            if len(parts) != target + 2 or parts[0] or parts[-1]:
                raise UsageError(
                    f"node {target} ('{node}') of '{text}' must be {target} operations between bars: |op~0|...|."
                )
            for source, part in enumerate(parts[1:-1]):
                operation, tilde, number = part.partition("~")
                if not tilde or number != str(source):
                    raise UsageError(f"'{part}' in node {target} of '{text}' must end in ~{source}, its source node.")
                if operation not in OPERATIONS:
                    raise UsageError(f"'{operation}' in '{text}' is no operation: {nearest(operation, OPERATIONS)}")
                values[f"edge {source}->{target}"] = operation
        return {name: values[name] for name in CHOICES}

    # -- forms ----------------------------------------------------------------------------------------------------

    def simplify(self, architecture: Architecture) -> Architecture:
        """Dead operations (no input reaches them, or they reach no output) become `none`."""
        live = _live_edges(architecture)
        return self.architecture(
            {c: architecture[c] if e in live else "none" for c, e in zip(CHOICES, EDGES, strict=True)}
        )

    def canonical(self, architecture: Architecture) -> str:
        """The same text for two cells exactly when they are one network: the same modules, wired alike.

        `skip_connect` is a wire and `none` no wire, so sums are flattened; dead operations are gone; two average pools
        of one tensor are one. Two convolutions of one tensor stay two, for their weights differ. This gives 5,260
        classes. The 6,466 published ones (`isomorphism_class`) are both too coarse (430 of them join networks with
        different numbers of convolutions) and too fine (688 networks have several: sums of a sum stay apart).
        """
        return _wiring(tuple(str(architecture[name]) for name in CHOICES))

    def isomorphism_class(self, architecture: Architecture) -> str:
        """The published class: the output's expression in which `none` is `#` and a sum is sorted, not flattened."""
        text = {0: "0"}
        for target in (1, 2, 3):
            terms = []
            for source in range(target):
                operation = architecture[f"edge {source}->{target}"]
                if operation == "none" or text[source] == "#":
                    terms.append("#")
                else:
                    terms.append(text[source] if operation == "skip_connect" else f"({text[source]})@{operation}")
            text[target] = "+".join(sorted(terms))
        return text[3]

    def graph(self, architecture: Architecture) -> Graph:
        """The cell with its operations as nodes: input, six operations (edge order), output."""
        return Graph((_INPUT, *(_NODES[name, str(architecture[name])] for name in CHOICES), _OUTPUT), _WIRING)

    def operator_counts(
        self, architectures: Sequence[Architecture], *, dead_operations: bool = False
    ) -> dict[str, np.ndarray]:
        """How often the cell has each operation."""
        return nasbench201_counts.operator_counts(self.name, architectures, dead=dead_operations)

    def constant(self, architectures: Sequence[Architecture]) -> np.ndarray:
        return nasbench201_counts.constant(self.name, architectures)

    def references(self) -> Mapping[str, Architecture]:
        return {name: self.parse(text) for name, text in REFERENCES.items()}

    def grown(self, architecture: Architecture | None = None) -> Iterator[Architecture]:
        """Those with one more path from input to output: its edges that had no operation get one each."""
        values = dict.fromkeys(CHOICES, "none") | dict(self.simplify(architecture) if architecture is not None else {})
        for path in PATHS:
            free = [name for name in path if values[name] == "none"]
            for operations in itertools.product(OPERATIONS[1:], repeat=len(free)) if free else ():
                yield self.architecture(values | dict(zip(free, operations, strict=True)))

    # -- network --------------------------------------------------------------------------------------------------

    def check_task(self, task: Task) -> None:
        check_images(self, task)

    def cell_alone(self) -> Space:
        """The same architectures as one cell of as many channels as the input has, without stem: see `OneCell`."""
        return OneCell()

    def network(self, task: Task, pick: Pick) -> nn.Module:
        small = min(task.input_shape[1:]) < 32
        width = self.width or (8 if small else 16)
        cells = self.cells or (1 if small else 5)
        stem = nn.Sequential(nn.Conv2d(task.input_shape[0], width, 3, padding=1, bias=False), nn.BatchNorm2d(width))
        layers: list[nn.Module] = [stem]
        ends: list[int] = []
        for stage in range(3):
            channels = width * 2**stage
            if stage:
                layers.append(ReductionBlock(channels // 2, channels))
            layers += [Cell(channels, pick) for _ in range(cells)]
            ends.append(len(layers) - 1)
        layers.append(nn.Sequential(nn.BatchNorm2d(channels), nn.ReLU()))
        ends[-1] += 1  # the last stage is read after its normalisation
        return Body(layers, ends, [width, 2 * width, 4 * width], [1, 2, 4]).with_head(task)


class OneCell(NASBench201):
    """One cell on the input itself, then normalisation and a rectifier: where TE-NAS counts linear regions."""

    def network(self, task: Task, pick: Pick) -> nn.Module:
        channels = task.input_shape[0]
        layers = [Cell(channels, pick), nn.Sequential(nn.BatchNorm2d(channels), nn.ReLU())]
        return Body(layers, [1], [channels], [1]).with_head(task)


class Cell(nn.Module):
    """Four nodes; node j is the sum of what its incoming edges make of the nodes before it."""

    def __init__(self, channels: int, pick: Pick) -> None:
        super().__init__()
        builders: dict[str, Any] = {
            "none": Zero,
            "skip_connect": nn.Identity,
            "nor_conv_1x1": lambda: ReLUConvBN(channels, channels, 1),
            "nor_conv_3x3": lambda: ReLUConvBN(channels, channels, 3),
            "avg_pool_3x3": lambda: nn.AvgPool2d(3, 1, 1, count_include_pad=False),
        }
        self.edges = nn.ModuleDict({f"{i}to{j}": pick(f"edge {i}->{j}", builders) for i, j in EDGES})

    def forward(self, x: Tensor) -> Tensor:
        nodes: list[Tensor | None] = [x]
        for target in (1, 2, 3):
            total: Tensor | None = None
            for source, node in enumerate(nodes):
                if node is not None:
                    term = self.edges[f"{source}to{target}"](node)
                    if term is not None:
                        total = term if total is None else total + term
            nodes.append(total)
        return torch.zeros_like(x) if nodes[3] is None else nodes[3]


class ReductionBlock(nn.Module):
    """A residual block of stride 2 (average pooling and a 1 x 1 convolution on the short cut)."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.residual = nn.Sequential(ReLUConvBN(inputs, outputs, 3, stride=2), ReLUConvBN(outputs, outputs, 3))
        # ceil_mode changes nothing for even sizes; for odd ones it makes the two branches agree.
        self.shortcut = nn.Sequential(nn.AvgPool2d(2, 2, ceil_mode=True), nn.Conv2d(inputs, outputs, 1, bias=False))

    def forward(self, x: Tensor) -> Tensor:
        return self.shortcut(x) + self.residual(x)  # type: ignore[no-any-return]


def _live_edges(architecture: Mapping[str, Option]) -> set[tuple[int, int]]:
    present = [e for c, e in zip(CHOICES, EDGES, strict=True) if architecture[c] != "none"]
    reached, needed = {0}, {3}
    for i, j in sorted(present, key=lambda edge: edge[1]):
        if i in reached:
            reached.add(j)
    for i, j in sorted(present, key=lambda edge: -edge[0]):
        if j in needed:
            needed.add(i)
    return {(i, j) for i, j in present if i in reached and j in needed}


def _wiring(operations: tuple[str, ...]) -> str:
    """A canonical text of the modules of a cell and what each is fed, up to renaming of the modules."""
    # Each node as a multiset of sources: the cell's input (-1) and modules, numbered by their edge.
    nodes: list[Counter[int]] = [Counter({-1: 1})]
    inputs: dict[int, tuple[tuple[int, int], ...]] = {}
    pools: dict[tuple[tuple[int, int], ...], int] = {}
    for target in (1, 2, 3):
        total: Counter[int] = Counter()
        for edge, (source, end) in enumerate(EDGES):
            operation = operations[edge]
            if end != target or operation == "none" or not nodes[source]:
                continue
            if operation == "skip_connect":
                total.update(nodes[source])
                continue
            fed = tuple(sorted(nodes[source].items()))
            module = pools.setdefault(fed, edge) if operation == "avg_pool_3x3" else edge
            inputs[module] = fed
            total[module] += 1
        nodes.append(total)

    live: set[int] = set()
    waiting = [module for module in nodes[3] if module >= 0]
    while waiting:
        module = waiting.pop()
        if module not in live:
            live.add(module)
            waiting += [source for source, _ in inputs[module] if source >= 0]

    # Colours refined from both sides, then every order of modules that the colours leave open.
    colour: dict[int, str] = {-1: "x"} | {module: operations[module] for module in live}
    for _ in range(3):
        fresh = {-1: "x"}
        for module in live:
            fed_by = sorted(f"{colour[s]}*{n}" for s, n in inputs[module])
            feeds = sorted(f"{colour[m]}*{n}" for m in live for s, n in inputs[m] if s == module)
            fresh[module] = f"{operations[module]}<{','.join(fed_by)}>{','.join(feeds)}^{nodes[3][module]}"
        ranks = {
            text: f"{operations_rank:02d}" for operations_rank, text in enumerate(sorted(set(fresh.values()) - {"x"}))
        }
        colour = {-1: "x"} | {module: f"{operations[module]}{ranks[fresh[module]]}" for module in live}
    classes = [
        list(group) for _, group in itertools.groupby(sorted(live, key=lambda m: colour[m]), key=lambda m: colour[m])
    ]
    best: str | None = None
    for orders in itertools.product(*(itertools.permutations(group) for group in classes)):
        order = {module: place for place, module in enumerate(itertools.chain(*orders))} | {-1: -1}
        lines = [f"{operations[m]}({_terms(inputs[m], order)})" for m in sorted(live, key=order.__getitem__)]
        text = ";".join([*lines, _terms(tuple(nodes[3].items()), order)])
        best = text if best is None or text < best else best
    return best if best is not None else ";".join(["", _terms(tuple(nodes[3].items()), {-1: -1})])


def _terms(multiset: Sequence[tuple[int, int]], order: Mapping[int, int]) -> str:
    return "+".join(
        f"{count}*{place}" if place >= 0 else f"{count}*x"
        for place, count in sorted((order[s], n) for s, n in multiset)
    )
