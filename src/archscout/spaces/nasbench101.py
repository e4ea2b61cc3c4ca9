"""The space of NAS-Bench-101 (Ying et al. 2019, arXiv 1902.09635): cells that are any graph of at most seven vertices
and nine edges, with an operation at each interior vertex."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property, lru_cache, partial

import numpy as np
import torch
from torch import Tensor, nn

from archscout.core.architecture import Architecture
from archscout.core.choice import Choice, Option
from archscout.core.errors import UsageError, nearest
from archscout.core.graph import Graph, Node
from archscout.core.registry import register
from archscout.core.space import Pick, Space
from archscout.core.task import Task
from archscout.networks.elastic import Elastic, Number, compute, now
from archscout.networks.operations import ConvBNActivation, Zero
from archscout.networks.padding import in_row
from archscout.spaces.images import check_images

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
_EXAMPLE = "'0110001000010000:conv3x3-bn-relu,maxpool3x3'"

Cell = tuple[int, int, tuple[int, ...]]
"""The number of vertices; the edges, as the number that their bits make; the operations, as places in OPERATIONS."""


REFERENCES: Mapping[str, str] = {
    "resnet": "0101001000010000:conv3x3-bn-relu,conv3x3-bn-relu",
    "inception": "0111010000000100000010000100000000100000010000000:"
    "conv1x1-bn-relu,conv3x3-bn-relu,conv3x3-bn-relu,conv3x3-bn-relu,maxpool3x3",
}
"""A residual block of two convolutions, and the cell like Inception's that the publication shows."""


