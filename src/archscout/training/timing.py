"""What a training takes on this machine: from some steps of it, or by what its network computes."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

from archscout.core.architecture import Architecture
from archscout.core.estimator import Setting
from archscout.core.graph import Graph
from archscout.networks.pick import build
from archscout.training.asked import recipe_for
from archscout.training.course import takes_smaller
from archscout.training.recipe import full_epochs
from archscout.training.speed import choose
from archscout.training.trainer import train

MOVED = 100
"""Multiply-adds in the time of which a number is written to memory and read again."""

TIMING_STEPS = 4
"""Steps of an epoch that are timed."""


def work(graph: Graph) -> float:
    """About what a network takes to train, in arbitrary units: multiply-adds, and what is written to memory.

    An output of a short sum (a depthwise convolution, the first one of an image) takes as long as one of a hundred
    multiply-adds: moving it is what takes the time.
    """
    return float(sum(node.macs + MOVED * node.size / 4 for node in graph.nodes if node.macs)) or 1.0


def time_job(payload: Any, architecture: Architecture, seed: int) -> float:
    """Runs in a worker: seconds that an epoch of training takes, from a few steps of it."""
    space, task, device = payload
    setting = Setting(space, task, seed=seed, device=device)
    recipe = recipe_for(setting.task, full_epochs(task))
    examples = min(len(task.train), TIMING_STEPS * recipe.batch_size)
    part = replace(
        task,
        train=task.train.head(examples),
        valid=task.valid.head(max(1, round(examples * len(task.valid) / len(task.train)))),
    )
    network = build(space, architecture, task, seed=seed, device=device)
    x, y = part.tensors(part.train.head(recipe.batch_size), device)
    mode = choose(
        network,
        x,
        lambda network, x: part.loss(network(x), y[: len(x)], recipe.label_smoothing),
        steps=recipe.epochs * len(task.train) // recipe.batch_size,
        precision=recipe.precision,
        layout=recipe.layout,
    )
    # Epochs of smaller images take less; what is timed is one of full size.
    side = recipe.smaller_side if takes_smaller(network, x[:2], recipe) else 1.0
    share = recipe.work(recipe.epochs, side) / recipe.epochs
    recipe = replace(recipe, precision=mode.precision, layout=mode.layout)
    began = time.perf_counter()
    outcome = train(network, part, replace(recipe, epochs=2), seed=seed, device=device)
    marks = [row["seconds"] for row in outcome.curve]
    taken = marks[1] - marks[0] if len(marks) > 1 else time.perf_counter() - began
    return share * taken * len(task.train) / examples
