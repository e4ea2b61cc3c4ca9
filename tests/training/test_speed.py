"""Which mode is chosen, given the times of each; and that timing leaves no trace."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from archscout.core.errors import UsageError
from archscout.testing import tiny_task
from archscout.training import speed, trainer
from archscout.training.speed import MODES, Mode, choose
from archscout.training.trainer import Recipe, train

SINGLE, HALF, SINGLE_ROWS, HALF_ROWS = MODES


@pytest.fixture(autouse=True)
def isolated(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(speed, "_families", {})
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


def convolutions(width: int = 32, groups: int = 1) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(4, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU(),
        nn.Conv2d(width, width, 3, padding=1, groups=groups), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
        nn.Linear(width, 3),
    )  # fmt: skip


def loss(network: nn.Module, x: Tensor) -> Tensor:
    return network(x).square().mean()  # type: ignore[no-any-return]


def inputs(examples: int = 64) -> Tensor:
    return torch.randn(examples, 4, 24, 24)


class Clock:
    """Tells how long a step of each mode takes, and counts the steps."""

    def __init__(self, seconds: dict[Mode, float]) -> None:
        self.seconds, self.asked = seconds, 0

    def __call__(self, network: nn.Module, x: Tensor, loss: Any, mode: Mode, steps: int) -> float:
        self.asked += 1
        if mode not in self.seconds:
            raise RuntimeError("not implemented for 'BFloat16'")
        return self.seconds[mode]


@pytest.mark.parametrize(
    ("seconds", "fastest"),
    [
        ({SINGLE: 1.0, HALF: 0.5, SINGLE_ROWS: 1.1, HALF_ROWS: 0.7}, HALF),
        ({SINGLE: 1.0, HALF: 0.85, SINGLE_ROWS: 0.9, HALF_ROWS: 0.9}, SINGLE),  # within the noise
        ({SINGLE: 1.0, HALF: 2.0, SINGLE_ROWS: 0.7, HALF_ROWS: 2.0}, SINGLE_ROWS),
        ({SINGLE: 1.0, HALF: 0.6, SINGLE_ROWS: 0.9, HALF_ROWS: 0.4}, HALF_ROWS),
        ({SINGLE: 1.0, SINGLE_ROWS: 0.7}, SINGLE_ROWS),  # an operator that has no bfloat16
    ],
)
def test_the_fastest_mode_by_a_margin(
    seconds: dict[Mode, float], fastest: Mode, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(speed, "_step_seconds", Clock(seconds))
    assert choose(convolutions(), inputs(), loss, steps=1000) == fastest


def test_what_is_far_slower_on_a_part_of_the_batch_is_not_timed_on_all_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[Mode, int]] = []
    seconds = {SINGLE: 1.0, HALF: 0.5, SINGLE_ROWS: 2.0, HALF_ROWS: 0.7}

    def clock(network: nn.Module, x: Tensor, loss: Any, mode: Mode, steps: int) -> float:
        asked.append((mode, len(x)))
        return seconds[mode] * len(x) * (0.7 if (mode, len(x)) == (HALF_ROWS, 64) else 1.0)

    monkeypatch.setattr(speed, "_step_seconds", clock)
    assert choose(convolutions(), inputs(), loss, steps=1000) == HALF
    assert asked == [*((mode, 16) for mode in MODES), (HALF, 64), (HALF_ROWS, 64)]


def test_what_is_given_is_not_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock({SINGLE: 1.0, HALF: 2.0, SINGLE_ROWS: 1.0, HALF_ROWS: 0.1})
    monkeypatch.setattr(speed, "_step_seconds", clock)
    given = choose(convolutions(), inputs(), loss, steps=1000, precision="bfloat16", layout="channels_last")
    assert (given, clock.asked) == (HALF, 0)
    assert choose(convolutions(), inputs(), loss, steps=1000, precision="float32") == SINGLE
    assert choose(convolutions(), inputs(), loss, steps=1000, layout="contiguous") == HALF_ROWS


def test_small_networks_and_short_trainings_are_not_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock({HALF: 0.1, SINGLE: 1.0})
    monkeypatch.setattr(speed, "_step_seconds", clock)
    assert choose(convolutions(), inputs(), loss, steps=10) == SINGLE
    assert choose(convolutions(4), inputs(8), loss, steps=1000) == SINGLE
    assert clock.asked == 0


def test_a_family_is_timed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(dict.fromkeys(MODES, 1.0))
    monkeypatch.setattr(speed, "_step_seconds", clock)
    choose(convolutions(), inputs(), loss, steps=1000)
    once = clock.asked
    choose(convolutions(34), inputs(), loss, steps=1000)  # a little wider
    assert clock.asked == once
    choose(convolutions(64, groups=64), inputs(128), loss, steps=1000)  # another kind, another batch
    assert clock.asked > once


def test_timing_leaves_no_trace() -> None:
    network = convolutions().train()
    network[1].eval()
    network[3].weight.requires_grad_(False)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    assert choose(network, inputs(), loss, steps=1000) in MODES
    assert speed._families  # it was timed
    after = network.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert all(tensor.is_contiguous() for tensor in after.values())
    assert all(parameter.grad is None for parameter in network.parameters())
    assert [module.training for module in network] == [True, False, True, True, True, True, True]


def test_a_network_that_takes_one_layout_gets_that_or_the_user_is_told() -> None:
    class Viewing(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Conv2d(4, 8, 3)

        def forward(self, x: Tensor) -> Tensor:
            return self.layer(x).view(len(x), -1)  # type: ignore[no-any-return]

    assert choose(Viewing(), inputs(), loss, steps=1000).layout == "contiguous"
    with pytest.raises(UsageError, match="channels last: train it with layout=contiguous"):
        choose(Viewing(), inputs(), loss, steps=1000, layout="channels_last")


def test_a_continued_training_keeps_the_mode_that_it_began_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    task, recipe = tiny_task(), Recipe(epochs=4, batch_size=8)

    def network() -> nn.Module:
        with torch.random.fork_rng():
            torch.manual_seed(3)
            return nn.Sequential(nn.Conv2d(1, 6, 3), nn.BatchNorm2d(6), nn.ReLU(), nn.Flatten(), nn.Linear(216, 3))

    monkeypatch.setattr(trainer, "choose", lambda *_, **__: HALF)
    whole, part = network(), network()
    train(whole, task, recipe, seed=0)
    train(part, task, recipe, seed=0, folder=tmp_path, on_epoch=lambda row: row["epoch"] == 2)
    monkeypatch.setattr(trainer, "choose", lambda *_, **__: SINGLE)  # the machine has become another
    outcome = train(part, task, recipe, seed=0, folder=tmp_path)
    assert outcome.mode == HALF
    assert all(torch.equal(a, b) for a, b in zip(whole.parameters(), part.parameters(), strict=True))
