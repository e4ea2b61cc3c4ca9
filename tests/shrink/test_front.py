"""Several limits at once: one network each, and the front of them."""

import importlib.util
import itertools
import json
import math
from datetime import timedelta
from pathlib import Path

import pytest

from archscout.core.cost import Measurement
from archscout.core.errors import UsageError
from archscout.costs.latency import Latency
from archscout.shrink.front import front_table, shrink_front
from archscout.testing.tasks import tiny_task
from archscout.training.recipe import Recipe
from archscout.training.trainer import train

_spec = importlib.util.spec_from_file_location("zoo", Path(__file__).parents[1] / "networks" / "zoo.py")
zoo = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(zoo)

TASK = tiny_task((3, 16, 16), classes=5, examples=60)


@pytest.mark.slow
def test_each_limit_gets_a_network_that_keeps_it(tmp_path, monkeypatch):
    """With a clock that counts weights, so that no other program disturbs it."""

    def weights(self, module, *_):
        return Measurement(sum(parameter.numel() for parameter in module.parameters()) / 1000)

    monkeypatch.setattr(Latency, "measure_network", weights)
    network = zoo.zoo_network("resnet")
    train(network, TASK, Recipe(8, 16, learning_rate=0.05), seed=0)
    clock = itertools.count(0.0, 0.01).__next__
    limits = ["70%", "35%"]
    results = shrink_front(network.eval(), TASK, limits, budget="8s", name="all", out=tmp_path, clock=clock)
    whole = results[0].metrics["original"]["costs"]["latency_ms"]
    found = [result.metrics["costs"]["latency_ms"] for result in results]
    assert 0.35 * whole < found[0] <= 0.7 * whole and found[1] <= 0.35 * whole
    assert [result.folder.name for result in results] == ["all-70percent", "all-35percent"]
    rows = json.loads((tmp_path / "all" / "front.json").read_text())
    assert [(row["limit"], row["run"]) for row in rows] == [("70%", "all-70percent"), ("35%", "all-35percent")]
    assert [row["costs"]["latency_ms"] for row in rows] == found
    lines = front_table(limits, results).splitlines()
    assert len(lines) == 1 + len(limits)
    assert "70%" in lines[1] and "all-35percent" in lines[2]


def test_limits_that_are_none_are_refused(tmp_path):
    for limits in ([], ["5ms", "5ms"], "5ms,0.005s", ["5ms", timedelta(milliseconds=5)], [5, 5.0]):
        with pytest.raises(UsageError, match="no limits of latency"):
            shrink_front("efficientnet_lite0", TASK, limits, out=tmp_path)
    for limits in (-5, [math.nan], [True], None, {"5ms": 1}, [None], [b"5ms"], b"5ms"):
        with pytest.raises(UsageError, match="limit"):
            shrink_front("efficientnet_lite0", TASK, limits, out=tmp_path)
    assert not any(tmp_path.iterdir())
