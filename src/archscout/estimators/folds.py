"""Cross-validation: for few examples, of which a validation split tells little."""

from __future__ import annotations

import dataclasses
import math
import shutil
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from archscout.core import options
from archscout.core.architecture import Architecture
from archscout.core.digest import digest
from archscout.core.estimator import FOLDS, Estimator, Setting
from archscout.core.metric import Metric
from archscout.core.seeds import derive, stream
from archscout.core.task import Split, Task
from archscout.core.trial import Estimate
from archscout.networks.pick import build
from archscout.training.recipe import Recipe, default_epochs
from archscout.training.trainer import Outcome, train


class Folds(Estimator):
    """The mean metric over folds of the training and validation examples (Stone 1974, "Cross-validatory choice and
    assessment of statistical predictions"): each is measured by a network that learned from the others.

    All architectures see the same folds. No epoch is chosen: it is the last that counts. `std` is the standard error.
    Meant for tasks whose validation examples were drawn from the training examples.

    Args:
        count: folds, two or more.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"inputs", "targets", "gradients", "training"})

    def __init__(self, count: int) -> None:
        self.count = options.whole(count, "the count of folds", 2)
        self.name = f"{FOLDS}:count={count}"

    def together(self, architectures: Sequence[Architecture], setting: Setting) -> int:
        return 1

    def estimate(
        self, architectures: Sequence[Architecture], setting: Setting, *, fidelity: int | None = None
    ) -> list[Estimate]:
        return [self._validate(architecture, setting, fidelity) for architecture in architectures]

    def _validate(self, architecture: Architecture, setting: Setting, fidelity: int | None) -> Estimate:
        space, device = setting.space, setting.device
        canonical = space.canonical(architecture)
        recipe = Recipe.default(setting.task, fidelity or default_epochs(setting.task))
        folder = None if setting.folder is None else setting.folder / digest(self.name, canonical, recipe.epochs)
        outcomes: list[Outcome] = []
        sizes: list[int] = []
        for number, task in enumerate(folds(setting.task, self.count, setting.seed)):
            seed = derive(setting.seed, "fold", number, canonical)
            network = build(space, architecture, task, seed=seed, device=device)
            place = None if folder is None else folder / str(number)
            outcome = train(network, task, recipe, seed=seed, device=device, folder=place)
            outcomes.append(outcome)
            sizes.append(len(task.valid))
            if outcome.diverged:
                break
            if outcome.mode is not None:  # what is fastest was timed once
                mode = outcome.mode
                recipe = dataclasses.replace(recipe, precision=mode.precision, layout=mode.layout)
        if folder is not None:
            shutil.rmtree(folder, ignore_errors=True)
        return _joined(outcomes, sizes, setting.task.metric)


def folds(task: Task, count: int, seed: int) -> Iterator[Task]:
    """The task so many times, each time with another part of its training and validation examples to validate by.

    Classes are in all parts in proportion, where targets are one class for each example.
    """
    x, y = (np.concatenate([getattr(task.train, part), getattr(task.valid, part)]) for part in ("x", "y"))
    order = stream(seed, "folds").permutation(len(x))
    if y.ndim == 1 and y.dtype.kind in "iu":
        order = order[np.argsort(y[order], kind="stable")]
    for number in range(count):
        held = np.zeros(len(x), bool)
        held[order[number::count]] = True
        yield dataclasses.replace(task, train=Split(x[~held], y[~held]), valid=Split(x[held], y[held]))


def _joined(outcomes: Sequence[Outcome], sizes: Sequence[int], metric: Metric) -> Estimate:
    seconds = sum(outcome.seconds for outcome in outcomes)
    reason = next((outcome.reason for outcome in outcomes if outcome.diverged), "")
    if reason:
        return Estimate(math.nan, seconds, reason=f"the training diverged: {reason}.")
    values = [outcome.curve[-1][f"valid_{metric}"] for outcome in outcomes]
    value = float(np.average(values, weights=sizes))
    error = metric.standard_error(value, sum(sizes))
    if error is None:
        error = float(np.std(values, ddof=1)) / math.sqrt(len(values))
    curve = tuple(_mean(rows, sizes) for rows in zip(*(outcome.curve for outcome in outcomes), strict=True))
    return Estimate(metric.oriented(value), seconds, std=error, curve=curve, extra={"folds": len(values)})


def _mean(rows: Sequence[Mapping[str, Any]], sizes: Sequence[int]) -> dict[str, float]:
    """Of an epoch in all folds: the seconds add up."""
    mean = {key: float(np.average([row[key] for row in rows], weights=sizes)) for key in rows[0]}
    return {**mean, "seconds": float(sum(row["seconds"] for row in rows))}
