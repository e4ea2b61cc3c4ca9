"""Quantisation-aware training: a trained network learns on with its weights and values on their grids."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from archscout.core.task import Task
from archscout.deploy.simulation import Simulation
from archscout.training.course import Outcome, Row
from archscout.training.recipe import Recipe
from archscout.training.trainer import train

EPOCHS = 10
"""Where no number is given."""

_UNTIL_FROZEN = 0.5
"""The share of the epochs after which batch normalisation keeps its statistics."""


OWN: dict[str, Any] = {
    "precision": "float32", "layout": "contiguous", "smaller_side": 1.0, "sparsity": "", "bits": "",
}  # fmt: skip
"""What no recipe says of quantisation-aware training: numbers are single precision, images of their own size."""


def train_aware(simulation: Simulation, task: Task, recipe: Recipe, *, seed: int = 0) -> Outcome:
    """Train a simulation of the network of a task in place; it ends with the weights and grids of the best epoch.

    Args:
        simulation: its value 0 are the inputs as the task normalises them.
        task: with data.
        recipe: how; numbers are single precision and images of their own size.
        seed: of the batches.
    """
    plain = replace(recipe, **OWN)

    def after(row: Row) -> None:
        if row["epoch"] >= _UNTIL_FROZEN * recipe.epochs:
            simulation.freeze()

    return train(simulation, task, plain, seed=seed, on_epoch=after)
