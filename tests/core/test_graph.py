import networkx
import pytest

from archscout.core.graph import Graph, Node

DIAMOND = Graph(tuple(map(Node, ("input", "left", "right", "output"))), ((0, 1), (0, 2), (1, 3), (2, 3)))


def test_predecessors_are_those_of_another_library():
    other = networkx.DiGraph(DIAMOND.edges)
    for node in range(4):
        assert sorted(DIAMOND.predecessors(node)) == sorted(other.predecessors(node))


def test_labels_are_in_the_order_of_the_nodes():
    assert DIAMOND.labels == ("input", "left", "right", "output")


def test_graphs_are_values():
    again = Graph(tuple(map(Node, ("input", "left", "right", "output"))), ((0, 1), (0, 2), (1, 3), (2, 3)))
    assert again == DIAMOND
    assert hash(again) == hash(DIAMOND)
    assert Graph(DIAMOND.nodes, ((0, 1),)) != DIAMOND


@pytest.mark.parametrize("edge", [(1, 1), (2, 1), (-1, 2), (0, 4)])
def test_an_edge_that_does_not_go_forward_is_refused(edge):
    with pytest.raises(ValueError, match=f"edge {edge[0]}->{edge[1]} does not go forward among 4 nodes"):
        Graph(DIAMOND.nodes, (edge,))
