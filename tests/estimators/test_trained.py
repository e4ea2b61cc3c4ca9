"""Real training as an estimator."""

import dataclasses
import math
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from archscout.core.architecture import Architecture
from archscout.core.errors import DataError, UsageError
from archscout.core.estimator import Setting
from archscout.core.registry import create
from archscout.core.seeds import derive
from archscout.core.task import Split
from archscout.estimators import trained
from archscout.estimators.trained import Trained, file_name, weights_file
from archscout.networks.pick import build
from archscout.spaces.nasbench201 import NASBench201
from archscout.tasks.images import ImageClassification
from archscout.testing import EstimatorConformance, tiny_task
from archscout.training import batched
from archscout.training.trainer import Recipe, default_epochs, predict, train

SPACE = NASBench201(width=4, cells=1)
CONV = SPACE.parse("|nor_conv_3x3~0|+|none~0|none~1|+|skip_connect~0|none~1|nor_conv_1x1~2|")
# The same network: the convolution 0->1 leads nowhere, in both.
SAME = SPACE.parse("|avg_pool_3x3~0|+|none~0|none~1|+|skip_connect~0|none~1|nor_conv_3x3~2|")
POOL = SPACE.parse("|none~0|+|none~0|none~1|+|avg_pool_3x3~0|none~1|none~2|")


@dataclasses.dataclass(frozen=True)
class DoubleTask(ImageClassification):
    def tensors(self, split: Split, device: Any = "cpu") -> tuple[Tensor, Tensor]:
        x, y = super().tensors(split, device)
        return x.double(), y


class TestConformance(EstimatorConformance):
    """In double precision: what is trained together tells in the rounding of sums, which these few steps blow up."""

    fidelity = 1
    examples = 2

    @pytest.fixture(autouse=True)
    def _double(self) -> Iterator[None]:
        torch.set_default_dtype(torch.float64)
        yield
        torch.set_default_dtype(torch.float32)

    def setting(self) -> Setting:
        small = tiny_task()
        fields = {field.name: getattr(small, field.name) for field in dataclasses.fields(small)}
        return Setting(self.space(), DoubleTask(**fields).sealed(), seed=3)

    def estimator(self) -> Trained:
        return Trained()


def setting(folder: Path | None = None, seed: int = 0) -> Setting:
    return Setting(SPACE, tiny_task().sealed(), seed=seed, folder=folder)


def values(estimator: Trained, architectures: list[Architecture], where: Setting, epochs: int) -> list[float]:
    return [estimate.value for estimate in estimator.estimate(architectures, where, fidelity=epochs)]


def test_the_value_is_that_of_a_training_from_the_seed() -> None:
    where = setting()
    estimate = Trained().estimate([CONV], where, fidelity=3)[0]
    seed = derive(0, "trained", SPACE.canonical(CONV))
    network = build(SPACE, CONV, where.task, seed=seed)
    outcome = train(network, where.task, Recipe.default(where.task, 3), seed=seed)
    assert estimate.value == outcome.valid_metric
    assert len(estimate.curve) == 3
    assert estimate.curve[-1]["train_loss"] == outcome.curve[-1]["train_loss"]
    assert estimate.extra["best_epoch"] == outcome.best_epoch
    assert 0 < estimate.seconds < 60


def test_an_estimate_depends_on_the_architecture_and_the_seed_alone() -> None:
    together = values(Trained(), [POOL, CONV], setting(), 2)
    assert together == [values(Trained(), [one], setting(), 2)[0] for one in (POOL, CONV)]
    losses = [
        Trained().estimate([CONV], setting(seed=seed), fidelity=1)[0].curve[0]["train_loss"] for seed in (0, 0, 1)
    ]
    assert losses[0] == losses[1] != losses[2]


def test_equal_networks_get_equal_values() -> None:
    assert SPACE.canonical(CONV) == SPACE.canonical(SAME)
    first, second = Trained().estimate([CONV, SAME], setting(), fidelity=1)
    assert first.curve[0]["train_loss"] == second.curve[0]["train_loss"]


def test_fidelity_is_epochs_and_has_defaults() -> None:
    where = setting()
    assert len(Trained(epochs=2).estimate([POOL], where)[0].curve) == 2
    assert len(Trained(epochs=2).estimate([POOL], where, fidelity=1)[0].curve) == 1
    assert len(Trained().estimate([POOL], where)[0].curve) == default_epochs(where.task)
    assert create("estimator", "trained:epochs=2").name == "trained:epochs=2"


@pytest.mark.parametrize("epochs", [0, -1, 1.5, "two"])
def test_impossible_epochs_are_refused(epochs: object) -> None:
    with pytest.raises(UsageError, match="whole number of epochs above zero"):
        Trained(epochs=epochs)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="whole number of epochs above zero"):
        Trained().estimate([POOL], setting(), fidelity=epochs)  # type: ignore[arg-type]


def test_the_best_weights_are_kept_for_the_stand_alone_network(tmp_path: Path) -> None:
    where = setting(tmp_path)
    estimate = Trained().estimate([CONV], where, fidelity=3)[0]
    file = weights_file(tmp_path, estimate)
    assert file is not None
    assert list(tmp_path.iterdir()) == [file]
    network = build(SPACE, CONV, where.task)
    network.load_state_dict(load_file(file))
    outputs = predict(network, where.task, where.task.valid)
    assert where.task.measure(outputs, torch.from_numpy(where.task.valid.y)) == estimate.value


