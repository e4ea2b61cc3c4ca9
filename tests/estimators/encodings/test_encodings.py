"""Encodings against naive definitions, on random graphs and on NAS-Bench-201."""

import itertools
import time
from collections import Counter

import networkx
import numpy as np
import pytest

from archscout.core.choice import Choice
from archscout.core.errors import UsageError
from archscout.core.graph import Graph, Node
from archscout.core.registry import create
from archscout.core.space import Space
from archscout.estimators.encodings.encode import ENCODINGS, default_encoding, encode, widths
from archscout.estimators.encodings.graphs import _arrays, graphs, pruned, reference
from archscout.estimators.encodings.layers import COLUMNS, layers
from archscout.estimators.encodings.live import _blocks, blocks, live
from archscout.estimators.encodings.path import path
from archscout.estimators.encodings.scores import ranked
from archscout.estimators.encodings.sequence import sequence
from archscout.estimators.encodings.tensors import tensors
from archscout.estimators.encodings.vertices import vertices
from archscout.estimators.encodings.wl import wl
from archscout.networks.pick import build
from archscout.testing import tiny_task

LABELS = ("conv", "none", "pool", "skip_connect")
VERTICES = 6
EDGES = tuple((i, j) for j in range(1, VERTICES) for i in range(j))


class AnyGraph(Space):
    """Any wiring of an input, four labelled vertices and an output, dangling ones among them."""

    name = "any_graph"

    @property
    def choices(self):
        edges = [Choice(f"edge {i}->{j}", (False, True)) for i, j in EDGES]
        return [*edges, *(Choice(f"vertex {v}", LABELS) for v in range(1, VERTICES - 1))]

    def network(self, task, pick):
        raise AssertionError("no network is built here")

    def graph(self, architecture):
        inner = [Node(architecture[f"vertex {v}"]) for v in range(1, VERTICES - 1)]
        edges = [(i, j) for i, j in EDGES if architecture[f"edge {i}->{j}"]]
        return Graph((Node("input"), *inner, Node("output")), tuple(edges))


class Renamed(AnyGraph):
    """The same graphs with their vertices in another topological order."""

    def graph(self, architecture):
        graph = super().graph(architecture)
        rng = np.random.default_rng(len(graph.edges))
        sources = {j: {i for i, k in graph.edges if k == j} for j in range(VERTICES)}
        order, waiting = [0], set(range(1, VERTICES - 1))
        while waiting:
            ready = sorted(v for v in waiting if not sources[v] & waiting)
            order.append(ready[int(rng.integers(len(ready)))])
            waiting.remove(order[-1])
        order.append(VERTICES - 1)
        place = {vertex: number for number, vertex in enumerate(order)}
        return Graph(tuple(graph.nodes[v] for v in order), tuple(sorted((place[i], place[j]) for i, j in graph.edges)))


def sampled(space, count, seed=0):
    rng = np.random.default_rng(seed)
    return [space.sample(rng) for _ in range(count)]


def label_paths(graph):
    """Every path from input to output, as the labels between."""
    found, last = [], len(graph.nodes) - 1

    def walk(node, labels):
        for source, target in graph.edges:
            if source == node and target == last:
                found.append(tuple(labels))
            elif source == node:
                walk(target, [*labels, graph.nodes[target].label])

    walk(0, [])
    return found


def live_paths(graph):
    return [tuple(x for x in labels if x != "skip_connect") for labels in label_paths(graph) if "none" not in labels]


@pytest.fixture(scope="module")
def space():
    return AnyGraph()


@pytest.fixture(scope="module")
def cells():
    return create("space", "nasbench201")


def test_pruning_keeps_every_live_path_and_nothing_else(space):
    architectures = sampled(space, 300)
    whole = pruned(graphs(space, architectures))
    for number, architecture in enumerate(architectures):
        edges, labels = whole.edges[number], whole.labels[number]
        found = Counter()
        for length in range(VERTICES - 1):
            for inner in itertools.combinations(range(1, VERTICES - 1), length):
                ways = np.prod([edges[a, b] for a, b in itertools.pairwise((0, *inner, VERTICES - 1))])
                if ways:
                    found[tuple(whole.vocabulary[labels[v]] for v in inner)] += ways
        assert found == Counter(live_paths(space.graph(architecture)))
        for vertex in range(1, VERTICES - 1):
            assert (labels[vertex] >= 0) == bool(edges[:, vertex].any() and edges[vertex].any())


