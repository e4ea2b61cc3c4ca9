"""Image classification: one class for each image."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from torch import nn

from archscout.core.registry import register
from archscout.networks.elastic import Number
from archscout.networks.operations import ClassifierHead
from archscout.tasks.classification import Classification
from archscout.tasks.image_task import Deployed as Deployed
from archscout.tasks.image_task import ImageTask, Mirrored
from archscout.tasks.image_task import channel_statistics as channel_statistics


@register("kind", "image classification")
@dataclass(frozen=True)
class ImageClassification(Classification, ImageTask):
    """One class for each image; the metric is the fraction of images whose class has the largest output."""

    mirrored: bool | None = field(default=None, kw_only=True)
    """Whether the trained network answers with the mean of its outputs for an image and its mirror image; None where
    nobody said: it does not, but a search whose limits leave room may deliver one that does (`costs/mirroring.py`)."""

    kind: ClassVar[str] = "image classification"

    def head(self, channels: Number) -> nn.Module:
        return ClassifierHead(channels, self.outputs)

    def answering(self, network: nn.Module) -> nn.Module:
        return Mirrored(network) if self.mirrored else network

    def deploy(self, network: nn.Module) -> nn.Module:
        return self.answering(super().deploy(network))

    @classmethod
    def fields_of(cls, description: Mapping[str, Any]) -> dict[str, Any]:
        mirrored = description.get("mirrored")
        return super().fields_of(description) | {"mirrored": None if mirrored is None else bool(mirrored)}
