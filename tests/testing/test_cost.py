"""The suite for costs must pass what keeps the contract and fail what breaks it."""

import itertools
import math
from collections.abc import Sequence
from typing import Any, ClassVar

import pytest
import torch

from archscout.core.architecture import Architecture
from archscout.core.cost import Cost, Measurement
from archscout.core.estimator import Setting
from archscout.testing import CostConformance


class Good(Cost):
    """Convolutions that are not dead."""

    name = "convolutions"
    key = "convolutions"

    def measure(self, architecture: Architecture, setting: Setting) -> Measurement:
        return Measurement(1.0 + sum("conv" in str(option) for option in setting.space.simplify(architecture).values()))


class TestGood(CostConformance):
    def cost(self) -> Cost:
        return Good()


class BadKey(Good):
    key = "Number of convolutions"


class NoUnit(Good):
    units: ClassVar[dict[str, float]] = {"k": 1e3}


class WrongQuantity(Good):
    @classmethod
    def quantity(cls, text: str, name: str) -> float:
        return 1.0


class Free(Good):
    def measure(self, architecture: Architecture, setting: Setting) -> Measurement:
        return Measurement(0.0)


class Spread(Good):
    def measure(self, architecture: Architecture, setting: Setting) -> Measurement:
        return Measurement(1.0, 0.1)


class NoJson(Good):
    def measure(self, architecture: Architecture, setting: Setting) -> Measurement:
        return Measurement(1.0, details={"p95": math.nan})


_counter = itertools.count(1)


class Drifts(Good):
    def measure(self, architecture: Architecture, setting: Setting) -> Measurement:
        return Measurement(float(next(_counter)))


class ScreensWrongly(Good):
    def screen(self, architectures: Sequence[Architecture], setting: Setting) -> list[Measurement]:
        return super().screen(architectures[::-1], setting)


class ScreensSome(Good):
    def screen(self, architectures: Sequence[Architecture], setting: Setting) -> list[Measurement]:
        return super().screen(architectures[1:], setting)


class CountsTheDead(Good):
    def measure(self, architecture: Architecture, setting: Setting) -> Measurement:
        return Measurement(1.0 + sum(option != "none" for option in architecture.values()))


class Reseeds(Good):
    def measure(self, architecture: Architecture, setting: Setting) -> Measurement:
        torch.rand(())
        return super().measure(architecture, setting)


class Forgets(Good):
    def __getstate__(self) -> dict[str, Any]:
        return {"key": "nothing"}


@pytest.mark.parametrize(
    ("broken", "test"),
    [
        (BadKey, "test_it_has_a_key_and_units"),
        (NoUnit, "test_it_has_a_key_and_units"),
        (WrongQuantity, "test_limits_are_read_with_their_units"),
        (Free, "test_a_cost_is_above_zero"),
        (Spread, "test_a_cost_is_above_zero"),
        (NoJson, "test_a_cost_is_above_zero"),
        (Drifts, "test_measuring_again_agrees"),
        (ScreensWrongly, "test_screening_agrees_with_measuring"),
        (ScreensSome, "test_screening_agrees_with_measuring"),
        (CountsTheDead, "test_a_simplified_architecture_costs_the_same"),
        (Reseeds, "test_nothing_global_is_changed"),
        (Forgets, "test_it_travels_to_another_process"),
    ],
)
def test_what_breaks_the_contract_is_found(broken: type[Cost], test: str) -> None:
    class Suite(CostConformance):
        def cost(self) -> Cost:
            return broken()

    with pytest.raises((AssertionError, ValueError, pytest.fail.Exception)):
        getattr(Suite(), test)()
