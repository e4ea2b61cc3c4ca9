"""Image classification: one class for each image."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import ClassVar, Self

from torch import nn

from archscout.core.registry import register
from archscout.networks.elastic import Number
from archscout.networks.operations import ClassifierHead
from archscout.tasks.classification import Classification
from archscout.tasks.image_task import Deployed as Deployed
from archscout.tasks.image_task import ImageTask
from archscout.tasks.image_task import channel_statistics as channel_statistics

STRONG_SIDE, STRONG_JITTER = 24, 0.25
"""Of strong augmentation: the smallest side of images that have it, and by what share colours change."""


@register("kind", "image classification")
@dataclass(frozen=True)
class ImageClassification(Classification, ImageTask):
    """One class for each image; the metric is the fraction of images whose class has the largest output."""

    kind: ClassVar[str] = "image classification"

    def strongly_augmented(self) -> Self:
        """With cutout and other light, as far as the task says nothing of them; tiny images stay as they are."""
        smallest = min(self.input_shape[1:])
        if smallest < STRONG_SIDE:
            return self
        return dataclasses.replace(
            self, cutout=self.cutout or smallest // 4, colour_jitter=self.colour_jitter or STRONG_JITTER
        )

    def head(self, channels: Number) -> nn.Module:
        return ClassifierHead(channels, self.outputs)
