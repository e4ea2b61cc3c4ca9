"""Limits that are a share of the original."""

from datetime import timedelta
from decimal import Decimal

import numpy as np
import pytest
import torch
from torch import nn

from archscout.core.cost import Measurement
from archscout.core.errors import UsageError
from archscout.core.registry import create
from archscout.shrink.limits import read_limits, uncertain_shares
from archscout.shrink.run import shrink
from archscout.testing.tasks import tiny_task


@pytest.mark.parametrize(
    ("limit", "trusted", "told"),
    [("50%", False, True), ("50%", True, False), ("3ms", False, False), ("3", False, False)],
)
def test_a_share_of_what_could_not_be_measured_is_told(limit, trusted, told):
    original = {"latency": Measurement(6.0, details={"trusted": trusted})}
    sentences = uncertain_shares({"latency": limit}, original, {"latency": 3.0}, {"latency": create("cost", "latency")})
    assert bool(sentences) is told
    assert all("50% of it is taken for latency_ms <= 3;" in sentence for sentence in sentences)


def test_limits_in_any_natural_form():
    params = create("cost", "params")
    for given in ("500", 500, np.int64(500), Decimal(500), torch.tensor(500), np.array(500)):
        costs, limits = read_limits({params: given, "latency": timedelta(milliseconds=2)})
        assert costs["params"] is params
        assert limits == {"params": "500", "latency": "2"}
    assert read_limits(None) == ({}, {})
    assert read_limits({"params": " 60.5 % "})[1] == {"params": " 60.5 % "}


@pytest.mark.parametrize(
    "given",
    [["params"], "params=60%", {1: "60%"}, {"params": None}, {"params": -3}, {"params": True}, {"params": "0%"},
     {"params": timedelta(1)}, {"params": {}}, {"params": torch.tensor([1, 2])}],
)  # fmt: skip
def test_limits_that_are_none(given):
    with pytest.raises(UsageError, match=r"limit|a cost must be a text"):
        read_limits(given)
    with pytest.raises(UsageError, match="limited twice"):
        read_limits({"params": 3, create("cost", "params"): 4})


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"only": 3}, "layers to cut must be names"),
        ({"only": [nn.ReLU()]}, "layers to cut must be a text"),
        ({"keep": [2]}, "layers to keep must be a text"),
        ({"keep": len}, "layers to keep must be names"),
        ({"labels": "no"}, "labels must be True or False"),
        ({"labels": np.array([1, 2])}, "labels must be True or False"),
        ({"replace": "no"}, "replace must be True or False"),
        ({"replace": None}, "replace must be True or False"),
        ({"weights": {}}, "file of weights must be a path"),
        ({"weights": 3}, "file of weights must be a path"),
        ({"network": "efficientnet_lite0", "size": "160"}, "size of images must be a whole number"),
        ({"network": "efficientnet_lite0", "size": (160, 160)}, "size of images must be a whole number"),
        ({"network": "efficientnet_lite0", "size": -160}, "size of images must be a whole number"),
        ({"network": "efficientnet_lite0", "size": 10**9}, "size of images must be a whole number up to"),
        ({"network": "efficientnet_lite0", "size": True}, "size of images must be a whole number"),
    ],
)
def test_other_options_are_read_before_anything_is_written(option, message, tmp_path):
    options = {"network": nn.Linear(2, 2), "maximum": {"params": "50%"}, "out": tmp_path / "runs"} | option
    with pytest.raises(UsageError, match=message):
        shrink(options.pop("network"), tiny_task(), **options)
    assert not (tmp_path / "runs").exists()
