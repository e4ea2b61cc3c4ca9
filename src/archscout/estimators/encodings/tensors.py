"""Graph tensors: adjacency matrices and operations one-hot, as graph networks take them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from archscout.core.errors import UsageError
from archscout.core.space import Space
from archscout.estimators.encodings.graphs import Architectures, Graphs, graphs, reference


@dataclass(frozen=True)
class Tensors:
    """Batched graphs: `adjacency` float32 (N, V, V), `operations` float32 (N, V, T), `vertices` int64 (N,)."""

    adjacency: np.ndarray
    operations: np.ndarray
    vertices: np.ndarray


def tensors(space: Space, architectures: Architectures, *, whole: bool = False) -> Tensors:
    """The graphs of architectures, padded to the largest of the space; renaming vertices permutes rows and columns.

    Args:
        space: any with graphs.
        architectures: N of them.
        whole: with one more vertex, the last, that is joined to all, and ones on the diagonal (BRP-NAS, Dudziak et al.
            2020, arXiv 2007.08668). Its type has a column of its own.

    Raises `UsageError` for a space without graphs, and for a graph larger than those of its reference set.
    """
    known = reference(space)
    edges, labels = fitted(graphs(space, architectures), known.vertices)
    there = labels >= 0
    operations = labels[:, :, None] == np.arange(len(known.labels))
    if whole:
        size = known.vertices + 1
        wider = np.zeros((len(labels), size, size), dtype=np.float32)
        wider[:, :-1, :-1] = edges
        wider[:, :-1, -1] = wider[:, -1, :-1] = there
        edges = wider
        there = np.concatenate([there, np.ones((len(labels), 1), dtype=bool)], axis=1)
        edges[:, np.arange(size), np.arange(size)] = there
        operations = np.pad(operations, ((0, 0), (0, 1), (0, 1)))
        operations[:, -1, -1] = True
    return Tensors(edges.astype(np.float32), operations.astype(np.float32), there.sum(axis=1))


def fitted(whole: Graphs, vertices: int) -> tuple[np.ndarray, np.ndarray]:
    """Edges and labels of graphs that have at most so many vertices. Raises `UsageError` where one has more."""
    if (whole.labels[:, vertices:] >= 0).any():
        largest = int((whole.labels >= 0).sum(axis=1).max())
        raise UsageError(
            f"a graph of {largest} vertices does not fit into encodings of at most {vertices}: take 'live' or 'wl', "
            "which do not depend on the number of vertices."
        )
    return whole.edges[:, :vertices, :vertices], whole.labels[:, :vertices]
