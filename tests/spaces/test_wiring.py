"""Canonical texts, against networkx's isomorphism test."""

import itertools

import networkx
import pytest
from networkx.algorithms.isomorphism import categorical_edge_match, categorical_node_match

from archscout.core.seeds import stream
from archscout.spaces.wiring import canonical_text


def random_wiring(rng, modules):
    labels = [str(rng.choice(["a", "b"])) for _ in range(modules)]
    feeds = []
    for module in range(modules):
        sources = {}
        for source in range(-2, module):
            if rng.random() < 0.4:
                sources[source, int(rng.integers(2))] = int(rng.integers(1, 3))
        feeds.append(sources)
    return labels, feeds


def graph_of(labels, feeds):
    graph = networkx.MultiDiGraph()
    for source in (-2, -1):
        graph.add_node(source, label=f"input {source}")
    for module, label in enumerate(labels):
        graph.add_node(module, label=label)
        for (source, port), count in feeds[module].items():
            graph.add_edge(source, module, kind=(port, count))
    return graph


@pytest.mark.parametrize("modules", [1, 2, 3, 4])
def test_one_text_is_one_isomorphism_class(modules):
    rng = stream(0, "wiring", modules)
    drawn = [random_wiring(rng, modules) for _ in range(40)]
    texts = [canonical_text(*wiring) for wiring in drawn]
    graphs = [graph_of(*wiring) for wiring in drawn]
    same_node, same_edge = categorical_node_match("label", None), categorical_edge_match("kind", None)
    for (one, first), (other, second) in itertools.combinations(zip(texts, graphs, strict=True), 2):

        def kinds(graph, source, target):
            return sorted(data["kind"] for data in graph[source][target].values())

        simple = []
        for graph in (first, second):
            plain = networkx.DiGraph()
            plain.add_nodes_from(graph.nodes(data=True))
            plain.add_edges_from((s, t, {"kind": tuple(kinds(graph, s, t))}) for s, t in set(graph.edges()))
            simple.append(plain)
        assert (one == other) == networkx.is_isomorphic(*simple, node_match=same_node, edge_match=same_edge)


@pytest.mark.parametrize("seed", range(20))
def test_the_order_of_modules_does_not_matter(seed):
    rng = stream(seed, "order")
    labels, feeds = random_wiring(rng, 14)
    labels = ["a"] * 14 if seed % 2 else labels
    order = [int(module) for module in rng.permutation(14)]
    moved_labels, moved_feeds = [""] * 14, [{} for _ in range(14)]
    for module, place in enumerate(order):
        moved_labels[place] = labels[module]
        moved_feeds[place] = {(order[s] if s >= 0 else s, port): n for (s, port), n in feeds[module].items()}
    assert canonical_text(labels, feeds) == canonical_text(moved_labels, moved_feeds)


def test_modules_that_only_trying_can_tell_apart():
    """Two rings of three and one of six, drawn as layers that feed each other: every module looks alike at first."""

    def layers(successors):
        bottom = [{(-1, 0): 1} for _ in range(6)]
        top = [{(k, 0): 1, (successors[k], 0): 1} for k in range(6)]
        return canonical_text(["a"] * 12, bottom + top)

    six, threes = [1, 2, 3, 4, 5, 0], [1, 2, 0, 4, 5, 3]
    assert layers(six) != layers(threes)
    assert layers(six) == layers([5, 0, 1, 2, 3, 4])


def test_twins_cost_nothing():
    labels = ["conv"] * 40
    assert canonical_text(labels, [{(-1, 0): 1}] * 40).count("conv") == 40
