"""Image classification: one class for each image."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import nn

from archscout.core.registry import register
from archscout.networks.elastic import Number
from archscout.networks.operations import ClassifierHead
from archscout.tasks.classification import Classification
from archscout.tasks.image_task import Deployed as Deployed
from archscout.tasks.image_task import ImageTask
from archscout.tasks.image_task import channel_statistics as channel_statistics


@register("kind", "image classification")
@dataclass(frozen=True)
class ImageClassification(Classification, ImageTask):
    """One class for each image; the metric is the fraction of images whose class has the largest output."""

    kind: ClassVar[str] = "image classification"

    def head(self, channels: Number) -> nn.Module:
        return ClassifierHead(channels, self.outputs)
