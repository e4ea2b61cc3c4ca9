"""Adjacency one-hot: the edges and the operations of a graph as they are written."""

from __future__ import annotations

import numpy as np

from archscout.core.space import Space
from archscout.estimators.encodings.graphs import Architectures, Graphs, graphs, reference
from archscout.estimators.encodings.tensors import fitted


def adjacency(space: Space, architectures: Architectures) -> np.ndarray:
    """The upper triangle of the adjacency matrix and the operations one-hot: float32, (N, D).

    What is the same in all graphs of the space (a fixed wiring, the label of the input) has no column: 30 are left for
    NAS-Bench-201, 21 + 5 * 3 and those of smaller cells for NAS-Bench-101. Not the same for isomorphic graphs. Raises
    `UsageError` for a space without graphs.
    """
    known = reference(space)
    shown = _columns(known.arrays(), known.vertices)
    return _columns(graphs(space, architectures), known.vertices)[:, (shown != shown[:1]).any(axis=0)]


def _columns(whole: Graphs, vertices: int) -> np.ndarray:
    edges, labels = fitted(whole, vertices)
    upper = np.triu_indices(vertices, 1)
    types = len(whole.vocabulary)
    nodes = (labels[:, :, None] == np.arange(types)).reshape(len(whole), vertices * types)
    return np.concatenate([edges[:, upper[0], upper[1]], nodes], axis=1).astype(np.float32)
