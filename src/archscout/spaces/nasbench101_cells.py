"""The cells of NAS-Bench-101 as numbers: text, canonical members of classes, edits, and all 423,624 of them."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping
from functools import lru_cache

import numpy as np

from archscout.core.architecture import Architecture
from archscout.core.choice import Option
from archscout.core.errors import UsageError, nearest
from archscout.core.graph import Node

OPERATIONS = ("conv3x3-bn-relu", "conv1x1-bn-relu", "maxpool3x3")
ABSENT = "none"
VERTICES = 7
MOST_EDGES = 9

EDGES = tuple((i, j) for j in range(1, VERTICES) for i in range(j))
"""Column by column: the place of an edge in this list is its bit in the number of a wiring."""

BACKWARDS = 30
"""A bit above those of all edges."""

INTERIOR = range(1, VERTICES - 1)
EDGE_NAMES = tuple(f"edge {i}->{j}" for i, j in EDGES)
VERTEX_NAMES = tuple(f"vertex {i}" for i in INTERIOR)
EXAMPLE = "'0110001000010000:conv3x3-bn-relu,maxpool3x3'"

Cell = tuple[int, int, tuple[int, ...]]
"""The number of vertices; the edges, as the number that their bits make; the operations, as places in OPERATIONS."""


def read_cell(text: str) -> Cell:
    """The published member of the class of the cell that a text describes."""
    bits, colon, rest = text.strip().partition(":")
    short = text.strip() if len(text) <= 90 else text.strip()[:87] + "..."
    vertices = math.isqrt(len(bits))
    if set(bits) - {"0", "1"} or vertices**2 != len(bits) or not 2 <= vertices <= VERTICES:
        raise UsageError(
            f"'{bits[:60]}' in '{short}' is no adjacency matrix: write its 0s and 1s row by row, 4, 9, 16, 25, 36 "
            f"or 49 of them, then a colon and the operations, as in {EXAMPLE}."
        )
    names = [name.strip() for name in rest.split(",")] if colon and rest.strip() else []
    if len(names) != vertices - 2:
        raise UsageError(
            f"'{short}' names {len(names)} operations for {vertices} vertices: name one for all but the first and last."
        )
    for name in names:
        if name not in OPERATIONS:
            raise UsageError(f"'{name}' in '{short}' is no operation: {nearest(name, OPERATIONS)}")
    wiring = 0
    for place, bit in enumerate(bits):
        i, j = divmod(place, vertices)
        if bit == "1" and i >= j:
            raise UsageError(
                f"row {i + 1}, column {j + 1} of the matrix in '{short}' is 1: only those above the diagonal may be."
            )
        wiring |= int(bit) << (j * (j - 1) // 2 + i) if bit == "1" else 0
    cell = cleaned(vertices, wiring, tuple(OPERATIONS.index(name) for name in names))
    if cell is None:
        raise UsageError(
            f"'{short}' is no cell of NAS-Bench-101: input and output must be joined, by at most {MOST_EDGES} edges."
        )
    return cell


def text_of(cell: Cell) -> str:
    """The adjacency matrix, row by row, and the operations."""
    vertices, wiring, operations = cell
    bits = ["0"] * vertices**2
    for bit in range(vertices * (vertices - 1) // 2):
        if wiring >> bit & 1:
            i, j = EDGES[bit]
            bits[i * vertices + j] = "1"
    matrix = "".join(bits)
    return f"{matrix}:{','.join(OPERATIONS[o] for o in operations)}" if operations else matrix


parsed = lru_cache(maxsize=4096)(read_cell)


def cell_of(values: Mapping[str, Option], name: str) -> Cell:
    """The cell that the values of a space of this name make. Raises `UsageError` where they make none."""
    wiring = sum(int(values[edge]) << bit for bit, edge in enumerate(EDGE_NAMES))
    absent = [k for k, vertex in enumerate(VERTEX_NAMES) if values[vertex] == ABSENT]
    for bit, (i, j) in enumerate(EDGES):
        if wiring >> bit & 1 and (i - 1 in absent or j - 1 in absent):
            raise UsageError(
                f"'{EDGE_NAMES[bit]}' of space '{name}' is 1, but one of its ends has no operation: "
                "give it one, or take the edge out."
            )
    operations = tuple(
        OPERATIONS.index(str(values[vertex])) if k not in absent else 0 for k, vertex in enumerate(VERTEX_NAMES)
    )
    cell = cleaned(VERTICES, wiring, operations)
    if cell is None:
        raise UsageError(
            f"these values make no cell of space '{name}': input and output must be joined, by at most {MOST_EDGES} "
            "edges."
        )
    return cell


_EDGE_VALUES = tuple(((name, 0), (name, 1)) for name in EDGE_NAMES)
_VERTEX_VALUES = tuple(tuple((name, option) for option in (*OPERATIONS, ABSENT)) for name in VERTEX_NAMES)


INPUT, OUTPUT = Node("input"), Node("output")
NODES = {(name, operation): Node(operation, group=name) for name in VERTEX_NAMES for operation in OPERATIONS}


@lru_cache(maxsize=4096)
def drawn(values: tuple[tuple[str, Option], ...], interior: int) -> tuple[tuple[int, int], ...]:
    """The edges that are there, the output being moved to right after the interior vertices."""
    present = [edge for edge, (_, value) in zip(EDGES, values, strict=True) if value]
    return tuple(sorted((i, interior + 1 if j == VERTICES - 1 else j) for i, j in present))


@lru_cache(maxsize=4096)
def _edge_values(vertices: int, wiring: int) -> tuple[tuple[str, Option], ...]:
    """The values of the edges, the output being moved to the last place; architectures share the pairs."""
    present = {EDGES[bit] for bit in range(vertices * (vertices - 1) // 2) if wiring >> bit & 1}
    moved = {(i, VERTICES - 1 if j == vertices - 1 else j) for i, j in present}
    return tuple(_EDGE_VALUES[bit][edge in moved] for bit, edge in enumerate(EDGES))


def values_of(vertices: int, wiring: int, operations: tuple[int, ...]) -> tuple[tuple[str, Option], ...]:
    """The values of all choices, in their order."""
    padded = (*operations, *[len(OPERATIONS)] * (len(INTERIOR) - len(operations)))
    return _edge_values(vertices, wiring) + tuple(v[o] for v, o in zip(_VERTEX_VALUES, padded, strict=True))


def architecture_of(cell: Cell) -> Architecture:
    """The architecture whose text and values are those of the cell."""
    return Architecture(text_of(cell), values_of(*cell))


def cleaned(vertices: int, wiring: int, operations: tuple[int, ...]) -> Cell | None:
    """Without what lies on no path from input to output, as the published member of its class; None for no cell."""
    edges = [EDGES[bit] for bit in range(vertices * (vertices - 1) // 2) if wiring >> bit & 1]
    reached, needed = {0}, {vertices - 1}
    for i, j in edges:
        if i in reached:
            reached.add(j)
    for i, j in sorted(edges, reverse=True):
        if j in needed:
            needed.add(i)
    live = sorted(reached & needed)
    if vertices - 1 not in reached:
        return None
    new = {old: place for place, old in enumerate(live)}
    live_edges = [(new[i], new[j]) for i, j in edges if i in new and j in new]
    if len(live_edges) > MOST_EDGES:
        return None
    wiring = sum(1 << (j * (j - 1) // 2 + i) for i, j in live_edges)
    return _canonical(len(live), wiring, tuple(operations[old - 1] for old in live[1:-1]))


def _canonical(vertices: int, wiring: int, operations: tuple[int, ...]) -> Cell:
    least, orders = _least_wiring(vertices, wiring)
    return vertices, least, min(tuple(operations[k] for k in order) for order in orders)


@lru_cache(maxsize=2**16)
def _least_wiring(vertices: int, wiring: int) -> tuple[int, tuple[tuple[int, ...], ...]]:
    """The least number among the isomorphic wirings, and every order of the interior vertices (counted from 0) that
    gives it."""
    wirings, orders, moved = _all_wirings(vertices)
    column = moved[:, np.searchsorted(wirings, wiring)]
    best = column.min()
    return int(best), tuple(tuple(order) for order in orders[column == best].tolist())


@lru_cache(maxsize=VERTICES)
def _all_wirings(vertices: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Every wiring without a dead vertex, in increasing order (W,), every order of the interior vertices (O, vertices -
    2), and the number of each wiring after each order (O, W): vertex `order[k]` comes to place k. Where that makes an
    edge go backwards, the number is one that is never least."""
    bits = vertices * (vertices - 1) // 2
    wirings = np.arange(2**bits, dtype=np.int32)
    keep = sum(wirings >> bit & 1 for bit in range(bits)) <= MOST_EDGES
    # Edges go forward, so that a vertex that something enters and leaves lies on a path from input to output.
    for vertex in range(vertices):
        enters = sum(1 << bit for bit in range(bits) if EDGES[bit][1] == vertex)
        leaves = sum(1 << bit for bit in range(bits) if EDGES[bit][0] == vertex)
        keep &= (wirings & enters != 0) | (vertex == 0)
        keep &= (wirings & leaves != 0) | (vertex == vertices - 1)
    wirings = wirings[keep]
    orders = np.asarray(list(itertools.permutations(range(vertices - 2))), dtype=np.int64)
    moved = np.zeros((len(orders), len(wirings)), dtype=np.int32)
    for row, order in zip(moved, orders.tolist(), strict=True):
        place = {0: 0, vertices - 1: vertices - 1} | {old + 1: new + 1 for new, old in enumerate(order)}
        for bit in range(bits):
            i, j = (place[end] for end in EDGES[bit])
            row |= (wirings >> bit & 1) << (j * (j - 1) // 2 + i if i < j else BACKWARDS)
    return wirings, orders, moved


def edits(cell: Cell) -> Iterator[Cell]:
    """What one edit makes of a cell; not all of it need be a cell."""
    vertices, wiring, operations = cell
    for k, operation in enumerate(operations):
        for other in range(len(OPERATIONS)):
            if other != operation:
                yield vertices, wiring, (*operations[:k], other, *operations[k + 1 :])
    for bit in range(vertices * (vertices - 1) // 2):
        yield vertices, wiring ^ 1 << bit, operations
    if vertices < VERTICES and wiring.bit_count() + 2 <= MOST_EDGES:
        edges = [EDGES[bit] for bit in range(vertices * (vertices - 1) // 2) if wiring >> bit & 1]
        for source, target in itertools.combinations(range(vertices), 2):
            # The new vertex comes right before its target; whatever was there moves on by one.
            pairs = [tuple(end + (end >= target) for end in edge) for edge in edges]
            pairs += [(source, target), (target, target + 1)]
            grown = sum(1 << (j * (j - 1) // 2 + i) for i, j in pairs)
            for operation in range(len(OPERATIONS)):
                yield vertices + 1, grown, (*operations[: target - 1], operation, *operations[target - 1 :])


# -- all cells ----------------------------------------------------------------------------------------------------


@lru_cache(maxsize=1)
def all_cells() -> np.ndarray:
    """Every cell as one number (see `unpack`), in increasing order: (423624,) int64."""
    return np.concatenate([_cells_of(vertices) for vertices in range(2, VERTICES + 1)])


def _cells_of(vertices: int) -> np.ndarray:
    wirings, orders, moved = _all_wirings(vertices)
    least = moved.min(0) == wirings
    wirings, moved = wirings[least], moved[:, least]
    # Operations as digits of base 3, the first vertex most significant; a class is named by its least number.
    interior = vertices - 2
    base = len(OPERATIONS)
    lists = np.asarray(list(itertools.product(range(base), repeat=interior)), dtype=np.int64)
    powers = base ** np.arange(interior - 1, -1, -1, dtype=np.int64)
    numbers = lists @ powers
    reordered = np.stack([lists[:, order] @ powers for order in orders])
    packed = []
    for wiring, after in zip(wirings.tolist(), moved.T, strict=True):
        first = numbers[reordered[after == wiring].min(0) == numbers]
        packed.append((vertices << 40) + (wiring << 16) + first)
    return np.concatenate(packed)


def unpack(code: int) -> Cell:
    """The cell whose number this is: vertices, edges and operations, from the highest bits on."""
    vertices, wiring, number = code >> 40, code >> 16 & 0xFFFFFF, code & 0xFFFF
    base = len(OPERATIONS)
    return vertices, wiring, tuple(number // base**k % base for k in range(vertices - 3, -1, -1))
