"""A recipe as a user writes it: a name, and fields that are to be other than it has them: `sgd,lr=0.05,batch=128`.

A task carries what was asked (`Task.recipe`), so whatever trains for it asks `recipe_for` and is given the same.
"""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Mapping
from functools import cache
from typing import Any

import numpy as np

from archscout.core import options
from archscout.core.errors import ArchscoutError, UsageError, nearest, reason_of
from archscout.core.registry import entries, names, written
from archscout.core.task import Split, Task
from archscout.training.recipe import OPTIONS, Recipe

DEFAULT = "default"

USUAL = {
    "sgd": {"learning_rate": 0.2, "momentum": 0.9, "weight_decay": 5e-4},
    "adamw": {"learning_rate": 2e-3, "weight_decay": 5e-4},
    "muon": {"learning_rate": 0.1, "sgd_learning_rate": 0.1, "momentum": 0.9, "weight_decay": 5e-4},
}
"""What goes with an optimiser, as the recipes that are named have it: asked for another one, these follow it, the rates
as far above or below as those of the recipe were."""

_MADE_FOR = {"sparsity": "sparse", "bits": "quantised"}
"""The recipes that fields are of: asked for one of them alone, it is changed, and not `default`."""

_CALLED = {
    "learning_rate": ("lr", "rate", "base_lr", "max_lr", "init_lr", "initial_lr", "peak_lr"),
    "sgd_learning_rate": ("sgd_lr", "sgd_rate"),
    "batch_size": ("batch", "bs", "train_batch_size", "minibatch", "mini_batch"),
    "optimizer": ("opt", "optim", "optimiser", "solver"),
    "weight_decay": ("wd", "decay"),
    "epochs": ("epoch", "num_epochs", "n_epochs", "max_epochs"),
    "schedule": ("sched", "scheduler", "lr_schedule", "lr_scheduler", "lr_sched"),
    "warmup_epochs": ("warmup", "warm_up", "warmup_epoch", "lr_warmup"),
    "label_smoothing": ("smoothing", "ls", "smooth"),
    "gradient_clip": ("clip", "grad_clip", "clip_grad", "gradient_clipping", "max_grad_norm", "clip_norm"),
    "augment": ("aug", "augmentation", "data_augmentation"),
    "momentum": ("mom",),
    "norm_momentum": ("bn_momentum",),
    "precision": ("dtype",),
    "layout": ("memory_format",),
    "bits": ("quantisation", "quantization"),
}
"""What people call the fields besides."""

_KNOWN = {"bf16": "bfloat16", "fp32": "float32", "32": "float32", "cos": "cosine", "cosine_annealing": "cosine"}
"""What they call the options of fields besides."""

_KEPT = {
    "fit_on": "which examples are learned from, and which tell the value, is Archscout's to say",
    "averaged_epochs": "which epochs are averaged follows from their number",
}
"""Fields that are nobody's to change here, and why."""

_TRUTHS = {"true": True, "yes": True, "on": True, "1": True, "false": False, "no": False, "off": False, "0": False}

_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")


@dataclasses.dataclass(frozen=True)
class Asked:
    """A recipe that was asked for.

    Args:
        name: of a registered one; "" for what is trained by where nobody says anything.
        fields: of it that are other, by their names in `Recipe`, sorted.
    """

    name: str = ""
    fields: tuple[tuple[str, Any], ...] = ()

    @property
    def text(self) -> str:
        """As it is kept: the same for all ways of writing it, and `read_text` reads it."""
        return ",".join([*([self.name] if self.name else []), *(f"{key}={written(v)}" for key, v in self.fields)])

    def over(self, recipe: Recipe) -> Recipe:
        """A recipe with these fields.

        Raises `UsageError` for a combination that there is none of, and for a field that would change nothing.
        """
        fields = dict(self.fields)
        optimizer = fields.get("optimizer", recipe.optimizer)
        if optimizer != recipe.optimizer:
            share = recipe.learning_rate / USUAL[recipe.optimizer]["learning_rate"]
            usual = {key: share * value if key.endswith("rate") else value for key, value in USUAL[optimizer].items()}
            fields = {"relative_rate": False, **usual, **fields}
        changed = dataclasses.replace(recipe, **fields)
        for field, why in idle(changed).items():
            if dict(self.fields).get(field) not in (None, False):
                raise UsageError(f"the recipe '{self.text}' has {field}, which changes nothing here: {why}.")
        return changed