def test_a_finished_training_answers_from_its_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = Trained().estimate([CONV], setting(tmp_path), fidelity=2)[0]

    def never(*args: object, **kwargs: object) -> None:
        raise AssertionError("a training was repeated")

    monkeypatch.setattr(trained, "train_many", never)
    assert Trained().estimate([CONV, SAME], setting(tmp_path), fidelity=2) == [first, first]
    for other in (setting(tmp_path, seed=1), dataclasses.replace(setting(tmp_path), task=tiny_task(seed=5).sealed())):
        with pytest.raises(AssertionError, match="repeated"):
            Trained().estimate([CONV], other, fidelity=2)
    with pytest.raises(AssertionError, match="repeated"):
        Trained().estimate([CONV], setting(tmp_path), fidelity=3)


def test_a_recipe_by_name_and_a_start_are_other_trainings(tmp_path: Path) -> None:
    where = setting(tmp_path)
    first = Trained().estimate([CONV], where, fidelity=2)[0]
    file = weights_file(tmp_path, first)
    assert file is not None
    start = tmp_path / "start.safetensors"
    shutil.copy(file, start)
    fine = create("estimator", f"trained:recipe=finetune,start={start}")
    second = fine.estimate([CONV], where, fidelity=2)[0]
    network = build(SPACE, CONV, where.task, seed=0)
    seed = derive(0, "trained", SPACE.canonical(CONV))
    recipe = Recipe.named("finetune", where.task, 2)
    curve = train(network, where.task, recipe, seed=seed, start=load_file(file)).curve
    assert [row["train_loss"] for row in second.curve] == [row["train_loss"] for row in curve]
    assert len({weights_file(tmp_path, one) for one in (first, second)}) == 2
    assert fine.estimate([CONV], where, fidelity=2) == [second]  # from its file
    with pytest.raises(UsageError, match=r"there is no recipe 'finetun'.*finetune"):
        Trained(recipe="finetun")
    with pytest.raises(DataError, match="cannot be read from 'nothing'"):
        Trained(start="nothing").estimate([CONV], where, fidelity=1)


def test_weights_of_recipes_that_differ_do_not_collide(tmp_path: Path) -> None:
    """Any field of a recipe makes another file, and so do start, seed, space and data: their names once told epochs."""
    where, form = setting(), SPACE.canonical(CONV)
    plain = Recipe(epochs=2)
    others = {"optimizer": "adamw", "schedule": "linear", "fit_on": "train+valid", "precision": "bfloat16",
              "layout": "channels_last", "sparsity": "2:4", "sparsity_rule": "ste", "bits": "w4a4"}  # fmt: skip
    recipes = [plain]
    for field in dataclasses.fields(Recipe):
        value = getattr(plain, field.name)
        if isinstance(value, bool):
            changed: Any = not value
        elif isinstance(value, int):
            changed = value + 1
        else:
            changed = others[field.name] if isinstance(value, str) else value / 2
        averaged = {"fit_on": "train+valid"} if field.name == "averaged_epochs" else {}
        recipes.append(dataclasses.replace(plain, **averaged, **{field.name: changed}))
    names = [file_name(where, form, recipe, 0) for recipe in recipes]
    names += [file_name(where, form, plain, 0, start) for start in ({"w": torch.ones(2)}, {"w": torch.zeros(2)})]
    names += [file_name(where, form, plain, 1), file_name(where, SPACE.canonical(POOL), plain, 0)]
    names.append(file_name(dataclasses.replace(where, space=NASBench201(width=8, cells=1)), form, plain, 0))
    names.append(file_name(dataclasses.replace(where, task=tiny_task(seed=5).sealed()), form, plain, 0))
    assert len(set(names)) == len(names) == len(dataclasses.fields(Recipe)) + 7
    both = setting(tmp_path)
    short = [Trained(recipe=name).estimate([CONV], both, fidelity=1)[0] for name in ("default", "finetune")]
    files = [weights_file(tmp_path, each) for each in short]
    assert None not in files and len(set(files)) == 2
    assert [Trained(recipe=name).estimate([CONV], both, fidelity=1)[0] for name in ("default", "finetune")] == short


def test_an_interrupted_training_continues(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = Trained().estimate([CONV], setting(), fidelity=4)[0]
    original = train

    def killed(*args: object, **kwargs: object) -> None:
        original(*args, **kwargs, on_epoch=lambda row: row["epoch"] == 2)  # type: ignore[arg-type]
        raise KeyboardInterrupt

    monkeypatch.setattr(batched, "train", killed)
    with pytest.raises(KeyboardInterrupt):
        Trained().estimate([CONV], setting(tmp_path), fidelity=4)
    monkeypatch.undo()
    epochs: list[float] = []

    def watched(*args: object, **kwargs: object) -> object:
        return original(*args, **kwargs, on_epoch=lambda row: epochs.append(row["epoch"]))  # type: ignore[arg-type]

    monkeypatch.setattr(batched, "train", watched)
    continued = Trained().estimate([CONV], setting(tmp_path), fidelity=4)[0]
    assert epochs == [3, 4]
    assert continued.value == whole.value
    for ours, theirs in zip(continued.curve, whole.curve, strict=True):
        assert {**ours, "seconds": 0} == {**theirs, "seconds": 0}
    assert [entry.suffix for entry in tmp_path.iterdir()] == [".safetensors"]


class Exploding(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(64, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x.flatten(1)) * math.inf


def test_a_training_that_diverges_has_no_value_but_a_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trained, "build", lambda *args, **kwargs: Exploding())
    for _ in range(2):  # the second time from the file
        estimate = Trained().estimate([CONV], setting(tmp_path), fidelity=2)[0]
        assert math.isnan(estimate.value)
        assert estimate.reason == "the training diverged: the training loss was nan in epoch 1."
        assert estimate.curve == ()
