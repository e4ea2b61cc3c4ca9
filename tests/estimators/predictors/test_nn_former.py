"""The transformer that looks at siblings: who sees whom against brute force, and what it may not see."""

import numpy as np
import pytest
import torch
from scipy.stats import kendalltau

from archscout.core.registry import create
from archscout.estimators.encodings.encode import encode, widths
from archscout.estimators.predictors.nn_former import NNFormer, SiblingLayer, kin


@pytest.fixture(scope="module")
def cells():
    return create("space", "nasbench201")


@pytest.fixture(scope="module")
def known(cells):
    rng = np.random.default_rng(0)
    architectures = [cells.sample(rng) for _ in range(60)]
    good = np.asarray([one.text.count("conv_3x3") - one.text.count("none") for one in architectures], dtype=float)
    return encode("live_graph", cells, architectures).astype(float), good + rng.normal(0, 0.1, 60)


def test_who_sees_whom():
    adjacency = torch.from_numpy((np.triu(np.random.default_rng(1).random((3, 6, 6)) < 0.4, 1)).astype(np.float32))
    edges = adjacency.numpy() > 0
    seen = kin(adjacency).numpy() > 0
    for graph, ways in zip(edges, seen, strict=True):
        for i in range(6):
            for j in range(6):
                child_in_common = any(graph[i, k] and graph[j, k] for k in range(6))
                parent_in_common = any(graph[k, i] and graph[k, j] for k in range(6))
                expected = [graph[i, j], graph[j, i], child_in_common, parent_in_common]
                assert ways[:, i, j].tolist() == [bool(e) or i == j for e in expected]


def test_a_layer_is_the_literal_one():
    torch.manual_seed(0)
    layer = SiblingLayer(8, 12).eval()
    adjacency = torch.tensor([[[0.0, 1, 1], [0, 0, 1], [0, 0, 0]]])
    state, ways = torch.randn(1, 3, 8), kin(adjacency)
    seen = layer.before(state)[0]
    query, key, value = layer.look(seen).chunk(3, dim=1)
    heads = []
    for head in range(4):
        part = slice(2 * head, 2 * head + 2)
        rows = []
        for i in range(3):
            there = [j for j in range(3) if ways[0, head, i, j]]
            weights = torch.softmax(torch.stack([query[i, part] @ key[j, part] / 2**0.5 for j in there]), dim=0)
            rows.append(sum(w * value[j, part] for w, j in zip(weights, there, strict=True)))
        heads.append(torch.stack(rows))
    first = state[0] + layer.out(torch.cat(heads, dim=1))
    normal = layer.between(first)
    sent = layer.sent(normal)
    heard = torch.zeros(3, 12)
    for i in range(3):
        for j in range(3):
            heard[i, :6] += adjacency[0, i, j] * sent[j, :6]
            heard[i, 6:] += adjacency[0, j, i] * sent[j, 6:]
    second = first + layer.back(torch.relu(layer.own(normal) + heard))
    torch.testing.assert_close(layer(state, adjacency, ways)[0], second)


def test_relabelling_changes_nothing_and_it_learns_an_order(cells, known):
    x, y = known
    fitted = NNFormer(widths=widths("live_graph", cells), epochs=25).fit(x[:40], y[:40])
    assert kendalltau(fitted.predict(x[40:]), y[40:]).statistic > 0.4
    order = np.random.default_rng(3).permutation(8)
    adjacency = x[:, :64].reshape(-1, 8, 8)[:, order][:, :, order].reshape(-1, 64)
    relabelled = np.concatenate([adjacency, x[:, 64:].reshape(-1, 8, 8)[:, order].reshape(-1, 64)], axis=1)
    np.testing.assert_allclose(fitted.predict(relabelled), fitted.predict(x), rtol=1e-3, atol=1e-4)
