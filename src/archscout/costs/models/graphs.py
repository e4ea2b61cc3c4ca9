"""Architectures as batches of dense graphs, and the graph convolutions that latency networks are made of."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from archscout.core.architecture import Architecture
from archscout.core.graph import Graph
from archscout.core.space import Space

NOTHING, WIRE = "none", ("skip_connect", "skip")
"""Labels of nodes that are no connection, and of those that only pass on what they get."""


def essence(graph: Graph) -> tuple[list[str], set[tuple[int, int]]]:
    """The labels and edges that are left without nodes that do nothing: `none` is cut out, `skip` bypassed."""
    sources = {node: set(graph.predecessors(node)) for node in range(len(graph.nodes))}
    for node, label in enumerate(graph.labels):
        if label == NOTHING or label in WIRE:
            passed = sources.pop(node) if label in WIRE else set()
            sources.pop(node, None)
            for feeding in sources.values():
                if node in feeding:
                    feeding.remove(node)
                    feeding |= passed
    place = {node: position for position, node in enumerate(sources)}
    edges = {(place[s], place[t]) for t, feeding in sources.items() for s in feeding if s in place}
    return [graph.labels[node] for node in sources], edges


class Encoder:
    """Turns architectures into node features (n, nodes, labels + 1) and adjacency (n, nodes, nodes).

    Every graph gets a last node of its own kind, connected to all others, whose embedding is read out. Rows of the
    adjacency say what a node receives from: its sources and itself. Smaller graphs are padded with empty nodes.

    Args:
        space: what the architectures belong to.
        sample: architectures that between them have all labels and the largest graph.
    """

    def __init__(self, space: Space, sample: Sequence[Architecture]) -> None:
        self.space = space
        graphs = [essence(space.graph(architecture)) for architecture in sample]
        self.labels = {label: n for n, label in enumerate(sorted({one for labels, _ in graphs for one in labels}))}
        self.nodes = max(len(labels) for labels, _ in graphs) + 1

    def __call__(self, architectures: Sequence[Architecture]) -> tuple[Tensor, Tensor]:
        features = np.zeros((len(architectures), self.nodes, len(self.labels) + 1), dtype=np.float32)
        adjacency = np.zeros((len(architectures), self.nodes, self.nodes), dtype=np.float32)
        for row, architecture in enumerate(architectures):
            labels, edges = essence(self.space.graph(architecture))
            for node, label in enumerate(labels):
                if label in self.labels:
                    features[row, node, self.labels[label]] = 1
                adjacency[row, node, node] = adjacency[row, -1, node] = 1
            for source, target in edges:
                adjacency[row, target, source] = 1
            features[row, -1, -1] = adjacency[row, -1, -1] = 1
        return torch.from_numpy(features), torch.from_numpy(adjacency)


class GraphConvolution(nn.Module):
    """Each node becomes the sum of one linear map of what it receives from.

    Sums come first, which is the same and less work where few nodes are asked for: give their rows of the adjacency.
    """

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.linear = nn.Linear(inputs, outputs)

    def forward(self, features: Tensor, adjacency: Tensor) -> Tensor:
        received = torch.bmm(adjacency, features)
        return nn.functional.linear(received, self.linear.weight) + adjacency.sum(2, keepdim=True) * self.linear.bias
