"""Metrics that add up batch by batch: memory does not grow with the split, and nothing waits for the device."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from archscout.core.metric import Meter
from archscout.core.task import Task
from archscout.networks.outputs import joined


def meter_of(task: Task) -> Meter:
    """A new meter of a task's metric; where the task has none, one that keeps all outputs."""
    return task.meter() or Whole(task.measure)


class Whole:
    """Measures all outputs at once, in the end."""

    def __init__(self, measure: Callable[[Any, Any], float]) -> None:
        self.measure = measure
        self.outputs: list[Any] = []
        self.targets: list[Any] = []

    def update(self, outputs: Any, targets: Any) -> None:
        self.outputs.append(outputs)
        self.targets.append(targets)

    def value(self) -> float:
        return self.measure(joined(self.outputs), joined(self.targets)) if self.outputs else math.nan


def _fit(outputs: Tensor, targets: Tensor, *, classes: bool) -> None:
    """Raise `ValueError` where outputs do not fit targets, which broadcasting would hide."""
    answered = (*outputs.shape[:1], *outputs.shape[2:]) if classes else tuple(outputs.shape)
    if answered != tuple(targets.shape) or (classes and outputs.ndim < 2):
        wanted = "one output a class for each target" if classes else "as many outputs as targets"
        raise ValueError(
            f"outputs of shape {tuple(outputs.shape)} for targets of shape {tuple(targets.shape)}: {wanted}"
        )


class Hits:
    """The share of places at which the class of the largest output is the right one (N x K x ... and N x ...)."""

    def __init__(self) -> None:
        self.right: Tensor | int = 0
        self.total = 0

    def update(self, outputs: Tensor, targets: Tensor) -> None:
        _fit(outputs, targets, classes=True)
        self.right = self.right + (outputs.argmax(1) == targets).sum()
        self.total += targets.numel()

    def value(self) -> float:
        return float(self.right) / self.total if self.total else math.nan


class MeanSquare:
    """The root of the mean squared difference, over all examples and numbers; `scale` turns outputs into their unit."""

    def __init__(self, scale: Tensor | float = 1.0) -> None:
        self.scale = scale
        self.squares: Tensor | float = 0.0
        self.total = 0

    def update(self, outputs: Tensor, targets: Tensor) -> None:
        _fit(outputs, targets, classes=False)
        scale = self.scale.to(outputs.device) if isinstance(self.scale, Tensor) else self.scale
        self.squares = self.squares + ((outputs - targets) * scale).double().square().sum()
        self.total += targets.numel()

    def value(self) -> float:
        return math.sqrt(float(self.squares) / self.total) if self.total else math.nan


class Overlap:
    """Counts of true and predicted classes, from which the mean intersection over union follows.

    A class that is neither in the targets nor in the answers has no say; targets below zero are left out.
    """

    def __init__(self, classes: int) -> None:
        self.classes = classes
        self.counts: Tensor | None = None

    def update(self, outputs: Tensor, targets: Tensor) -> None:
        _fit(outputs, targets, classes=True)
        known = targets >= 0
        pairs = (targets * self.classes + outputs.argmax(1))[known]
        counts = torch.bincount(pairs, minlength=self.classes**2).view(self.classes, self.classes)
        self.counts = counts if self.counts is None else self.counts + counts

    def each(self) -> list[float]:
        """Intersection over union of each class; NaN where there is nothing to tell."""
        if self.counts is None:
            return [math.nan] * self.classes
        counts = self.counts.double()
        shared = counts.diagonal()
        union = counts.sum(0) + counts.sum(1) - shared
        return torch.where(union > 0, shared / union.clamp(min=1), math.nan).tolist()

    def value(self) -> float:
        known = [share for share in self.each() if not math.isnan(share)]
        return sum(known) / len(known) if known else math.nan


class AveragePrecision:
    """The mean over labels of the average precision (N x K outputs and targets of 0 and 1).

    Precision at each example that has the label, over those with at least its output. Exact, so all outputs are kept:
    2 K numbers an example. A label that no example has, has no say.
    """

    def __init__(self) -> None:
        self.outputs: list[Tensor] = []
        self.targets: list[Tensor] = []

    def update(self, outputs: Tensor, targets: Tensor) -> None:
        _fit(outputs, targets, classes=False)
        self.outputs.append(outputs)
        self.targets.append(targets)

    def each(self) -> list[float]:
        """The average precision of each label; NaN where no example has it."""
        outputs, targets = torch.cat(self.outputs).double(), torch.cat(self.targets).double()
        count = len(outputs)
        ordered, order = outputs.sort(0, descending=True)
        hits = targets.gather(0, order)
        # Examples of one output come together: what counts is where the last of them stands.
        last = torch.ones_like(ordered, dtype=torch.bool)
        last[:-1] = ordered[:-1] != ordered[1:]
        places = torch.arange(count, device=outputs.device)[:, None]
        ends = torch.where(last, places, count).flip(0).cummin(0).values.flip(0)
        precision = hits.cumsum(0).gather(0, ends) / (ends + 1)
        positives = hits.sum(0)
        shares = (hits * precision).sum(0) / positives.clamp(min=1)
        return torch.where(positives > 0, shares, math.nan).tolist()

    def value(self) -> float:
        known = [share for share in self.each() if not math.isnan(share)] if self.outputs else []
        return sum(known) / len(known) if known else math.nan
