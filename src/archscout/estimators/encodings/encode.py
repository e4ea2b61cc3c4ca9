"""Encodings by name, each computed once for the same architectures."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

import numpy as np

from archscout.core.cache import Cache
from archscout.core.errors import UsageError, nearest
from archscout.core.seeds import stream
from archscout.core.space import Space
from archscout.estimators.encodings.adjacency import adjacency
from archscout.estimators.encodings.graph import graph, graph_widths, live_graph, unified_graph
from archscout.estimators.encodings.graphs import Architectures, parsed
from archscout.estimators.encodings.live import blocks, live
from archscout.estimators.encodings.numbers import blocks as number_blocks
from archscout.estimators.encodings.numbers import numbers
from archscout.estimators.encodings.path import path
from archscout.estimators.encodings.sequence import sequence
from archscout.estimators.encodings.wl import wl

KEPT = 16
"""Encodings that are remembered."""

LOOKED_AT = 8
"""Random architectures by which a space is known as one of layers in a row."""


def choices(space: Space, architectures: Architectures) -> np.ndarray:
    """The options taken, one-hot, of the architecture without what its network does not use: float32, (N, D)."""
    return space.encode([space.simplify(one) for one in parsed(space, architectures)])


def plain(space: Space, architectures: Architectures) -> np.ndarray:
    """The options taken, one-hot, as the architecture is written: float32, (N, D)."""
    return space.encode(list(parsed(space, architectures)))


def nothing(space: Space, architectures: Architectures) -> np.ndarray:
    """No columns: for predictors that learn from scores or curves alone."""
    return np.empty((len(architectures), 0), dtype=np.float32)


ENCODINGS: dict[str, Callable[[Space, Architectures], np.ndarray]] = {
    "adjacency": adjacency, "choices": choices, "graph": graph, "live": live, "live_graph": live_graph,
    "none": nothing, "numbers": numbers, "path": path, "plain": plain, "sequence": sequence,
    "unified_graph": unified_graph, "wl": wl,
}  # fmt: skip

_known = Cache[np.ndarray](KEPT)
_rows = Cache[bool](KEPT)


def encode(name: str, space: Space, architectures: Architectures) -> np.ndarray:
    """The matrix of an encoding, or of several side by side (`"live+choices"`): float32, (N, D), read-only.

    Remembered by content: the same encoding of the same architectures is computed once. Raises `UsageError` for an
    unknown name, and for a graph encoding of a space without graphs.
    """
    parts = name.split("+")
    if len(parts) > 1:
        return np.concatenate([encode(part, space, architectures) for part in parts], axis=1)
    if name not in ENCODINGS:
        raise UsageError(f"there is no encoding '{name}': {nearest(name, ENCODINGS)}")

    def encoded() -> np.ndarray:
        matrix = np.asarray(ENCODINGS[name](space, architectures), dtype=np.float32)
        matrix.flags.writeable = False
        return matrix

    content = hashlib.sha256("\n".join(map(str, architectures)).encode())
    return _known.get((name, space.digest, content.hexdigest()), encoded)


def widths(name: str, space: Space) -> tuple[int, ...]:
    """How many columns of `encode(name, ...)` belong together: features of one kind."""
    sizes: list[int] = []
    for part in name.split("+"):
        if part == "live":
            sizes += blocks(space)
        elif part == "numbers":
            sizes += number_blocks(space)
        elif part in ("graph", "live_graph", "unified_graph"):
            sizes += graph_widths(space, unified=part == "unified_graph")
        else:
            sizes += [encode(part, space, []).shape[1]]
    return tuple(width for width in sizes if width)


def has(name: str, space: Space) -> bool:
    """Whether a space has an encoding: those of graphs need graphs, that of paths needs few enough of them."""
    try:
        return bool(widths(name, space))
    except UsageError:
        return False


def default_encoding(space: Space) -> str:
    """`live+choices` for a space of graphs, `numbers+choices` for one of layers in a row (or without graphs)."""
    return "numbers+choices" if in_a_row(space) else "live+choices"


def in_a_row(space: Space) -> bool:
    """Whether all of some random architectures are chains of layers, or the space has no graphs."""

    def looked() -> bool:
        rng = stream(0, "encoding", space.digest)
        try:
            some = [space.graph(space.sample(rng)) for _ in range(LOOKED_AT)]
        except (UsageError, NotImplementedError):
            return True
        return all(graph.edges == tuple((i, i + 1) for i in range(len(graph.nodes) - 1)) for graph in some)

    return _rows.get(space.digest, looked)
