"""The graphs of many architectures as arrays: what the encodings of a graph are computed from.

The design meets two constraints. Columns of an encoding must not depend on which architectures are encoded together, so
labels and sizes come from a fixed reference set of the space. And hundreds of thousands of cells are encoded at once,
so there is one loop over architectures, which fills arrays; all else loops over vertices only.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from archscout.core.architecture import Architecture
from archscout.core.cache import Cache
from archscout.core.errors import UsageError
from archscout.core.graph import Graph
from archscout.core.seeds import stream
from archscout.core.space import Space

ZERO = frozenset({"none", "zero"})
"""Labels of nodes that hand nothing on."""

WIRE = frozenset({"skip_connect", "identity", "skip", "add", "sum"})
"""Labels of nodes that hand on what they are given, or the sum of it."""

OTHER = "other"
"""The label of operations that the reference set of a space does not have."""

CHUNK = 8192
"""Graphs that are looked at together: what fits into the caches of a processor."""

SAMPLES = 256
"""Random architectures of the reference set."""

Architectures = Sequence[Architecture] | Sequence[str]


@dataclass(frozen=True)
class Graphs:
    """N graphs of at most V nodes, each in topological order.

    `edges[n, i, j]` is the number of edges from node i to node j (int32; more than one only where wires have been
    contracted); `labels[n, i]` is the place of the label of node i in `vocabulary` (int16), -1 where there is no node.
    `sources` and `sinks` say which nodes are inputs and outputs (bool, N x V).
    """

    edges: np.ndarray
    labels: np.ndarray
    sources: np.ndarray
    sinks: np.ndarray
    vocabulary: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.labels)

    def labelled(self, labels: Iterable[str]) -> np.ndarray:
        """Which nodes have one of these labels: bool, (N, V)."""
        wanted = set(labels)
        return np.asarray(np.asarray([*(label in wanted for label in self.vocabulary), False])[self.labels])

    def one_hot(self, labels: Sequence[str]) -> np.ndarray:
        """1 where a node has a label: float32, (N, V, number of labels)."""
        column = np.asarray([*(labels.index(x) if x in labels else -1 for x in self.vocabulary), -1])[self.labels]
        return np.asarray(column[:, :, None] == np.arange(len(labels)), dtype=np.float32)

    def chunks(self) -> Iterator[Graphs]:
        """The graphs in parts of at most `CHUNK`; one empty part where there are none."""
        for start in range(0, max(1, len(self)), CHUNK):
            rows = slice(start, start + CHUNK)
            yield Graphs(self.edges[rows], self.labels[rows], self.sources[rows], self.sinks[rows], self.vocabulary)


@dataclass(frozen=True)
class Reference:
    """The graphs of a fixed set of a space's architectures: which labels there are, how many vertices, what varies."""

    graphs: tuple[Graph, ...]

    @cached_property
    def labels(self) -> tuple[str, ...]:
        """All labels in alphabetical order, then `OTHER` for those of architectures beyond the set."""
        return (*sorted({label for graph in self.graphs for label in graph.labels} - {OTHER}), OTHER)

    @cached_property
    def operations(self) -> tuple[str, ...]:
        """The labels of nodes that compute: without inputs, outputs, wires and zeros."""
        return tuple(x for x in self.labels if x not in ZERO | WIRE and not x.startswith(("input", "output")))

    @cached_property
    def vertices(self) -> int:
        """Of the largest graph."""
        return max(len(graph.nodes) for graph in self.graphs)

    def arrays(self) -> Graphs:
        """The set itself, as arrays."""
        return _arrays(self.graphs, self.labels, self.vertices)


_references = Cache[Reference](size=16)


def reference(space: Space) -> Reference:
    """The reference set of a space: random samples, both extremes, and these with every other option of a choice.

    Raises `UsageError` for a space without graphs.
    """
    return _references.get(
        space.digest, lambda: Reference(tuple(dict.fromkeys(map(space.graph, _reference_set(space)))))
    )


