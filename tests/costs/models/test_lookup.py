"""Lookup tables with a timer that is known, so that sums, calibration and expectations have exact answers."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from archscout.core.errors import UsageError
from archscout.core.seeds import stream
from archscout.costs.models.lookup import LookupTable
from archscout.networks.pick import build
from archscout.spaces.mobile import Mobile
from archscout.spaces.nasbench201 import NASBench201
from archscout.testing import tiny_task

SPACE, TASK = NASBench201(width=4, cells=1), tiny_task()


def macs(module: nn.Module, shape: tuple[int, ...]) -> float:
    """A machine that takes a microsecond a multiply-add of a convolution and nothing for the rest."""
    if not isinstance(module, nn.Conv2d):
        return 0.0
    height, width = (-(-side // module.stride[0]) for side in shape[1:])
    return 1e-3 * module.weight.numel() * height * width


@pytest.fixture(scope="module")
def table() -> LookupTable:
    return LookupTable(SPACE, TASK, macs)


def test_the_sum_is_that_over_the_layers_of_the_network(table: LookupTable) -> None:
    for number in range(5):
        architecture = SPACE.sample(stream(number, "lookup"))
        network = build(SPACE, architecture, TASK).eval()
        with FlopCounterMode(display=False) as counter:
            network(torch.zeros(1, *TASK.input_shape))
        head = sum(module.weight.numel() for module in network.modules() if isinstance(module, nn.Linear))
        assert table.total(architecture) == pytest.approx(1e-3 * (counter.get_total_flops() / 2 - head), rel=1e-9)


def test_a_layer_is_measured_once() -> None:
    calls: list[str] = []

    def count(module: nn.Module, shape: tuple[int, ...]) -> float:
        calls.append(f"{module} {shape}")
        return 1.0

    table = LookupTable(SPACE, TASK, count)
    for number in range(20):
        table.total(SPACE.sample(stream(number, "lookup")))
    assert len(calls) == len(set(calls)) < 60


def test_whole_networks_calibrate_the_sums(table: LookupTable) -> None:
    networks = [SPACE.sample(stream(number, "lookup")) for number in range(30)]
    sums = np.array([table.total(network) for network in networks])
    table.fit(SPACE, networks[:8], 0.5 + 1.7 * sums[:8])
    predicted, deviation = table.predict(networks)
    np.testing.assert_allclose(predicted, 0.5 + 1.7 * sums, rtol=1e-9)
    assert (deviation < 1e-9).all()
    with pytest.raises(UsageError, match="one of space"):
        table.fit(Mobile(), [Mobile().sample(stream(n, "m")) for n in range(4)], [1.0, 2.0, 3.0, 4.0])


def test_the_expectation_is_the_mean_over_drawn_networks() -> None:
    table = LookupTable(SPACE, TASK, macs)
    rng = stream(0, "expected")
    # No `none`, so that no operation is dead and every one adds the same wherever it is.
    odds = {choice.name: torch.tensor([0.0, *rng.dirichlet(np.ones(4))]) for choice in SPACE.choices}
    exact = 0.0
    edge = {
        name: sum(p * table_cost for p, table_cost in zip(odds[name].tolist(), _costs(table), strict=True))
        for name in odds
    }
    skip = SPACE.architecture({choice.name: "skip_connect" for choice in SPACE.choices})
    exact = table.total(skip) + sum(edge.values())
    # What options add is found from random architectures, some of them with dead operations.
    alive = _Alive(width=4, cells=1)
    by_choice = LookupTable(alive, TASK, macs).by_choice(120)
    logits = {name: p.clone().requires_grad_() for name, p in odds.items()}
    value = LookupTable.expected(by_choice, logits)
    assert value.item() == pytest.approx(exact, rel=1e-4)
    value.backward()
    slopes = logits["edge 0->3"].grad
    assert slopes is not None
    assert (slopes[3] - slopes[1]).item() == pytest.approx(_costs(table)[3], rel=1e-4)
    with pytest.raises(UsageError, match="probabilities of its 5 options"):
        LookupTable.expected(by_choice, {})


class _Alive(NASBench201):
    """Samples without the operation `none`."""

    def sample(self, rng: np.random.Generator):
        operations = ("skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3")
        return self.architecture({c.name: operations[int(rng.integers(4))] for c in self.choices})


def _costs(table: LookupTable) -> list[float]:
    """What each operation on one edge adds to a cell of skips."""
    base = {choice.name: "skip_connect" for choice in SPACE.choices}
    least = table.total(SPACE.architecture(base))
    added = []
    for operation in ("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3"):
        changed = SPACE.architecture({**base, "edge 0->3": operation})
        added.append(table.total(changed) - least)
    return added


def test_every_space_has_a_table() -> None:
    space = Mobile()
    table = LookupTable(space, TASK, macs)
    networks = [space.sample(stream(number, "lookup")) for number in range(4)]
    assert all(table.total(network) > 0 for network in networks)


@pytest.mark.slow
def test_measured_tables_rank_networks_as_whole_measurements_do() -> None:
    from scipy.stats import spearmanr

    from archscout.core.estimator import Setting
    from archscout.core.registry import create

    space = Mobile()
    networks = [space.sample(stream(number, "ranked")) for number in range(30)]
    cost = create("cost", "latency")
    whole = [cost.measure(network, Setting(space, TASK)).value for network in networks]
    predicted, _ = LookupTable(space, TASK).fit(space, networks[:8], whole[:8]).predict(networks)
    assert spearmanr(predicted, whole).statistic > 0.9