def test_live_features_are_those_of_the_paths(space):
    operations = reference(space).operations
    assert operations == ("conv", "pool", "other")
    architectures = sampled(space, 200, 1)
    found = _blocks(pruned(graphs(space, architectures)), operations)
    for row, architecture in enumerate(architectures):
        paths = live_paths(space.graph(architecture))
        for k, label in enumerate(operations):
            occurring = [labels.count(label) for labels in paths]
            assert found["through"][row, k] == sum(occurring)
            assert found["mean on a path"][row, k] == pytest.approx(sum(occurring) / max(1, len(paths)))
            assert found["most on a path"][row, k] == max(occurring, default=-1)
            assert found["fewest on a path"][row, k] == min(occurring, default=-1)
            assert found["avoiding"][row, k] == sum(label not in labels for labels in paths)
            assert found["only"][row, k] == sum(set(labels) <= {label} for labels in paths)
            assert found["any only"][row, k] == min(1, found["only"][row, k])
        together = [labels.count("conv") + labels.count("pool") for labels in paths]
        assert found["most of a pair"][row, 0] == max(together, default=-1)
        assert found["fewest of a pair"][row, 0] == min(together, default=-1)
        lengths = Counter(len(labels) + 1 for labels in paths)
        assert found["lengths"][row].tolist() == [lengths[n] for n in range(1, 7)]
        assert found["sizes"][row, 3] == pytest.approx(np.log1p(len(paths)))


def test_depths_and_order_are_those_of_networkx(space):
    architectures = sampled(space, 100, 2)
    whole = pruned(graphs(space, architectures))
    operations = reference(space).operations
    found = _blocks(whole, operations)
    for row in range(len(architectures)):
        graph = networkx.from_numpy_array(whole.edges[row] > 0, create_using=networkx.DiGraph)
        live = [v for v in range(1, VERTICES - 1) if whole.labels[row, v] >= 0]
        label = {v: whole.vocabulary[whole.labels[row, v]] for v in live}
        depth = {v: max(map(len, networkx.all_simple_paths(graph, 0, v))) - 1 for v in live}
        height = {v: max(map(len, networkx.all_simple_paths(graph, v, VERTICES - 1))) - 1 for v in live}
        for k, operation in enumerate(operations):
            mine = [v for v in live if label[v] == operation]
            assert found["depths"][row, k] == sum(depth[v] for v in mine)
            assert found["depths"][row, len(operations) + k] == sum(height[v] for v in mine)
            for j, other in enumerate(operations):
                before = sum(label[b] == other for a in mine for b in networkx.descendants(graph, a) if b in label)
                assert found["before"][row, k * len(operations) + j] == before


@pytest.mark.parametrize("name", ["live", "wl", "path"])
def test_isomorphic_graphs_are_encoded_alike(space, name):
    architectures = sampled(space, 300, 3)
    ours, theirs = graphs(space, architectures), graphs(Renamed(), architectures)
    assert (ours.labels != theirs.labels).any(), "nothing was renamed"
    first, second = (ENCODINGS[name](one, architectures) for one in (space, Renamed()))
    np.testing.assert_allclose(first, second, rtol=1e-6)


def test_plain_encodings_tell_isomorphic_graphs_apart(space):
    architectures = sampled(space, 300, 3)
    for name in ("adjacency", "sequence"):
        first, second = (ENCODINGS[name](one, architectures) for one in (space, Renamed()))
        assert first.shape == second.shape
        assert (first != second).any()


def test_path_encoding_is_the_set_of_paths(space):
    architectures = sampled(space, 200, 4)
    made = path(space, architectures)
    sequences = [s for length in range(5) for s in itertools.product(LABELS, repeat=length)]
    assert made.shape == (200, 341)
    for row, architecture in zip(made, architectures, strict=True):
        paths = set(label_paths(space.graph(architecture)))
        assert row.tolist() == [float(s in paths) for s in sequences]


