"""Recipes as users write them."""

import dataclasses
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from archscout.core import registry
from archscout.core.errors import UsageError
from archscout.core.estimator import Setting
from archscout.core.registry import create, names, register
from archscout.core.seeds import derive
from archscout.core.task import Task
from archscout.estimators.final import FinalTraining
from archscout.estimators.folds import Folds
from archscout.estimators.paused import Paused
from archscout.estimators.trained import Trained, weights_file
from archscout.networks.pick import build
from archscout.shrink.tuning import fine_tune
from archscout.study import building
from archscout.testing import tiny_task
from archscout.training import asked
from archscout.training.course import Course
from archscout.training.recipe import Recipe
from archscout.training.speed import Mode
from archscout.training.timing import time_job
from archscout.workers.engines import InlineEngine

SPACE = create("space", "nasbench201:width=2,cells=1")
ARCHITECTURE = SPACE.parse("|nor_conv_3x3~0|+|none~0|skip_connect~1|+|nor_conv_1x1~0|none~1|skip_connect~2|")


def of(text: Any, task: Task | None = None, epochs: int = 4) -> Recipe:
    return asked.recipe_for(asked.of_task(task or tiny_task(), asked.read(text)[0], epochs), epochs)


@pytest.fixture
def mine() -> Iterator[Callable[..., None]]:
    """Registers a recipe as `mine` for the length of a test."""
    before = dict(registry._registered)
    yield lambda make: register("recipe", "mine")(make)
    registry._registered.clear()
    registry._registered.update(before)


@pytest.mark.parametrize("name", sorted(names("recipe")))
def test_a_name_is_the_recipe_of_that_name(name: str) -> None:
    for task in (tiny_task(), tiny_task((3, 32, 32))):
        assert of(name, task) == Recipe.named(name, task, 4)


@pytest.mark.parametrize(
    "text",
    [
        "optimizer=adamw,lr=1e-3,batch=128", " batch_size = 128 , Learning-Rate=.001,optim=AdamW",
        "bs=128,opt=adamw,learning_rate=0.001", "default,lr=0.001,optimiser=adamw,batchsize=128",
        {"lr": 1e-3, "optimizer": "adamw", "batch": np.int64(128)},
    ],
)  # fmt: skip
def test_all_ways_of_writing_it_are_one(text: Any) -> None:
    assert asked.read(text) == ("batch_size=128,learning_rate=0.001,optimizer=adamw", None)
    recipe = of(text)
    assert (recipe.optimizer, recipe.learning_rate, recipe.batch_size) == ("adamw", 0.001, 128)
    # All else is as it is for such a task.
    changed = ("optimizer", "learning_rate", "batch_size")
    was = dataclasses.asdict(Recipe.default(tiny_task(), 4))
    assert {k: v for k, v in dataclasses.asdict(recipe).items() if k not in changed} == {
        k: v for k, v in was.items() if k not in changed
    }


def test_every_field_can_be_asked_for_by_its_name() -> None:
    values: dict[str, Any] = {
        "batch_size": 7, "optimizer": "muon", "learning_rate": 0.3, "sgd_learning_rate": 0.2, "schedule": "linear",
        "momentum": 0.5, "weight_decay": 0.01, "warmup_epochs": 0.5, "label_smoothing": 0.3, "gradient_clip": 1.5,
        "augment": True, "lighter": True, "norm_momentum": 0.2, "smaller_side": 0.75, "smaller_epochs": 0.25,
        "epoch_share": 0.5, "precision": "bfloat16", "layout": "channels_last", "sparsity": "2:4",
        "sparsity_rule": "ste",
    }  # fmt: skip
    text = ",".join(f"{key}={str(value).lower()}" for key, value in values.items())
    assert dataclasses.asdict(of(text)).items() >= values.items()
    others = {field.name for field in dataclasses.fields(Recipe)} - set(values)
    assert others == {"epochs", "relative_rate", "bits", "fit_on", "averaged_epochs"}
    assert of("opt=adamw,relative_rate=yes,bits=w4a8").relative_rate
    assert of("bits=w3a5") == dataclasses.replace(Recipe.named("quantised", tiny_task(), 4), bits="w3a5")
    assert asked.read("sgd,epochs=5") == ("sgd", 5) == asked.read("sgd", 5) == asked.read("sgd,epoch=5", 5)


def test_a_recipe_of_python_is_taken_whole() -> None:
    recipe = Recipe(9, 17, optimizer="adamw", learning_rate=3e-3, bits="w4a4", augment=False)
    text, epochs = asked.read(recipe)
    assert epochs == 9
    assert of(text, tiny_task((3, 32, 32)), 9) == recipe


