"""The recipes that have a name: functions of a task and a number of epochs."""

from __future__ import annotations

import dataclasses
import math

from archscout.core.registry import register
from archscout.core.task import Task
from archscout.tasks.segmentation import Segmentation
from archscout.training.recipe import Recipe

AUGMENTED_EPOCHS = 10
"""From how many epochs on a training augments its examples, unless told otherwise."""


FEW_EXAMPLES = 500
"""Of series: fewer come in smaller batches, for what counts then is the number of steps."""

MANY_EXAMPLES = 20_000
"""From how many on they come in larger batches: there are steps enough all the same."""

PIXELS = 2**19
"""Of the images of a large batch, together: 512 of 32 x 32. Larger images come in batches of `sgd` at least."""

SEEN_OFTEN = 30
"""Epochs from which on many examples are changed as much as few: before, a network has not learned them by heart."""

SMALLEST_SIDE = 24
"""Pixels: images with smaller sides are neither shrunk nor left to Muon by default."""


@register("recipe", "default")
def default(task: Task, epochs: int) -> Recipe:
    """For a network that starts from random weights: by what inputs are, how many there are, and how long it learns.

    Images of some size are trained on by Muon, at first as smaller ones; on tiny ones a step is too short for Muon to
    pay. Many images come in larger batches (`many`). Long trainings, which see each example often, are held back more.
    Classes of pixels are not smoothed: an image has thousands of them (`benchmarks/tasks/masks_recipe.py`). The rest is
    measured by `benchmarks/training/recipe.py` and, for series, `benchmarks/tasks/series_recipe.py`.
    """
    recipe = _by_inputs(task, epochs)
    return dataclasses.replace(recipe, label_smoothing=0.0) if isinstance(task, Segmentation) else recipe


def _by_inputs(task: Task, epochs: int) -> Recipe:
    if len(task.input_shape) == 2:
        return series(task, epochs)
    if len(task.input_shape) != 3 or min(task.input_shape[1:]) < SMALLEST_SIDE:
        return sgd(task, epochs)
    if len(task.train) >= MANY_EXAMPLES:
        return many(task, epochs)
    recipe = dataclasses.replace(muon(task, epochs), smaller_side=0.6)
    if epochs < AUGMENTED_EPOCHS:
        return recipe
    return dataclasses.replace(
        recipe, batch_size=max(64, recipe.batch_size), weight_decay=0.02, label_smoothing=0.2, schedule="linear"
    )


@register("recipe", "sgd")
def sgd(task: Task, epochs: int) -> Recipe:
    """SGD with Nesterov momentum along a cosine.

    Short trainings see the examples as they are: augmentation pays only where each is seen often. Few examples come
    in small batches, for what counts then is the number of steps.
    """
    examples = len(task.train)
    batch_size = 32 if examples < 5_000 else 64 if examples < 20_000 else 128
    return Recipe(epochs, batch_size, learning_rate=0.2, augment=epochs >= AUGMENTED_EPOCHS)


@register("recipe", "series")
def series(task: Task, epochs: int) -> Recipe:
    """AdamW on series as they are: moved or with a stretch hidden, classes of few examples are learned worse."""
    recipe = sgd(task, epochs)
    batch_size = 16 if len(task.train) < FEW_EXAMPLES else recipe.batch_size
    return dataclasses.replace(recipe, batch_size=batch_size, optimizer="adamw", learning_rate=2e-3, augment=False)


@register("recipe", "muon")
def muon(task: Task, epochs: int) -> Recipe:
    """Muon for the matrices of a network, SGD for the rest."""
    return dataclasses.replace(sgd(task, epochs), optimizer="muon", learning_rate=0.1, sgd_learning_rate=0.1)


@register("recipe", "many")
def many(task: Task, epochs: int) -> Recipe:
    """Muon in large batches of images that change little: for many of them, each seen a few times.

    Measured by `benchmarks/training/long.py`.
    """
    batch_size = max(sgd(task, epochs).batch_size, min(512, PIXELS // math.prod(task.input_shape[1:])))
    return Recipe(
        epochs, batch_size, optimizer="muon", learning_rate=0.15, momentum=0.8, weight_decay=0.02,
        warmup_epochs=0.2, label_smoothing=0.2, schedule="linear", lighter=epochs < SEEN_OFTEN,
    )  # fmt: skip


@register("recipe", "sparse")
def sparse(task: Task, epochs: int) -> Recipe:
    """SGD with two of every four weights, chosen anew in every step (SR-STE)."""
    return dataclasses.replace(sgd(task, epochs), sparsity="2:4")


@register("recipe", "quantised")
def quantised(task: Task, epochs: int) -> Recipe:
    """SGD with weights of 4 bits and inputs of layers of 8, whose scales are learned (LSQ)."""
    return dataclasses.replace(sgd(task, epochs), bits="w4a8", precision="float32")


@register("recipe", "finetune")
def finetune(task: Task, epochs: int) -> Recipe:
    """For a network that was trained before: a tenth of the learning rate, so that what it knows is kept."""
    return dataclasses.replace(sgd(task, epochs), learning_rate=0.02, warmup_epochs=0.5)