@register("space", "nasbench101")
class NASBench101(Space):
    """Cells of up to 7 vertices and 9 edges with 3 operations: 423,624 different networks.

    Args:
        width: channels of the first stage (doubled twice). Default: the published 128 for inputs of 32 x 32 and more,
            16 below.
        cells: cells in each of the three stages. Default: the published 3 for inputs of 32 x 32 and more, 1 below.

    An architecture is a class of isomorphic cells without dead vertices; its text is that of the published member of
    the class: the adjacency matrix row by row, then the operations of the interior vertices,
    `0110001000010000:conv3x3-bn-relu,maxpool3x3`. Text of any other member is read as the same architecture, and what
    lies on no path from input to output is dropped, as in the published code. In `choices`, edges go from vertices
    0 (input) to 6 (output); a cell with fewer vertices has no operation at the last interior ones.

    Not every assignment of the choices is a cell, so that sampling (uniform over the 423,624), mutation and
    crossover are of this space's own. As published, the input is projected (1 x 1) to each vertex that takes it,
    interior inputs are summed with their surplus channels cut off, the vertices before the output are concatenated,
    and the output's channels are divided among them; parameter counts are the published ones. Different from the
    published code: weights are initialised as PyTorch does.
    """

    def __init__(self, width: int | None = None, cells: int | None = None) -> None:
        for name, value in (("width", width), ("cells", cells)):
            if value is not None and (type(value) is not int or value < 1):
                raise UsageError(f"the {name} of space 'nasbench101' must be a whole number above zero, not {value}.")
        if width is not None and width < len(INTERIOR):
            raise UsageError(f"the width of space 'nasbench101' must be {len(INTERIOR)} or more, not {width}.")
        self.name = "nasbench101"
        self.width, self.cells = width, cells

    @cached_property
    def choices(self) -> Sequence[Choice]:
        edges = [Choice(name, (0, 1)) for name in EDGE_NAMES]
        return (*edges, *(Choice(name, (ABSENT, *OPERATIONS)) for name in VERTEX_NAMES))

    # -- text -----------------------------------------------------------------------------------------------------

    def format(self, values: Mapping[str, Option]) -> str:
        """The text of the cell that these values make. Raises `UsageError` where they make none."""
        return _text(_cell(values, self.name))

    def read(self, text: str) -> dict[str, Option]:
        return dict(_values(*_read(text)))

    def parse(self, text: str) -> Architecture:
        return _architecture(_read(text))

    def architecture(self, values: Mapping[str, Option]) -> Architecture:
        """The architecture of the cell with these values, whichever member of its class they describe.

        Raises `UsageError` for values that make no cell: input and output not joined, or more than nine edges.
        """
        for choice in self.choices:
            if choice.name not in values:
                raise UsageError(
                    f"choice '{choice.name}' of space '{self.name}' has no value: give one of {choice.options}."
                )
            if values[choice.name] not in choice.options:
                raise UsageError(
                    f"choice '{choice.name}' of space '{self.name}' has no option {values[choice.name]!r}: "
                    f"use one of {choice.options}."
                )
        return _architecture(_cell(values, self.name))

    # -- the set --------------------------------------------------------------------------------------------------

    def size(self) -> int:
        return len(_all_cells())

    def __iter__(self) -> Iterator[Architecture]:
        """Every architecture, small cells first, in the order in which the published code meets them."""
        return (_architecture(_unpack(int(code))) for code in _all_cells())

    def sample(self, rng: np.random.Generator) -> Architecture:
        """A random architecture: each of the 423,624 is equally likely."""
        cells = _all_cells()
        return _architecture(_unpack(int(cells[rng.integers(len(cells))])))

    def mutate(self, architecture: Architecture, rng: np.random.Generator) -> Architecture:
        """One of the neighbours: an edit drawn uniformly from those that are possible on the drawing."""
        edits = list(_edits(_parsed(architecture.text)))
        for place in rng.permutation(len(edits)):
            cell = _cleaned(*edits[place])
            if cell is not None and (mutant := _architecture(cell)) != architecture:
                return mutant
        raise AssertionError("every cell has a neighbour")

    def crossover(self, first: Architecture, second: Architecture, rng: np.random.Generator) -> Architecture:
        """A child that takes each edge and each operation from either parent; the first parent where none is a cell."""
        parents = (first, second)
        for _ in range(50):
            child = {name: parents[int(rng.integers(2))][name] for name in first}
            try:
                return self.architecture(child)
            except UsageError:
                continue
        return first

    def neighbours(self, architecture: Architecture) -> Iterator[Architecture]:
        """Every architecture that one edit away: an operation changed, an edge put in or taken out, or a vertex put in
        with one edge to it and one from it."""
        seen = {architecture}
        for edit in _edits(_parsed(architecture.text)):
            cell = _cleaned(*edit)
            if cell is not None and (neighbour := _architecture(cell)) not in seen:
                seen.add(neighbour)
                yield neighbour

    def extremes(self) -> Iterator[Architecture]:
        """The cell without a vertex, and the chain of five 3 x 3 convolutions (the deepest and among the largest)."""
        yield _architecture((2, 1, ()))
        chain = sum(1 << EDGES.index((i, i + 1)) for i in range(VERTICES - 1))
        yield _architecture((VERTICES, chain, (0,) * len(INTERIOR)))

    # -- forms ----------------------------------------------------------------------------------------------------

    def encode(self, architectures: Sequence[Architecture]) -> np.ndarray:
        """One row an architecture, one column an option: 1 where taken."""
        known: dict[tuple[tuple[str, Option], ...], np.ndarray] = {}
        column = {name: i for i, name in enumerate(self.encoding_names)}
        wirings, vertices = slice(0, len(EDGES)), slice(len(EDGES), None)
        rows = np.zeros((len(architectures), len(column)), dtype=np.float32)
        # Wirings and lists of operations are few, and each architecture has one of either.
        for row, architecture in zip(rows, architectures, strict=True):
            for part in (architecture.values_by_name[wirings], architecture.values_by_name[vertices]):
                taken = known.get(part)
                if taken is None:
                    taken = known[part] = np.asarray([column[f"{name}={value}"] for name, value in part])
                row[taken] = 1.0
        return rows

    def graph(self, architecture: Architecture) -> Graph:
        """The cell as it is drawn: input, operations, output."""
        edges, vertices = architecture.values_by_name[: len(EDGES)], architecture.values_by_name[len(EDGES) :]
        interior = tuple(_NODES[name, str(operation)] for name, operation in vertices if operation != ABSENT)
        return Graph((_INPUT, *interior, _OUTPUT), _drawn(edges, len(interior)))

    def references(self) -> Mapping[str, Architecture]:
        return {name: self.parse(text) for name, text in REFERENCES.items()}

    # -- network --------------------------------------------------------------------------------------------------

    def check_task(self, task: Task) -> None:
        check_images(self, task)

    def network(self, task: Task, pick: Pick) -> nn.Module:
        small = min(task.input_shape[1:]) < 32
        width = self.width or (16 if small else 128)
        body: list[nn.Module] = [ConvBNActivation(task.input_shape[0], width, 3, activation=nn.ReLU())]
        inputs = width
        for stage in range(3):
            channels = width * 2**stage
            if stage:
                body.append(nn.MaxPool2d(2, 2))
            for _ in range(self.cells or (1 if small else 3)):
                body.append(CellNetwork(inputs, channels, pick))
                inputs = channels
        return in_row(*body, task.head(channels))


