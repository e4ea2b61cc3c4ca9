"""NAS-Bench-201, against its published table, its closed forms and a brute-force isomorphism."""

import itertools
from collections import Counter, defaultdict

import networkx
import numpy as np
import pytest
import torch
from networkx.algorithms.isomorphism import categorical_edge_match, categorical_node_match
from torch import nn

from archscout.core.errors import UsageError
from archscout.core.seeds import stream
from archscout.networks.pick import ArchitecturePick, build
from archscout.spaces.nasbench201 import EDGES, OPERATIONS, Cell, NASBench201
from archscout.testing import SpaceConformance, tiny_task

SPACE = NASBench201()
EMPTY = "|none~0|+|none~0|none~1|+|none~0|none~1|none~2|"


class TestNASBench201(SpaceConformance):
    def space(self):
        return NASBench201()


class TestNASBench201AtOddSizes(SpaceConformance):
    examples = 8
    networks = 3

    def space(self):
        return NASBench201(width=3, cells=2)

    def task(self):
        return tiny_task((2, 11, 7), classes=4)


@pytest.fixture(scope="module")
def all_architectures():
    return list(SPACE)


# -- text -------------------------------------------------------------------------------------------------------------


def test_the_text_is_the_official_one(all_architectures):
    for operations, architecture in zip(itertools.product(OPERATIONS, repeat=6), all_architectures, strict=True):
        official = "|{}~0|+|{}~0|{}~1|+|{}~0|{}~1|{}~2|".format(*operations)
        assert str(architecture) == official
        assert SPACE.parse(official) == architecture
        assert tuple(architecture.values()) == operations


def test_a_choice_is_an_edge():
    architecture = SPACE.parse("|none~0|+|skip_connect~0|none~1|+|none~0|nor_conv_3x3~1|avg_pool_3x3~2|")
    assert architecture["edge 0->2"] == "skip_connect"
    assert architecture["edge 1->3"] == "nor_conv_3x3"
    assert architecture["edge 2->3"] == "avg_pool_3x3"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "cannot be empty"),
        ("conv", "has 1 nodes where NAS-Bench-201 has 3"),
        (EMPTY + "+|none~0|", "has 4 nodes"),
        (EMPTY.replace("|none~0|+|", "none~0+|", 1), "node 1 .* must be 1 operations between bars"),
        ("|none~0|+|none~0|+|none~0|none~1|none~2|", "node 2 .* must be 2 operations"),
        (EMPTY.replace("none~2", "none~1"), "'none~1' in node 3 .* must end in ~2"),
        (EMPTY.replace("none~2", "none"), "must end in ~2, its source node"),
        (
            EMPTY.replace("none~2", "nor_conv_3x4~2"),
            r"'nor_conv_3x4' .* is no operation: did you mean 'nor_conv_3x3'\?",
        ),
    ],
)
def test_a_malformed_text_is_one_clear_sentence(text, message):
    with pytest.raises(UsageError, match=message) as caught:
        SPACE.parse(text)
    assert len(str(caught.value).splitlines()) == 1


# -- classes ----------------------------------------------------------------------------------------------------------


def test_the_published_table_has_the_same_architectures_and_classes(all_architectures, shared_data):
    parquet = pytest.importorskip("pyarrow.parquet")
    table = parquet.read_table(shared_data / "nasbench201" / "accuracy.parquet", columns=["arch", "iso_class"])
    published = dict(zip(table["arch"].to_pylist(), table["iso_class"].to_pylist(), strict=True))
    assert set(published) == {str(architecture) for architecture in all_architectures}

    ours = {str(a): SPACE.isomorphism_class(a) for a in all_architectures}
    pairs = {(ours[text], published[text]) for text in published}
    assert len(pairs) == len(set(ours.values())) == len(set(published.values())) == 6466


def test_there_are_5260_networks_which_the_published_classes_join_and_split(all_architectures):
    networks, convolutions = defaultdict(set), defaultdict(set)
    for architecture in all_architectures:
        published = SPACE.isomorphism_class(architecture)
        networks[SPACE.canonical(architecture)].add(published)
        simple = SPACE.simplify(architecture)
        convolutions[published].add(sum("conv" in operation for operation in simple.values()))
    assert len(networks) == 5260
    assert sum(len(classes) > 1 for classes in networks.values()) == 688
    assert sum(len(counts) > 1 for counts in convolutions.values()) == 430


class Traced(nn.Module):
    """An operation that notes what it is fed and yields its own name."""

    def __init__(self, name, label, seen):
        super().__init__()
        self.name, self.label, self.seen = name, label, seen

    def forward(self, x):
        if self.label == "none":
            return None
        if self.label == "skip_connect":
            return x
        fed = frozenset(x.items())
        for other, (label, inputs) in self.seen.items():
            # Two poolings of one tensor are one tensor; two convolutions have weights of their own.
            if label == self.label == "avg_pool_3x3" and inputs == fed:
                return Counter({other: 1})
        self.seen[self.name] = (self.label, fed)
        return Counter({self.name: 1})


