"""Estimated energy against sums by hand."""

import pytest

from archscout.core.cost import Cost
from archscout.core.errors import UsageError
from archscout.core.estimator import Setting
from archscout.core.registry import create
from archscout.core.seeds import stream
from archscout.testing import CostConformance
from archscout.testing.tasks import tiny_task


class TestEnergy(CostConformance):
    def cost(self) -> Cost:
        return create("cost", "energy@cmos-45nm")  # type: ignore[no-any-return]


def test_multiply_adds_and_bytes_times_published_constants() -> None:
    """A float32 multiplication takes 3.7 pJ, an addition 0.9 pJ, 8 bytes from 8 KiB of memory 10 pJ."""
    setting = Setting(create("space", "mobile"), tiny_task())
    architecture = setting.space.sample(stream(2))
    macs, moved = (create("cost", name).measure(architecture, setting).value for name in ("macs", "memory_traffic"))
    measured = create("cost", "energy@cmos-45nm").measure(architecture, setting)
    assert measured.value == pytest.approx((macs * (3.7 + 0.9) + moved * 10 / 8) / 1e6)
    assert measured.details["estimate"]


def test_a_device_of_unknown_constants() -> None:
    with pytest.raises(UsageError, match="nothing is known of the energy that device 'pixel3' takes"):
        create("cost", "energy@pixel3")
