"""Limits that are a share of the original."""

import pytest

from archscout.core.cost import Measurement
from archscout.core.registry import create
from archscout.shrink.limits import uncertain_shares


@pytest.mark.parametrize(
    ("limit", "trusted", "told"),
    [("50%", False, True), ("50%", True, False), ("3ms", False, False), (3.0, False, False)],
)
def test_a_share_of_what_could_not_be_measured_is_told(limit, trusted, told):
    original = {"latency": Measurement(6.0, details={"trusted": trusted})}
    sentences = uncertain_shares({"latency": limit}, original, {"latency": 3.0}, {"latency": create("cost", "latency")})
    assert bool(sentences) is told
    assert all("50% of it is taken for latency_ms <= 3;" in sentence for sentence in sentences)