def test_with_another_optimiser_comes_what_goes_with_it() -> None:
    images = tiny_task((3, 32, 32))
    assert Recipe.default(images, 4).optimizer == "muon"
    assert of("opt=adamw", images).learning_rate == Recipe.named("series", images, 4).learning_rate
    assert of("opt=sgd", images).learning_rate == Recipe.named("sgd", images, 4).learning_rate
    assert of("finetune,opt=muon", images).learning_rate == pytest.approx(0.01)
    assert of("opt=sgd,lr=3", images).learning_rate == 3


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "the recipe must be a text"), (5, "the recipe must be a text"), ("sdg", "did you mean 'sgd'?"),
        ("adamw", "write optimizer=adamw"), ("optimzer=sgd", "did you mean 'optimizer'?"),
        ("learnrate=1", "did you mean 'learning_rate'?"), ("opt=adam", "use sgd, adamw or muon"),
        ("schedule=step", "use cosine or linear"), ("lr=", "not of the form field=value"),
        ("=3", "not of the form field=value"), ("sgd,", "not of the form field=value"),
        ("lr=1,learning_rate=2", "learning_rate twice"), ({"lr": 1, "rate": 1}, "learning_rate twice"),
        ("lr=fast", "must be a number"), ("lr=nan", "must be a number"), ("lr=1e999", "finite number"),
        ("lr=-1", "zero or more"), ("batch=0", "whole number of 1 or more"), ("batch=1.5", "whole number"),
        ("momentum=1", "below 1"), ("smoothing=1", "below 1"), ("aug=maybe", "true or false"),
        ({"augment": "perhaps"}, "true or false"), ({"lr": True}, "finite number"), ("sparsity=5:4", "below M"),
        ("bits=w9a1", "each from 2 to 8"), ("bits=w4a8,sparsity=2:4", "without sparsity"),
        ("muon,bits=w4a8", "by SGD or AdamW"), ("opt=adamw,mom=0.8", "adamw has no momentum"),
        ("sgd,sgd_lr=0.1", "it is of optimizer=muon"), ("fit_on=train", "Archscout's to say"),
        ("averaged_epochs=3", "follows from their number"), ("epochs=0", "1 or more"), ("epochs=2.5", "whole number"),
    ],
)  # fmt: skip
def test_what_is_none_is_refused_before_there_are_data(text: Any, said: str) -> None:
    with pytest.raises(UsageError, match=re.escape(said)) as caught:
        asked.read(text)
    assert "\n" not in str(caught.value) and "?." not in str(caught.value)


def test_two_lengths_and_two_recipes_are_refused() -> None:
    with pytest.raises(UsageError, match="say one of them"):
        asked.read("epochs=3", 4)
    with pytest.raises(UsageError, match="trains by the recipe 'sgd'"):
        asked.read("muon", None, Trained(recipe="sgd").recipe)
    with pytest.raises(UsageError, match="leave them out"):
        asked.without_epochs("epochs=3", "there is a budget")


