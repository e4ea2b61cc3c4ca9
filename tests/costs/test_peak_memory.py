"""Liveness against hand-worked networks, a simulation that knows no liveness, every order there is, and real memory."""

import itertools
from collections.abc import Iterator

import hypothesis.strategies as st
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from torch import Tensor, nn
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode

from archscout.core.cost import Cost
from archscout.core.errors import UsageError
from archscout.core.estimator import Setting
from archscout.core.graph import Graph, Node
from archscout.core.registry import create
from archscout.core.seeds import stream
from archscout.core.space import Space
from archscout.costs.peak_memory import PeakMemory, least_peak_bytes, peak_bytes
from archscout.networks.pick import build
from archscout.networks.tracing import trace
from archscout.testing import CostConformance
from archscout.testing.tasks import tiny_task


class TestPeakMemory(CostConformance):
    def cost(self) -> Cost:
        return PeakMemory()


@pytest.mark.parametrize(("precision", "share"), [("float32", 1.0), ("bfloat16", 0.5), ("int8", 0.25)])
def test_activations_of_fewer_bytes(precision: str, share: float) -> None:
    space, task = create("space", "nasbench201:width=4,cells=1"), tiny_task()
    architecture = space.sample(stream(0))
    plain, other = (
        cost.measure(architecture, Setting(space, task)) for cost in (PeakMemory(), PeakMemory(precision=precision))
    )
    assert other.value == share * plain.value
    assert other.details["precision"] == precision
    assert PeakMemory("int8").key == "peak_memory_int8_bytes"
    with pytest.raises(UsageError, match="no precision 'int4'"):
        PeakMemory("int4")


def simulated(graph: Graph) -> int:
    """Run the nodes with buffers that count their users: a buffer goes when no node to come refers to it."""
    buffers: list[int] = []
    of_node: list[int] = []
    peak = 0
    for position, node in enumerate(graph.nodes):
        if node.size == 0 and graph.predecessors(position):
            of_node.append(of_node[graph.predecessors(position)[0]])
        else:
            of_node.append(len(buffers))
            buffers.append(node.size)
        # While this node runs: its own buffer, and every one that it or a later node still has a reference to.
        held = {of_node[position]}
        pending = range(position, len(graph.nodes))
        for later in pending:
            held.update(of_node[source] for source in graph.predecessors(later) if source <= position)
        for later in range(position + 1, len(graph.nodes)):
            owner = _owner(graph, later)
            if owner <= position:
                held.add(of_node[owner])
        peak = max(peak, sum(buffers[buffer] for buffer in held))
    return peak


def _owner(graph: Graph, node: int) -> int:
    while graph.nodes[node].size == 0 and graph.predecessors(node):
        node = graph.predecessors(node)[0]
    return node


@st.composite
def graphs(draw: st.DrawFn, most: int = 9) -> Graph:
    count = draw(st.integers(2, most))
    nodes = tuple(Node("n", draw(st.integers(0, 5))) for _ in range(count))
    pairs = list(itertools.combinations(range(count), 2))
    edges = draw(st.lists(st.sampled_from(pairs), unique=True, max_size=12))
    return Graph(nodes, tuple(edges))


@settings(max_examples=100, deadline=None, derandomize=True, database=None)
@given(graphs())
def test_it_is_the_peak_of_a_simulation(graph: Graph) -> None:
    assert peak_bytes(graph) == simulated(graph)


def reordered(graph: Graph, order: tuple[int, ...]) -> Graph:
    place = {node: position for position, node in enumerate(order)}
    edges = tuple((place[source], place[target]) for target in order for source in graph.predecessors(target))
    return Graph(tuple(graph.nodes[node] for node in order), edges)


def every_order(graph: Graph) -> Iterator[tuple[int, ...]]:
    """All topological orders that begin with the input and compute the same.

    A node in place ends what its source was before: who read that source earlier must still come earlier.
    """
    pairs = set(graph.edges)
    for node, what in enumerate(graph.nodes):
        if what.size == 0 and graph.predecessors(node):
            written = graph.predecessors(node)[0]
            pairs |= {(reader, node) for reader in range(node) if written in graph.predecessors(reader)}
    for rest in itertools.permutations(range(1, len(graph.nodes))):
        place = {node: position for position, node in enumerate((0, *rest))}
        if all(place[before] < place[after] for before, after in pairs):
            yield (0, *rest)


@settings(max_examples=60, deadline=None, derandomize=True, database=None)
@given(graphs(most=7))
def test_no_order_needs_less_than_the_best_one(graph: Graph) -> None:
    least, best = least_peak_bytes(graph)
    assert best
    assert least == min(peak_bytes(reordered(graph, order)) for order in every_order(graph))


def test_an_order_that_is_better_than_the_one_written() -> None:
    """Two branches that widen: one after the other needs one wide tensor at a time, both at once two."""
    sizes = [1, 9, 9, 1, 1, 2]  # input, wide, wide, narrow, narrow, their sum
    graph = Graph(tuple(Node("n", size) for size in sizes), ((0, 1), (0, 2), (1, 3), (2, 4), (3, 5), (4, 5)))
    assert peak_bytes(graph) == 1 + 9 + 9
    assert least_peak_bytes(graph) == (1 + 1 + 9, True)


