"""NAS-Bench-101, against its published table, its published hash and the published counts."""

import hashlib
import itertools

import networkx
import numpy as np
import pytest
import torch
from networkx.algorithms.isomorphism import categorical_node_match

from archscout.core.errors import UsageError
from archscout.core.seeds import stream
from archscout.networks.pick import build
from archscout.spaces.nasbench101 import NASBench101
from archscout.spaces.nasbench101_cells import EDGES, OPERATIONS, all_cells
from archscout.testing import SpaceConformance, tiny_task
from archscout.training.trainer import Recipe, train

SPACE = NASBench101()
CONV3, CONV1, POOL = OPERATIONS
DIAMOND = f"0110000100010000:{CONV3},{POOL}"


class TestNASBench101(SpaceConformance):
    product = False
    examples = 15

    def space(self):
        return NASBench101()


class TestNASBench101AtOddSizes(SpaceConformance):
    product = False
    examples = 10
    networks = 4

    def space(self):
        return NASBench101(width=7, cells=2)

    def task(self):
        return tiny_task((2, 11, 7), classes=4)


@pytest.fixture(scope="module")
def published(shared_data):
    parquet = pytest.importorskip("pyarrow.parquet")
    columns = parquet.read_table(shared_data / "nasbench101" / "cells_20k.parquet").to_pydict()
    texts = [
        matrix + (f":{operations}" if operations else "")
        for matrix, operations in zip(columns["adjacency"], columns["interior_ops"], strict=True)
    ]
    return texts, columns["params"], columns["module_hash"]


def matrix_size(architecture):
    return len(str(architecture).partition(":")[0])


def published_hash(architecture):
    """The hash by which the published table names a class: vertices hashed with their neighbours, again and again."""

    def md5(text):
        return hashlib.md5(text.encode()).hexdigest()

    graph = SPACE.graph(architecture)
    count = len(graph.nodes)
    before, after = [[] for _ in range(count)], [[] for _ in range(count)]
    for source, target in graph.edges:
        before[target].append(source)
        after[source].append(target)
    labels = [-1, *(OPERATIONS.index(label) for label in graph.labels[1:-1]), -2]
    hashes = [md5(str((len(after[v]), len(before[v]), labels[v]))) for v in range(count)]
    for _ in range(count):
        hashes = [
            md5(
                "".join(sorted(hashes[w] for w in before[v]))
                + "|"
                + "".join(sorted(hashes[w] for w in after[v]))
                + "|"
                + hashes[v]
            )
            for v in range(count)
        ]
    return md5(str(sorted(hashes)))


# -- text -------------------------------------------------------------------------------------------------------------


def test_published_cells_keep_their_text_and_their_hash(published):
    texts, _, hashes = published
    for row in stream(0).permutation(len(texts))[:1500]:
        architecture = SPACE.parse(texts[row])
        assert str(architecture) == texts[row]
        assert published_hash(architecture) == hashes[row]


@pytest.mark.slow
def test_every_published_cell_keeps_its_text(published):
    assert all(str(SPACE.parse(text)) == text for text in published[0])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "cannot be empty|no adjacency matrix"),
        ("01", "is no adjacency matrix"),
        ("0120", "is no adjacency matrix"),
        ("0" * 64 + ":", "is no adjacency matrix"),
        ("0110000100010000", "names 0 operations for 4 vertices"),
        ("0110000100010000:maxpool3x3", "names 1 operations for 4 vertices"),
        ("0110000100010000:maxpool3x3,conv3x3-bn-rela", "did you mean 'conv3x3-bn-relu'"),
        ("0100100000010000:maxpool3x3,maxpool3x3", "row 2, column 1 .* above the diagonal"),
        ("0010000000010000:maxpool3x3,maxpool3x3", None),
        ("0010000000000000:maxpool3x3,maxpool3x3", "input and output must be joined"),
        ("".join("0" * (k + 1) + "1" * (6 - k) for k in range(7)) + ":" + ",".join([CONV1] * 5), "by at most 9 edges"),
    ],
)
def test_a_malformed_text_is_one_clear_sentence(text, message):
    if message is None:
        assert str(SPACE.parse(text)) == "010001000:maxpool3x3"
        return
    with pytest.raises(UsageError, match=message) as caught:
        SPACE.parse(text)
    assert len(str(caught.value).splitlines()) == 1


