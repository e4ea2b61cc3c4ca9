"""Images with any number of labels each."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from archscout.core.metric import Metric
from archscout.core.panel import Bars, Panel
from archscout.core.registry import register
from archscout.core.task import Answers, Split
from archscout.networks.elastic import Number
from archscout.networks.operations import ClassifierHead
from archscout.tasks.image_task import ImageTask
from archscout.tasks.measures import Measure, Measured
from archscout.tasks.meters import AveragePrecision, LabelF1


@register("kind", "multi-label images")
@dataclass(frozen=True)
class MultiLabel(Measured, ImageTask):
    """Images of which each has any number of the labels; the metric is the mean average precision over the labels.

    `y` is N x K, 1 where image n has label k and 0 where it has not. The loss is the binary cross entropy.
    """

    kind: ClassVar[str] = "multi-label images"
    MEASURES: ClassVar[Mapping[str, Measure]] = {
        "mean_average_precision": Measure(
            Metric("mean_average_precision", unit="share", digits=2), lambda task: AveragePrecision()
        ),
        "f1": Measure(Metric("f1", unit="share", digits=2), lambda task: LabelF1()),
    }

    def tensors(self, split: Split, device: Any = "cpu") -> tuple[Tensor, Tensor]:
        x, y = super().tensors(split, device)
        return x, y.float()

    def head(self, channels: Number) -> nn.Module:
        return ClassifierHead(channels, self.outputs)

    def loss(self, outputs: Tensor, targets: Tensor, smoothing: float = 0.0) -> Tensor:
        return F.binary_cross_entropy_with_logits(outputs, targets * (1 - smoothing) + smoothing / 2)

    def review(self, answers: Iterable[Answers]) -> Sequence[Panel]:
        """The average precision of each label."""
        meter = AveragePrecision()
        for outputs, targets, _ in answers:
            meter.update(outputs, targets)
        return [Bars("How well each label is found", "average precision", self.class_names, meter.each())]

    def tell(self, outputs: Tensor, top: int = 1) -> list[dict[str, Any]]:
        probabilities = torch.sigmoid(outputs)
        return [
            {
                "labels": [name for name, p in zip(self.class_names, row, strict=True) if p >= 0.5],
                "probabilities": dict(zip(self.class_names, row, strict=True)),
            }
            for row in probabilities.tolist()
        ]
