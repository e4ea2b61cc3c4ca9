"""Metrics that add up batch by batch: memory does not grow with the split, and nothing waits for the device."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from archscout.core.metric import Meter
from archscout.core.task import Task
from archscout.networks.outputs import joined, named

GATHERED, BATCHES = 2**16, 16
"""Outputs, and batches, that are worth a call of a meter. More batches would divide the heap: what little is kept of
each comes to lie where the inputs of the next would have fitted."""


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


class Gathered:
    """Hands batches on to a meter by the handful: a small network notices each operator that a single one takes.

    No more is kept than `GATHERED` numbers, or `BATCHES` batches, whatever the length of the split.
    """

    def __init__(self, meter: Meter) -> None:
        self.meter = meter
        self._batches: list[tuple[Any, Any]] = []
        self._numbers = 0

    def update(self, outputs: Any, targets: Any) -> None:
        self._batches.append((outputs, targets))
        single = isinstance(outputs, Tensor)
        self._numbers += outputs.numel() if single else sum(tensor.numel() for tensor in named(outputs).values())
        if self._numbers >= GATHERED or len(self._batches) >= BATCHES:
            self._hand_on()

    def value(self) -> float:
        self._hand_on()
        return self.meter.value()

    def _hand_on(self) -> None:
        if self._batches:
            outputs, targets = zip(*self._batches, strict=True)
            self.meter.update(joined(outputs), joined(targets))
        self._batches, self._numbers = [], 0


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


class Pixels(Overlap):
    """The share of labelled pixels whose class is the right one."""

    def value(self) -> float:
        return math.nan if self.counts is None else float(self.counts.diagonal().sum() / self.counts.sum())


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


class Confusions:
    """How often each class (N x K outputs, N targets) was called which, and a score of that.

    `score` takes counts (K x K, double; rows are true classes) and gives a number.
    """

    def __init__(self, score: Callable[[Tensor], float]) -> None:
        self.score = score
        self.counts: Tensor | None = None

    def update(self, outputs: Tensor, targets: Tensor) -> None:
        _fit(outputs, targets, classes=True)
        classes = outputs.shape[1]
        pairs = torch.bincount((targets * classes + outputs.argmax(1)).flatten(), minlength=classes**2)
        self.counts = pairs if self.counts is None else self.counts + pairs

    def value(self) -> float:
        if self.counts is None:
            return math.nan
        classes = math.isqrt(len(self.counts))
        return self.score(self.counts.view(classes, classes).double())


def balanced_accuracy(counts: Tensor) -> float:
    """The mean over the classes that there are of the share of their examples that is called so."""
    true = counts.sum(1)
    return float((counts.diagonal() / true)[true > 0].mean())


def macro_f1(counts: Tensor) -> float:
    """The mean over classes of the harmonic mean of precision and recall; a class that nothing is or is called has no
    say."""
    hits, all_of = counts.diagonal(), counts.sum(0) + counts.sum(1)
    return float((2 * hits / all_of)[all_of > 0].mean())


def quadratic_kappa(counts: Tensor) -> float:
    """Agreement beyond chance where classes are in order, a mistake weighing the square of its distance (Cohen 1968).

    1 where all is right; 0 as good as chance.
    """
    place = torch.arange(len(counts), dtype=counts.dtype, device=counts.device)
    weight = (place[:, None] - place).square()
    chance = counts.sum(1)[:, None] * counts.sum(0) / counts.sum()
    expected = float((weight * chance).sum())
    return 1 - float((weight * counts).sum()) / expected if expected else math.nan


class LabelF1:
    """The mean over labels (N x K outputs and targets) of F1, where an output above 0 says that it is there."""

    def __init__(self) -> None:
        self.hits: Tensor | float = 0.0
        self.all: Tensor | float = 0.0

    def update(self, outputs: Tensor, targets: Tensor) -> None:
        _fit(outputs, targets, classes=False)
        said, true = (outputs >= 0).double(), targets.double()
        self.hits, self.all = self.hits + (said * true).sum(0), self.all + said.sum(0) + true.sum(0)

    def value(self) -> float:
        if not isinstance(self.all, Tensor) or not isinstance(self.hits, Tensor):
            return math.nan
        known = self.all > 0
        return float((2 * self.hits / self.all)[known].mean()) if known.any() else math.nan


class AbsoluteError:
    """The mean absolute difference, over all examples and numbers; `scale` turns outputs into their unit."""

    def __init__(self, scale: Tensor | float = 1.0) -> None:
        self.scale = scale
        self.sum: Tensor | float = 0.0
        self.total = 0

    def update(self, outputs: Tensor, targets: Tensor) -> None:
        _fit(outputs, targets, classes=False)
        scale = self.scale.to(outputs.device) if isinstance(self.scale, Tensor) else self.scale
        self.sum = self.sum + ((outputs - targets) * scale).double().abs().sum()
        self.total += targets.numel()

    def value(self) -> float:
        return float(self.sum) / self.total if self.total else math.nan


class VarianceExplained:
    """The share of the variance of each number (N x K) that is explained, in the mean: 1 minus squared error over
    variance. Below 0 where the mean would be a better answer; a number that never changes has no say."""

    def __init__(self) -> None:
        self.count = 0
        self.sums: list[Tensor] = []

    def update(self, outputs: Tensor, targets: Tensor) -> None:
        _fit(outputs, targets, classes=False)
        true = targets.double()
        sums = [(outputs.double() - true).square().sum(0), true.sum(0), true.square().sum(0)]
        self.sums = [a + b for a, b in zip(self.sums, sums, strict=True)] if self.sums else sums
        self.count += len(targets)

    def value(self) -> float:
        if not self.sums:
            return math.nan
        errors, total, squares = self.sums
        variance = squares - total.square() / self.count
        known = variance > 1e-9 * squares
        return float((1 - errors / variance)[known].mean()) if known.any() else math.nan
