"""Graphs as rows of a matrix: adjacency and operations side by side, for predictors that are graph networks."""

from __future__ import annotations

import hashlib
import re

import numpy as np

from archscout.core.space import Space
from archscout.estimators.encodings.graphs import Architectures, Graphs, graphs, pruned, reference
from archscout.estimators.encodings.tensors import fitted

WORDS = ("input", "output", "conv", "pool", "max", "avg", "sep", "dil", "k1", "k3", "k5", "k7")
"""What operations of several spaces are called in parts, one column each."""

UNSAID = frozenset({"nor", "bn", "relu", "other"})
"""Parts that say nothing: what all convolutions of a space have."""

HASHED = 28
"""Columns for all other words, of which each has up to three."""

WIDTH = len(WORDS) + HASHED


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


def unified_graph(space: Space, architectures: Architectures) -> np.ndarray:
    """As `live_graph`, with operations described in words that all spaces share (`described`), not by their numbers.

    So what a network has learned of one space can be used in another (the unified encodings of FLAN, Akhauri,
    Abdelfattah 2024, arXiv 2403.02484): float32, (N, V * V + V * WIDTH). Raises `UsageError` as `graph` does.
    """
    known = reference(space)
    # Padding has the label -1, the last row.
    words = np.stack([*(described(label) for label in known.labels), np.zeros(WIDTH, dtype=np.float32)])
    rows = []
    for part in graphs(space, architectures).chunks():
        edges, labels = fitted(pruned(part), known.vertices)
        wide = zip((edges.astype(np.float32), words[labels]), graph_widths(space, unified=True), strict=True)
        rows.append(np.concatenate([one.reshape(len(part), width) for one, width in wide], axis=1))
    return np.concatenate(rows)


def described(label: str) -> np.ndarray:
    """The words of an operation's label: float32, (WIDTH,), ones where there is a word; no label is without any.

    >>> (described("nor_conv_3x3") == described("conv3x3-bn-relu")).all()
    True
    """
    plain = re.sub(r"(\d)x\1", r"_k\1", label).replace("maxpool", "max_pool")
    words = [word for word in re.findall(r"[a-z]+\d*|\d+", plain) if word not in UNSAID] or [label]
    vector = np.zeros(WIDTH, dtype=np.float32)
    for word in words:
        if word in WORDS:
            vector[WORDS.index(word)] = 1
        else:
            digest = hashlib.sha256(word.encode()).digest()
            vector[[len(WORDS) + byte % HASHED for byte in digest[:3]]] = 1
    return vector


def graph_widths(space: Space, unified: bool = False) -> tuple[int, int]:
    """How many columns the adjacency and the operations have."""
    known = reference(space)
    return known.vertices**2, known.vertices * (WIDTH if unified else len(known.labels))


def _rows(whole: Graphs, space: Space) -> np.ndarray:
    known = reference(space)
    edges, labels = fitted(whole, known.vertices)
    operations = labels[:, :, None] == np.arange(len(known.labels))
    parts = (edges, operations)
    rows = [part.reshape(len(whole), width) for part, width in zip(parts, graph_widths(space), strict=True)]
    return np.concatenate(rows, axis=1).astype(np.float32)
