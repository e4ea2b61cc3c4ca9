"""Graphs as rows of a matrix: adjacency and operations side by side, for predictors that are graph networks."""

from __future__ import annotations

import numpy as np

from archscout.core.space import Space
from archscout.estimators.encodings.graphs import Architectures, Graphs, graphs, pruned, reference
from archscout.estimators.encodings.tensors import fitted


def graph(space: Space, architectures: Architectures) -> np.ndarray:
    """The adjacency matrix (V x V), then operations one-hot (V x T), each row after row: float32, (N, V * V + V * T).

    V is the number of vertices of the space's largest graph, T that of its labels; a row of zeros stands where a graph
    has no vertex. Not the same for isomorphic graphs. Raises `UsageError` for a space without graphs.
    """
    return _rows(graphs(space, architectures), space)


def live_graph(space: Space, architectures: Architectures) -> np.ndarray:
    """As `graph`, of the pruned graph: without zeros, dead nodes and wires; entries count the ways between two nodes.

    Nodes that are left keep their places. Raises `UsageError` for a space without graphs.
    """
    return np.concatenate([_rows(pruned(part), space) for part in graphs(space, architectures).chunks()])


def graph_widths(space: Space) -> tuple[int, int]:
    """How many columns the adjacency and the operations have."""
    known = reference(space)
    return known.vertices**2, known.vertices * len(known.labels)


def _rows(whole: Graphs, space: Space) -> np.ndarray:
    known = reference(space)
    edges, labels = fitted(whole, known.vertices)
    operations = labels[:, :, None] == np.arange(len(known.labels))
    parts = (edges, operations)
    rows = [part.reshape(len(whole), width) for part, width in zip(parts, graph_widths(space), strict=True)]
    return np.concatenate(rows, axis=1).astype(np.float32)
