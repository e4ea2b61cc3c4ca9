"""Linear and boosted models: what each can learn, and what it needs for that."""

import numpy as np
import pytest

from archscout.core.errors import DataError
from archscout.core.seeds import stream
from archscout.costs.models.boosted import BoostedLatency
from archscout.costs.models.linear import LinearLatency
from archscout.spaces.nasbench201 import NASBench201

SPACE = NASBench201()
CELLS = [SPACE.simplify(SPACE.sample(stream(number, "linear"))) for number in range(500)]
CONVOLUTIONS = np.array([sum(o == "nor_conv_3x3" for o in cell.values()) for cell in CELLS], dtype=float)
POOLS = np.array([sum(o == "avg_pool_3x3" for o in cell.values()) for cell in CELLS], dtype=float)


def test_a_linear_device_is_learned_from_thirty_cells() -> None:
    ms = 3.0 + 2.0 * CONVOLUTIONS + 0.5 * POOLS
    predicted, deviation = LinearLatency().fit(SPACE, CELLS[:30], ms[:30]).predict(CELLS[30:])
    assert np.abs(predicted / ms[30:] - 1).max() < 0.01
    assert (deviation < 0.02).all()


def test_deviations_grow_with_the_noise_and_hold() -> None:
    noise = np.exp(stream(0, "noise").normal(0, 0.1, len(CELLS)))
    ms = (20.0 + CONVOLUTIONS) * noise
    for model in (LinearLatency(), BoostedLatency()):
        predicted, deviation = model.fit(SPACE, CELLS[:200], ms[:200]).predict(CELLS[200:])
        inside = np.abs(np.log(ms[200:] / predicted)) < 1.645 * deviation
        assert 0.85 < inside.mean() < 0.97


def test_trees_learn_what_no_line_can() -> None:
    ms = 5.0 + 10.0 * (CONVOLUTIONS % 2) + 0.01 * POOLS
    boosted, _ = BoostedLatency().fit(SPACE, CELLS[:400], ms[:400]).predict(CELLS[400:])
    linear, _ = LinearLatency().fit(SPACE, CELLS[:400], ms[:400]).predict(CELLS[400:])
    assert np.abs(boosted / ms[400:] - 1).mean() < 0.1 * np.abs(linear / ms[400:] - 1).mean()


def test_counts_may_be_given() -> None:
    by_cell = dict(zip(CELLS, CONVOLUTIONS, strict=True))
    model = LinearLatency(counts=lambda asked: np.array([[by_cell[cell]] for cell in asked]))
    predicted, _ = model.fit(SPACE, CELLS[:10], 3 + CONVOLUTIONS[:10]).predict(CELLS)
    np.testing.assert_allclose(predicted, 3 + CONVOLUTIONS, rtol=1e-3)


@pytest.mark.parametrize("model", [LinearLatency(), BoostedLatency()])
def test_latencies_of_no_use_are_refused(model: LinearLatency | BoostedLatency) -> None:
    with pytest.raises(DataError, match="above zero"):
        model.fit(SPACE, CELLS[:4], [1.0, 2.0, float("nan"), 3.0])
