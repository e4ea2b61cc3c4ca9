"""Weisfeiler-Lehman histogram: how often each kind of neighbourhood occurs in the pruned graph."""

from __future__ import annotations

import numpy as np

from archscout.core.space import Space
from archscout.estimators.encodings.graphs import Architectures, Graphs, graphs, pruned, reference

ROUNDS = 2
"""Neighbourhoods of up to this many steps."""

BUCKETS = 256
"""Kinds of neighbourhoods are told apart by this many columns a round; some kinds share one (feature hashing)."""


def wl(space: Space, architectures: Architectures) -> np.ndarray:
    """Counts of node labels refined by those of their neighbours, 0 to 2 times: float32, (N, D).

    The features of the Weisfeiler-Lehman kernel (Shervashidze et al. 2011), as NAS-BOWL uses it (Ru et al. 2021, arXiv
    2006.07556); sources and targets of a node are told apart. The same for isomorphic graphs. Round 0 has a column a
    label, each later one 256 hashed columns. Raises `UsageError` for a space without graphs.
    """
    labels = len(reference(space).labels)
    return np.concatenate([_histogram(part, labels) for part in pruned(graphs(space, architectures)).chunks()])


def refined(part: Graphs, rounds: int = ROUNDS) -> list[np.ndarray]:
    """The labels of all nodes after each round, as 64-bit numbers: uint64, (N, V), 0 where there is no node."""
    here = part.labels >= 0
    colours = np.where(here, _mixed((part.labels + 1).astype(np.uint64)), np.uint64(0))
    rounds_of_colours = [colours]
    edges = part.edges.astype(np.uint64)
    for _ in range(rounds):
        before = (_mixed(colours * np.uint64(3))[:, :, None] * edges).sum(axis=1, dtype=np.uint64)
        after = (_mixed(colours * np.uint64(5))[:, None, :] * edges).sum(axis=2, dtype=np.uint64)
        mixed = colours + _mixed(before + np.uint64(1)) * np.uint64(7) + _mixed(after + np.uint64(2)) * np.uint64(11)
        colours = np.where(here, _mixed(mixed), np.uint64(0))
        rounds_of_colours.append(colours)
    return rounds_of_colours


def _mixed(x: np.ndarray) -> np.ndarray:
    """A one-to-one scrambling of 64-bit numbers (the finaliser of SplitMix64, Steele et al. 2014)."""
    x = x + np.uint64(0x9E3779B97F4A7C15)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.asarray(x ^ (x >> np.uint64(31)))


def _histogram(part: Graphs, labels: int) -> np.ndarray:
    here = part.labels >= 0
    rows = np.broadcast_to(np.arange(len(part))[:, None], here.shape)[here]
    counts = [(part.labels[:, :, None] == np.arange(labels)).sum(axis=1)]
    for colours in refined(part)[1:]:
        places = (colours[here] % np.uint64(BUCKETS)).astype(np.int64)
        flat = np.bincount(rows * BUCKETS + places, minlength=len(part) * BUCKETS)
        counts.append(flat.reshape(len(part), BUCKETS))
    return np.concatenate(counts, axis=1).astype(np.float32)