def recipe_for(task: Task, epochs: int, own: Recipe | None = None) -> Recipe:
    """How networks are trained for a task: as its user asked, otherwise by the recipe `default`, or by the one given.

    Args:
        task: `task.recipe` says what was asked.
        epochs: of the training.
        own: what is trained by where no recipe is named, other than `default`.
    """
    asked = read_text(task.recipe)
    made = _MADE_FOR.get(next((key for key, _ in asked.fields if key in _MADE_FOR), ""), "")
    name = asked.name or ("" if own is not None else made or DEFAULT)
    recipe = own if own is not None and not name else _named(name, task, epochs)
    return asked.over(recipe) if asked.fields else recipe


def read(given: Any, epochs: int | None = None, judged_by: str = DEFAULT) -> tuple[str, int | None]:
    """What the user asked for as it is kept, "" for nothing, and for how many epochs; both are checked.

    Args:
        given: a text, a dict of fields, or a `Recipe`; None for nothing.
        epochs: that were asked for besides.
        judged_by: the recipe of the estimator.

    Raises:
        UsageError: for what is none of these, an unknown name, field or value, fields that exclude each other.
    """
    if given is None:
        return "", epochs
    asked, length = _of(given)
    if length is not None and epochs is not None and length != epochs:
        raise UsageError(f"the recipe says epochs={length}, and the epochs are {epochs}: say one of them.")
    if asked.text and judged_by != DEFAULT:
        raise UsageError(
            f"the estimator trains by the recipe '{judged_by}', and '{asked.text}' is asked for: say one of them (the "
            "latter is of the winner's final training, too)."
        )
    _try(asked)
    return asked.text, epochs if length is None else length


def without_epochs(given: Any, why: str) -> str:
    """The same for trainings whose length is said otherwise. Raises `UsageError` where the recipe has epochs."""
    text, epochs = read(given)
    if epochs is not None:
        raise UsageError(f"the recipe says epochs={epochs}: leave them out, for {why}.")
    return text


def read_text(text: str) -> Asked:
    """What a text asks for; an empty one nothing. Raises `UsageError`."""
    return _of(text)[0] if text else Asked()


def of_task(task: Task, recipe: str, epochs: int | None = None) -> Task:
    """The task with what was asked, which is tried on it.

    Raises `UsageError` where the recipe is none for such a task, or fails.
    """
    if not recipe:
        return task
    asked = dataclasses.replace(task, recipe=recipe)
    recipe_for(asked, epochs or 1)
    return asked


def idle(recipe: Recipe) -> dict[str, str]:
    """The fields of a recipe that change nothing in it, with the reason."""
    rows = {
        "momentum": (recipe.optimizer == "adamw", "adamw has no momentum to choose"),
        "sgd_learning_rate": (recipe.optimizer != "muon", "it is of optimizer=muon"),
        "relative_rate": (recipe.optimizer != "adamw", "it is of optimizer=adamw"),
        "sparsity_rule": (not recipe.sparsity, "no sparsity is asked for"),
        "smaller_epochs": (recipe.smaller_side == 1, "no smaller_side is asked for"),
        "lighter": (not recipe.augment, "without augment, examples are not changed at all"),
    }
    return {name: why for name, (changes_nothing, why) in rows.items() if changes_nothing}


def _named(name: str, task: Task, epochs: int) -> Recipe:
    """A registered recipe, which may be anybody's code."""
    try:
        recipe = Recipe.named(name, task, epochs)
    except ArchscoutError:
        raise
    except Exception as error:
        raise UsageError(f"recipe '{name}' fails for task '{task.name}': {reason_of(error)}.") from error
    if not isinstance(recipe, Recipe):
        raise UsageError(f"recipe '{name}' gives {options.shown(recipe)}: it must return a Recipe.")
    return recipe


def _of(given: Any) -> tuple[Asked, int | None]:
    if isinstance(given, Recipe):
        nothing = {*idle(given), *_KEPT}
        fields = {key: value for key, value in dataclasses.asdict(given).items() if key not in nothing}
        return _asked("", {key: value for key, value in fields.items() if value != ""})
    if isinstance(given, Mapping):
        return _asked("", {options.text(key, "the name of a field"): value for key, value in given.items()})
    name, fields = "", dict[str, Any]()
    for place, part in enumerate(options.text(given, "the recipe").split(",")):
        key, sign, value = (each.strip() for each in part.partition("="))
        if not sign and not place and key:
            name = _known_name(key)
        elif not sign or not key or not value:
            raise UsageError(
                f"'{part.strip()}' in the recipe {options.shown(given)} is not of the form field=value: write, say, "
                "optimizer=adamw,lr=1e-3, after the name of a recipe if you like."
            )
        elif (field := _field(key)) in fields:
            raise UsageError(f"the recipe {options.shown(given)} gives {field} twice: give it once.")
        else:
            fields[field] = value
    return _asked(name, fields)