def wiring(architecture):
    """The graph of what the network's own `forward` computes: sums are bags of tensors, and only what is used stays."""
    seen = {}
    cell = Cell(1, lambda name, _: Traced(name, architecture[name], seen))
    try:
        output = cell(Counter({"x": 1}))
    except TypeError:  # zeros_like of no tensor: the output is zero
        output = Counter()
    graph = networkx.DiGraph()
    graph.add_node("x", label="x")
    for name, (label, _) in seen.items():
        graph.add_node(name, label=label)
    graph.add_node("output", label="output")
    for name, fed in (*((name, fed) for name, (_, fed) in seen.items()), ("output", output.items())):
        graph.add_edges_from((source, name, {"count": count}) for source, count in fed)
    return graph.subgraph({"x", "output"} | networkx.ancestors(graph, "output"))


def same_network(first, second):
    return networkx.is_isomorphic(
        first, second, categorical_node_match("label", None), categorical_edge_match("count", None)
    )


def test_canonical_forms_are_equal_exactly_where_networks_are_isomorphic(all_architectures):
    rng = stream(0, "pairs")
    by_form, alike = defaultdict(list), defaultdict(list)
    for architecture in all_architectures:
        by_form[SPACE.canonical(architecture)].append(architecture)
    graphs = {}

    def graph(architecture):
        return graphs.setdefault(architecture, wiring(architecture))

    shared = [group for group in by_form.values() if len(group) > 1]
    assert len(shared) > 1000
    for position in rng.permutation(len(shared))[:120]:
        group = shared[position]
        first, second = (group[i] for i in rng.permutation(len(group))[:2])
        assert same_network(graph(first), graph(second)), f"{first} and {second} have one form"

    # Different forms with the same operations and the same number of connections are the hard cases.
    for group in list(by_form.values())[::3]:
        made = graph(group[int(rng.integers(len(group)))])
        labels = tuple(sorted(label for _, label in made.nodes(data="label")))
        degrees = tuple(sorted(dict(made.degree()).values()))
        alike[labels, degrees].append(group[0])
    pairs = [pair for group in alike.values() for pair in itertools.combinations(group, 2)]
    assert len(pairs) > 500
    for position in rng.permutation(len(pairs))[:400]:
        first, second = pairs[position]
        assert not same_network(graph(first), graph(second)), f"{first} and {second} have different forms"


def test_one_form_is_one_function(all_architectures):
    """Cells of one form whose convolutions are given one another's weights compute the same."""
    by_form = defaultdict(list)
    for architecture in all_architectures:
        by_form[SPACE.canonical(architecture)].append(SPACE.simplify(architecture))
    task = tiny_task()
    rng = stream(0, "functions")
    groups = [group for group in by_form.values() if len(set(group)) > 1]
    x, _ = task.tensors(task.valid)
    checked = 0
    for position in rng.permutation(len(groups)):
        first, second = sorted(set(groups[position]), key=str)[:2]
        one, other = (build(SPACE, architecture, task).eval() for architecture in (first, second))
        convolutions = [name for name in first if "conv" in first[name]]
        others = [name for name in second if "conv" in second[name]]
        # The form does not say which convolution is which: some way of pairing them must do.
        errors = []
        for order in itertools.permutations(others):
            if any(first[a] != second[b] for a, b in zip(convolutions, order, strict=True)):
                continue
            for mine, its in zip(cells_of(one), cells_of(other), strict=True):
                for a, b in zip(convolutions, order, strict=True):
                    its.edges[key(b)].load_state_dict(mine.edges[key(a)].state_dict())
            fixed = {name: value for name, value in one.state_dict().items() if ".edges." not in name}
            other.load_state_dict(fixed, strict=False)
            with torch.no_grad():
                errors.append(float((one(x) - other(x)).abs().max()))
        assert min(errors) < 1e-4, (first, second)
        checked += 1
        if checked == 10:
            break


def cells_of(network):
    return [module for module in network.modules() if isinstance(module, Cell)]


def key(choice):
    return choice.removeprefix("edge ").replace("->", "to")


def test_simplifying_removes_what_is_dead():
    dead = "|nor_conv_3x3~0|+|none~0|none~1|+|skip_connect~0|none~1|nor_conv_1x1~2|"
    simple = SPACE.simplify(SPACE.parse(dead))
    assert str(simple) == "|none~0|+|none~0|none~1|+|skip_connect~0|none~1|none~2|"


# -- networks ---------------------------------------------------------------------------------------------------------


def live(architecture):
    """Operations on a path from the input to the output, by another library."""
    graph = networkx.DiGraph([(0, 0), (3, 3)])
    graph.add_edges_from(edge for edge in EDGES if architecture[f"edge {edge[0]}->{edge[1]}"] != "none")
    useful = ({0} | networkx.descendants(graph, 0)) & ({3} | networkx.ancestors(graph, 3))
    return Counter(architecture[f"edge {i}->{j}"] for i, j in EDGES if i in useful and j in useful)


