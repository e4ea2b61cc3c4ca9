"""What every estimator promises, as tests."""

from __future__ import annotations

import dataclasses
import math
import random
from abc import ABC, abstractmethod
from collections.abc import Sequence

import cloudpickle
import hypothesis.strategies as st
import numpy as np
import torch

from archscout.core.architecture import Architecture
from archscout.core.estimator import Estimator, Setting
from archscout.core.registry import create
from archscout.core.seeds import stream
from archscout.core.space import Space
from archscout.core.trial import Estimate, Trial
from archscout.testing.check import for_all
from archscout.testing.tasks import tiny_task

KNOWN_NEEDS = frozenset({"inputs", "targets", "gradients", "training", "history"})


class EstimatorConformance(ABC):
    """The contract of an `Estimator`. Inherit it and give the estimator.

    >>> class TestMine(EstimatorConformance):             # doctest: +SKIP
    ...     def estimator(self): return Mine()
    """

    count = 6
    """How many architectures are estimated."""

    examples = 5
    """How many orders and selections of them are tried."""

    fidelity: int | None = None
    """What the estimates are asked for with; epochs for an estimator that trains."""

    tolerance = 1e-6
    """How far, relatively, an estimate may move when others are asked for along with it."""

    @abstractmethod
    def estimator(self) -> Estimator:
        """A new estimator, equal each time."""

    def space(self) -> Space:
        """What the architectures are drawn from."""
        return create("space", "nasbench201:width=4,cells=1")  # type: ignore[no-any-return]

    def setting(self) -> Setting:
        """Where estimates are made."""
        return Setting(self.space(), tiny_task().sealed(), seed=3)

    def architectures(self, setting: Setting) -> list[Architecture]:
        """What is estimated."""
        return [setting.space.sample(stream(number, "conformance")) for number in range(self.count)]

    def trials(self, setting: Setting) -> list[Trial]:
        """What an estimator that learns is fitted on: values that depend on the choices in a simple way."""
        sample = [setting.space.sample(stream(number, "conformance", "trial")) for number in range(16)]
        encoded = setting.space.encode(sample)
        values = encoded @ stream(0, "conformance", "weights").random(encoded.shape[1]) / encoded.sum(1)
        return [
            Trial(number, architecture, setting.space.canonical(architecture), "trained", 1, "completed", float(value))
            for number, (architecture, value) in enumerate(zip(sample, values, strict=True))
        ]

    def _fitted(self, setting: Setting) -> Estimator:
        estimator = self.estimator()
        if "history" in estimator.needs:
            estimator.fit(self.trials(setting), setting)
        return estimator

    def _estimate(
        self, estimator: Estimator, architectures: Sequence[Architecture], setting: Setting
    ) -> list[Estimate]:
        return estimator.estimate(architectures, setting, fidelity=self.fidelity)

    def test_it_has_a_name_and_known_needs(self) -> None:
        estimator = self.estimator()
        assert estimator.name
        assert estimator.name != Estimator.name
        assert estimator.needs <= KNOWN_NEEDS

    def test_one_estimate_an_architecture(self) -> None:
        setting = self.setting()
        estimator = self._fitted(setting)
        assert self._estimate(estimator, [], setting) == []
        architectures = self.architectures(setting)
        for asked in (architectures, tuple(architectures[:1])):
            estimates = self._estimate(estimator, asked, setting)
            assert len(estimates) == len(asked)
            assert all(isinstance(estimate, Estimate) for estimate in estimates)

    def test_a_value_is_a_number_or_has_a_reason(self) -> None:
        setting = self.setting()
        estimates = self._estimate(self._fitted(setting), self.architectures(setting), setting)
        for estimate in estimates:
            assert isinstance(estimate.value, float)
            assert math.isfinite(estimate.value) or (math.isnan(estimate.value) and estimate.reason)
            assert math.isfinite(estimate.seconds)
            assert estimate.seconds >= 0
            assert estimate.std is None or estimate.std >= 0
        assert any(math.isfinite(estimate.value) for estimate in estimates), "no architecture has a value"

    def test_the_same_seed_gives_the_same_estimates(self) -> None:
        setting = self.setting()
        architectures = self.architectures(setting)
        first = self._estimate(self._fitted(setting), architectures, setting)
        second = self._estimate(self._fitted(setting), architectures, setting)
        assert [repr(estimate.value) for estimate in first] == [repr(estimate.value) for estimate in second]

    def test_an_estimate_does_not_depend_on_what_else_is_asked(self) -> None:
        setting = self.setting()
        architectures = self.architectures(setting)
        estimator = self._fitted(setting)
        alone = self._estimate(estimator, architectures, setting)
        places = st.lists(st.integers(0, len(architectures) - 1), min_size=1, max_size=len(architectures))

        @for_all(self.examples, places)
        def check(chosen: list[int]) -> None:
            estimates = self._estimate(estimator, [architectures[place] for place in chosen], setting)
            for place, estimate in zip(chosen, estimates, strict=True):
                assert math.isnan(alone[place].value) == math.isnan(estimate.value)
                if not math.isnan(estimate.value):
                    assert math.isclose(alone[place].value, estimate.value, rel_tol=self.tolerance, abs_tol=1e-12)

    def test_no_global_random_state_is_read_or_changed(self) -> None:
        setting = self.setting()
        architectures = self.architectures(setting)[:2]
        values = []
        before = random.getstate(), np.random.get_state(), torch.random.get_rng_state()
        try:
            for seed in (1, 2):
                random.seed(seed)
                np.random.seed(seed)
                torch.default_generator.manual_seed(seed)
                states = random.getstate(), np.random.get_state()[1].tobytes(), torch.random.get_rng_state().tolist()  # type: ignore[index]
                values.append([e.value for e in self._estimate(self._fitted(setting), architectures, setting)])
                after = random.getstate(), np.random.get_state()[1].tobytes(), torch.random.get_rng_state().tolist()  # type: ignore[index]
                assert states == after
        finally:
            random.setstate(before[0])
            np.random.set_state(before[1])
            torch.random.set_rng_state(before[2])
        assert repr(values[0]) == repr(values[1])

    def test_the_test_split_is_not_needed(self) -> None:
        setting = self.setting()
        sealed = dataclasses.replace(setting, task=setting.task.sealed())
        architectures = self.architectures(setting)[:2]
        given = self._estimate(self._fitted(setting), architectures, setting)
        without = self._estimate(self._fitted(sealed), architectures, sealed)
        assert [repr(estimate.value) for estimate in given] == [repr(estimate.value) for estimate in without]

    def test_it_travels_to_another_process(self) -> None:
        setting = self.setting()
        architectures = self.architectures(setting)[:2]
        estimator = self._fitted(setting)
        again, there = cloudpickle.loads(cloudpickle.dumps((estimator, setting)))
        here = self._estimate(estimator, architectures, setting)
        assert [repr(e.value) for e in here] == [repr(e.value) for e in self._estimate(again, architectures, there)]
        assert again.name == estimator.name
