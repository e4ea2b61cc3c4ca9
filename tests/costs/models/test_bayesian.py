"""The default latency model: exact where the world is as it assumes, calibrated, and clear about bad input."""

import numpy as np
import pytest

from archscout.core.architecture import Architecture
from archscout.core.seeds import stream
from archscout.costs.models.base import Measured
from archscout.costs.models.bayesian import BayesianLatency
from archscout.costs.models.features import OPERATORS
from archscout.costs.models.prior import Prior, learn
from archscout.spaces.nasbench201 import NASBench201

SPACE = NASBench201()
CELLS = [SPACE.simplify(SPACE.sample(stream(number, "latency tests"))) for number in range(400)]


def milliseconds(cells: list[Architecture], costs: dict[str, float], base: float = 3.0) -> np.ndarray:
    return np.array([base + sum(costs[str(o)] for o in cell.values() if o != "none") for cell in cells])


def random_device(rng: np.random.Generator) -> dict[str, float]:
    scale = np.array([0.05, 0.5, 2.0, 0.4]) * 10 ** rng.normal(0, 0.2)
    return dict(zip(OPERATORS, scale * np.exp(rng.normal(0, 0.3, 4)), strict=True))


@pytest.fixture(scope="module")
def prior() -> Prior:
    known = []
    for number in range(12):
        rng = stream(number, "devices")
        noisy = milliseconds(CELLS, random_device(rng)) * np.exp(rng.normal(0, 0.03, len(CELLS)))
        known.append(Measured(f"device{number}", CELLS, noisy))
    return learn(SPACE, known)


def test_a_device_without_noise_is_learned_from_ten_cells(prior: Prior) -> None:
    truth = milliseconds(CELLS, random_device(stream(99, "devices")))
    model = BayesianLatency(prior)
    chosen = model.choose(SPACE, CELLS[:200], 10)
    model.fit(SPACE, chosen, milliseconds(chosen, random_device(stream(99, "devices"))))
    predicted, deviation = model.predict(CELLS)
    assert np.abs(predicted / truth - 1).max() < 0.03
    assert (deviation < 0.05).all()