def test_the_sequence_can_be_read_back(space):
    architectures = sampled(space, 100, 5)
    labels = reference(space).labels
    made = sequence(space, architectures)
    assert made.shape == (100, (VERTICES + 2) * (VERTICES - 1) // 2)
    for row, architecture in zip(made, architectures, strict=True):
        graph, tokens = space.graph(architecture), iter(row.tolist())
        for vertex in range(1, VERTICES):
            bits = [next(tokens) for _ in range(vertex)]
            assert [i for i, bit in enumerate(bits) if bit == 2] == list(graph.predecessors(vertex))
            assert labels[next(tokens) - 3] == graph.nodes[vertex].label


def test_wl_round_one_counts_neighbourhoods(space):
    architectures = sampled(space, 60, 6)
    whole = pruned(graphs(space, architectures))
    made = wl(space, architectures)
    labels = len(reference(space).labels)

    def kind(edges, codes, v):
        before = sorted((codes[u], edges[u, v]) for u in range(VERTICES) if edges[u, v])
        after = sorted((codes[u], edges[v, u]) for u in range(VERTICES) if edges[v, u])
        return codes[v], tuple(before), tuple(after)

    kinds = [
        Counter(kind(edges, codes, v) for v in range(VERTICES) if codes[v] >= 0)
        for edges, codes in zip(whole.edges, whole.labels, strict=True)
    ]
    for a, b in itertools.combinations(range(60), 2):
        if kinds[a] == kinds[b]:
            np.testing.assert_array_equal(made[a, : labels + 256], made[b, : labels + 256])
    distinct = len({frozenset(k.items()) for k in kinds})
    assert len(np.unique(made[:, : labels + 256], axis=0)) >= 0.95 * distinct


def test_tensors_hold_the_graph_and_the_whole_node(space):
    architectures = sampled(space, 50, 7)
    made, whole = tensors(space, architectures), tensors(space, architectures, whole=True)
    assert made.adjacency.shape == (50, VERTICES, VERTICES)
    assert whole.adjacency.shape == (50, VERTICES + 1, VERTICES + 1)
    for number, architecture in enumerate(architectures):
        graph = space.graph(architecture)
        assert {tuple(edge) for edge in np.argwhere(made.adjacency[number])} == set(graph.edges)
        assert made.vertices[number] == len(graph.nodes)
        off = whole.adjacency[number] - np.diag(np.diag(whole.adjacency[number]))
        np.testing.assert_array_equal(off[:-1, :-1], made.adjacency[number])
        assert np.diag(whole.adjacency[number]).all()
        assert off[-1, :-1].all()
    assert (made.operations.sum(axis=2) == 1).all()


def test_the_published_dimensions_of_nasbench201(cells):
    architectures = sampled(cells, 5)
    assert encode("adjacency", cells, architectures).shape == (5, 30)
    assert path(cells, architectures).shape == (5, 155)
    assert sequence(cells, architectures).shape == (5, 35)


def test_live_features_are_those_of_the_network(cells):
    """Equal exactly where the published classes without dead edges are, but for pools of one tensor."""
    architectures = list(itertools.islice(cells, 0, None, 5))
    made = live(cells, architectures)
    by_network = {}
    for row, architecture in zip(made, architectures, strict=True):
        by_network.setdefault(cells.canonical(architecture), []).append((row, architecture))
    differing = 0
    for alike in by_network.values():
        pools = any(str(a).count("avg_pool") > 1 for _, a in alike)
        same = all((row == alike[0][0]).all() for row, _ in alike)
        assert same or pools
        differing += not same
    assert differing < 0.03 * len(by_network)
    assert len(np.unique(made, axis=0)) > 0.97 * len(by_network)


def test_encoding_the_whole_space_takes_seconds(cells):
    architectures = list(cells)
    start = time.process_time()
    made = live(cells, architectures)
    assert time.process_time() - start < 6  # under 2 s by itself; others may share the machine's caches
    assert made.shape == (15625, sum(blocks(cells)))
    assert made.dtype == np.float32
    assert np.isfinite(made).all()


def test_columns_do_not_depend_on_what_is_encoded_together(cells):
    architectures = sampled(cells, 40, 8)
    for name in ENCODINGS:
        together = ENCODINGS[name](cells, architectures)
        np.testing.assert_array_equal(np.concatenate([ENCODINGS[name](cells, [a]) for a in architectures]), together)
        np.testing.assert_array_equal(ENCODINGS[name](cells, [str(a) for a in architectures]), together)
        assert ENCODINGS[name](cells, []).shape == (0, together.shape[1])


def test_an_encoding_is_computed_once_for_the_same_architectures(cells, monkeypatch):
    calls = []
    counted = lambda space, architectures: calls.append(1) or live(space, architectures)  # noqa: E731
    monkeypatch.setitem(ENCODINGS, "live", counted)
    architectures = sampled(cells, 10, 9)
    first = encode("live", cells, architectures)
    again = encode("live", create("space", "nasbench201"), [str(a) for a in architectures])
    assert first is again
    assert len(calls) == 1
    assert not first.flags.writeable
    encode("live", cells, architectures[::-1])
    assert len(calls) == 2


def test_several_encodings_stand_side_by_side(cells):
    architectures = sampled(cells, 6, 10)
    both = encode("live+choices", cells, architectures)
    assert both.shape[1] == sum(widths("live+choices", cells))
    np.testing.assert_array_equal(both[:, -30:], encode("choices", cells, architectures))
    assert default_encoding(cells) == "live+choices"


def test_unknown_encodings_and_spaces_without_graphs_are_refused(cells):
    with pytest.raises(UsageError, match="did you mean 'live'"):
        encode("alive", cells, [])

    class NoGraph(AnyGraph):
        graph = Space.graph

    with pytest.raises(UsageError, match="no graph of its own"):
        live(NoGraph(), [])
    assert default_encoding(NoGraph()) == "numbers+choices"


def test_labels_beyond_the_reference_set_are_other_and_large_graphs_are_refused(space):
    graph = Graph((Node("input"), Node("new"), Node("output")), ((0, 1), (1, 2)))
    whole = _arrays([graph], reference(space).labels, VERTICES)
    assert whole.vocabulary[whole.labels[0, 1]] == "other"

    class Larger(AnyGraph):
        def graph(self, architecture):
            extra = tuple(Node("conv") for _ in range(self.extra))
            return Graph((Node("input"), *extra, Node("output")), ((0, len(extra) + 1),))

        extra = 1

    larger = Larger()
    reference(larger)
    larger.extra = 9
    with pytest.raises(UsageError, match="11 vertices does not fit"):
        tensors(larger, sampled(space, 1))
    assert len(live(larger, sampled(space, 1))) == 1


def test_layer_rows_count_the_weights_of_the_network(cells):
    small = create("space", "nasbench201:width=4,cells=1")
    task = tiny_task()
    for architecture in sampled(small, 5, 11):
        (rows,) = layers(small, [architecture], task)
        network = build(small, architecture, task)
        assert rows.shape[1] == len(COLUMNS)
        assert rows[:, COLUMNS.index("params")].sum() == sum(p.numel() for p in network.parameters())
        assert rows[0, COLUMNS.index("conv")] == 1
        assert rows[0, COLUMNS.index("inputs")] == task.input_shape[0]
        assert rows[-1, COLUMNS.index("linear")] == 1


def test_vertex_tensors_weigh_edges_by_cost():
    small = create("space", "nasbench201:width=4,cells=1")
    task = tiny_task()
    architecture = small.parse("|nor_conv_3x3~0|+|none~0|nor_conv_1x1~1|+|skip_connect~0|none~1|avg_pool_3x3~2|")
    (made,) = vertices(small, [architecture], task)
    graph = small.graph(architecture)
    assert {tuple(edge) for edge in np.argwhere(made[0])} == set(graph.edges)
    params = {node.label: made[2, :, i].max() for i, node in enumerate(graph.nodes)}
    # A convolution and its normalisation at widths 4, 8 and 16.
    assert params["nor_conv_3x3"] == pytest.approx(sum(9 * c * c + 2 * c for c in (4, 8, 16)) / 1e6)
    assert params["nor_conv_1x1"] == pytest.approx(sum(c * c + 2 * c for c in (4, 8, 16)) / 1e6)
    assert params["skip_connect"] == params["avg_pool_3x3"] == params["output"] == 0
    side = task.input_shape[1]
    macs = sum(9 * c * c * (side // 2**s) ** 2 for s, c in enumerate((4, 8, 16)))
    assert made[1, 0, 1] == pytest.approx(macs / 1e6)


def test_scores_become_ranks():
    values = np.array([[3.0, np.nan], [1.0, 5.0], [3.0, -2.0], [9.0, np.nan]])
    np.testing.assert_allclose(ranked(values), [[0.5, 0.25], [0.125, 0.875], [0.5, 0.625], [0.875, 0.25]])
    assert ranked(np.empty((0, 2))).shape == (0, 2)
