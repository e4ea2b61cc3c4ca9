"""The space of NAS-Bench-101 (Ying et al. 2019, arXiv 1902.09635): cells that are any graph of at most seven vertices
and nine edges, with an operation at each interior vertex."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property, partial

import numpy as np
import torch
from torch import Tensor, nn

from archscout.core.architecture import Architecture
from archscout.core.choice import Choice, Option
from archscout.core.errors import UsageError
from archscout.core.graph import Graph
from archscout.core.registry import register
from archscout.core.space import Pick, Space
from archscout.core.task import Task
from archscout.networks.elastic import Elastic, Number, compute, now
from archscout.networks.operations import ConvBNActivation, Zero
from archscout.networks.padding import in_row
from archscout.spaces.images import check_images
from archscout.spaces.nasbench101_cells import (
    ABSENT,
    EDGE_NAMES,
    EDGES,
    INPUT,
    INTERIOR,
    NODES,
    OPERATIONS,
    OUTPUT,
    VERTEX_NAMES,
    VERTICES,
    all_cells,
    architecture_of,
    cell_of,
    cleaned,
    drawn,
    edits,
    parsed,
    read_cell,
    text_of,
    unpack,
    values_of,
)
from archscout.spaces.sizes import check_sizes

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
        check_sizes("nasbench101", width=width, cells=cells)
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
        return text_of(cell_of(values, self.name))

    def read(self, text: str) -> dict[str, Option]:
        return dict(values_of(*read_cell(text)))

    def parse(self, text: str) -> Architecture:
        return architecture_of(read_cell(text))

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
        return architecture_of(cell_of(values, self.name))

    # -- the set --------------------------------------------------------------------------------------------------

    def size(self) -> int:
        return len(all_cells())

    def __iter__(self) -> Iterator[Architecture]:
        """Every architecture, small cells first, in the order in which the published code meets them."""
        return (architecture_of(unpack(int(code))) for code in all_cells())

    def sample(self, rng: np.random.Generator) -> Architecture:
        """A random architecture: each of the 423,624 is equally likely."""
        cells = all_cells()
        return architecture_of(unpack(int(cells[rng.integers(len(cells))])))

    def mutate(self, architecture: Architecture, rng: np.random.Generator) -> Architecture:
        """One of the neighbours: an edit drawn uniformly from those that are possible on the drawing."""
        possible = list(edits(parsed(architecture.text)))
        for place in rng.permutation(len(possible)):
            cell = cleaned(*possible[place])
            if cell is not None and (mutant := architecture_of(cell)) != architecture:
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
        for edit in edits(parsed(architecture.text)):
            cell = cleaned(*edit)
            if cell is not None and (neighbour := architecture_of(cell)) not in seen:
                seen.add(neighbour)
                yield neighbour

    def extremes(self) -> Iterator[Architecture]:
        """The cell without a vertex, and the chain of five 3 x 3 convolutions (the deepest and among the largest)."""
        yield architecture_of((2, 1, ()))
        chain = sum(1 << EDGES.index((i, i + 1)) for i in range(VERTICES - 1))
        yield architecture_of((VERTICES, chain, (0,) * len(INTERIOR)))

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
        interior = tuple(NODES[name, str(operation)] for name, operation in vertices if operation != ABSENT)
        return Graph((INPUT, *interior, OUTPUT), drawn(edges, len(interior)))

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
        outputs: dict[int, Tensor] = {}
        for j in INTERIOR:
            terms = [outputs[i][:, : now(self.cuts[j])] for i in outputs if now(self.present[i, j])]
            projected = self.projections[str(j)](x)
            if projected is not None:
                terms.append(projected)
            if terms:
                outputs[j] = self.vertices[str(j)](sum(terms[1:], terms[0]))
        ends = [outputs[i] for i in outputs if now(self.present[i, self.last])]
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