class CellNetwork(nn.Module):
    """A cell from `inputs` to `outputs` channels (N x C x H x W; height and width stay)."""

    def __init__(self, inputs: int, outputs: int, pick: Pick) -> None:
        super().__init__()
        last = VERTICES - 1
        self.present = {edge: pick.number(name) for edge, name in zip(EDGES, EDGE_NAMES, strict=True)}
        channels = _channels(outputs, self.present)
        self.cuts = {j: channels[j] for j in INTERIOR}
        self.projections = nn.ModuleDict()
        self.vertices = nn.ModuleDict()
        for j in range(1, VERTICES):
            project = partial(ConvBNActivation, inputs, channels[j], 1, activation=nn.ReLU())
            self.projections[str(j)] = pick(f"edge 0->{j}", {0: Zero, 1: project})
        for j in INTERIOR:
            size = channels[j]
            self.vertices[str(j)] = pick(
                f"vertex {j}",
                {
                    ABSENT: Zero,
                    "conv3x3-bn-relu": partial(ConvBNActivation, size, size, 3, activation=nn.ReLU()),
                    "conv1x1-bn-relu": partial(ConvBNActivation, size, size, 1, activation=nn.ReLU()),
                    "maxpool3x3": partial(nn.MaxPool2d, 3, 1, 1),
                },
            )
        self.last = last

    def forward(self, x: Tensor) -> Tensor:
        made: dict[int, Tensor] = {}
        for j in INTERIOR:
            terms = [made[i][:, : now(self.cuts[j])] for i in made if now(self.present[i, j])]
            projected = self.projections[str(j)](x)
            if projected is not None:
                terms.append(projected)
            if terms:
                made[j] = self.vertices[str(j)](sum(terms[1:], terms[0]))
        ends = [made[i] for i in made if now(self.present[i, self.last])]
        projected = self.projections[str(self.last)](x)
        if not ends:
            return projected  # type: ignore[no-any-return]
        joined = torch.cat(ends, 1)
        return joined if projected is None else joined + projected


def _channels(outputs: int, present: Mapping[tuple[int, int], Number]) -> dict[int, Number]:
    """The channels of each vertex: those before the output share its channels, the first of them one more each until
    all are given out; any other has as many as the widest that it feeds."""
    last = VERTICES - 1
    shares = {
        outputs // n + extra for n in range(1, VERTICES - 1) for extra in (0, 1) if extra < outputs % n or not extra
    }
    possible = tuple(sorted(shares))
    edges = tuple(present[edge] for edge in EDGES)
    channels: dict[int, Number] = {last: outputs}
    for j in INTERIOR:
        if any(isinstance(edge, Elastic) for edge in edges):
            # `compute` would go through all 2^21 wirings to find the few numbers that can come out.
            channels[j] = Elastic(_vertex_channels, (outputs, j, *edges), possible)
        else:
            channels[j] = compute(_vertex_channels, outputs, j, *edges)
    return channels


