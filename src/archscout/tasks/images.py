"""Image classification: one class for each image."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch.nn.functional as F
from torch import Tensor, nn

from archscout.core.panel import Panel
from archscout.core.registry import register
from archscout.core.task import Answers
from archscout.networks.elastic import Number
from archscout.networks.operations import ClassifierHead
from archscout.tasks import reviews
from archscout.tasks.image_task import Deployed as Deployed
from archscout.tasks.image_task import ImageTask
from archscout.tasks.image_task import channel_statistics as channel_statistics
from archscout.tasks.meters import Hits


@register("kind", "image classification")
@dataclass(frozen=True)
class ImageClassification(ImageTask):
    """One class for each image; the metric is the fraction of images whose class has the largest output."""

    kind: ClassVar[str] = "image classification"

    def head(self, channels: Number) -> nn.Module:
        return ClassifierHead(channels, self.outputs)

    def loss(self, outputs: Tensor, targets: Tensor, smoothing: float = 0.0) -> Tensor:
        return F.cross_entropy(outputs, targets, label_smoothing=smoothing)

    def meter(self) -> Hits:
        return Hits()

    def tell(self, outputs: Tensor, top: int = 1) -> list[dict[str, Any]]:
        probabilities, labels = outputs.softmax(1).topk(min(top, outputs.shape[1]))
        rows = []
        for some, likely in zip(labels.tolist(), probabilities.tolist(), strict=True):
            likeliest = [{"label": self.class_names[i], "probability": p} for i, p in zip(some, likely, strict=True)]
            rows.append({**likeliest[0], **({"top": likeliest} if top > 1 else {})})
        return rows

    def review(self, answers: Iterable[Answers]) -> Sequence[Panel]:
        """The confusion matrix, and the most confident mistakes with their images."""
        return reviews.classification(answers, self.class_names, self.picture)
