"""The generator of NAGO (Ru, Esperanca, Carlucci 2020, arXiv 2004.01395): networks of three levels of random graphs."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import cached_property

import networkx
import torch
from torch import nn

from archscout.core.choice import Choice, Continuous, Option
from archscout.core.errors import UsageError
from archscout.core.registry import register
from archscout.core.seeds import derive
from archscout.core.space import Pick, Space
from archscout.core.task import Task
from archscout.networks.body import Body
from archscout.networks.operations import ConvBNActivation, ReLUConvBN
from archscout.networks.wired import Weighted, Wired
from archscout.spaces.images import check_images
from archscout.spaces.sizes import check_sizes

NODES, NEIGHBOURS = (3, 4, 5, 6, 7, 8, 9, 10), (2, 3, 4, 5)
STAGES = 3
TRIES = 30
"""Of a random graph, until it hangs together."""

Edges = tuple[tuple[int, int], ...]


@register("space", "nago")
class NAGO(Space):
    """Networks drawn from a hierarchical random graph, whose eight parameters are the choices (three are real numbers).

    The whole network is a Watts-Strogatz graph of cells (`top`: nodes, neighbours, probability), each cell an
    Erdos-Renyi graph of blocks (`middle`: nodes, probability), each block a Watts-Strogatz graph of 3 x 3 convolutions
    (`bottom`: nodes, neighbours, probability). An edge goes from the lower to the higher number; a node takes the
    weighted sum of what feeds it. Cells are in three stages of a third each, of 1, 2 and 4 times the channels, the
    later at half the height and width. Choices are a distribution of networks: `draw` says which one of it is built.
    Channels are as many as come nearest to the parameters that are wanted.

    Args:
        params: of every network, within some per cent. Default: 4 million for inputs of 32 x 32 and more, as published,
            250,000 below.
        draws: networks of each distribution.
    """

    repetitions = ("draw",)

    def __init__(self, params: int | None = None, draws: int = 4) -> None:
        check_sizes("nago", 1000, params=params)
        check_sizes("nago", draws=draws)
        self.name = "nago"
        self.params, self.number = params, draws

    @cached_property
    def choices(self) -> Sequence[Choice]:
        return (
            Choice("top.nodes", NODES, ordinal=True),
            Choice("top.neighbours", NEIGHBOURS, ordinal=True),
            Continuous("top.probability", 0.1, 1.0),
            Choice("middle.nodes", (1, 2, *NODES), ordinal=True),
            Continuous("middle.probability", 0.2, 1.0),
            Choice("bottom.nodes", NODES, ordinal=True),
            Choice("bottom.neighbours", NEIGHBOURS, ordinal=True),
            Continuous("bottom.probability", 0.1, 1.0),
            Choice("draw", tuple(range(self.number))),
        )

    def check_task(self, task: Task) -> None:
        check_images(self, task)

    def network(self, task: Task, pick: Pick) -> nn.Module:
        values = {choice.name: pick.number(choice.name) for choice in self.choices}
        if not all(isinstance(value, int | float) for value in values.values()):
            raise UsageError("networks of space 'nago' share no weights: take a method that trains each by itself.")
        wanted = self.params or (250_000 if min(task.input_shape[1:]) < 32 else 4_000_000)
        plan = Plan.drawn(values)
        return _network(task, plan, _widths(task, plan, wanted))


class Plan:
    """The graphs of one network.

    Args:
        top: edges between cells.
        cells: of each cell its edges between blocks.
        blocks: of each block of each cell its edges between convolutions.
        sizes: nodes of the top graph, of a cell and of a block.
    """

    def __init__(
        self, top: Edges, cells: Sequence[Edges], blocks: Sequence[Sequence[Edges]], sizes: tuple[int, int, int]
    ) -> None:
        self.top, self.cells, self.blocks, self.sizes = top, cells, blocks, sizes

    @classmethod
    def drawn(cls, values: Mapping[str, Option]) -> Plan:
        """The graphs that these values draw: the same each time."""
        seed = derive(0, "nago", *(f"{name}={value}" for name, value in values.items())) % 2**31
        top, middle, bottom = (int(values[f"{level}.nodes"]) for level in ("top", "middle", "bottom"))

        def small_world(level: str, nodes: int, *keys: int) -> Edges:
            near, chance = int(values[f"{level}.neighbours"]), float(values[f"{level}.probability"])
            return watts_strogatz(nodes, near, chance, derive(seed, level, *keys) % 2**31)

        chance = float(values["middle.probability"])
        return cls(
            small_world("top", top),
            [erdos_renyi(middle, chance, derive(seed, "middle", cell) % 2**31) for cell in range(top)],
            [[small_world("bottom", bottom, cell, block) for block in range(middle)] for cell in range(top)],
            (top, middle, bottom),
        )


def watts_strogatz(nodes: int, neighbours: int, probability: float, seed: int) -> Edges:
    """A connected ring of nodes joined to their nearest, each edge moved with a probability (Watts, Strogatz 1998)."""
    near = min(neighbours, nodes - 1)
    graphs = (
        networkx.watts_strogatz_graph(nodes, near, probability, seed=derive(seed, number) % 2**31)
        for number in range(TRIES)
    )
    return _directed(next(filter(networkx.is_connected, graphs), None), nodes)


def erdos_renyi(nodes: int, probability: float, seed: int) -> Edges:
    """A connected graph in which each pair is joined with a probability (Erdos, Renyi 1960)."""
    graphs = (
        networkx.gnp_random_graph(nodes, probability, seed=derive(seed, number) % 2**31) for number in range(TRIES)
    )
    return _directed(next(filter(networkx.is_connected, graphs), None), nodes)


def _directed(graph: networkx.Graph | None, nodes: int) -> Edges:
    """Edges from lower to higher numbers; those of a chain where no graph hung together."""
    pairs = networkx.path_graph(nodes).edges if graph is None else graph.edges
    return tuple(sorted((min(pair), max(pair)) for pair in pairs))


def _stages(plan: Plan) -> list[int]:
    """The stage of each cell: a third of them in each."""
    cells = plan.sizes[0]
    return [min(STAGES - 1, STAGES * cell // cells) for cell in range(cells)]


def _ends(plan: Plan) -> tuple[list[int], list[int]]:
    """The cells that read the input, and those that are the output."""
    fed, feeding = {j for _, j in plan.top}, {i for i, _ in plan.top}
    cells = range(plan.sizes[0])
    return [cell for cell in cells if cell not in fed], [cell for cell in cells if cell not in feeding]


def _network(task: Task, plan: Plan, widths: Sequence[int]) -> nn.Module:
    top, _, bottom = plan.sizes
    stages = _stages(plan)

    def block(cell: int, edges: Edges) -> nn.Module:
        width = widths[stages[cell]]
        return Wired([ReLUConvBN(width, width, 3) for _ in range(bottom)], {edge: Weighted() for edge in edges})

    def change(source: int, target: int) -> nn.Module | None:
        """What brings a map of one stage to the size of another; None within a stage."""
        apart = target - source
        return ReLUConvBN(widths[source], widths[target], 1, 2**apart) if apart else None

    cells = [
        Wired([block(cell, edges) for edges in plan.blocks[cell]], {edge: Weighted() for edge in plan.cells[cell]})
        for cell in range(top)
    ]
    edges = {(i, j): Weighted(change(stages[i], stages[j])) for i, j in plan.top}
    first, last = _ends(plan)
    entries = {cell: module for cell in first if (module := change(0, stages[cell])) is not None}
    exits = {cell: module for cell in last if (module := change(stages[cell], stages[-1])) is not None}
    stem = ConvBNActivation(task.input_shape[0], widths[0], 3)
    normalised = nn.Sequential(nn.BatchNorm2d(widths[-1]), nn.ReLU())
    layers = [stem, Wired(cells, edges, entries, exits), normalised]
    return Body(layers, [2], [widths[-1]], [2 ** stages[-1]]).with_head(task)


def _params(task: Task, plan: Plan, widths: Sequence[int]) -> int:
    """What a network has, without its head: counted, for building a thousand convolutions takes seconds."""
    _, middle, bottom = plan.sizes
    stages = _stages(plan)
    first, last = _ends(plan)
    changes = [(stages[i], stages[j]) for i, j in plan.top]
    changes += [(0, stages[cell]) for cell in first] + [(stages[cell], stages[-1]) for cell in last]
    projected = sum(widths[i] * widths[j] + 2 * widths[j] for i, j in changes if i != j)
    cells = sum(middle * bottom * (9 * widths[stage] ** 2 + 2 * widths[stage]) for stage in stages)
    weights = sum(map(len, plan.cells)) + sum(len(edges) for blocks in plan.blocks for edges in blocks) + len(plan.top)
    return 9 * task.input_shape[0] * widths[0] + 2 * widths[0] + projected + cells + weights + 2 * widths[-1]


def _widths(task: Task, plan: Plan, wanted: int) -> list[int]:
    """The channels of the three stages, 1 : 2 : 4 as nearly as can be, that come nearest to the parameters wanted."""

    def rounded(width: float) -> list[int]:
        return [max(1, round(width * 2**stage)) for stage in range(STAGES)]

    def off(width: float) -> float:
        widths = rounded(width)
        with torch.device("meta"):
            head = sum(parameter.numel() for parameter in task.head(widths[-1]).parameters())
        return float(abs(_params(task, plan, widths) + head - wanted))

    about = 8 * math.sqrt(wanted / _params(task, plan, rounded(8)))
    return rounded(min((about * step / 40 for step in range(20, 61)), key=off))
