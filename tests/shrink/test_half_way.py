"""A deep cut in two rounds: what is learned between them stays, and the second goes on from the first."""

from __future__ import annotations

import copy
import importlib.util
import itertools
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from archscout.core.architecture import Architecture
from archscout.core.estimator import Setting
from archscout.core.registry import create
from archscout.networks.cutting import cut
from archscout.shrink import rating
from archscout.shrink.reduction import Cutting
from archscout.shrink.run import shrink
from archscout.spaces.narrowed import Narrowed
from archscout.spaces.trained import TrainedSpace
from archscout.testing.tasks import tiny_task

_spec = importlib.util.spec_from_file_location("zoo", Path(__file__).parents[1] / "networks" / "zoo.py")
zoo: Any = importlib.util.module_from_spec(_spec)  # type: ignore[arg-type]
_spec.loader.exec_module(zoo)  # type: ignore[union-attr]

TASK = tiny_task((3, 16, 16), classes=5)
X, Y = TASK.tensors(TASK.train)


@pytest.fixture
def space() -> TrainedSpace:
    return TrainedSpace(zoo.zoo_network("mobilenet"), input_shape=(3, 16, 16))


def around(space: TrainedSpace) -> Architecture:
    """One option down everywhere, and a block left out."""
    values = {choice.name: choice.options[1] for choice in space.choices if choice.ordinal}
    return space.architecture({**space.widest, **values, "blocks.1.block": "drop"})


def test_harms_add_up_as_what_is_left_multiplies() -> None:
    shares = np.linspace(0, 0.6, 7)
    for one, other in itertools.product(shares, shares):
        both = 2.0 * (1 - (1 - one) * (1 - other))
        if both < 0.95 * 2:
            parts = rating.additive(2 * np.array([one, other]), 2.0)
            assert float(rating.additive(np.array(both), 2.0)) == pytest.approx(parts.sum())
    far = rating.additive(np.array([0.0, 1.0, 1.9, 1.95, 2.0, 4.0, 40.0]), 2.0)
    assert far[0] == 0 and (np.diff(far) > 0).all() and np.isfinite(far).all()


def test_a_constant_answer_diverges_by_the_ignorance() -> None:
    sure = torch.tensor([[50.0, 0.0], [0.0, 50.0]])
    assert rating.ignorance(sure) == pytest.approx(np.log(2))
    numbers = torch.tensor([[1.0], [3.0]])
    assert rating.ignorance(numbers) == pytest.approx(1 / 5)  # of the mean, 2: a variance of 1, of a mean square of 5


def test_a_narrowed_space_is_what_lies_below(space: TrainedSpace) -> None:
    start = around(space)
    part = Narrowed(space, start)
    assert part.cut_of(part.widest) == space.cut_of(start)
    assert "blocks.1.block" not in {choice.name for choice in part.choices}
    for choice in part.choices:
        whole = next(each for each in space.choices if each.name == choice.name)
        assert choice.options == whole.options[whole.index(start[choice.name]) :]
        lower = part.in_whole({choice.name: choice.options[-1]})
        assert part.cut_of({choice.name: choice.options[-1]}) == space.cut_of(lower)
        assert dict(lower) == {**start, choice.name: choice.options[-1]}


def test_what_is_gone_stays_gone_when_units_are_ordered_again(space: TrainedSpace) -> None:
    start = around(space)
    before = {name: set(units) for name, units in space.cut_of(start).units.items()}
    rating.order_by_importance(space.module, Narrowed(space, start), TASK, X, Y, 16)
    assert {name: set(units) for name, units in space.cut_of(start).units.items()} == before


def test_harms_of_a_second_round_are_those_of_further_cuts(space: TrainedSpace) -> None:
    """Against networks that are cut in fact."""
    part, groups = Narrowed(space, around(space)), list(space.groups.values())
    harms = rating.harms(space.module, part, X[:16])
    with torch.no_grad():
        first = cut(space.module, groups, part.cut_of(part.widest)).eval()(X[:16])
        for choice in part.choices:
            smaller = cut(space.module, groups, part.cut_of({choice.name: choice.options[-1]})).eval()
            # Of a row that never falls, the last value is the largest there is.
            assert harms[choice.name][-1] >= rating.divergence(smaller(X[:16]), first) - 1e-5
            assert harms[choice.name][0] == 0
            if len(choice.options) == 2:
                assert harms[choice.name][1] == pytest.approx(rating.divergence(smaller(X[:16]), first), abs=1e-5)


def test_what_was_learned_between_two_cuts_is_not_recalibrated_away(space: TrainedSpace) -> None:
    """Cut no further, the network is the one that learned: what is gone has no part in its statistics."""
    record: Any = SimpleNamespace(task=TASK, device="cpu")
    way = Cutting(
        record, copy.deepcopy(space.module), space, Setting(space, TASK), {"params": create("cost", "params")}
    )
    start = around(space)
    network = way.smaller(start)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.mul_(1.1)
    way.go_on_from(start, network)
    with torch.no_grad():
        expected, answers = network.eval()(X), way.smaller(start).eval()(X)
    assert (answers - expected).abs().max() <= 1e-3 * expected.abs().max()


@pytest.mark.slow
def test_a_deep_cut_has_two_rounds(space: TrainedSpace, tmp_path: Path) -> None:
    ticks = itertools.count()
    result = shrink(
        space.module, TASK, maximum={"params": "25%"}, budget="20s", out=tmp_path, clock=lambda: next(ticks) * 1e-3
    )
    steps = [step["step"] for step in result.metrics["original"]["steps"]]
    assert steps == ["original", "cut half way", "recovered half way", "cut", "recovered"]
    original = result.metrics["original"]["costs"]["params"]
    assert result.metrics["costs"]["params"] <= 0.25 * original
    again = shrink(space.module, TASK, maximum={"params": "25%"}, budget="20s", out=tmp_path)
    assert again.architecture == result.architecture


@pytest.mark.slow
def test_without_time_for_training_between_all_is_cut_at_once(
    space: TrainedSpace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("archscout.shrink.reduction.timed", lambda *args: (None, 10.0))
    ticks = itertools.count()
    result = shrink(
        space.module, TASK, maximum={"params": "25%"}, budget="5s", out=tmp_path, clock=lambda: next(ticks) * 1e-3
    )
    assert [step["step"] for step in result.metrics["original"]["steps"]] == ["original", "cut", "recovered"]