def test_what_lies_on_no_path_is_dropped():
    assert str(SPACE.parse(f"0110000000010000:{CONV3},{CONV1}")) == f"010001000:{CONV1}"
    assert SPACE.parse(f"0111000000000000:{CONV3},{CONV1}") == SPACE.parse("0100")


def test_values_that_make_no_cell_are_refused():
    values = dict(SPACE.parse(DIAMOND))
    with pytest.raises(UsageError, match="one of its ends has no operation"):
        SPACE.architecture({**values, "edge 0->5": 1})
    with pytest.raises(UsageError, match="input and output must be joined"):
        SPACE.architecture({**values, "edge 1->6": 0, "edge 2->6": 0})


# -- the set ----------------------------------------------------------------------------------------------------------


def test_the_published_numbers_of_cells():
    """423,624 in all (Ying et al. 2019); EC-NAS-Bench counts 91 with up to four vertices and 2,532 with up to five."""
    codes = all_cells()
    vertices = codes >> 40
    assert len(np.unique(codes)) == SPACE.size() == 423_624
    assert [int((vertices <= most).sum()) for most in (4, 5)] == [91, 2_532]
    small = list(itertools.islice(SPACE, 2_532))
    assert len(set(small)) == 2_532
    assert {matrix_size(cell) for cell in small} == {4, 9, 16, 25}


@pytest.mark.slow
def test_every_cell_is_read_as_itself_and_encoded():
    cells = list(SPACE)
    assert len({str(cell) for cell in cells}) == 423_624
    assert all(SPACE.parse(str(cell)) == cell for cell in cells)
    assert len(np.unique(SPACE.encode(cells), axis=0)) == 423_624


def test_encoding_is_the_usual_one():
    cells = [SPACE.sample(stream(seed)) for seed in range(200)]
    assert np.array_equal(SPACE.encode(cells), super(NASBench101, SPACE).encode(cells))


def test_samples_are_spread_evenly_over_cells():
    found = np.mean([matrix_size(SPACE.sample(stream(seed))) == 49 for seed in range(1500)])
    exact = float((all_cells() >> 40 == 7).mean())
    assert abs(found - exact) < 4 * np.sqrt(exact * (1 - exact) / 1500)


def test_isomorphic_cells_and_no_others_are_one_architecture():
    rng = stream(1)
    drawn = []
    while len(drawn) < 60:
        vertices = int(rng.integers(3, 6))
        matrix = np.triu(rng.integers(0, 2, (vertices, vertices)), 1)
        operations = rng.integers(0, 2, vertices - 2)
        graph = networkx.DiGraph([(int(i), int(j)) for i, j in np.argwhere(matrix)])
        live = set()
        if 0 in graph and vertices - 1 in graph:
            live = (networkx.descendants(graph, 0) | {0}) & (networkx.ancestors(graph, vertices - 1) | {vertices - 1})
        if live != set(range(vertices)) or matrix.sum() > 9:
            continue
        for v in graph:
            graph.nodes[v]["label"] = "in" if v == 0 else "out" if v == vertices - 1 else int(operations[v - 1])
        text = "".join(map(str, matrix.ravel())) + ":" + ",".join(OPERATIONS[o] for o in operations)
        drawn.append((graph, SPACE.parse(text)))
    equal = 0
    for (first, one), (second, other) in itertools.combinations(drawn, 2):
        same = networkx.is_isomorphic(first, second, node_match=categorical_node_match("label", None))
        assert same == (one == other) == (SPACE.canonical(one) == SPACE.canonical(other))
        equal += same
    assert equal > 5


