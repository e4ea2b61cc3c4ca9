"""The controls: a score that is a count must be the cost of that name."""

import pytest

from archscout.core.estimator import Estimator, Setting
from archscout.core.registry import create
from archscout.core.seeds import stream
from archscout.testing import EstimatorConformance
from archscout.testing.tasks import tiny_task


class TestParams(EstimatorConformance):
    def estimator(self) -> Estimator:
        return create("estimator", "params")


class TestMacs(EstimatorConformance):
    def estimator(self) -> Estimator:
        return create("estimator", "macs")


@pytest.mark.parametrize("space_name", ["nasbench201", "mobile"])
@pytest.mark.parametrize("name", ["params", "macs"])
def test_the_score_is_the_cost(space_name: str, name: str) -> None:
    space = create("space", space_name)
    setting = Setting(space, tiny_task().sealed())
    architectures = [space.sample(stream(number)) for number in range(5)]
    scores = create("estimator", name).estimate(architectures, setting)
    costs = create("cost", name).screen(architectures, setting)
    assert [estimate.value for estimate in scores] == [measurement.value for measurement in costs]
