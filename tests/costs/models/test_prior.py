"""What is known of devices: the shipped coefficients against the tables, and learning against its closed form."""

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from scipy.stats import spearmanr

from archscout.core.errors import UsageError
from archscout.core.seeds import stream
from archscout.costs.models.base import Measured
from archscout.costs.models.bayesian import BayesianLatency
from archscout.costs.models.prior import learn, load, save, shipped
from archscout.spaces.fbnet import FBNet
from archscout.spaces.nasbench201 import NASBench201

SPACE = NASBench201()


def test_27_devices_are_known_in_each_space() -> None:
    for space in ("nasbench201", "fbnet"):
        prior = shipped(space)
        assert prior is not None
        assert len(prior.devices) == 27
        assert {"pixel3", "raspi4", "gold_6226", "titan_rtx_1"} <= set(prior.devices)
    assert shipped("mobile") is None


@pytest.mark.parametrize("device", ["fpga", "titan_rtx_256", "pixel3", "gold_6226"])
def test_known_devices_are_predicted_without_a_measurement(published_data: Path, device: str) -> None:
    ms = (
        pq.read_table(published_data / "nasbench201/latency_ms.parquet")
        .sort_by("index")
        .column(device)
        .to_numpy()[:1500]
    )
    texts = pq.read_table(published_data / "nasbench201/accuracy.parquet").sort_by("index").column("arch").to_pylist()
    predicted, deviation = (
        BayesianLatency(dead_operations=True)
        .device(SPACE, device)
        .predict([SPACE.parse(text) for text in texts[:1500]])
    )
    assert spearmanr(predicted, ms).statistic > 0.95
    assert 0.8 < np.median(predicted / ms) < 1.2
    assert (deviation > 0).all()


def test_fbnet_on_a_known_device(published_data: Path) -> None:
    space, table = FBNet(), pq.read_table(published_data / "fbnet/latency_ms_and_zc.parquet").slice(0, 500)
    architectures = [space.parse(text) for text in table.column("arch").to_pylist()]
    predicted, _ = BayesianLatency().device(space, "raspi4").predict(architectures)
    assert spearmanr(predicted, table.column("lat_ms_raspi4").to_numpy()).statistic > 0.99


def test_an_unknown_device_is_answered_with_the_nearest() -> None:
    with pytest.raises(UsageError, match="did you mean 'pixel3'"):
        BayesianLatency().device(SPACE, "pixel33")


def test_learning_finds_the_weights_of_a_linear_device() -> None:
    cells = [SPACE.simplify(SPACE.sample(stream(number, "prior"))) for number in range(500)]
    costs = {"skip_connect": 0.1, "nor_conv_1x1": 0.7, "nor_conv_3x3": 2.0, "avg_pool_3x3": 0.4}
    ms = np.array([4.0 + sum(costs.get(str(o), 0.0) for o in cell.values()) for cell in cells])
    prior = learn(SPACE, [Measured("linear", cells, ms)])
    weights = prior.groups["operators"].weights[0] * prior.mean_ms[0]
    assert weights[1:] == pytest.approx(list(costs.values()), rel=0.02)
    assert prior.groups["operators"].errors[0] < 1e-3


def test_networks_that_ignore_their_input_do_not_count() -> None:
    cells = [SPACE.simplify(SPACE.sample(stream(number, "prior"))) for number in range(200)]
    ms = np.array([5.0 + sum(o == "nor_conv_3x3" for o in cell.values()) for cell in cells])
    dead = SPACE.architecture({choice.name: "none" for choice in SPACE.choices})
    clean = [(cell, time) for cell, time in zip(cells, ms, strict=True) if cell != dead]
    first = learn(SPACE, [Measured("a", [cell for cell, _ in clean], np.array([time for _, time in clean]))])
    junk = learn(SPACE, [Measured("a", [cell for cell, _ in clean] + [dead], np.array([t for _, t in clean] + [1e-3]))])
    np.testing.assert_array_equal(first.groups["operators"].weights, junk.groups["operators"].weights)


def test_a_prior_survives_its_file(tmp_path: Path) -> None:
    prior = shipped("nasbench201")
    assert prior is not None
    save(prior, tmp_path / "prior.npz")
    again = load(tmp_path / "prior.npz")
    assert again.devices == prior.devices
    for name, group in prior.groups.items():
        np.testing.assert_array_equal(again.groups[name].weights, group.weights)
    assert prior.without(["pixel3"]).devices == tuple(d for d in prior.devices if d != "pixel3")