def test_a_recipe_of_ones_own_is_tried_on_the_data(mine: Callable[..., None]) -> None:
    mine(lambda task, epochs: Recipe(epochs, len(task.train) // 4))
    assert of("mine").batch_size == 12
    # One that asks for the default is not asked for itself.
    mine(lambda task, epochs: dataclasses.replace(Recipe.default(task, epochs), learning_rate=0.7))
    assert of("mine,wd=0").learning_rate == 0.7
    for broken, said in ((lambda task, epochs: 1 / 0, "fails for task"), (lambda task, epochs: {}, "must return")):
        registry._registered.pop(("recipe", "mine"))
        mine(broken)
        with pytest.raises(UsageError, match=said):
            of("mine")


def test_a_task_is_the_same_whatever_its_recipe() -> None:
    task = tiny_task()
    other = dataclasses.replace(task, recipe="sgd")
    assert other.digest == task.digest
    assert other.describe() == task.describe()
    assert other.sealed().recipe == "sgd"


@pytest.fixture
def trained_by(monkeypatch: pytest.MonkeyPatch) -> list[Recipe]:
    """The recipes of all trainings that begin."""
    seen: list[Recipe] = []
    begin = Course.__init__

    def noted(self: Course, model: Any, task: Any, recipe: Recipe, *rest: Any, **more: Any) -> None:
        seen.append(recipe)
        begin(self, model, task, recipe, *rest, **more)

    monkeypatch.setattr(Course, "__init__", noted)
    return seen


def _table(task: Task, text: str, folder: Path) -> None:
    # Listing all of the space takes seconds.
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(building, "ENUMERATED", 0)
        _built(task, text, folder)


def _built(task: Task, text: str, folder: Path) -> None:
    plan = building.Plan(epochs=2, networks=2, recipe=text)
    building.build_table(SPACE, task, plan, file=folder / "t.parquet", engine=InlineEngine((SPACE, task, "cpu")))


def _fine_tuned(task: Task) -> None:
    network = build(SPACE, ARCHITECTURE, task)
    fine_tune(network, task, 0.05, seed=0, clock=time.monotonic, mode=Mode("float32", "contiguous"))


TRAININGS: dict[str, Callable[[Task, str, Path], Any]] = {
    "trained": lambda task, _, folder: Trained().estimate([ARCHITECTURE], Setting(SPACE, task), fidelity=2),
    "many": lambda task, _, folder: Trained().estimate(list(SPACE)[:8], Setting(SPACE, task), fidelity=2),
    "final": lambda task, _, folder: FinalTraining().estimate([ARCHITECTURE], Setting(SPACE, task), fidelity=2),
    "folds": lambda task, _, folder: Folds(2).estimate([ARCHITECTURE], Setting(SPACE, task), fidelity=2),
    "paused": lambda task, _, folder: Paused(2).estimate([ARCHITECTURE], Setting(SPACE, task), fidelity=1),
    "timing": lambda task, _, folder: time_job((SPACE, task, "cpu"), ARCHITECTURE, 0),
    "table": _table,
    "fine-tuning": lambda task, _, folder: _fine_tuned(task),
}


@pytest.mark.parametrize("what", TRAININGS)
def test_all_trainings_are_by_it(what: str, trained_by: list[Recipe], tmp_path: Path) -> None:
    text = asked.read("opt=adamw,lr=0.003,batch=5,wd=0.07,clip=2,smoothing=0.2,precision=float32")[0]
    TRAININGS[what](asked.of_task(tiny_task(), text), text, tmp_path)
    assert trained_by
    for recipe in trained_by:
        told = (recipe.optimizer, recipe.batch_size, recipe.weight_decay, recipe.gradient_clip, recipe.label_smoothing)
        assert told == ("adamw", 5, 0.07, 2.0, 0.2)
        assert recipe.learning_rate == 0.003 and recipe.precision == "float32"


def test_without_a_rate_weights_stay_as_they_are_drawn(tmp_path: Path) -> None:
    task = asked.of_task(tiny_task().sealed(), asked.read("optimizer=sgd,lr=0,wd=0")[0])
    setting = Setting(SPACE, task, folder=tmp_path)
    (told,) = Trained().estimate([ARCHITECTURE], setting, fidelity=2)
    file = weights_file(tmp_path, told)
    assert file is not None
    kept = load_file(file)
    network = build(SPACE, ARCHITECTURE, task, seed=derive(0, "trained", SPACE.canonical(ARCHITECTURE)))
    assert all(torch.equal(kept[name], weight) for name, weight in network.named_parameters())
    (final,) = FinalTraining(seconds=0.01, most=9).estimate([ARCHITECTURE], setting, fidelity=2)
    assert final.curve  # the schedule of a rate of nothing is planned anew, too


def test_no_training_is_answered_by_one_with_another_recipe(tmp_path: Path) -> None:
    setting = Setting(SPACE, tiny_task().sealed(), folder=tmp_path)
    files = set()
    for text in ("", "sgd,batch_size=8", "sgd,batch_size=16"):
        asking = dataclasses.replace(setting, task=asked.of_task(setting.task, text))
        files |= {weights_file(tmp_path, Trained().estimate([ARCHITECTURE], asking, fidelity=1)[0])}
    assert len(files) == 3


def test_the_page_about_it_names_every_field_and_nothing_else() -> None:
    page = (Path(__file__).parents[2] / "docs" / "recipes.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(\w+)` \| ([^|]*)\|", page, re.MULTILINE)
    assert {field for field, _ in rows} == {field.name for field in dataclasses.fields(Recipe)} - {
        "fit_on", "averaged_epochs",
    }  # fmt: skip
    words = {"optimizer": "sgd", "schedule": "linear", "precision": "float32", "layout": "contiguous", "bits": "w4a8"}
    words |= {"sparsity": "2:4"}
    for field, also in rows:
        for word in re.findall(r"`(\w+)`", also):
            value = words.get(field, "1")
            assert asked._of(f"{word}={value}") == asked._of(f"{field}={value}")
