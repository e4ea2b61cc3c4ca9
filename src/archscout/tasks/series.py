"""Series: values of one or more channels over time; one class for each, or numbers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Generator, Tensor, nn

from archscout.core.registry import register
from archscout.core.task import Split, Task
from archscout.networks.elastic import Number
from archscout.networks.series import DeployedSeries, SeriesHead
from archscout.tasks import augmentation, drawing
from archscout.tasks.classification import Classification
from archscout.tasks.regression import Regression

Statistics = tuple[tuple[float, ...], tuple[float, ...]]


@dataclass(frozen=True)
class SeriesTask(Task):
    """A task whose inputs are series: N x channels x length, float32, as they are stored and as networks take them.

    Args:
        statistics: mean and standard deviation of each channel; those of `train` where None.
        shift: by how many places augmentation moves a series (the mean comes in).
        hidden: the most neighbouring values that augmentation hides.
    """

    statistics: Statistics | None = None
    shift: int = 0
    hidden: int = 0

    @cached_property
    def normalisation(self) -> Statistics:
        """Mean and standard deviation of each channel (1 for one that never changes), in double precision."""
        if self.statistics is not None:
            return self.statistics
        x = self.train.x.astype(np.float64)
        std = x.std((0, 2))
        std[std < 1e-8] = 1.0
        return tuple(x.mean((0, 2)).tolist()), tuple(std.tolist())

    def tensors(self, split: Split, device: Any = "cpu") -> tuple[Tensor, Tensor]:
        x = torch.tensor(split.x, dtype=torch.float32, device=device)
        mean, std = (x.new_tensor(numbers).view(-1, 1) for numbers in self.normalisation)
        return x.sub_(mean).div_(std), torch.from_numpy(split.y).to(device)

    def augment(self, x: Tensor, generator: Generator) -> Tensor:
        """Shift in time, then a stretch of time hidden; the mean comes in for both."""
        if self.shift:
            x = augmentation.slide(x, self.shift, 0.0, generator)
        return augmentation.stripe(x, self.hidden, 2, generator) if self.hidden else x

    def head(self, channels: Number) -> nn.Module:
        return SeriesHead(channels, self.outputs)

    def deploy(self, network: nn.Module) -> nn.Module:
        return DeployedSeries(network, *self.normalisation)

    def picture(self, series: np.ndarray) -> str:
        """The channels of a series as lines: a PNG file in base64."""
        return drawing.as_base64(self.sketch(series))

    def sketch(self, series: np.ndarray) -> np.ndarray:
        """The channels of a series (the first six) as lines of different colours."""
        return drawing.waves(series, 64, 160)

    def describe(self) -> dict[str, Any]:
        return super().describe() | {"statistics": [list(numbers) for numbers in self.normalisation]}

    @classmethod
    def fields_of(cls, description: Mapping[str, Any]) -> dict[str, Any]:
        mean, std = (tuple(float(number) for number in numbers) for numbers in description["statistics"])
        return super().fields_of(description) | {"statistics": (mean, std)}


@register("kind", "series classification")
@dataclass(frozen=True)
class SeriesClassification(Classification, SeriesTask):
    """One class for each series; the metric is the fraction of those whose class has the largest output."""

    kind: ClassVar[str] = "series classification"


@register("kind", "series regression")
@dataclass(frozen=True)
class SeriesRegression(Regression, SeriesTask):
    """Numbers for each series; the metric is the root mean squared error in the numbers' own unit."""

    kind: ClassVar[str] = "series regression"
