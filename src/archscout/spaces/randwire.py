"""A space of randomly wired networks (Xie, Kirillov, Girshick, He 2019, arXiv 1904.01569): any graph of some nodes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property

from torch import nn

from archscout.core.architecture import Architecture
from archscout.core.choice import Choice, Option
from archscout.core.errors import UsageError
from archscout.core.graph import Graph, Node
from archscout.core.registry import register
from archscout.core.space import Pick, Space
from archscout.core.task import Task
from archscout.networks.body import Body
from archscout.networks.operations import ConvBNActivation, SeparableConv, Zero
from archscout.networks.wired import Weighted, Wired
from archscout.spaces.images import check_images
from archscout.spaces.sizes import check_sizes
from archscout.spaces.wiring import canonical_text

NODES, MOST = 8, 32


@register("space", "randwire")
class RandWire(Space):
    """Stages of 8 nodes, each pair of which may be joined: 2^28 architectures.

    A node is the weighted sum of what feeds it, ReLU, a separable 3 x 3 convolution and batch normalisation. One that
    nothing feeds reads the input of the stage; the mean of those that feed nothing is its output. All three stages are
    wired alike; each but the first begins by halving height and width and doubling the channels. The text has for
    each node but the first a bit for every earlier one: `1-01-110` joins nodes 0 and 1, 1 and 2, and both of 0 and 1 to
    3.

    Args:
        width: channels of the first stage. Default: 32 for inputs of 32 x 32 and more, 8 below.
        nodes: of a stage; 8 unless given (32 is the published size).

    Different from the publication: stages share their wiring, so that it can be searched, and halve before their first
    nodes.
    """

    def __init__(self, width: int | None = None, nodes: int = NODES) -> None:
        check_sizes("randwire", width=width)
        if type(nodes) is not int or not 2 <= nodes <= MOST:
            raise UsageError(f"the nodes of space 'randwire' must be a whole number from 2 to {MOST}, not {nodes}.")
        self.name = "randwire"
        self.width, self.nodes = width, nodes

    @cached_property
    def pairs(self) -> tuple[tuple[int, int], ...]:
        """All pairs of an earlier and a later node."""
        return tuple((i, j) for j in range(1, self.nodes) for i in range(j))

    @cached_property
    def choices(self) -> Sequence[Choice]:
        return tuple(Choice(f"edge {i}->{j}", (0, 1)) for i, j in self.pairs)

    def format(self, values: Mapping[str, Option]) -> str:
        return "-".join("".join(str(values[f"edge {i}->{j}"]) for i in range(j)) for j in range(1, self.nodes))

    def read(self, text: str) -> dict[str, Option]:
        short = text.strip() if len(text) <= 80 else text.strip()[:77] + "..."
        rows = text.strip().split("-")
        if len(rows) != self.nodes - 1:
            raise UsageError(f"'{short}' has bits for {len(rows)} nodes, not for {self.nodes - 1}: write 1-01-110-...")
        for node, row in enumerate(rows, start=1):
            if len(row) != node or set(row) - {"0", "1"}:
                raise UsageError(f"node {node} of '{short}' must be {node} bits (0 or 1), one for each earlier node.")
        return {f"edge {i}->{j}": int(rows[j - 1][i]) for i, j in self.pairs}

    def canonical(self, architecture: Architecture) -> str:
        """The same text for two graphs exactly when renumbering the nodes turns one into the other."""
        feeds: list[dict[tuple[int, int], int]] = []
        for node in range(self.nodes):
            sources = [source for source in range(node) if architecture[f"edge {source}->{node}"]]
            feeds.append({(source, 0): 1 for source in sources} or {(-1, 0): 1})
        return canonical_text(["conv"] * self.nodes, feeds)

    def graph(self, architecture: Architecture) -> Graph:
        """Input, nodes, output."""
        wires = [(i + 1, j + 1) for i, j in self.pairs if architecture[f"edge {i}->{j}"]]
        fed, feeding = {j for _, j in wires}, {i for i, _ in wires}
        places = range(1, self.nodes + 1)
        wires += [(0, node) for node in places if node not in fed]
        wires += [(node, self.nodes + 1) for node in places if node not in feeding]
        nodes = (Node("input"), *[Node("sep_conv_3x3")] * self.nodes, Node("output"))
        return Graph(nodes, tuple(sorted(wires)))

    def check_task(self, task: Task) -> None:
        check_images(self, task)

    def network(self, task: Task, pick: Pick) -> nn.Module:
        width = self.width or (8 if min(task.input_shape[1:]) < 32 else 32)
        layers: list[nn.Module] = [ConvBNActivation(task.input_shape[0], width, 3)]
        ends = []
        for stage in range(3):
            channels = width * 2**stage
            if stage:
                halved = ConvBNActivation(channels // 2, channels, 3, 2)
                layers.append(nn.Sequential(nn.ReLU(), halved))
            nodes = [SeparableConv(channels, channels, 3) for _ in range(self.nodes)]
            edges = {(i, j): pick(f"edge {i}->{j}", {0: Zero, 1: Weighted}) for i, j in self.pairs}
            layers.append(Wired(nodes, edges))
            ends.append(len(layers) - 1)
        return Body(layers, ends, [width, 2 * width, 4 * width], [1, 2, 4]).with_head(task)
