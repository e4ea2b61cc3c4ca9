"""Path encoding: which sequences of operations lead from input to output."""

from __future__ import annotations

import numpy as np

from archscout.core.errors import UsageError
from archscout.core.space import Space
from archscout.estimators.encodings.graphs import Architectures, Graphs, graphs, reference

MOST = 400
"""Columns; longer sequences than fit are left out."""


def path(space: Space, architectures: Architectures) -> np.ndarray:
    """1 for each sequence of operations that occurs on a path from an input to an output: float32, (N, D).

    The encoding of BANANAS (White, Neiswanger, Savani 2021, arXiv 1910.11858): sequences by length, then in
    alphabetical order, of all labels but inputs and outputs, those of wires and zeros among them. All sequences of a
    length have a column as long as there are at most 400 in all and some graph of the space has a path of that length:
    5 + 25 + 125 for NAS-Bench-201, 1 + 3 + ... + 3^5 for NAS-Bench-101. The same for isomorphic graphs. Raises
    `UsageError` for a space without graphs, and for one whose shortest paths alone have more sequences.
    """
    known = reference(space)
    labels = tuple(x for x in known.labels if not x.startswith(("input", "output")))
    kept = known.arrays()
    present = tuple(x for x in labels if kept.labelled((x,)).any())
    widths = _widths(kept, len(present))
    if not widths:
        raise UsageError(
            f"space '{space.name}' has no path encoding: its shortest paths may have more than {MOST} different "
            "sequences of operations. Name another encoding, such as adjacency."
        )
    parts = (_occurring(part, present, widths) for part in graphs(space, architectures).chunks())
    return np.concatenate(list(parts))


def _widths(shown: Graphs, labels: int) -> list[int]:
    """The sequence lengths that have columns."""
    here = shown.sources
    lengths: list[int] = []
    columns = 0
    for length in range(shown.labels.shape[1]):
        here = np.einsum("nv,nvw->nw", here, shown.edges > 0)
        if columns + labels**length > MOST or not here.any():
            break
        if lengths or (here & shown.sinks).any():
            lengths.append(length)
            columns += labels**length
    return lengths


def _occurring(part: Graphs, labels: tuple[str, ...], lengths: list[int]) -> np.ndarray:
    counts = walks(part, labels, max(lengths))
    return np.concatenate([np.minimum(counts[length], 1) for length in lengths], axis=1).astype(np.float32)


def walks(part: Graphs, labels: tuple[str, ...], longest: int) -> list[np.ndarray]:
    """For each length 0 .. `longest`: how many paths have each sequence of so many labels; float32, (N, K^length)."""
    one_hot, edges = part.one_hot(labels), part.edges.astype(np.float32)
    sinks = part.sinks.astype(np.float32)
    state = part.sources.astype(np.float32)[:, :, None]
    counts = []
    for length in range(longest + 1):
        arrived = np.matmul(edges.transpose(0, 2, 1), state)
        counts.append(np.matmul(sinks[:, None, :], arrived)[:, 0])
        if length < longest:
            longer = arrived[:, :, :, None] * one_hot[:, :, None, :]
            state = longer.reshape(*state.shape[:2], state.shape[2] * len(labels))
    return counts
