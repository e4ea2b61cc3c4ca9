"""Features of the pruned graph: what is left of a cell when dead operations and plain wires are gone.

Two cells that are the same network have the same features, whatever their vertices are called. On NAS-Bench-201 this
step tells more than any choice of model: features of dead edges are noise, and a twin looks like a stranger.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import numpy as np

from archscout.core.space import Space
from archscout.estimators.encodings.graphs import Architectures, Graphs, graphs, pruned, reference

LENGTHS = 6
"""Paths are counted by the number of their edges up to this."""

PAIRS = 8
"""The most operations of which all pairs are looked at for extremes on a path."""


def live(space: Space, architectures: Architectures) -> np.ndarray:
    """Counts, depths and path statistics of the pruned graph: float32, (N, D); the same for isomorphic graphs.

    For each operation: how often it occurs; sums of the depth of its nodes from either end and of the edges in and out
    of them; on how many paths it lies, how often on a path on average, at most and at least; how many paths avoid it,
    and how many have nothing else (both also as yes or no). For each pair: edges from one to the other, order by
    reachability, most and fewest on a path together. For the whole: nodes, edges, paths by length.

    Raises `UsageError` for a space without graphs.
    """
    operations = reference(space).operations
    parts = (_blocks(part, operations) for part in pruned(graphs(space, architectures)).chunks())
    return np.concatenate([np.concatenate(list(part.values()), axis=1) for part in parts])


def blocks(space: Space) -> tuple[int, ...]:
    """How many columns of `live` belong together: the widths of its blocks of features of one kind, in order."""
    columns = _blocks(pruned(graphs(space, [])), reference(space).operations)
    return tuple(block.shape[1] for block in columns.values())


def _blocks(part: Graphs, operations: tuple[str, ...]) -> dict[str, np.ndarray]:
    paths = Paths(part)
    one_hot = part.one_hot(operations)
    ends = [label for label in part.vocabulary if label.startswith(("input", "output"))]
    typed = np.concatenate([one_hot, part.one_hot(ends)], axis=2) if ends else one_hot
    computes = one_hot.sum(axis=2)
    edges = part.edges.astype(np.float32)
    total = paths.count(np.ones_like(computes))[:, None]
    through = _summed(paths.down * paths.up, one_hot)
    shares = through / np.maximum(total, 1)
    single = [one_hot[:, :, k] for k in range(len(operations))]
    free = 1 - np.minimum(computes, 1)  # inputs and outputs
    avoiding = [paths.count(1 - weight) for weight in single]
    only = [paths.count(np.maximum(free, weight)) for weight in single]
    weights = [*single, computes]
    pairs = [a + b for a, b in itertools.combinations(single, 2)] if len(single) <= PAIRS + 1 else []

    def extremes(most: bool, of: Sequence[np.ndarray]) -> list[np.ndarray]:
        return [paths.extreme(weight, most) for weight in of]

    by_block: dict[str, list[np.ndarray]] = {
        "counts": [one_hot.sum(axis=1)],
        "sizes": [computes.sum(axis=1), edges.sum(axis=(1, 2)), (edges > 0).sum(axis=(1, 2)), np.log1p(total)],
        "neighbours": [_between(typed, edges)],
        "through": [through],
        "mean on a path": [shares, shares.sum(axis=1)],
        "most on a path": extremes(True, weights),
        "fewest on a path": extremes(False, weights),
        "most of a pair": extremes(True, pairs),
        "fewest of a pair": extremes(False, pairs),
        "lengths": [paths.by_length()],
        "avoiding": avoiding,
        "only": only,
        "any avoiding": [np.minimum(count, 1) for count in avoiding],
        "any only": [np.minimum(count, 1) for count in only],
        "depths": [_summed(paths.depth(computes), one_hot), _summed(paths.height(computes), one_hot)],
        "degrees": [_summed(edges.sum(axis=1), one_hot), _summed(edges.sum(axis=2), one_hot)],
        "before": [_between(one_hot, paths.reachable())],
    }
    blocks = {
        name: [c.reshape(len(part), math.prod(c.shape[1:])) for c in columns] for name, columns in by_block.items()
    }
    return {name: np.concatenate(columns, axis=1).astype(np.float32) for name, columns in blocks.items() if columns}


def _summed(values: np.ndarray, one_hot: np.ndarray) -> np.ndarray:
    """The sum of a value of the nodes over all nodes of an operation: (N, K)."""
    return np.asarray(np.einsum("nv,nvk->nk", values, one_hot))


def _between(typed: np.ndarray, relation: np.ndarray) -> np.ndarray:
    """How often a node of each type stands in a relation to one of each other: (N, T, T)."""
    return np.asarray(np.einsum("nvt,nvs->nts", typed, relation @ typed, optimize=True))


class Paths:
    """Sums and extremes over all paths from an input to an output, by one pass over the vertices each."""

    def __init__(self, part: Graphs) -> None:
        self.part, self.edges = part, part.edges.astype(np.float32)
        vertices = part.labels.shape[1]
        self.down = self._forward(np.ones((len(part), vertices), dtype=np.float32))
        self.up = part.sinks.astype(np.float32)
        for node in reversed(range(vertices)):
            self.up[:, node] += (self.up * self.edges[:, node, :]).sum(axis=1)

    def _forward(self, allowed: np.ndarray) -> np.ndarray:
        """To each node: the number of paths from the inputs that touch allowed nodes only."""
        reach = self.part.sources.astype(np.float32)
        for node in range(reach.shape[1]):
            reach[:, node] += (reach * self.edges[:, :, node]).sum(axis=1) * allowed[:, node]
        return reach

    def count(self, allowed: np.ndarray) -> np.ndarray:
        """The number of paths that touch nodes with weight 1 only, none with weight 0: (N,)."""
        return np.asarray((self._forward(allowed) * self.part.sinks).sum(axis=1))

    def _best(self, weight: np.ndarray, edges: np.ndarray, starts: np.ndarray, most: bool) -> np.ndarray:
        bad, choose = (-np.inf, np.maximum) if most else (np.inf, np.minimum)
        best = np.where(starts, np.float32(0), np.float32(bad))
        for node in range(best.shape[1]):
            reached = choose.reduce(np.where(edges[:, :, node] > 0, best, np.float32(bad)), axis=1)
            best[:, node] = choose(best[:, node], reached + weight[:, node])
        return best

    def extreme(self, weight: np.ndarray, most: bool) -> np.ndarray:
        """The largest (or smallest) sum of node weights on a path; -1 where there is no path: (N,)."""
        best = self._best(weight, self.edges, self.part.sources, most)
        ends = np.where(self.part.sinks, best, -np.inf if most else np.inf)
        times = ends.max(axis=1) if most else ends.min(axis=1)
        return np.where(np.isfinite(times), times, np.float32(-1))

    def depth(self, weight: np.ndarray) -> np.ndarray:
        """The longest way from an input to each node, the node included; 0 where there is none: (N, V)."""
        best = self._best(weight, self.edges, self.part.sources, True)
        return np.where(np.isfinite(best), best, np.float32(0))

    def height(self, weight: np.ndarray) -> np.ndarray:
        """The longest way from each node, itself included, to an output; 0 where there is none: (N, V)."""
        turned = self.edges[:, ::-1, ::-1].transpose(0, 2, 1)
        best = self._best(weight[:, ::-1], turned, self.part.sinks[:, ::-1], True)[:, ::-1]
        return np.where(np.isfinite(best), best, np.float32(0))

    def by_length(self) -> np.ndarray:
        """The number of paths of 1, 2, ... edges: (N, LENGTHS)."""
        here = self.part.sources.astype(np.float32)
        counts = []
        for _ in range(LENGTHS):
            here = np.einsum("nv,nvw->nw", here, self.edges)
            counts.append((here * self.part.sinks).sum(axis=1))
        return np.stack(counts, axis=1)

    def reachable(self) -> np.ndarray:
        """1 where a way leads from one node to another: (N, V, V)."""
        reach = np.minimum(self.edges, 1)
        for node in range(reach.shape[1]):
            reach = np.maximum(reach, reach[:, :, node, None] * reach[:, node, None, :])
        return reach