def _known_name(name: str) -> str:
    known = names("recipe")
    if name in known:
        return "" if name == DEFAULT else name
    if name.lower() in OPTIONS["optimizer"]:
        raise UsageError(f"there is no recipe '{name}', but an optimiser: write optimizer={name.lower()}.")
    raise UsageError(f"there is no recipe {options.shown(name)}: {nearest(name, known)}")


def _asked(name: str, fields: Mapping[str, Any]) -> tuple[Asked, int | None]:
    values: dict[str, Any] = {}
    for key, value in fields.items():
        field = _field(key)
        if field in values:
            raise UsageError(f"the recipe gives {field} twice: give it once.")
        values[field] = _value(field, value)
    epochs = values.pop("epochs", None)
    return Asked(name, tuple(sorted(values.items()))), epochs


@cache
def _fields() -> dict[str, str]:
    """The fields of recipes, and their types as they are declared."""
    return {field.name: str(field.type) for field in dataclasses.fields(Recipe)}


@cache
def _aliases() -> dict[str, str]:
    """The field that each word stands for."""
    called = {also: field for field, words in _CALLED.items() for also in words}
    return {word.replace("_", ""): field for word, field in {**called, **{name: name for name in _fields()}}.items()}


def _field(key: str) -> str:
    """The field of a recipe that is called so. Raises `UsageError`."""
    field = _aliases().get(re.sub(r"[-_ .]", "", key).lower())
    if field is None:
        free = [name for name in _fields() if name not in _KEPT]
        raise UsageError(f"a recipe has no field {options.shown(key)}: {nearest(key.lower(), free)}")
    if field in _KEPT:
        raise UsageError(f"a recipe cannot be asked for {field}: {_KEPT[field]}.")
    return field


def _value(field: str, value: Any) -> Any:
    """A value of a field, as its type is. Raises `UsageError`."""
    declared, what = _fields()[field], f"the {field} of a recipe"
    text = value.strip() if isinstance(value, str) else None
    if field in OPTIONS:
        wanted = _KNOWN.get(str(value).strip().lower(), str(value).strip().lower())
        wanted = wanted.removeprefix("torch.")
        if wanted not in OPTIONS[field]:
            raise UsageError(f"there is no {field} {options.shown(value)}: use {_either(OPTIONS[field])}.")
        return wanted
    if declared == "bool":
        if text is not None:
            if text.lower() not in _TRUTHS:
                raise UsageError(f"{what} must be true or false, not {options.shown(value)}.")
            return _TRUTHS[text.lower()]
        return options.switch(value, what)
    if declared == "str":
        return options.text(value, what).strip().lower()
    if text is not None:
        if len(text) > options.LONGEST or not _NUMBER.fullmatch(text):
            raise UsageError(f"{what} must be a number, not {options.shown(value)}.")
        value = float(text)
        if declared == "int" and math.isfinite(value) and value.is_integer():
            value = int(value)
    if field == "epochs":
        return options.epochs(value)
    return options.whole(value, what, 1) if declared == "int" else options.number(value, what)


def _either(values: tuple[str, ...]) -> str:
    return f"{', '.join(values[:-1])} or {values[-1]}"


def _try(asked: Asked) -> None:
    """What can be seen of a recipe before there are data. Raises `UsageError`."""
    fields = dict(asked.fields)
    own = next((entry for entry in entries("recipe") if entry.name == asked.name), None)
    if not (own.source == __name__.partition(".")[0] if own else set(fields) & {"optimizer", *_MADE_FOR}):
        dataclasses.replace(Recipe(1), **fields)
        return
    from archscout.tasks.images import ImageClassification

    # Our own recipes but `default` have one optimiser for all data, so a task without examples tells.
    nothing = Split(np.empty((0, 32, 32, 3), np.uint8), np.empty(0, np.int64))
    task = ImageClassification("images", (3, 32, 32), 10, nothing, nothing, None, recipe=asked.text)
    recipe_for(task, 1)
