"""The three neural latency models and their graphs: small, on devices that are sums over operations."""

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr

from archscout.core.architecture import Architecture
from archscout.core.errors import DataError, UsageError
from archscout.core.graph import Graph, Node
from archscout.core.seeds import stream
from archscout.costs.models.base import LatencyModel, Measured
from archscout.costs.models.gcn import GCNLatency, LatencyGCN
from archscout.costs.models.graphs import Encoder, essence
from archscout.costs.models.help import HELPLatency
from archscout.costs.models.nasflat import DeviceEmbeddingLatency
from archscout.spaces.fbnet import FBNet
from archscout.spaces.nasbench201 import OPERATIONS, NASBench201

SPACE = NASBench201()
CELLS = [SPACE.sample(stream(number, "networks")) for number in range(300)]
COUNTS = np.array([[sum(o == name for o in cell.values()) for name in OPERATIONS[1:]] for cell in CELLS], dtype=float)


def device(number: int) -> np.ndarray:
    costs = np.array([0.05, 0.8, 2.0, 0.5]) * np.exp(stream(number, "costs").normal(0, 0.5, 4))
    times: np.ndarray = 5.0 + COUNTS @ costs
    return times


def known(count: int) -> list[Measured]:
    return [Measured(f"device{number}", CELLS, device(number)) for number in range(count)]


def test_what_does_nothing_leaves_the_graph() -> None:
    labels = ["input", "none", "skip_connect", "conv", "skip_connect", "output"]
    edges = ((0, 1), (0, 2), (0, 3), (1, 5), (2, 4), (3, 4), (4, 5))
    kept, left = essence(Graph(tuple(map(Node, labels)), edges))
    assert kept == ["input", "conv", "output"]
    assert left == {(0, 1), (1, 2), (0, 2)}


def test_encoded_graphs() -> None:
    cell = SPACE.parse("|nor_conv_3x3~0|+|none~0|skip_connect~1|+|none~0|none~1|avg_pool_3x3~2|")
    encode = Encoder(SPACE, CELLS)
    features, adjacency = encode([cell])
    assert encode.nodes == 9
    assert features.shape == (1, 9, 6)
    labels = [next((n for n, i in encode.labels.items() if features[0, node, i]), None) for node in range(4)]
    assert labels == ["input", "nor_conv_3x3", "avg_pool_3x3", "output"]
    np.testing.assert_array_equal(adjacency[0, :4, :4], [[1, 0, 0, 0], [1, 1, 0, 0], [0, 1, 1, 0], [0, 0, 1, 1]])
    np.testing.assert_array_equal(adjacency[0, -1], [1, 1, 1, 1, 0, 0, 0, 0, 1])


def test_the_graph_network_ignores_the_order_of_nodes() -> None:
    encode = Encoder(SPACE, CELLS)
    features, adjacency = encode(CELLS[:5])
    torch.manual_seed(0)
    network = LatencyGCN(features.shape[-1], 16).eval()
    order = [3, 1, 0, 2, 5, 4, 7, 6, 8]
    moved = network(features[:, order], adjacency[:, order][:, :, order])
    torch.testing.assert_close(moved, network(features, adjacency))


def test_the_graph_network_learns_a_device() -> None:
    ms = device(1)
    model = GCNLatency(32, epochs=60, rate=3e-3).fit(SPACE, CELLS[:200], ms[:200])
    predicted, deviation = model.predict(CELLS[200:])
    assert spearmanr(predicted, ms[200:]).statistic > 0.9
    assert np.abs(predicted / ms[200:] - 1).mean() < 0.08
    assert (deviation > 0).all()


def test_help_adapts_to_a_new_device() -> None:
    """Its references are all that it needs; untrained, it knows nothing."""
    rates = []
    for episodes in (0, 60):
        model = HELPLatency(known(4), hidden=24, episodes=episodes, devices=4, query=40, rate=3e-3)
        assert len(model.references) == 10
        rates.append(spearmanr(*_after(model, model.references, device(40))).statistic)
    assert rates[1] > 0.8
    assert rates[0] < rates[1] - 0.05


def test_help_says_which_references_are_missing() -> None:
    model = HELPLatency(known(2), hidden=8, episodes=1)
    with pytest.raises(DataError, match="10 reference architectures, of which"):
        model.fit(SPACE, CELLS[:5], device(0)[:5])
    with pytest.raises(UsageError, match="same architectures"):
        HELPLatency([known(1)[0], Measured("other", CELLS[:9], device(0)[:9])])


def test_help_in_a_space_of_chains() -> None:
    space = FBNet()
    chains = [space.sample(stream(number, "chains")) for number in range(60)]
    ms = np.array([1.0 + sum(str(o).endswith("e6") for o in chain.values()) for chain in chains])
    model = HELPLatency([Measured("a", chains, ms), Measured("b", chains, 2 * ms)], hidden=8, episodes=2, query=20)
    by_chain = dict(zip(chains, 3 * ms, strict=True))
    predicted, _ = model.fit(space, model.references, [by_chain[c] for c in model.references]).predict(chains)
    assert np.isfinite(predicted).all()
    assert (predicted > 0).all()


def test_a_new_device_begins_as_the_one_most_like_it() -> None:
    devices = [*known(2), Measured("pools", CELLS, 5.0 + COUNTS @ np.array([0.0, 0.1, 0.1, 3.0]))]
    model = DeviceEmbeddingLatency(devices, hidden=32, steps=500)
    truth = 8.0 + COUNTS @ np.array([0.0, 0.2, 0.1, 5.0])
    predicted, expected = _after(model, CELLS[:12], truth)
    assert model.nearest_ == "pools"
    assert spearmanr(predicted, expected).statistic > 0.9
    assert np.abs(predicted / expected - 1).mean() < 0.15


def test_a_step_of_tuning_moves_what_counts_by_a_thousandth() -> None:
    """The first step of Adam is as long as its rate, whatever the gradient; more would forget the known devices."""
    model = DeviceEmbeddingLatency(known(2), hidden=8, steps=5, tuning=1)
    model.fit(SPACE, CELLS[:12], device(3)[:12])
    before, after = (dict(network.named_parameters()) for network in (model._trained, model._network))
    moved = torch.cat(
        [(after[name] - before[name]).detach().abs().flatten() for name in before if "devices" not in name]
    )
    assert moved.max().item() == pytest.approx(1e-3, rel=0.05)


@pytest.mark.parametrize(
    "make",
    [
        lambda: GCNLatency(8, epochs=3),
        lambda: DeviceEmbeddingLatency(known(2), hidden=8, steps=5),
        lambda: HELPLatency(known(2), hidden=8, episodes=2, query=10),
    ],
)
def test_one_seed_one_result(make) -> None:
    measured = HELPLatency(known(2), hidden=8, episodes=1).references
    times = [device(3)[CELLS.index(cell)] for cell in measured]
    torch.manual_seed(1)
    state = torch.random.get_rng_state()
    first, second = (make().fit(SPACE, measured, times).predict(CELLS)[0] for _ in range(2))
    np.testing.assert_array_equal(first, second)
    assert torch.equal(torch.random.get_rng_state(), state)


def _after(model: LatencyModel, measured: list[Architecture], truth: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    by_cell = dict(zip(CELLS, truth, strict=True))
    rest = [cell for cell in CELLS if cell not in set(measured)]
    predicted, _ = model.fit(SPACE, measured, [by_cell[cell] for cell in measured]).predict(rest)
    return predicted, np.array([by_cell[cell] for cell in rest])
