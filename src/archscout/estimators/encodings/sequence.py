"""Sequence: a graph as tokens, as encoder-decoder networks take them."""

from __future__ import annotations

import numpy as np

from archscout.core.space import Space
from archscout.estimators.encodings.graphs import Architectures, graphs, reference
from archscout.estimators.encodings.tensors import fitted


def sequence(space: Space, architectures: Architectures) -> np.ndarray:
    """For each vertex but the first: a token for each earlier one (1 no edge, 2 edge), then one for its operation.

    int64, (N, (V + 2)(V - 1) / 2), as in NAO (Luo et al. 2018, arXiv 1808.07233): 35 tokens for NAS-Bench-201, 27 for
    NAS-Bench-101. Operations are 3, 4, ... in alphabetical order; 0 stands where a smaller graph has no vertex. Not the
    same for isomorphic graphs. Raises `UsageError` for a space without graphs.
    """
    known = reference(space)
    edges, labels = fitted(graphs(space, architectures), known.vertices)
    columns = []
    for vertex in range(1, known.vertices):
        there = labels[:, vertex, None] >= 0
        tokens = np.concatenate([edges[:, :vertex, vertex] + 1, labels[:, vertex, None] + 3], axis=1)
        columns.append(np.where(there, tokens, 0))
    return np.concatenate(columns, axis=1).astype(np.int64)
