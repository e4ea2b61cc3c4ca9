"""What every cost promises, as tests."""

from __future__ import annotations

import itertools
import json
import math
import re
from abc import ABC, abstractmethod

import cloudpickle
import hypothesis.strategies as st
import pytest
import torch

from archscout.core.architecture import Architecture
from archscout.core.cost import Cost, Measurement
from archscout.core.errors import UsageError
from archscout.core.estimator import Setting
from archscout.core.registry import create
from archscout.core.seeds import stream
from archscout.core.space import Space
from archscout.testing.check import for_all
from archscout.testing.tasks import tiny_task


class CostConformance(ABC):
    """The contract of a `Cost`. Inherit it and give the cost.

    >>> class TestMine(CostConformance):                  # doctest: +SKIP
    ...     def cost(self): return Mine()
    """

    count = 4
    """How many architectures are measured."""

    factor = 3.0
    """How many times larger one measurement may be than another of the same network, where the cost is not exact."""

    @abstractmethod
    def cost(self) -> Cost:
        """A new cost, equal each time."""

    def space(self) -> Space:
        """What the architectures are drawn from."""
        return create("space", "nasbench201:width=4,cells=1")  # type: ignore[no-any-return]

    def setting(self) -> Setting:
        """Where costs are measured."""
        return Setting(self.space(), tiny_task().sealed(), seed=3)

    def architectures(self, setting: Setting) -> list[Architecture]:
        """What is measured."""
        return [setting.space.sample(stream(number, "conformance")) for number in range(self.count)]

    def _agree(self, cost: Cost, first: Measurement, second: Measurement) -> bool:
        if cost.exact:
            return first.value == second.value
        return 1 / self.factor <= first.value / second.value <= self.factor

    def test_it_has_a_key_and_units(self) -> None:
        cost = self.cost()
        assert cost.name
        assert cost.name != Cost.name
        assert re.fullmatch(r"[a-z][a-z0-9_]*(@[a-z0-9_.-]+)?", cost.key)
        assert cost.key != Cost.key
        assert 1.0 in cost.units.values()

    def test_limits_are_read_with_their_units(self) -> None:
        cost = self.cost()

        @for_all(20, st.sampled_from(sorted(cost.units)), st.integers(1, 9999))
        def check(unit: str, number: int) -> None:
            shouted = unit.upper() if unit.isascii() else unit
            for value, text in ((number, f"{number}{unit}"), (number / 8, f" {number / 8} {shouted} ")):
                assert cost.quantity(text, cost.name) == pytest.approx(value * cost.units[unit])

        for text in ("", "much", "0", "-1", "1 parsec", "nan", "inf"):
            with pytest.raises(UsageError):
                cost.quantity(text, cost.name)

    def test_a_cost_is_above_zero(self) -> None:
        cost, setting = self.cost(), self.setting()
        for architecture in self.architectures(setting):
            measurement = cost.measure(architecture, setting)
            assert isinstance(measurement.value, float)
            assert math.isfinite(measurement.value)
            assert measurement.value > 0
            assert measurement.spread >= 0
            assert not (cost.exact and measurement.spread)
            json.dumps(dict(measurement.details), allow_nan=False)

    def test_measuring_again_agrees(self) -> None:
        cost, setting = self.cost(), self.setting()
        for architecture in self.architectures(setting)[:2]:
            first, second = cost.measure(architecture, setting), self.cost().measure(architecture, setting)
            assert self._agree(cost, first, second)

    def test_screening_agrees_with_measuring(self) -> None:
        cost, setting = self.cost(), self.setting()
        architectures = self.architectures(setting)
        assert cost.screen([], setting) == []
        screened = cost.screen(architectures, setting)
        assert len(screened) == len(architectures)
        measured = [cost.measure(architecture, setting) for architecture in architectures]
        assert all(self._agree(cost, quick, slow) for quick, slow in zip(screened, measured, strict=True))

    def test_a_simplified_architecture_costs_the_same(self) -> None:
        cost, setting = self.cost(), self.setting()
        sample = (setting.space.sample(stream(number, "conformance", "dead")) for number in range(50))
        pairs = ((architecture, setting.space.simplify(architecture)) for architecture in sample)
        for architecture, simple in itertools.islice((pair for pair in pairs if pair[0] != pair[1]), 2):
            assert self._agree(cost, cost.measure(architecture, setting), cost.measure(simple, setting))

    def test_nothing_global_is_changed(self) -> None:
        cost, setting = self.cost(), self.setting()
        state, threads = torch.random.get_rng_state(), torch.get_num_threads()
        cost.measure(self.architectures(setting)[0], setting)
        assert torch.equal(torch.random.get_rng_state(), state)
        assert torch.get_num_threads() == threads

    def test_it_travels_to_another_process(self) -> None:
        cost, setting = self.cost(), self.setting()
        architecture = self.architectures(setting)[0]
        again, there = cloudpickle.loads(cloudpickle.dumps((cost, setting)))
        assert (again.name, again.key) == (cost.name, cost.key)
        assert self._agree(cost, cost.measure(architecture, setting), again.measure(architecture, there))
