"""NAS-Bench-Graph, against its published table."""

import numpy as np
import pytest
import torch

from archscout.core.errors import UsageError
from archscout.core.seeds import stream
from archscout.core.task import Split
from archscout.networks.pick import build
from archscout.spaces.nasbench_graph import NASBenchGraph
from archscout.tasks.digits_graph import digits_graph
from archscout.tasks.nodes import NodeClassification
from archscout.testing import SpaceConformance, tiny_task
from archscout.training.export import export_onnx
from archscout.training.trainer import Recipe, predict, train

SPACE = NASBenchGraph()


def tiny_graph(nodes=40, features=6, classes=3):
    rng = stream(0, "tiny graph")
    y = np.arange(nodes) % classes
    joined = (rng.random((nodes, nodes)) < 0.05) | ((y[:, None] == y) & (rng.random((nodes, nodes)) < 0.2))
    joined = np.triu(joined, 1)
    x = rng.normal(size=(nodes, features)) + 0.5 * rng.normal(size=(classes, features))[y]
    split = Split(np.arange(nodes)[:, None], y.astype(np.int64))
    names = tuple("abc"[:classes])
    edges = np.argwhere(joined | joined.T)
    return NodeClassification(
        "tiny graph", (1,), classes, split, split, split, names, features=x.astype(np.float32), edges=edges
    )


class TestNASBenchGraph(SpaceConformance):
    examples = 15

    def space(self):
        return NASBenchGraph(width=8)

    def task(self):
        return tiny_graph()


class TestNASBenchGraphOfManyFeatures(SpaceConformance):
    examples = 8
    networks = 4

    def space(self):
        return NASBenchGraph(width=2)

    def task(self):
        return tiny_graph(features=13)


@pytest.fixture(scope="module")
def published(published_data):
    parquet = pytest.importorskip("pyarrow.parquet")
    table = parquet.read_table(published_data / "nasbench_graph" / "nasbench_graph.parquet").to_pydict()
    rows = [row for row, name in enumerate(table["dataset"]) if name == "cora"]
    texts = [f"{table['link'][row]}:{table['ops'][row]}" for row in rows]
    return texts, [round(1e6 * table["params_M"][row]) for row in rows]


def test_published_networks_keep_their_text_and_are_different(published, whole):
    architectures = [SPACE.parse(text) for text in published[0]]
    assert [str(architecture) for architecture in architectures] == published[0]
    assert len({SPACE.canonical(architecture) for architecture in architectures}) == len(architectures)
    assert len(architectures) == (26_206 if whole else 60)


@pytest.mark.slow
def test_the_published_networks_are_all_but_one(published, shared_data):
    forms = {SPACE.canonical(architecture) for architecture in SPACE}
    assert SPACE.size() == 24 * 9**4
    assert forms - {SPACE.canonical(SPACE.parse(text)) for text in published[0]} == {"x()"}


def test_parameters_are_the_published_ones(published):
    """Cora has 1,433 features and 7 classes; the published networks for it have 256 features inside."""
    space = NASBenchGraph(width=256)
    empty = np.zeros((0, 2), np.int64)
    nothing = Split(np.zeros((0, 1), np.int64), np.zeros(0, np.int64))
    features = np.zeros((2, 1433), np.float32)
    task = NodeClassification("cora", (1,), 7, nothing, nothing, None, features=features, edges=empty)
    texts, params = published
    for row in stream(1).permutation(len(texts))[:60]:
        network = build(space, space.parse(texts[row]), task, device="meta")
        found = sum(parameter.numel() for parameter in network.parameters())
        assert found + 512 * texts[row].count("skip") + 256**2 * texts[row].count("arma") == params[row]


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("0121:gcn,gin,fc,cheb", "0112:gcn,gin,cheb,fc", True),
        ("0012:gcn,gat,fc,sage", "0012:gat,gcn,sage,fc", True),
        ("0012:gcn,gat,fc,sage", "0012:gcn,gat,sage,fc", False),
        ("0122:gcn,skip,gat,fc", "0122:skip,gcn,gat,fc", True),
        ("0000:skip,gcn,gat,fc", "0111:skip,gcn,gat,fc", True),
        ("0111:gcn,skip,skip,gat", "0111:gcn,skip,gat,skip", True),
        ("0111:gcn,skip,skip,gat", "0112:gcn,skip,gat,gat", False),
    ],
)
def test_forms(one, other, same):
    forms = [SPACE.canonical(SPACE.parse(text)) for text in (one, other)]
    assert (forms[0] == forms[1]) == same


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("0112", "names 0 operations"),
        ("0112:gcn,gat,skip", "names 3 operations"),
        ("0112:gcn,gat,skip,gcm", r"'gcm' .* did you mean 'gcn'\?"),
        ("1112:gcn,gat,skip,fc", "must begin with four digits"),
        ("0212:gcn,gat,skip,fc", "must begin with four digits"),
        ("011:gcn,gat,skip,fc", "must begin with four digits"),
    ],
)
def test_a_malformed_text_is_one_clear_sentence(text, message):
    with pytest.raises(UsageError, match=message) as caught:
        SPACE.parse(text)
    assert len(str(caught.value).splitlines()) == 1


def test_a_network_computes_what_its_text_says():
    task = tiny_graph()
    space = NASBenchGraph(width=8)
    network = build(space, space.parse("0102:gcn,skip,gat,sage"), task).eval()
    first, _, third, fourth = network.operations
    with torch.no_grad():
        x = torch.tensor(task.features)
        a = first(x, network.around)
        joined = torch.cat([third(x, network.around), fourth(a, network.around)], 1)
        expected = network.head(network.join(joined).relu())
        assert torch.allclose(network(torch.tensor([[3.0], [0.0]])), expected[[3, 0]], atol=1e-6)


def test_neighbours_help_on_real_digits():
    """Trained on 200 digits, a network that hears neighbours beats one that does not (both better than chance)."""
    task = digits_graph()
    accuracy = {}
    for text in ("0123:gcn,gcn,skip,skip", "0123:fc,fc,skip,skip"):
        network = build(SPACE, SPACE.parse(text), task)
        train(network, task, Recipe(6, batch_size=50, learning_rate=0.05), seed=0)
        outputs = predict(network, task, task.test)
        accuracy[text] = task.measure(outputs, torch.from_numpy(task.test.y))
    assert accuracy["0123:gcn,gcn,skip,skip"] > accuracy["0123:fc,fc,skip,skip"] > 0.6


def test_a_network_is_written_as_onnx_for_any_batch(tmp_path):
    network = build(NASBenchGraph(width=4), SPACE.parse("0112:gat,gcn,skip,cheb"), tiny_graph()).eval()
    assert export_onnx(network, (1,), tmp_path / "network.onnx") < 1e-4


def test_a_task_without_a_graph_is_refused():
    with pytest.raises(UsageError, match=r"needs a graph .* digits_graph"):
        SPACE.check_task(tiny_task())
    with pytest.raises(UsageError, match="even number"):
        NASBenchGraph(width=7)
