"""Classes in order (grades, stages, stars): far mistakes weigh more than near ones, whatever the examples are."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from archscout.core.metric import ACCURACY, Meter, Metric
from archscout.core.panel import Panel
from archscout.core.registry import register
from archscout.core.task import Answers
from archscout.networks.elastic import Number
from archscout.networks.operations import ClassifierHead
from archscout.networks.ordinal import Thresholds
from archscout.networks.series import SeriesHead
from archscout.tasks import reviews
from archscout.tasks.audio import AudioTask
from archscout.tasks.image_task import ImageTask
from archscout.tasks.measures import Measure, Measured
from archscout.tasks.meters import Confusions, Hits, quadratic_kappa
from archscout.tasks.series import SeriesTask


def ranks(outputs: Tensor) -> Tensor:
    """The class of each example: how many classes it is more likely above than not, which is the median.

    >>> ranks(torch.tensor([[2.0, -1.0], [3.0, 1.0], [-0.5, -2.0]])).tolist()
    [1, 2, 0]
    """
    return _above(outputs).gt(0.5).sum(1)


def chances(outputs: Tensor) -> Tensor:
    """The probability of each class, N x K, from N x (K - 1) logits of being above the first K - 1."""
    above = F.pad(_above(outputs), (1, 0), value=1.0)
    return above - F.pad(above[:, 1:], (0, 1))


def _above(outputs: Tensor) -> Tensor:
    """The probability of being above each class; a network of one's own may have a higher class likelier to be passed
    than a lower one, which cannot be: the least so far counts."""
    return outputs.sigmoid().cummin(1).values


def distance(counts: Tensor) -> float:
    """The mean distance between the true class and the one that was said, in classes."""
    place = torch.arange(len(counts), dtype=counts.dtype, device=counts.device)
    return float(((place[:, None] - place).abs() * counts).sum() / counts.sum())


class OfRanks:
    """A meter of classes, for outputs that are thresholds."""

    def __init__(self, meter: Meter) -> None:
        self.meter = meter

    def update(self, outputs: Tensor, targets: Tensor) -> None:
        if outputs.ndim != 2 or targets.shape != outputs.shape[:1]:
            raise ValueError(f"outputs of shape {tuple(outputs.shape)} for targets of shape {tuple(targets.shape)}")
        self.meter.update(F.one_hot(ranks(outputs), outputs.shape[1] + 1).float(), targets)

    def value(self) -> float:
        return self.meter.value()


def _measure(metric: Metric, meter: Callable[[], Meter]) -> Measure:
    return Measure(metric, lambda task: OfRanks(meter()))


@dataclass(frozen=True)
class Ordinal(Measured):
    """One of K classes in order; the usual metric is the mean distance of classes, in classes, and lower is better.

    `y` is N whole numbers, `class_names` are in order. Outputs are N x (K - 1): logits of being above each class but
    the last. The loss is the sum of their binary cross entropies (all thresholds; Rennie, Srebro 2005). A class that
    derives from it says what makes one score of features (`score`), and comes before the class of the medium.
    """

    MEASURES: ClassVar[Mapping[str, Measure]] = {
        "mean_absolute_error": _measure(
            Metric("mean_absolute_error", "lower", digits=3), lambda: Confusions(distance)
        ),
        "quadratic_kappa": _measure(Metric("quadratic_kappa"), lambda: Confusions(quadratic_kappa)),
        "accuracy": _measure(ACCURACY, Hits),
    }  # fmt: skip

    def score(self, channels: Number) -> nn.Module:
        """The module from features to N x 1."""
        return ClassifierHead(channels, 1)

    def head(self, channels: Number) -> nn.Module:
        return Thresholds(self.score(channels), self.outputs + 1)

    def loss(self, outputs: Tensor, targets: Tensor, smoothing: float = 0.0) -> Tensor:
        above = (targets[:, None] > torch.arange(outputs.shape[1], device=targets.device)).to(outputs.dtype)
        above = above * (1 - smoothing) + smoothing / 2
        return F.binary_cross_entropy_with_logits(outputs, above, reduction="sum") / max(1, len(outputs))

    def measure(self, outputs: Any, targets: Any) -> float:
        """A function of the user's own gets probabilities of the classes, one-hot for what is said."""
        if self.function is not None:
            outputs = F.one_hot(ranks(outputs), self.outputs + 1).float()
        return super().measure(outputs, targets)

    def tell(self, outputs: Tensor, top: int = 1) -> list[dict[str, Any]]:
        """The class of each, its probability, and those of all."""
        rows = zip(ranks(outputs).tolist(), chances(outputs).tolist(), strict=True)
        return [
            {
                "label": self.class_names[rank],
                "probability": row[rank],
                "probabilities": dict(zip(self.class_names, row, strict=True)),
            }
            for rank, row in rows
        ]

    def review(self, answers: Iterable[Answers]) -> Sequence[Panel]:
        """The confusion matrix, and the most confident mistakes."""
        return reviews.classification(answers, self.class_names, getattr(self, "picture", None), _told)


def _told(outputs: Tensor) -> tuple[Tensor, Tensor]:
    """The probability of the class that is told of each example, and its place."""
    predicted = ranks(outputs)
    return chances(outputs).gather(1, predicted[:, None])[:, 0], predicted


@register("kind", "ordinal images")
@dataclass(frozen=True)
class OrdinalImages(Ordinal, ImageTask):
    """One of several classes in order for each image."""

    kind: ClassVar[str] = "ordinal images"


@register("kind", "ordinal audio")
@dataclass(frozen=True)
class OrdinalAudio(Ordinal, AudioTask):
    """One of several classes in order for each recording."""

    kind: ClassVar[str] = "ordinal audio"


@register("kind", "ordinal series")
@dataclass(frozen=True)
class OrdinalSeries(Ordinal, SeriesTask):
    """One of several classes in order for each series."""

    kind: ClassVar[str] = "ordinal series"

    def score(self, channels: Number) -> nn.Module:
        return SeriesHead(channels, 1)
