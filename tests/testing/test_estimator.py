"""The suite for estimators must pass what keeps the contract and fail what breaks it."""

import dataclasses
import math
from collections.abc import Sequence

import pytest
import torch

from archscout.core.architecture import Architecture
from archscout.core.estimator import Estimator, Setting
from archscout.core.trial import Estimate
from archscout.testing import EstimatorConformance


class Good(Estimator):
    """A number that the text and the seed decide."""

    name = "good"

    def estimate(
        self, architectures: Sequence[Architecture], setting: Setting, *, fidelity: int | None = None
    ) -> list[Estimate]:
        return [Estimate(self.value(architecture, setting)) for architecture in architectures]

    def value(self, architecture: Architecture, setting: Setting) -> float:
        return float(sum(map(ord, architecture.text)) * (setting.seed + 1))


class TestGood(EstimatorConformance):
    def estimator(self) -> Estimator:
        return Good()


class Nameless(Good):
    name = "estimator"


class UnknownNeeds(Good):
    needs = frozenset({"luck"})


class SkipsSome(Good):
    def estimate(self, architectures, setting, *, fidelity=None):  # type: ignore[no-untyped-def]
        return super().estimate(architectures[:3], setting)


class NoReason(Good):
    def value(self, architecture: Architecture, setting: Setting) -> float:
        return math.nan if "avg_pool" in architecture.text else 1.0


class Infinite(Good):
    def value(self, architecture: Architecture, setting: Setting) -> float:
        return math.inf


class Remembers(Good):
    def __init__(self) -> None:
        self.asked = 0

    def value(self, architecture: Architecture, setting: Setting) -> float:
        self.asked += 1
        return super().value(architecture, setting) + self.asked


class ComparesWithTheBatch(Good):
    def estimate(self, architectures, setting, *, fidelity=None):  # type: ignore[no-untyped-def]
        estimates = super().estimate(architectures, setting)
        best = max((estimate.value for estimate in estimates), default=0.0)
        return [dataclasses.replace(estimate, value=estimate.value - best) for estimate in estimates]


class Rolls(Good):
    def value(self, architecture: Architecture, setting: Setting) -> float:
        return float(torch.rand(()))


class Reseeds(Good):
    def value(self, architecture: Architecture, setting: Setting) -> float:
        torch.default_generator.manual_seed(0)
        return super().value(architecture, setting)


class Peeks(Good):
    def value(self, architecture: Architecture, setting: Setting) -> float:
        return 1.0 if setting.task.test is None else 2.0


class Forgets(Good):
    def __init__(self) -> None:
        self.factor = 1.0

    def __getstate__(self) -> dict[str, float]:
        return {"factor": 2.0}

    def value(self, architecture: Architecture, setting: Setting) -> float:
        return self.factor


@pytest.mark.parametrize(
    ("broken", "test"),
    [
        (Nameless, "test_it_has_a_name_and_known_needs"),
        (UnknownNeeds, "test_it_has_a_name_and_known_needs"),
        (SkipsSome, "test_one_estimate_an_architecture"),
        (NoReason, "test_a_value_is_a_number_or_has_a_reason"),
        (Infinite, "test_a_value_is_a_number_or_has_a_reason"),
        (Remembers, "test_an_estimate_does_not_depend_on_what_else_is_asked"),
        (ComparesWithTheBatch, "test_an_estimate_does_not_depend_on_what_else_is_asked"),
        (Rolls, "test_the_same_seed_gives_the_same_estimates"),
        (Rolls, "test_no_global_random_state_is_read_or_changed"),
        (Reseeds, "test_no_global_random_state_is_read_or_changed"),
        (Peeks, "test_the_test_split_is_not_needed"),
        (Forgets, "test_it_travels_to_another_process"),
    ],
)
def test_what_breaks_the_contract_is_found(broken: type[Estimator], test: str) -> None:
    class Suite(EstimatorConformance):
        def estimator(self) -> Estimator:
            return broken()

        def setting(self) -> Setting:
            from archscout.testing.tasks import tiny_task

            return Setting(self.space(), tiny_task())

    with pytest.raises(AssertionError):
        getattr(Suite(), test)()


def test_an_estimator_that_learns_is_fitted() -> None:
    class Learns(Good):
        needs = frozenset({"history"})
        name = "learns"

        def __init__(self) -> None:
            self.mean = math.nan

        def fit(self, trials, setting) -> None:  # type: ignore[no-untyped-def]
            self.mean = sum(trial.value for trial in trials) / len(trials)

        def value(self, architecture: Architecture, setting: Setting) -> float:
            return self.mean

    class Suite(EstimatorConformance):
        def estimator(self) -> Estimator:
            return Learns()

    for name in dir(Suite):
        if name.startswith("test_"):
            getattr(Suite(), name)()
