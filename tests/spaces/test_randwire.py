"""Randomly wired networks: any graph, and the sum that goes into a node."""

import itertools

import pytest
import torch
from torch import nn

from archscout.core.errors import UsageError
from archscout.networks.wired import Weighted, Wired
from archscout.spaces.randwire import RandWire
from archscout.testing import SpaceConformance


class TestRandWire(SpaceConformance):
    examples = 8
    networks = 3

    def space(self):
        return RandWire(width=4, nodes=5)


class Add(nn.Module):
    def __init__(self, number):
        super().__init__()
        self.number = number

    def forward(self, x):
        return x + self.number


def test_a_wired_graph_computes_what_its_drawing_says():
    x = torch.tensor([[3.0]])
    wired = Wired([Add(1), Add(10), Add(100)], {(0, 1): Weighted(), (0, 2): Weighted()})
    # Node 0: 3 + 1; nodes 1 and 2: half of it and their numbers; the mean of both ends.
    assert wired(x).item() == ((2 + 10) + (2 + 100)) / 2
    apart = Wired([Add(1), Add(10)], {}, entries={1: Add(0.5)}, exits={0: Add(1000)})
    assert apart(x).item() == ((3 + 1 + 1000) + (3 + 0.5 + 10)) / 2


def test_graphs_on_four_nodes_are_counted_by_isomorphism():
    """31 unlabelled graphs without circles are on four nodes (OEIS A003087: 1, 2, 6, 31, 302)."""
    for nodes, count in ((2, 2), (3, 6), (4, 31)):
        space = RandWire(nodes=nodes)
        forms = {space.canonical(one) for one in space}
        assert len(forms) == count
        assert len(list(space)) == 2 ** len(list(itertools.combinations(range(nodes), 2))) == space.size()


def test_text_that_is_no_wiring_is_refused():
    space = RandWire(nodes=4)
    assert space.graph(space.parse("1-01-110")).edges == ((0, 1), (1, 2), (1, 4), (2, 3), (2, 4), (3, 5), (4, 5))
    with pytest.raises(UsageError, match="bits for 2 nodes, not for 3"):
        space.parse("1-01")
    with pytest.raises(UsageError, match="node 2 of '1-02-110' must be 2 bits"):
        space.parse("1-02-110")
    with pytest.raises(UsageError, match="from 2 to 32"):
        RandWire(nodes=1)