def parameters(network):
    return sum(parameter.numel() for parameter in network.parameters())


def test_parameters_of_the_published_network_have_a_closed_form(all_architectures):
    space, task = NASBench201(width=16, cells=5), tiny_task((3, 32, 32), classes=10)
    picked = stream(0, "closed form").permutation(len(all_architectures))[:30]
    for architecture in [space.parse(EMPTY), *(all_architectures[i] for i in picked)]:
        operations = live(architecture)
        expected = 73_306 + 243_040 * operations["nor_conv_3x3"] + 28_000 * operations["nor_conv_1x1"]
        assert parameters(build(space, architecture, task, device="meta")) == expected


def test_parameters_agree_with_the_published_ones_where_nothing_is_dead(published_data):
    parquet = pytest.importorskip("pyarrow.parquet")
    table = parquet.read_table(published_data / "nasbench201" / "zero_cost.parquet").to_pandas()
    columns = [name for name in table.columns if name in ("params", "index")]
    assert columns == ["index", "params"]
    accuracy = parquet.read_table(
        published_data / "nasbench201" / "accuracy.parquet", columns=["index", "arch"]
    ).to_pandas()
    table = table[np.isfinite(table["params"]) & (table["dataset"] == "cifar10")].merge(accuracy, on="index")
    space, task = NASBench201(width=16, cells=5), tiny_task((3, 32, 32), classes=10)
    checked = 0
    for text, params in zip(table["arch"], table["params"], strict=True):
        architecture = space.parse(text)
        if sum(live(architecture).values()) < sum(operation != "none" for operation in architecture.values()):
            continue
        assert parameters(build(space, architecture, task, device="meta")) / 1e6 == pytest.approx(params, abs=2e-6)
        checked += 1
        if checked == 20:
            break
    assert checked == 20


def test_the_size_of_the_network_follows_the_input():
    architecture = SPACE.parse(EMPTY.replace("none~0|none~1|none~2", "nor_conv_3x3~0|none~1|none~2"))
    for side, width, cells in ((8, 8, 1), (31, 8, 1), (32, 16, 5), (64, 16, 5)):
        task = tiny_task((3, side, side), classes=10, examples=10)
        network = SPACE.network(task, ArchitecturePick(architecture))
        assert network[0][0].out_channels == width
        assert len(cells_of(network)) == 3 * cells
    given = NASBench201(width=4, cells=2).network(task, ArchitecturePick(architecture))
    assert given[0][0].out_channels == 4
    assert len(cells_of(given)) == 6


def test_a_cell_without_a_path_is_a_network_all_the_same():
    task = tiny_task()
    network = build(SPACE, SPACE.parse(EMPTY), task).eval()
    outputs = network(task.tensors(task.valid)[0])
    assert torch.isfinite(outputs).all()


def test_too_small_images_are_refused():
    with pytest.raises(UsageError, match=r"at least 4 x 4 pixels; task 'tiny3x8' has inputs of shape \(1, 3, 8\)"):
        SPACE.check_task(tiny_task((1, 3, 8)))


def test_the_graph_has_operations_as_nodes():
    graph = SPACE.graph(SPACE.sample(stream(0)))
    assert len(graph.nodes) == 8
    # One operation an edge of the cell, fed by the operations that end where it begins.
    for position, (i, _) in enumerate(EDGES):
        expected = {0} if i == 0 else {k + 1 for k, (_, end) in enumerate(EDGES) if end == i}
        assert set(graph.predecessors(position + 1)) == expected
    assert set(graph.predecessors(7)) == {k + 1 for k, (_, end) in enumerate(EDGES) if end == 3}


@pytest.mark.parametrize("parameter", ["width", "cells"])
@pytest.mark.parametrize("value", [0, -1, 1.5, True, "x"])
def test_wrong_parameters_are_refused(parameter, value):
    with pytest.raises(UsageError, match=f"the {parameter} of space 'nasbench201' must be a whole number above zero"):
        NASBench201(**{parameter: value})


def test_references_have_the_published_parameters():
    """In millions, as NAS-Bench-201 lists them for CIFAR-10; no operation of these cells is dead, so all are built."""
    published = {
        "one_conv": 0.316, "resnet": 0.559, "best_imagenet": 0.858, "best_cifar10": 1.074, "best_cifar100": 1.289,
        "all_conv3x3": 1.532,
    }  # fmt: skip
    space, task = NASBench201(16, 5), tiny_task((3, 32, 32), classes=10, examples=10)
    references = space.references()
    assert set(references) == set(published)
    for name, architecture in references.items():
        network = build(space, architecture, task, device="meta")
        assert sum(p.numel() for p in network.parameters()) / 1e6 == pytest.approx(published[name], abs=6e-4), name
