"""NAGO: laws of its random graphs, parameters as wanted, and that choices are a distribution of networks."""

import networkx
import numpy as np
import pytest

from archscout.core.choice import Continuous
from archscout.core.errors import UsageError
from archscout.core.registry import create
from archscout.core.seeds import stream
from archscout.core.subspace import SubSpace
from archscout.networks.pick import build
from archscout.spaces.nago import NAGO, Plan, erdos_renyi, watts_strogatz
from archscout.testing import SpaceConformance, tiny_task
from archscout.testing.strategy import trials

SPACE = NAGO()


class Small(NAGO):
    """Its smallest networks, for whoever builds many."""

    @property
    def choices(self):
        return tuple(
            c if isinstance(c, Continuous) or c.name == "draw" else type(c)(c.name, c.options[:2], True)
            for c in super().choices
        )


class TestNAGO(SpaceConformance):
    examples = 6
    networks = 2
    enumerable = 20

    def space(self):
        return Small(params=2000)

    def test_size_is_the_number_of_architectures(self):
        assert self.space().size() > 2**150
        with pytest.raises(UsageError, match="is a real number"):
            next(iter(self.space()))

    def test_an_architecture_of_the_supernet_equals_its_stand_alone_twin(self):
        pytest.skip("its networks share no weights")

    def test_a_copy_of_a_supernet_is_independent(self):
        pytest.skip("its networks share no weights")


def connected(edges, nodes) -> bool:
    graph = networkx.Graph(edges)
    graph.add_nodes_from(range(nodes))
    return networkx.is_connected(graph)


@pytest.mark.parametrize("nodes", [1, 3, 6, 10])
def test_graphs_hang_together_and_go_forward(nodes):
    for number in range(20):
        drawn = [erdos_renyi(nodes, 0.2, number)]
        drawn += [watts_strogatz(nodes, near, chance, number) for near in (2, 5) for chance in (0.1, 1.0) if nodes > 1]
        for edges in drawn:
            assert all(0 <= i < j < nodes for i, j in edges)
            assert connected(edges, nodes)


def test_the_numbers_of_edges_are_those_of_the_laws():
    # Watts and Strogatz move edges and take none; Erdos and Renyi join each pair with the probability.
    assert {len(watts_strogatz(10, 4, 0.5, n)) for n in range(30)} == {20}
    assert {len(watts_strogatz(3, 5, 0.5, n)) for n in range(9)} == {3}, "no more neighbours than there are"
    counts = [len(erdos_renyi(10, 0.6, n)) for n in range(400)]
    assert np.mean(counts) == pytest.approx(0.6 * 45, abs=4 * np.sqrt(0.6 * 0.4 * 45 / 400))


@pytest.mark.parametrize("seed", range(3))
def test_networks_have_the_parameters_that_are_wanted(seed):
    space = NAGO(params=1_000_000)
    network = build(space, space.sample(stream(seed, "nago")), tiny_task(), device="meta")
    assert sum(p.numel() for p in network.parameters()) == pytest.approx(1_000_000, rel=0.1)


def distances(plan: Plan) -> list[float]:
    """Numbers of a network that its graphs decide."""
    graph = networkx.DiGraph([(i, j) for i, j in plan.top])
    blocks = [len(edges) for cell in plan.blocks for edges in cell]
    return [len(plan.top), networkx.dag_longest_path_length(graph), np.mean([len(e) for e in plan.cells]), len(blocks)]


def test_two_draws_of_one_point_differ_less_than_two_points():
    points = [SPACE.sample(stream(n, "points")) for n in range(30)]
    numbers = np.asarray([[distances(Plan.drawn({**point, "draw": draw})) for draw in range(4)] for point in points])
    within, between = numbers.var(axis=1).mean(axis=0), numbers.mean(axis=1).var(axis=0)
    assert (within < 0.5 * between).all()
    assert within[1:3].min() > 0, "draws are not all the same"


def test_real_numbers_are_written_read_and_encoded():
    point = SPACE.sample(stream(1))
    assert SPACE.parse(point.text) == point
    assert SPACE.parse(point.text)["top.probability"] == point["top.probability"]
    row = dict(zip(SPACE.encoding_names, SPACE.encode([point])[0], strict=True))
    assert row["middle.probability"] == pytest.approx((float(point["middle.probability"]) - 0.2) / 0.8)
    other = SPACE.architecture({**point, "top.probability": 0.5})
    assert other["top.probability"] == 0.5
    for wrong in (1.5, "much", True):
        with pytest.raises(UsageError, match=r"use a number from 0\.1 to 1"):
            SPACE.architecture({**point, "top.probability": wrong})
    with pytest.raises(UsageError, match="has no option 'nan'"):
        SPACE.parse(point.text.replace(str(point["top.probability"]), "nan"))


def test_digests_know_the_ends_of_real_numbers():
    class One(Small):
        def __init__(self, high):
            super().__init__()
            self.high = high

        @property
        def choices(self):
            return (Continuous("x", 0.0, self.high),)

    assert One(1.0).parts["choices"] == One(1.0).parts["choices"] != One(2.0).parts["choices"]
    assert Continuous("x", 0, 1) == Continuous("x", 0.0, 1.0) != Continuous("x", 0, 2)
    with pytest.raises(ValueError, match="low end below a high one"):
        Continuous("x", 1, 1)


def test_mutations_of_real_numbers_stay_between_the_ends():
    choice = Continuous("x", 2.0, 3.0)
    rng = stream(0)
    values = [choice.another(2.0, rng) for _ in range(500)]
    assert all(2.0 < value <= 3.0 for value in values)
    assert np.median(values) < 2.3, "most are near"


def test_what_needs_options_says_so_in_one_sentence():
    with pytest.raises(UsageError, match=r"choice 'top\.probability' is a real number from 0\.1 to 1, and this needs"):
        create("strategy", "reinforce").propose(SPACE, trials(SPACE, 20), stream(0))
    with pytest.raises(UsageError, match="is a real number"):
        SubSpace(SPACE, {"top.probability": (0.5,)})