def _vertex_channels(outputs: int, vertex: int, *edges: int) -> int:
    last = VERTICES - 1
    present = dict(zip(EDGES, edges, strict=True))
    ends = [i for i in INTERIOR if present[i, last]]
    channels = {i: outputs // len(ends) + (place < outputs % len(ends)) for place, i in enumerate(ends)}
    for i in reversed(INTERIOR):
        if i not in channels:
            channels[i] = max(
                [channels[j] for j in range(i + 1, last) if present[i, j]],
                default=min(channels.values(), default=outputs),
            )
    return channels[vertex]


# -- cells as numbers ---------------------------------------------------------------------------------------------


def _read(text: str) -> Cell:
    """The published member of the class of the cell that a text describes."""
    bits, colon, rest = text.strip().partition(":")
    short = text.strip() if len(text) <= 90 else text.strip()[:87] + "..."
    vertices = math.isqrt(len(bits))
    if set(bits) - {"0", "1"} or vertices**2 != len(bits) or not 2 <= vertices <= VERTICES:
        raise UsageError(
            f"'{bits[:60]}' in '{short}' is no adjacency matrix: write its 0s and 1s row by row, 4, 9, 16, 25, 36 "
            f"or 49 of them, then a colon and the operations, as in {_EXAMPLE}."
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
    cell = _cleaned(vertices, wiring, tuple(OPERATIONS.index(name) for name in names))
    if cell is None:
        raise UsageError(
            f"'{short}' is no cell of NAS-Bench-101: input and output must be joined, by at most {MOST_EDGES} edges."
        )
    return cell


def _text(cell: Cell) -> str:
    vertices, wiring, operations = cell
    bits = ["0"] * vertices**2
    for bit in range(vertices * (vertices - 1) // 2):
        if wiring >> bit & 1:
            i, j = EDGES[bit]
            bits[i * vertices + j] = "1"
    matrix = "".join(bits)
    return f"{matrix}:{','.join(OPERATIONS[o] for o in operations)}" if operations else matrix


_parsed = lru_cache(maxsize=4096)(_read)


def _cell(values: Mapping[str, Option], name: str) -> Cell:
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
    cell = _cleaned(VERTICES, wiring, operations)
    if cell is None:
        raise UsageError(
            f"these values make no cell of space '{name}': input and output must be joined, by at most {MOST_EDGES} "
            "edges."
        )
    return cell


_EDGE_VALUES = tuple(((name, 0), (name, 1)) for name in EDGE_NAMES)
_VERTEX_VALUES = tuple(tuple((name, option) for option in (*OPERATIONS, ABSENT)) for name in VERTEX_NAMES)


_INPUT, _OUTPUT = Node("input"), Node("output")
_NODES = {(name, operation): Node(operation, group=name) for name in VERTEX_NAMES for operation in OPERATIONS}


@lru_cache(maxsize=4096)
def _drawn(values: tuple[tuple[str, Option], ...], interior: int) -> tuple[tuple[int, int], ...]:
    """The edges that are there, the output being moved to right after the interior vertices."""
    present = [edge for edge, (_, value) in zip(EDGES, values, strict=True) if value]
    return tuple(sorted((i, interior + 1 if j == VERTICES - 1 else j) for i, j in present))


@lru_cache(maxsize=4096)
def _edge_values(vertices: int, wiring: int) -> tuple[tuple[str, Option], ...]:
    """The values of the edges, the output being moved to the last place; architectures share the pairs."""
    present = {EDGES[bit] for bit in range(vertices * (vertices - 1) // 2) if wiring >> bit & 1}
    moved = {(i, VERTICES - 1 if j == vertices - 1 else j) for i, j in present}
    return tuple(_EDGE_VALUES[bit][edge in moved] for bit, edge in enumerate(EDGES))


def _values(vertices: int, wiring: int, operations: tuple[int, ...]) -> tuple[tuple[str, Option], ...]:
    padded = (*operations, *[len(OPERATIONS)] * (len(INTERIOR) - len(operations)))
    return _edge_values(vertices, wiring) + tuple(v[o] for v, o in zip(_VERTEX_VALUES, padded, strict=True))


def _architecture(cell: Cell) -> Architecture:
    return Architecture(_text(cell), _values(*cell))


def _cleaned(vertices: int, wiring: int, operations: tuple[int, ...]) -> Cell | None:
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
    kept = [(new[i], new[j]) for i, j in edges if i in new and j in new]
    if len(kept) > MOST_EDGES:
        return None
    wiring = sum(1 << (j * (j - 1) // 2 + i) for i, j in kept)
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


def _edits(cell: Cell) -> Iterator[Cell]:
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
def _all_cells() -> np.ndarray:
    """Every cell as one number (see `_unpack`), in increasing order: (423624,) int64."""
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


def _unpack(code: int) -> Cell:
    vertices, wiring, number = code >> 40, code >> 16 & 0xFFFFFF, code & 0xFFFF
    base = len(OPERATIONS)
    return vertices, wiring, tuple(number // base**k % base for k in range(vertices - 3, -1, -1))
