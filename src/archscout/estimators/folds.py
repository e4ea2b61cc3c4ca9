"""Cross-validation: for few examples, of which a validation split tells little."""

from __future__ import annotations

import dataclasses
import math
import shutil
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from archscout.core import options
from archscout.core.architecture import Architecture
from archscout.core.digest import digest
from archscout.core.estimator import FOLDS, Estimator, Setting
from archscout.core.metric import Metric
from archscout.core.seeds import derive, stream
from archscout.core.task import Split, Task
from archscout.core.trial import Estimate, Trial
from archscout.networks.pick import build
from archscout.training.asked import recipe_for
from archscout.training.recipe import default_epochs
from archscout.training.trainer import Outcome, train


class Folds(Estimator):
    """The mean metric over folds of the training and validation examples (Stone 1974, "Cross-validatory choice and
    assessment of statistical predictions"): each is measured by a network that learned from the others.

    One fold is trained at a time, so that all architectures can be given the first before any is given the second, and
    are compared on the same examples whenever time is over: the value is the mean over this fold and those before. All
    architectures see the same folds. No epoch is chosen: it is the last that counts. `std` is the standard error, None
    where a single fold does not tell it. Meant for tasks whose validation examples were drawn from the training
    examples.

    Args:
        count: folds, two or more.
        number: of the fold that is trained, from 0 on.
        before: trials of the fold before this one, of all architectures that are to be estimated; none of the first.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"inputs", "targets", "gradients", "training"})

    def __init__(self, count: int, number: int = 0, before: Sequence[Trial] = ()) -> None:
        self.count = options.whole(count, "the count of folds", 2)
        self.number = options.whole(number, "the number of a fold", 0, self.count - 1)
        self.before = {trial.canonical: trial for trial in before}
        self.name = f"{FOLDS}:count={count},number={number}"

    def together(self, architectures: Sequence[Architecture], setting: Setting) -> int:
        return 1

    def estimate(
        self, architectures: Sequence[Architecture], setting: Setting, *, fidelity: int | None = None
    ) -> list[Estimate]:
        return [self._validate(architecture, setting, fidelity) for architecture in architectures]

    def _validate(self, architecture: Architecture, setting: Setting, fidelity: int | None) -> Estimate:
        space, device = setting.space, setting.device
        canonical = space.canonical(architecture)
        before = self.before.get(canonical)
        recipe = recipe_for(setting.task, fidelity or default_epochs(setting.task))
        if before is not None and "mode" in before.extra:  # what is fastest was timed once
            recipe = dataclasses.replace(recipe, **before.extra["mode"])
        folder = None if setting.folder is None else setting.folder / digest(self.name, canonical, recipe.epochs)
        task = fold(setting.task, self.count, self.number, setting.seed)
        seed = derive(setting.seed, "fold", self.number, canonical)
        network = build(space, architecture, task, seed=seed, device=device)
        outcome = train(network, task, recipe, seed=seed, device=device, folder=folder)
        if folder is not None:
            shutil.rmtree(folder, ignore_errors=True)
        if outcome.diverged:
            return Estimate(math.nan, outcome.seconds, reason=f"the training diverged: {outcome.reason}.")
        return _joined(before, outcome, len(task.valid), setting.task.metric)


def fold(task: Task, count: int, number: int, seed: int) -> Task:
    """The task with the part of that number, of so many of its training and validation examples, to validate by.

    Classes are in all parts in proportion, where targets are one class for each example.
    """
    x, y = (np.concatenate([getattr(task.train, part), getattr(task.valid, part)]) for part in ("x", "y"))
    order = stream(seed, "folds").permutation(len(x))
    classes = y[:, 0].astype(int) if getattr(task, "weighted", False) else y
    if classes.ndim == 1 and classes.dtype.kind in "iu":
        order = order[np.argsort(classes[order], kind="stable")]
    held = np.zeros(len(x), bool)
    held[order[number::count]] = True
    return dataclasses.replace(task, train=Split(x[~held], y[~held]), valid=Split(x[held], y[held]))


def _joined(before: Trial | None, outcome: Outcome, size: int, metric: Metric) -> Estimate:
    """A fold of so many examples together with those before it."""
    values, sizes, curve = [outcome.curve[-1][f"valid_{metric}"]], [size], tuple(outcome.curve)
    if before is not None:
        values, sizes = [*before.extra["fold_values"], *values], [*before.extra["fold_sizes"], *sizes]
        parts = (sum(sizes[:-1]), size)
        curve = tuple(_mean(rows, parts) for rows in zip(before.curve, outcome.curve, strict=True))
    value = float(np.average(values, weights=sizes))
    error = metric.standard_error(value, sum(sizes))
    if error is None and len(values) > 1:
        error = float(np.std(values, ddof=1)) / math.sqrt(len(values))
    extra = {"folds": len(values), "fold_values": values, "fold_sizes": sizes}
    if outcome.mode is not None:
        extra["mode"] = {"precision": outcome.mode.precision, "layout": outcome.mode.layout}
    return Estimate(metric.oriented(value), outcome.seconds, std=error, curve=curve, extra=extra)


def _mean(rows: Sequence[Mapping[str, Any]], sizes: Sequence[int]) -> dict[str, float]:
    """Of an epoch in all folds: the seconds add up."""
    mean = {key: float(np.average([row[key] for row in rows], weights=sizes)) for key in rows[0]}
    return {**mean, "seconds": float(sum(row["seconds"] for row in rows))}
