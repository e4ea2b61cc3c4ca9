"""GraphPNAS: the generator's probabilities are probabilities, it learns what it is shown, and the search follows it."""

from collections import Counter

import numpy as np
import pytest
import torch

from archscout.core.errors import UsageError
from archscout.core.registry import create
from archscout.core.seeds import stream
from archscout.core.subspace import SubSpace
from archscout.core.trial import History, Trial
from archscout.strategies.graph_generator import Drawing, GraphGenerator, fitted
from archscout.strategies.graphpnas import SCHEDULES
from archscout.testing import StrategyConformance

SMALL = create("space", "randwire:nodes=4")
CELLS = create("space", "nasbench201")
PART = SubSpace(CELLS, {choice.name: ("none", "skip_connect", "nor_conv_3x3") for choice in CELLS.choices})


class TestGraphPNAS(StrategyConformance):
    examples = 4

    def space(self):
        return SMALL

    def strategy(self):
        return create("strategy", "graphpnas:first=4,keep=3,epochs=2,batch=20")


def test_an_edge_that_has_fewer_labels_than_others_is_drawn_with_its_own_alone():
    first, *others = CELLS.choices
    space = SubSpace(CELLS, {first.name: ["nor_conv_3x3"], others[0].name: ["none"]})
    drawn = GraphGenerator(Drawing(space)).sample(2000, stream(0))
    assert drawn
    assert {(one[first.name], one[others[0].name]) for one in drawn} == {("nor_conv_3x3", "none")}


@pytest.mark.parametrize("name", ["nasbench201", "nasbench101", "randwire:nodes=5"])
def test_a_drawing_gives_the_architecture_back(name):
    space = create("space", name)
    drawing = Drawing(space)
    some = [space.sample(stream(n, "drawing")) for n in range(20)]
    edges, vertices = drawing.tensors(some)
    again = [drawing.architecture(*pair) for pair in zip(edges.numpy(), vertices.numpy(), strict=True)]
    assert again == some


@pytest.mark.parametrize("space", [SMALL, create("space", "nasbench101")], ids=["edges", "vertices"])
def test_what_is_no_choice_has_no_label_when_it_learns_and_when_it_draws(space, monkeypatch):
    """The first node has no operation, and no edge goes backwards."""
    drawing, shown = Drawing(space), []
    choices = torch.zeros(drawing.nodes, drawing.nodes, dtype=torch.bool)
    for place in drawing.edges:
        choices[place] = True
    named = torch.tensor([node in drawing.vertices for node in range(drawing.nodes)])
    forward = GraphGenerator.forward

    def recorded(self, edges, vertices, steps):
        shown.append((edges.clone(), vertices.clone()))
        return forward(self, edges, vertices, steps)

    monkeypatch.setattr(GraphGenerator, "forward", recorded)
    GraphGenerator(drawing).sample(8, stream(0))
    for edges, vertices in [*shown, drawing.tensors([space.sample(stream(n, "drawing")) for n in range(8)])]:
        assert (edges[:, ~choices] == -1).all()
        assert (vertices[:, ~named] == -1).all()
    assert len(shown) == drawing.nodes - 1


@pytest.mark.parametrize(("space", "graphs"), [(SMALL, 64), (PART, 729)])
def test_probabilities_add_up_to_one(space, graphs):
    torch.manual_seed(0)
    drawing = Drawing(space)
    generator = GraphGenerator(drawing)
    everything = list(space)
    assert len(everything) == graphs
    with torch.no_grad():
        total = float(generator.log_likelihood(*drawing.tensors(everything)).double().exp().sum())
    assert total == pytest.approx(1, abs=1e-4)


def test_samples_come_as_often_as_the_likelihood_says():
    drawing = Drawing(SMALL)
    shown = [SMALL.parse("1-01-001"), SMALL.parse("0-11-100")]
    generator = fitted(drawing, shown, [1.0, 1.0], 100, seed=3)
    draws = Counter(one.text for one in generator.sample(1500, stream(1)))
    everything = list(SMALL)
    with torch.no_grad():
        chances = generator.log_likelihood(*drawing.tensors(everything)).exp().numpy()
    counts = np.asarray([draws[one.text] for one in everything])
    assert np.abs(counts / 1500 - chances).max() < 5 * np.sqrt(chances.max() / 1500)
    best = {everything[int(place)].text for place in np.argsort(-chances)[:2]}
    assert best == {one.text for one in shown}, "it has learned both, and what is between them is less likely"


def test_the_search_goes_where_good_networks_are():
    def value(one):
        return sum(option == "nor_conv_3x3" for option in CELLS.simplify(one).values()) / 6

    strategy = create("strategy", "graphpnas:first=30")
    history = History(
        Trial(n, one, CELLS.canonical(one), "trained", 1, "completed", value(one))
        for n, one in enumerate(CELLS.sample(stream(n, "shown")) for n in range(30))
    )
    proposals = [strategy.propose(CELLS, history, stream(n)) for n in range(20)]
    assert np.mean([value(one) for one in proposals]) > np.mean([t.value for t in history]) + 0.1
    assert all(CELLS.canonical(one) not in history.seen for one in proposals)


def test_schedules_are_those_of_the_paper():
    assert [SCHEDULES["first"](known, 30) for known in (0, 29, 30)] == [1, 1, 0]
    assert [SCHEDULES["harmonic"](known, 30) for known in (0, 30, 90)] == pytest.approx([1, 2 / 3, 2 / 5])
    assert [SCHEDULES["halving"](known, 30) for known in (0, 60, 120)] == pytest.approx([1, 1 / 2, 1 / 4])


def test_what_is_no_graph_and_impossible_settings_are_refused():
    with pytest.raises(UsageError, match="is not written as a graph"):
        create("strategy", "graphpnas").propose(create("space", "mobile"), History(), stream(0))
    with pytest.raises(UsageError, match="no schedule 'never'"):
        create("strategy", "graphpnas:schedule=never")
    with pytest.raises(UsageError, match="keep 2 or more"):
        create("strategy", "graphpnas:keep=1")
