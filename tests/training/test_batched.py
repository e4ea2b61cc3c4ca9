"""Training many networks at once, against the trainer that takes them one by one."""

import dataclasses
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from archscout.core.errors import UsageError
from archscout.core.registry import create
from archscout.core.task import Split
from archscout.networks.pick import build
from archscout.networks.stacked import Unstackable, stack
from archscout.spaces.nasbench201 import NASBench201
from archscout.tasks.images import ImageClassification
from archscout.testing import tiny_task
from archscout.training import batched, course
from archscout.training.batched import stack_size, train_many
from archscout.training.trainer import CHECKPOINT, Outcome, Recipe, predict, train

SPACE = NASBench201(width=4, cells=1)
CELLS = (
    "|nor_conv_3x3~0|+|nor_conv_1x1~0|nor_conv_3x3~1|+|skip_connect~0|none~1|avg_pool_3x3~2|",
    "|avg_pool_3x3~0|+|none~0|skip_connect~1|+|nor_conv_1x1~0|nor_conv_3x3~1|none~2|",
    "|none~0|+|none~0|none~1|+|skip_connect~0|none~1|none~2|",
    "|nor_conv_3x3~0|+|skip_connect~0|avg_pool_3x3~1|+|none~0|nor_conv_1x1~1|nor_conv_3x3~2|",
    "|none~0|+|none~0|none~1|+|none~0|none~1|none~2|",
)
RECIPES = {
    "sgd": Recipe(epochs=4, batch_size=10, learning_rate=0.1, gradient_clip=0.5),
    "adamw": Recipe(epochs=4, batch_size=16, optimizer="adamw", learning_rate=0.01, weight_decay=0.1),
    "muon": Recipe(epochs=4, batch_size=16, optimizer="muon", learning_rate=0.02, weight_decay=0.1),
    "bare": Recipe(epochs=3, batch_size=16, label_smoothing=0, gradient_clip=0, warmup_epochs=0, augment=False),
    "averaged": Recipe(epochs=4, batch_size=16, augment=False, fit_on="train+valid", averaged_epochs=3),
}


@dataclasses.dataclass(frozen=True)
class DoubleTask(ImageClassification):
    """In double precision rounding is too small to push an activation over a corner of a ReLU, where paths part."""

    def tensors(self, split: Split, device: Any = "cpu") -> tuple[Tensor, Tensor]:
        x, y = super().tensors(split, device)
        return x.double(), y


@pytest.fixture(scope="module")
def task() -> ImageClassification:
    small = tiny_task()
    return DoubleTask(**{f.name: getattr(small, f.name) for f in dataclasses.fields(small)})


def networks(task: ImageClassification) -> list[nn.Module]:
    return [build(SPACE, SPACE.parse(cell), task, seed=i).double() for i, cell in enumerate(CELLS)]