def _reference_set(space: Space) -> Iterator[Architecture]:
    rng = stream(0, "encodings", "reference")
    yield from (space.sample(rng) for _ in range(SAMPLES))
    for place in (0, -1):
        end = {choice.name: choice.landmarks[place] for choice in space.choices}
        for choice in space.choices:
            for option in choice.landmarks:
                try:
                    yield space.architecture(end | {choice.name: option})
                except UsageError:  # not every assignment is an architecture
                    continue


def parsed(space: Space, architectures: Architectures) -> Iterator[Architecture]:
    """Architectures from architectures or their texts."""
    return (space.parse(one) if isinstance(one, str) else one for one in architectures)


def graphs(space: Space, architectures: Architectures) -> Graphs:
    """The graphs of architectures as arrays. Raises `UsageError` for a space without graphs."""
    known = reference(space)
    return _arrays(map(space.graph, parsed(space, architectures)), known.labels, known.vertices)


def _arrays(listed: Iterable[Graph], vocabulary: tuple[str, ...], vertices: int) -> Graphs:
    place = {label: i for i, label in enumerate(vocabulary)}
    wirings: dict[tuple[tuple[int, int], ...], int] = {}
    used: list[int] = []
    rows: list[list[int]] = []
    for graph in listed:
        used.append(wirings.setdefault(graph.edges, len(wirings)))
        rows.append([place.get(node.label, place[OTHER]) for node in graph.nodes])
    lengths = np.fromiter(map(len, rows), dtype=np.int64, count=len(rows))
    size = max([vertices, *lengths])
    labels = np.full((len(rows), size), -1, dtype=np.int16)
    labels[np.arange(size) < lengths[:, None]] = [code for row in rows for code in row]
    matrices = np.zeros((max(1, len(wirings)), size, size), dtype=np.int32)
    for number, pairs in enumerate(wirings):
        for source, target in pairs:
            matrices[number, source, target] += 1
    edges = matrices[np.asarray(used, dtype=np.int64)]
    return Graphs(edges, labels, *_ends(edges, labels, vocabulary), vocabulary)


def _ends(edges: np.ndarray, labels: np.ndarray, vocabulary: tuple[str, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Inputs and outputs: nodes called so; in a graph without, those that nothing goes into, or out of."""
    positions = []
    for prefix, axis in (("input", 1), ("output", 2)):
        named = np.asarray([*(label.startswith(prefix) for label in vocabulary), False])[labels]
        bare = (labels >= 0) & (edges.sum(axis=axis) == 0)
        positions.append(np.where(named.any(axis=1, keepdims=True), named, bare))
    return positions[0], positions[1]


def pruned(whole: Graphs) -> Graphs:
    """The same graphs with what does not matter taken out: zeros, wires (contracted) and dead nodes.

    A dead node is one that no input reaches or that reaches no output. Where two nodes are joined by several wires or
    chains of wires, the edge between them counts them. Inputs and outputs stay.
    """
    edges, size = whole.edges.copy(), whole.edges.shape[1]
    ends = whole.sources | whole.sinks
    wire = whole.labelled(WIRE) & ~ends
    zero = whole.labelled(ZERO) & ~ends
    _cut(edges, zero)
    for node in np.flatnonzero(wire.any(axis=0)):
        rows = np.flatnonzero(wire[:, node])
        part = edges[rows]
        edges[rows] = part + part[:, :, node, None] * part[:, node, None, :]
        edges[rows, node, :] = edges[rows, :, node] = 0
    reached, needed = whole.sources.copy(), whole.sinks.copy()
    for vertex in range(size):
        reached[:, vertex] |= ((edges[:, :, vertex] > 0) & reached).any(axis=1)
    for vertex in reversed(range(size)):
        needed[:, vertex] |= ((edges[:, vertex, :] > 0) & needed).any(axis=1)
    dead = ~((reached & needed) | ends)
    _cut(edges, dead)
    labels = np.where(dead | wire | zero, np.int16(-1), whole.labels)
    return Graphs(edges, labels, whole.sources, whole.sinks, whole.vocabulary)


def _cut(edges: np.ndarray, nodes: np.ndarray) -> None:
    edges[nodes] = 0
    edges.transpose(0, 2, 1)[nodes] = 0