def test_single_edits_lead_from_any_small_cell_to_any_other():
    start = SPACE.parse("0100")
    found, waiting = {start}, [start]
    while waiting:
        for neighbour in SPACE.neighbours(waiting.pop()):
            if matrix_size(neighbour) <= 16 and neighbour not in found:
                found.add(neighbour)
                waiting.append(neighbour)
    assert len(found) == 91


def test_mutants_are_neighbours():
    for seed in range(20):
        architecture = SPACE.sample(stream(seed))
        assert SPACE.mutate(architecture, stream(seed, "mutate")) in set(SPACE.neighbours(architecture))


# -- network ----------------------------------------------------------------------------------------------------------


def test_parameters_are_the_published_ones(published):
    task = tiny_task((3, 32, 32), classes=10)
    texts, params, _ = published
    for row in stream(2).permutation(len(texts))[:30]:
        network = build(SPACE, SPACE.parse(texts[row]), task, device="meta")
        assert sum(parameter.numel() for parameter in network.parameters()) == params[row]


def test_a_cell_computes_what_its_drawing_says():
    """Input to two vertices and the output; a third vertex takes both, its surplus channels cut off."""
    text = f"{'01101'}{'00010'}{'00011'}{'00001'}{'00000'}:{CONV1},{POOL},{CONV3}"
    space = NASBench101(width=5, cells=1)
    architecture = space.parse(text)
    order = [space.graph(architecture).labels.index(label) for label in (CONV1, POOL, CONV3)]
    network = build(space, architecture, tiny_task()).eval()
    cell = network[1]
    x = torch.rand(2, 5, 8, 8)
    a, b, c = order
    with torch.no_grad():
        made = {v: cell.projections[str(v)](x) for v in (a, b)}
        made[a], made[b] = cell.vertices[str(a)](made[a]), cell.vertices[str(b)](made[b])
        widths = {v: made[v].shape[1] for v in made}
        size = cell.vertices[str(c)][0].in_channels
        made[c] = cell.vertices[str(c)](made[a][:, :size] + made[b][:, :size])
        expected = torch.cat([made[v] for v in sorted((b, c))], 1) + cell.projections["6"](x)
        assert torch.allclose(cell(x), expected)
    assert widths[b] + size == 5
    assert widths[a] == size


@pytest.mark.parametrize("seed", [0, 1])
def test_a_network_learns(seed):
    task = tiny_task()
    network = build(SPACE, SPACE.sample(stream(seed)), task)
    outcome = train(network, task, Recipe(3, learning_rate=0.05), seed=0)
    assert outcome.curve[-1]["train_loss"] < outcome.curve[0]["train_loss"]


def test_a_task_without_images_is_refused():
    with pytest.raises(UsageError, match="at least 4 x 4"):
        SPACE.check_task(tiny_task((1, 3, 8)))


@pytest.mark.parametrize("parameters", [{"width": 4}, {"cells": 0}, {"width": 16.5}])
def test_a_size_that_makes_no_network_is_refused(parameters):
    with pytest.raises(UsageError, match="must be"):
        NASBench101(**parameters)


def test_edges_are_numbered_as_published():
    assert EDGES[:6] == ((0, 1), (0, 2), (1, 2), (0, 3), (1, 3), (2, 3))


def test_references_are_cells_of_their_shape():
    references = NASBench101().references()
    resnet, inception = references["resnet"], references["inception"]
    assert {name for name, there in resnet.items() if there == 1} == {
        "edge 0->1",
        "edge 1->2",
        "edge 2->6",
        "edge 0->6",
    }
    kinds = [inception[f"vertex {i}"] for i in range(1, 6)]
    assert (kinds.count("conv3x3-bn-relu"), kinds.count("conv1x1-bn-relu"), kinds.count("maxpool3x3")) == (3, 1, 1)
    assert sum(inception[name] for name in inception if name.startswith("edge")) == 9
