"""Where the boxes of one stretch of a network go: a layered drawing of a directed acyclic graph.

The method is that of Sugiyama, Tagawa and Toda (1981): layers by the longest path, an order in every layer that
crosses few edges, then heights that make edges straight.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np


def layers(count: int, edges: Sequence[tuple[int, int]]) -> list[int]:
    """The layer of every box: one more than the highest of those that feed it (the entry, -1, is layer 0)."""
    layer = [1] * count
    for source, target in sorted(edges, key=lambda edge: edge[1]):
        layer[target] = max(layer[target], 1 + (layer[source] if source >= 0 else 0))
    return layer


def span(edges: Sequence[tuple[int, int]]) -> int:
    """How many layers all edges of a stretch pass in sum, which is what laying it out takes in time."""
    if not edges:
        return 0
    layer = layers(1 + max(target for _, target in edges), edges)
    return sum(layer[target] - (layer[source] if source >= 0 else 0) for source, target in edges)


def lanes(
    layer: Sequence[int], edges: Sequence[tuple[int, int]]
) -> tuple[list[float], dict[tuple[int, int], list[float]]]:
    """Heights, in rows, of every box and of every long edge at the layers that it passes; 0 is the middle.

    Edges that span layers get a place in each of them, the places of a layer are ordered so that few edges cross (each
    by the mean of its neighbours, sweeping forth and back), and then moved towards their neighbours as far as the
    distances allow.
    """
    depth = max(layer)
    columns: list[list[Any]] = [[] for _ in range(depth + 1)]
    columns[0] = [-1]
    for box, at in enumerate(layer):
        columns[at].append(box)
    links: dict[Any, list[Any]] = {}
    passes: dict[tuple[int, int], list[Any]] = {}
    for source, target in dict.fromkeys(edges):
        chain: list[Any] = [source]
        for at in range((layer[source] if source >= 0 else 0) + 1, layer[target]):
            chain.append((source, target, at))
            columns[at].append(chain[-1])
        chain.append(target)
        passes[source, target] = chain[1:-1]
        for a, b in pairwise(chain):
            links.setdefault(a, []).append(b)
            links.setdefault(b, []).append(a)
    column_of = {item: at for at, column in enumerate(columns) for item in column}
    y = {item: float(i - (len(column) - 1) / 2) for column in columns for i, item in enumerate(column)}

    def mean(item: Any, sides: tuple[int, ...]) -> float:
        near = [y[other] for other in links.get(item, ()) if column_of[other] - column_of[item] in sides]
        return sum(near) / len(near) if near else y[item]

    best, fewest = [list(column) for column in columns], _crossings(columns, links, column_of, y)
    for sweep in range(8):
        forth = sweep % 2 == 0
        for column in columns[1:] if forth else columns[-2::-1]:
            column.sort(key=lambda item: mean(item, (-1,) if forth else (1,)))
            for i, item in enumerate(column):
                y[item] = i - (len(column) - 1) / 2
        crossings = _crossings(columns, links, column_of, y)
        if crossings < fewest:
            best, fewest = [list(column) for column in columns], crossings
    for column in best:
        for i, item in enumerate(column):
            y[item] = i - (len(column) - 1) / 2
    # The last pass looks back only, which makes straight lines of what follows one another.
    for sides in ((-1, 1), (-1, 1), (-1, 1), (-1, 1), (-1,)):
        for column in best[1:]:
            wanted = [mean(item, sides) for item in column]
            gaps = [0.5 * (_needs(a) + _needs(b)) for a, b in pairwise(column)]
            y.update(zip(column, _apart(wanted, gaps), strict=True))
        # What is entered and what is left lie on the middle line, so that stretches join.
        y[-1] = 0.0
        if len(best[-1]) == 1:
            y[best[-1][0]] = 0.0
    # Everything between entry and end is centred, for the page aligns stretches by their middle lines.
    inside = [item for column in best[1:-1] for item in column]
    if inside:
        shift = (min(y[item] for item in inside) + max(y[item] for item in inside)) / 2
        for item in inside:
            y[item] -= shift
    return [y[box] for box in range(len(layer))], {edge: [y[item] for item in chain] for edge, chain in passes.items()}


def _needs(item: Any) -> float:
    """The height that an item takes, in rows: an edge that passes needs little."""
    return 0.5 if isinstance(item, tuple) else 1.0


def _apart(wanted: Sequence[float], gaps: Sequence[float]) -> list[float]:
    """The heights nearest to the wanted ones (least squares) that keep the order and the gaps.

    With the gaps taken off, this is isotonic regression, solved by pooling neighbours that are out of order.
    """
    offset = [0.0]
    for gap in gaps:
        offset.append(offset[-1] + gap)
    pools: list[tuple[float, int]] = []
    for value, shift in zip(wanted, offset, strict=True):
        pools.append((value - shift, 1))
        while len(pools) > 1 and pools[-2][0] > pools[-1][0]:
            (a, m), (b, n) = pools[-2], pools[-1]
            pools[-2:] = [((a * m + b * n) / (m + n), m + n)]
    flat = [value for value, count in pools for _ in range(count)]
    return [value + shift for value, shift in zip(flat, offset, strict=True)]


def _crossings(
    columns: Sequence[Sequence[Any]],
    links: Mapping[Any, Sequence[Any]],
    column_of: Mapping[Any, int],
    y: Mapping[Any, float],
) -> int:
    total = 0
    for column in columns[:-1]:
        links_right = [(y[a], y[b]) for a in column for b in links.get(a, ()) if column_of[b] > column_of[a]]
        left, right = np.asarray(links_right, dtype=float).reshape(-1, 2).T
        total += int(((left[:, None] < left) & (right[:, None] > right)).sum())
    return total