def test_what_the_search_does_not_settle_keeps_the_written_order() -> None:
    sizes = [1, 9, 9, 1, 1, 2]
    graph = Graph(tuple(Node("n", size) for size in sizes), ((0, 1), (0, 2), (1, 3), (2, 4), (3, 5), (4, 5)))
    assert least_peak_bytes(graph, states=2) == (19, False)


@pytest.mark.parametrize("name", ["nasbench201:width=16,cells=5", "mobile", "own"])
def test_networks_are_settled(name: str, own_space: Space) -> None:
    space = own_space if name == "own" else create("space", name)
    task = tiny_task((3, 32, 32)) if "nas" in name else tiny_task()
    for number in range(4):
        found = PeakMemory().measure(space.sample(stream(number)), Setting(space, task))
        assert found.details["best"]
        assert found.value <= found.details["as_written_bytes"]


def test_a_chain_needs_two_neighbours_at_a_time() -> None:
    sizes = [3, 7, 5, 9, 1]
    graph = Graph(tuple(Node("n", size) for size in sizes), tuple((i, i + 1) for i in range(4)))
    assert peak_bytes(graph) == 14


def test_a_residual_is_held_until_it_is_added() -> None:
    sizes = [4, 4, 10, 10, 4, 4]  # input, x, expanded, filtered, projected, x + projected
    edges = ((0, 1), (1, 2), (2, 3), (3, 4), (1, 5), (4, 5))
    assert peak_bytes(Graph(tuple(Node("n", size) for size in sizes), edges)) == 4 + 10 + 10


def test_in_place_saves_one_copy() -> None:
    def network(inplace: bool) -> nn.Module:
        return nn.Sequential(nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(inplace), nn.Conv2d(8, 1, 3, padding=1))

    assert peak_bytes(trace(network(False), (1, 6, 6))) == 4 * 36 * 16
    assert peak_bytes(trace(network(True), (1, 6, 6))) == 4 * 36 * 9


def test_a_published_network_by_hand() -> None:
    """All operations 3 x 3, stage one: while the second convolution into node 2 runs, five maps of 32 x 32 x 16 live.

    The cell's input and node 1 (node 3 will read both), the first term of node 2, and what the convolution reads and
    writes.
    """
    space, task = create("space", "nasbench201:width=16,cells=1"), tiny_task((3, 32, 32))
    architecture = space.parse(
        "|nor_conv_3x3~0|+|nor_conv_3x3~0|nor_conv_3x3~1|+|" + "|".join(f"nor_conv_3x3~{i}" for i in range(3)) + "|"
    )
    one = 4 * 16 * 32 * 32
    assert PeakMemory().measure(architecture, Setting(space, task)).value == 5 * one


class Memory(TorchDispatchMode):
    """The most bytes of storages alive after any operator, of those that operators made."""

    def __init__(self) -> None:
        super().__init__()
        self.made: dict[int, tuple[StorageWeakRef, int]] = {}
        self.peak = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        outputs = func(*args, **(kwargs or {}))
        for t in outputs if isinstance(outputs, tuple) else (outputs,):
            if isinstance(t, Tensor) and t.numel():
                storage = t.untyped_storage()
                self.made.setdefault(storage._cdata, (StorageWeakRef(storage), storage.nbytes()))
        alive = sum(size for reference, size in self.made.values() if not reference.expired())
        self.peak = max(self.peak, alive)
        return outputs


@pytest.mark.parametrize("name", ["mobile", "own"])
def test_real_memory_is_as_counted(name: str, own_space: Space) -> None:
    """Python may hold a tensor longer than needed, never shorter: the count is a lower bound, and nearly met."""
    space = own_space if name == "own" else create("space", name)
    task = tiny_task()
    for number in range(5):
        network = build(space, space.sample(stream(number)), task).eval()
        x = torch.zeros(1, *task.input_shape)
        weights = {p.untyped_storage()._cdata for p in (*network.parameters(), *network.buffers())}
        with torch.no_grad(), Memory() as memory:
            memory.made = {key: (StorageWeakRef(x.untyped_storage()), 0) for key in weights}
            network(x)
        real = memory.peak + x.nbytes
        counted = peak_bytes(trace(network, task.input_shape))
        assert counted <= real <= 2 * counted


class Careful(nn.Module):
    """Holds no tensor longer than needed."""

    def __init__(self) -> None:
        super().__init__()
        self.widen, self.same = nn.Parameter(torch.randn(4, 1, 3, 3)), nn.Parameter(torch.randn(4, 4, 3, 3))
        self.narrow = nn.Parameter(torch.randn(3, 4, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        trunk = F.relu_(F.conv2d(x, self.widen, padding=1))
        y = F.conv2d(trunk, self.same, padding=1)
        y = F.hardswish(y)
        y = y.transpose(2, 3)
        gate = y.mean((2, 3), keepdim=True)
        y = y * gate
        del gate
        y = y + trunk
        del trunk
        return F.conv2d(y, self.narrow).flatten(2)


def test_real_memory_of_careful_code_is_exactly_what_is_counted() -> None:
    network, x = Careful(), torch.zeros(1, 1, 6, 6)
    with torch.no_grad(), Memory() as memory:
        network(x)
    counted = peak_bytes(trace(network, (1, 6, 6)))
    assert counted == memory.peak == 4 * (3 * 4 * 36 + 4)
