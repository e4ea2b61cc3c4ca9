"""OneProxy against a general optimiser, and on devices of which the answer is known."""

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.stats import spearmanr

from archscout.core.seeds import stream
from archscout.costs.models.base import Measured
from archscout.costs.models.oneproxy import OneProxyLatency, adapt, monotonicity
from archscout.spaces.nasbench201 import OPERATIONS, NASBench201

SPACE = NASBench201()
CELLS = [SPACE.sample(stream(number, "oneproxy")) for number in range(500)]


def latencies(costs: list[float], base: float = 4.0) -> np.ndarray:
    return np.array([base + sum(costs[OPERATIONS.index(str(o))] for o in cell.values()) for cell in CELLS])


PROXY = Measured("proxy", CELLS, latencies([0.0, 0.1, 0.8, 2.0, 0.5]))


@pytest.mark.parametrize("penalty", [1e-4, 1e-2, 0.1, 0.5, 100.0])
def test_adapting_agrees_with_a_general_optimiser(penalty: float) -> None:
    rng = stream(0, "adapt")
    columns, weights = rng.normal(size=(40, 6)), rng.normal(size=6)
    target = columns @ (weights * rng.normal(2, 1, 6)) + 1 + rng.normal(0, 0.1, 40)

    def loss(x: np.ndarray) -> float:
        error = columns @ (weights * (x[0] + x[2:])) + x[1] - target
        return float(error @ error / 40 + penalty * np.sqrt(x[2:] @ x[2:] + 1e-18))

    a, b, c = adapt(columns, weights, target, penalty)
    ours = loss(np.array([a, c, *b]))
    best = min(
        minimize(loss, start, method="BFGS", options={"gtol": 1e-9, "maxiter": 5000}).fun
        for start in (np.zeros(8), np.array([a, c, *b]))
    )
    assert ours == pytest.approx(best, rel=1e-6, abs=1e-9)
    if penalty == 100.0:
        np.testing.assert_array_equal(b, 0)


def test_a_device_that_ranks_alike_is_scaled_only() -> None:
    ms = 3.0 * PROXY.ms + 2.0
    model = OneProxyLatency(PROXY).fit(SPACE, CELLS[:20], ms[:20])
    assert model.reused_
    assert model.monotonicity_ > 0.99  # rounding breaks ties
    np.testing.assert_allclose(model.predict(CELLS)[0], ms, rtol=1e-6)


def test_a_device_that_ranks_otherwise_is_adapted() -> None:
    ms = latencies([0.0, 0.1, 0.9, 0.6, 2.5])
    model = OneProxyLatency(PROXY).fit(SPACE, CELLS[:70], ms[:70])
    assert not model.reused_
    before = monotonicity(PROXY.ms[70:], ms[70:])
    after = spearmanr(model.predict(CELLS[70:])[0], ms[70:]).statistic
    assert before < 0.7
    assert after > 0.97