@pytest.fixture
def stacked_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is trained one by one."""
    monkeypatch.delattr(batched, "train")


def alike(ours: Outcome, theirs: Outcome, tolerance: float = 1e-4) -> None:
    assert len(ours.curve) == len(theirs.curve)
    for row, expected in zip(ours.curve, theirs.curve, strict=True):
        for name in expected.keys() - {"seconds"}:
            assert row[name] == pytest.approx(expected[name], abs=tolerance), name
        assert row.keys() == expected.keys()
    assert (ours.best_epoch, ours.diverged, ours.reason) == (theirs.best_epoch, theirs.diverged, theirs.reason)
    assert ours.valid_metric == pytest.approx(theirs.valid_metric, nan_ok=True)


APART, ALIKE = (0, 1, 2, 3, 4), (7, 7, 7, 7, 7)


@pytest.mark.parametrize(
    ("seeds", "name"),
    [
        *((APART, name) for name in RECIPES),
        (ALIKE, "sgd"),
        *(pytest.param(ALIKE, name, marks=pytest.mark.slow) for name in RECIPES if name != "sgd"),
    ],
)
@pytest.mark.usefixtures("stacked_only")
def test_each_comes_to_what_it_comes_to_alone(name: str, seeds: tuple[int, ...], task: ImageClassification) -> None:
    together, alone = networks(task), networks(task)
    outcomes = train_many(together, task, RECIPES[name], seeds=seeds, measured={"test": task.test})
    for ours, theirs, outcome, seed in zip(together, alone, outcomes, seeds, strict=True):
        alike(outcome, train(theirs, task, RECIPES[name], seed=seed, measured={"test": task.test}), 1e-8)
        if theirs is alone[-1]:
            continue  # its output is constant: weight decay pulls at weights that have no gradient alone
        for key, tensor in theirs.state_dict().items():
            torch.testing.assert_close(
                ours.state_dict()[key], tensor, rtol=1e-6, atol=1e-8, msg=lambda text, key=key: f"{key}: {text}"
            )


@pytest.mark.usefixtures("stacked_only")
def test_in_single_precision_a_few_steps_agree_to_rounding() -> None:
    task = tiny_task()
    recipe = Recipe(epochs=2, batch_size=24, learning_rate=0.01)
    together, alone = ([build(SPACE, SPACE.parse(c), task, seed=3) for c in CELLS] for _ in range(2))
    for ours, network in zip(train_many(together, task, recipe, seeds=[0] * 5), alone, strict=True):
        alike(ours, train(network, task, recipe, seed=0))


@pytest.mark.usefixtures("stacked_only")
def test_one_that_diverges_does_not_touch_the_others(task: ImageClassification) -> None:
    broken, whole = networks(task), networks(task)
    with torch.no_grad():
        next(broken[1].parameters())[0] = math.inf
    outcomes = train_many(broken, task, RECIPES["sgd"], seeds=range(5))
    expected = train_many(whole, task, RECIPES["sgd"], seeds=range(5))
    assert outcomes[1].diverged
    assert math.isnan(outcomes[1].valid_metric)
    assert outcomes[1].reason == "the training loss was nan in epoch 1"
    assert not outcomes[1].curve
    for i in (0, 2, 3, 4):
        alike(outcomes[i], expected[i], 0)
        outputs = predict(broken[i], task, task.valid)
        torch.testing.assert_close(outputs, predict(whole[i], task, task.valid), rtol=0, atol=0)


@pytest.mark.usefixtures("stacked_only")
def test_the_same_twice_and_nothing_global(task: ImageClassification) -> None:
    state = torch.get_rng_state()
    first, second = (train_many(networks(task), task, RECIPES["sgd"], seeds=range(5)) for _ in range(2))
    assert torch.equal(state, torch.get_rng_state())
    for one, other in zip(first, second, strict=True):
        alike(one, other, 0)


@pytest.mark.usefixtures("stacked_only")
def test_an_interrupted_training_continues(
    tmp_path: Path, task: ImageClassification, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = networks(task)
    outcomes = train_many(expected, task, RECIPES["sgd"], seeds=range(5))
    monkeypatch.setattr(course, "CHECKPOINT_SECONDS", 0.0)
    advance = course.Course._advance

    def killed(run: Any, *args: Any) -> None:
        if run.epoch == 2:
            raise KeyboardInterrupt
        advance(run, *args)

    monkeypatch.setattr(course.Course, "_advance", killed)
    with pytest.raises(KeyboardInterrupt):
        train_many(networks(task), task, RECIPES["sgd"], seeds=range(5), folder=tmp_path)
    assert (tmp_path / "0" / CHECKPOINT).is_file()
    monkeypatch.setattr(course.Course, "_advance", advance)
    continued = networks(task)
    again = train_many(continued, task, RECIPES["sgd"], seeds=range(5), folder=tmp_path)
    for ours, theirs, network, other in zip(again, outcomes, continued, expected, strict=True):
        alike(ours, theirs, 0)
        for key, tensor in other.state_dict().items():
            assert torch.equal(network.state_dict()[key], tensor)
    with pytest.raises(UsageError, match="another training"):
        train_many(networks(task), task, RECIPES["sgd"], seeds=[9] * 5, folder=tmp_path)


class Mixing(nn.Module):
    """A layer that looks across channels, which a stack would mix between networks."""

    def forward(self, x: Tensor) -> Tensor:
        return x - x.mean(1, keepdim=True)


class Weighted(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(1))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.scale


@pytest.mark.parametrize(
    ("layer", "reason"),
    [(Mixing, "apart"), (Weighted, "weights of their own"), (lambda: nn.Dropout(0.5), "dropout"),
     (lambda: nn.Softmax(1), "Softmax"), (lambda: nn.GroupNorm(1, 4), "GroupNorm")],
)  # fmt: skip
def test_what_cannot_be_laid_side_by_side_is_trained_one_by_one(layer: Any, reason: str) -> None:
    task = tiny_task()
    x, _ = task.tensors(task.train)

    def make() -> list[nn.Module]:
        with torch.random.fork_rng():
            torch.manual_seed(0)
            return [nn.Sequential(nn.Conv2d(1, 4, 3), layer(), task.head(4)) for _ in range(3)]

    with pytest.raises(Unstackable, match=reason):
        stack(make(), x[:2])
    recipe = Recipe(epochs=2, batch_size=16)
    outcomes = train_many(make(), task, recipe, seeds=[1, 2, 3])
    for outcome, network, seed in zip(outcomes, make(), [1, 2, 3], strict=True):
        alike(outcome, train(network, task, recipe, seed=seed), 0)


def test_networks_of_different_widths_are_trained_one_by_one() -> None:
    task = tiny_task()
    space = create("space", "mobile")
    rng = np.random.default_rng(0)
    architectures = [space.sample(rng) for _ in range(3)]
    recipe = Recipe(epochs=1, batch_size=16)

    def make() -> list[nn.Module]:
        return [build(space, architecture, task, seed=0) for architecture in architectures]

    for outcome, network in zip(train_many(make(), task, recipe, seeds=[0] * 3), make(), strict=True):
        alike(outcome, train(network, task, recipe, seed=0), 0)


def test_as_many_at_once_as_fit_the_caches() -> None:
    task = tiny_task()
    small = [build(SPACE, SPACE.parse(cell), task) for cell in CELLS[:3]]
    assert stack_size(small, task, Recipe(epochs=1, batch_size=16)) == batched.MOST
    large = [build(NASBench201(width=64), SPACE.parse(cell), task) for cell in CELLS[:3]]
    assert stack_size(large, task, Recipe(epochs=1, batch_size=128)) == batched.ELEMENTS // (64 * 64 * 128)
    unlike = [build(NASBench201(width=4 * n), SPACE.parse(CELLS[0]), task) for n in (1, 2, 3)]
    assert stack_size(unlike, task, Recipe(epochs=1, batch_size=16)) == 1


def test_no_networks_no_outcomes() -> None:
    assert train_many([], tiny_task(), RECIPES["sgd"], seeds=[]) == []


@dataclasses.dataclass(frozen=True)
class MaskedTask(DoubleTask):
    """Examples of class 0 do not count, which is decided by their values; augmentation changes targets too."""

    def loss(self, outputs: Tensor, targets: Tensor, smoothing: float = 0.0) -> Tensor:
        counted = targets > 0
        if not bool(counted.any()):
            return outputs.sum() * 0.0
        return torch.nn.functional.cross_entropy(outputs[counted], targets[counted], label_smoothing=smoothing)

    def transform(self, x: Tensor, y: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        turned = torch.rand(len(x), generator=generator) < 0.5
        return torch.where(turned.view(-1, 1, 1, 1), x.flip(3), x), torch.where(turned, (y + 1) % self.outputs, y)


def test_a_loss_that_masks_examples_and_targets_that_move_are_trained_in_stacks_as_alone(
    task: ImageClassification, stacked_only: None
) -> None:
    masked = MaskedTask(**{f.name: getattr(task, f.name) for f in dataclasses.fields(task)})
    recipe = Recipe(epochs=3, batch_size=16, learning_rate=0.1)
    ours, theirs = networks(masked), networks(masked)
    outcomes = train_many(ours, masked, recipe, seeds=range(len(ours)))
    for seed, (outcome, network) in enumerate(zip(outcomes, theirs, strict=True)):
        alike(outcome, train(network, masked, recipe, seed=seed), 1e-8)
