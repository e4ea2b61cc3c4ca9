"""The space of NAS-Bench-Graph (Qin et al. 2022, arXiv 2206.09166): four operations of graph neural networks, each
on the features or on the result of an operation before it."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property, partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from archscout.core.architecture import Architecture
from archscout.core.choice import Choice, Option
from archscout.core.errors import UsageError, nearest
from archscout.core.graph import Graph, Node
from archscout.core.registry import register
from archscout.core.space import Pick, Space
from archscout.core.task import Task
from archscout.networks.elastic import Elastic, Number, linear, now
from archscout.networks.message_passing import Attention, Convolution, Neighbourhood, Skip
from archscout.spaces.sizes import check_sizes

NODES = (1, 2, 3, 4)
OPERATIONS = ("gat", "gcn", "gin", "cheb", "sage", "arma", "graph", "fc", "skip")
_EXAMPLE = "'0112:gcn,gat,skip,fc'"


@register("space", "nasbench_graph")
class NASBenchGraph(Space):
    """Four operations of graph neural networks out of 9, wired as a tree: 157,464 architectures, 26,207 networks.

    The text has the source of each operation (0 for the features of the nodes, 1 for the first operation, ...), a colon
    and the operations: `0112:gcn,gat,skip,fc`. What no other operation takes is joined, goes through one more linear
    layer, and is classified. A `skip` hands on what it gets; one that would hand the features on to the output is
    left out, as in the published code. The published 26,206 networks are those of this space but the one without any
    operation.

    Args:
        width: features after each operation, an even number; 64 unless given (the published networks have 64 to 256,
            by data set).

    Convolutions are followed by batch normalisation and ReLU. Different from the published counts of parameters: the
    normalisation of a skip, and the recurrent weights of `arma`, which never run, are not built.
    """

    def __init__(self, width: int = 64) -> None:
        check_sizes("nasbench_graph", width=width)
        if width % 2:
            raise UsageError(f"the width of space 'nasbench_graph' must be an even number above zero, not {width}.")
        self.name = "nasbench_graph"
        self.width = width

    @cached_property
    def choices(self) -> Sequence[Choice]:
        sources = (Choice(f"source {node}", tuple(range(node))) for node in NODES[1:])
        return (*sources, *(Choice(f"node {node}", OPERATIONS) for node in NODES))

    # -- text -----------------------------------------------------------------------------------------------------

    def format(self, values: Mapping[str, Option]) -> str:
        sources = "".join(str(values[f"source {node}"]) for node in NODES[1:])
        return f"0{sources}:{','.join(str(values[f'node {node}']) for node in NODES)}"

    def read(self, text: str) -> dict[str, Option]:
        sources, _, rest = text.strip().partition(":")
        short = text.strip() if len(text) <= 80 else text.strip()[:77] + "..."
        if len(sources) != len(NODES) or any(digit not in "0123"[:node] for node, digit in enumerate(sources, start=1)):
            raise UsageError(
                f"'{short}' must begin with four digits, the sources of the four operations: 0, then 0 to 1, 0 to 2 "
                f"and 0 to 3, as in {_EXAMPLE}."
            )
        operations = [operation.strip() for operation in rest.split(",")] if rest.strip() else []
        if len(operations) != len(NODES):
            raise UsageError(
                f"'{short}' names {len(operations)} operations: name four after the colon, as in {_EXAMPLE}."
            )
        for operation in operations:
            if operation not in OPERATIONS:
                raise UsageError(f"'{operation}' in '{short}' is no operation: {nearest(operation, OPERATIONS)}")
        values: dict[str, Option] = {f"source {node}": int(sources[node - 1]) for node in NODES[1:]}
        return values | {f"node {node}": operation for node, operation in zip(NODES, operations, strict=True)}

    # -- forms ----------------------------------------------------------------------------------------------------

    def canonical(self, architecture: Architecture) -> str:
        """The tree of operations without skips, branches in alphabetical order; `^n` after what is joined n times."""
        sources, operations = _sources(architecture), _operations(architecture)
        standing = {0: 0}
        branches: defaultdict[int, list[int]] = defaultdict(list)
        for node in NODES:
            source = standing[sources[node - 1]]
            standing[node] = source if operations[node - 1] == "skip" else node
            if standing[node] == node:
                branches[source].append(node)
        joined = Counter(standing[leaf] for leaf in _leaves(sources))

        def written(node: int) -> str:
            inside = ",".join(sorted(written(branch) for branch in branches[node]))
            text = operations[node - 1] + (f"^{joined[node]}" if joined[node] else "")
            return f"{text}({inside})" if inside else text

        return f"x({','.join(sorted(written(branch) for branch in branches[0]))})"

    def graph(self, architecture: Architecture) -> Graph:
        """Input, four operations, output; what no operation takes goes to the output."""
        sources, operations = _sources(architecture), _operations(architecture)
        nodes = (Node(operation, group=f"node {node}") for node, operation in zip(NODES, operations, strict=True))
        edges = [(source, node) for node, source in zip(NODES, sources, strict=True)]
        edges += [(leaf, len(NODES) + 1) for leaf in _leaves(sources)]
        return Graph((Node("input"), *nodes, Node("output")), tuple(sorted(edges)))

    def extremes(self) -> Iterator[Architecture]:
        """Nothing but skips; a chain of linear layers; four attentions side by side; a chain of ARMA filters."""
        for text in (
            "0123:skip,skip,skip,skip",
            "0123:fc,fc,fc,fc",
            "0000:gat,gat,gat,gat",
            "0123:arma,arma,arma,arma",
        ):
            yield self.parse(text)

    # -- network --------------------------------------------------------------------------------------------------

    def check_task(self, task: Task) -> None:
        if not hasattr(task, "edges"):
            raise UsageError(
                f"space '{self.name}' needs a graph whose nodes are classified; task '{task.name}' has none: use one "
                "such as digits_graph."
            )

    def network(self, task: Task, pick: Pick) -> nn.Module:
        self.check_task(task)
        return Network(task, pick, self.width)


class Network(nn.Module):
    """From the numbers of nodes (N x 1) to their classes (N x outputs); the graph is inside."""

    features: Tensor

    def __init__(self, task: Any, pick: Pick, width: int) -> None:
        super().__init__()
        self.register_buffer("features", torch.tensor(task.features), persistent=False)
        self.around = Neighbourhood(task.edges, len(task.features))
        self.sources = (0, *(pick.number(f"source {node}") for node in NODES[1:]))
        self.kinds = tuple(pick.number(f"node {node}") for node in NODES)
        size = task.features.shape[1]
        wiring = (*self.sources, *self.kinds)
        self.operations = nn.ModuleList(
            pick(f"node {node}", _builders(_number(_input_size, (node, size, width, *wiring), (size, width)), width))
            for node in NODES
        )
        joined = _number(_joined_size, (size, width, *wiring), (size, *(width * (k + 1) for k in range(len(NODES)))))
        self.join = linear(joined, width)
        self.head = task.head(width)

    def forward(self, x: Tensor) -> Tensor:
        features = [self.features]
        sources, kinds = [now(source) for source in self.sources], [now(kind) for kind in self.kinds]
        for operation, source in zip(self.operations, sources, strict=True):
            features.append(operation(features[source], self.around))
        ends = [features[leaf] for leaf in _leaves(sources) if not _untouched(leaf, sources, kinds)]
        outputs = self.head(F.relu(self.join(torch.cat(ends or features[:1], 1))))
        return outputs[x[:, 0].long().clamp(0, len(outputs) - 1)]  # type: ignore[no-any-return]


class Normalised(nn.Module):
    """A convolution, batch normalisation over nodes, ReLU."""

    def __init__(self, convolution: nn.Module, width: int) -> None:
        super().__init__()
        self.convolution = convolution
        self.norm = nn.BatchNorm1d(width)

    def forward(self, x: Tensor, around: Neighbourhood) -> Tensor:
        return F.relu(self.norm(self.convolution(x, around)))


def _builders(inputs: Number, width: int) -> dict[Option, Any]:
    def build(kind: str) -> nn.Module:
        layer = Attention(inputs, width) if kind == "gat" else Convolution(kind, inputs, width)
        return Normalised(layer, width)

    return {kind: Skip if kind == "skip" else partial(build, kind) for kind in OPERATIONS}


def _number(function: Any, sources: tuple[Any, ...], possible: tuple[int, ...]) -> Number:
    """As `compute`, but told what can come out: going through every wiring would take as long as the space is large."""
    if any(isinstance(source, Elastic) for source in sources):
        return Elastic(function, sources, tuple(sorted(set(possible))))
    return int(function(*sources))


def _input_size(node: int, size: int, width: int, *wiring: Any) -> int:
    sources, kinds = wiring[: len(NODES)], wiring[len(NODES) :]
    return size if _untouched(sources[node - 1], sources, kinds) else width


def _joined_size(size: int, width: int, *wiring: Any) -> int:
    sources, kinds = wiring[: len(NODES)], wiring[len(NODES) :]
    return width * sum(not _untouched(leaf, sources, kinds) for leaf in _leaves(sources)) or size


def _untouched(node: int, sources: Sequence[int], kinds: Sequence[str]) -> bool:
    """Whether nothing but skips lies between the features and what a node gives."""
    while node:
        if kinds[node - 1] != "skip":
            return False
        node = sources[node - 1]
    return True


def _leaves(sources: Sequence[int]) -> list[int]:
    return [node for node in NODES if node not in sources]


def _sources(architecture: Mapping[str, Option]) -> list[int]:
    return [0, *(int(architecture[f"source {node}"]) for node in NODES[1:])]


def _operations(architecture: Mapping[str, Option]) -> list[str]:
    return [str(architecture[f"node {node}"]) for node in NODES]
