"""Graph convolutions, against dense matrices."""

import numpy as np
import pytest
import torch

from archscout.core.seeds import stream
from archscout.networks.message_passing import TERMS, Attention, Convolution, Neighbourhood

NODES = 9


@pytest.fixture(scope="module")
def graph():
    rng = stream(0, "graph")
    adjacency = np.triu(rng.random((NODES, NODES)) < 0.35, 1)
    adjacency = adjacency | adjacency.T
    adjacency[-1] = adjacency[:, -1] = False
    return np.argwhere(adjacency), torch.tensor(adjacency.astype(np.float32))


def dense(adjacency, kind):
    degree = adjacency.sum(1)
    if kind == "self":
        return torch.eye(NODES)
    if kind == "sum":
        return adjacency
    if kind == "mean":
        return adjacency / degree.clamp(min=1)[:, None]
    if kind == "looped":
        adjacency, degree = adjacency + torch.eye(NODES), degree + 1
    root = degree.clamp(min=1) ** -0.5
    return root[:, None] * adjacency * root


@pytest.mark.parametrize("kind", ["self", "sum", "mean", "normalised", "looped"])
def test_what_nodes_hear(graph, kind):
    edges, adjacency = graph
    x = torch.rand(NODES, 5)
    assert torch.allclose(Neighbourhood(edges, NODES)(x, kind), dense(adjacency, kind) @ x, atol=1e-6)


@pytest.mark.parametrize("kind", sorted(TERMS))
def test_convolutions(graph, kind):
    edges, adjacency = graph
    x = torch.rand(NODES, 5)
    layer = Convolution(kind, 5, 4)
    torch.nn.init.normal_(layer.bias)
    weights = [part.weight.T for part in layer.maps]
    laplacian = torch.eye(NODES) - dense(adjacency, "normalised")
    expected = {
        "gcn": lambda: dense(adjacency, "looped") @ x @ weights[0],
        "gin": lambda: (x + adjacency @ x) @ weights[0],
        "cheb": lambda: x @ weights[0] + (laplacian - torch.eye(NODES)) @ x @ weights[1],
        "sage": lambda: dense(adjacency, "mean") @ x @ weights[0] + x @ weights[1],
        "arma": lambda: dense(adjacency, "normalised") @ x @ weights[0] + x @ weights[1],
        "graph": lambda: adjacency @ x @ weights[0] + x @ weights[1],
        "fc": lambda: x @ weights[0],
    }[kind]() + layer.bias
    expected = expected.relu() if kind == "arma" else expected
    assert torch.allclose(layer(x, Neighbourhood(edges, NODES)), expected, atol=1e-5)


def test_attention(graph):
    edges, adjacency = graph
    x = torch.rand(NODES, 5)
    layer = Attention(5, 6)
    torch.nn.init.normal_(layer.bias)
    mapped = (x @ layer.map.weight.T).view(NODES, 2, 3)
    expected = torch.zeros(NODES, 6)
    for node in range(NODES):
        heard = [node, *(other for other in range(NODES) if adjacency[node, other])]
        for head in range(2):
            scores = torch.stack(
                [layer.source[head] @ mapped[other, head] + layer.target[head] @ mapped[node, head] for other in heard]
            )
            shares = torch.nn.functional.leaky_relu(scores, 0.2).softmax(0)
            expected[node, 3 * head : 3 * head + 3] = (shares[:, None] * mapped[heard, head]).sum(0)
    assert torch.allclose(layer(x, Neighbourhood(edges, NODES)), expected + layer.bias, atol=1e-5)


def test_a_graph_without_edges():
    around = Neighbourhood(np.zeros((0, 2), np.int64), 3)
    x = torch.rand(3, 2)
    assert torch.equal(around(x, "sum"), torch.zeros(3, 2))
    assert torch.equal(around(x, "looped"), x)
    assert bool(torch.isfinite(Attention(2, 4)(x, around)).all())
