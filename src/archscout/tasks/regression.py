"""Numbers as targets, whatever the examples are; images to numbers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from archscout.core.metric import Metric
from archscout.core.panel import Lines, Panel
from archscout.core.registry import register
from archscout.core.task import Answers, Split
from archscout.networks.elastic import Number
from archscout.networks.operations import ClassifierHead
from archscout.tasks.image_task import ImageTask
from archscout.tasks.measures import Measure, Measured
from archscout.tasks.meters import AbsoluteError, MeanSquare, VarianceExplained

SHOWN = 500
"""Examples of a scatter of answers, at most."""

Scale = tuple[tuple[float, ...], tuple[float, ...]]


@dataclass(frozen=True)
class Regression(Measured):
    """Numbers for each example; the usual metric is the root mean squared error in the numbers' own unit, and
    lower is better.

    `y` is N x K floats, `class_names` what they are. A network is trained on standardised numbers; deployed, it answers
    in their own unit. A class that derives from it comes before the one of the medium.

    Args:
        scale: mean and standard deviation of each number; those of `train` where None.
    """

    MEASURES: ClassVar[Mapping[str, Measure]] = {
        "root_mean_squared_error": Measure(
            Metric("root_mean_squared_error", "lower", digits=4), lambda task: MeanSquare(task.number_steps())
        ),
        "mean_absolute_error": Measure(
            Metric("mean_absolute_error", "lower", digits=4), lambda task: AbsoluteError(task.number_steps())
        ),
        "variance_explained": Measure(Metric("variance_explained"), lambda task: VarianceExplained()),
    }

    scale: Scale | None = None

    @cached_property
    def target_scale(self) -> Scale:
        return self.scale or number_scale(self.train.y)

    def tensors(self, split: Split, device: Any = "cpu") -> tuple[Tensor, Tensor]:
        x, y = super().tensors(split, device)  # type: ignore[safe-super]
        mean, std = (y.new_tensor(numbers) for numbers in self.target_scale)
        return x, ((y - mean) / std).float()

    def loss(self, outputs: Tensor, targets: Tensor, smoothing: float = 0.0) -> Tensor:
        return F.mse_loss(outputs, targets)

    def number_steps(self) -> Tensor:
        """The standard deviation of each number, which turns outputs of training into their unit."""
        return torch.tensor(self.target_scale[1])

    def deploy(self, network: nn.Module) -> nn.Module:
        deployed: nn.Module = super().deploy(  # type: ignore[safe-super]
            nn.Sequential(network, Rescale(*self.target_scale))
        )
        return deployed

    def review(self, answers: Iterable[Answers]) -> Sequence[Panel]:
        """What was answered against what is true, for each number."""
        mean, std = (np.asarray(numbers) for numbers in self.target_scale)
        points: dict[str, list[tuple[float, float]]] = {name: [] for name in self.class_names}
        for outputs, targets, _ in answers:
            said, true = (tensor.cpu().numpy() * std + mean for tensor in (outputs, targets))
            for place, name in enumerate(self.class_names):
                room = SHOWN - len(points[name])
                points[name] += list(zip(true[:room, place].tolist(), said[:room, place].tolist(), strict=True))
        return [Lines("Answers against the truth", "true", "answered", points, joined=False)]

    def tell(self, outputs: Tensor, top: int = 1) -> list[dict[str, Any]]:
        return [dict(zip(self.class_names, row, strict=True)) for row in outputs.tolist()]

    def describe(self) -> dict[str, Any]:
        return super().describe() | {"scale": [list(numbers) for numbers in self.target_scale]}

    @classmethod
    def fields_of(cls, description: Mapping[str, Any]) -> dict[str, Any]:
        mean, std = (tuple(float(number) for number in numbers) for numbers in description["scale"])
        return super().fields_of(description) | {"scale": (mean, std)}


@register("kind", "image regression")
@dataclass(frozen=True)
class ImageRegression(Regression, ImageTask):
    """Numbers for each image. Images are not changed at random unless asked, for what is measured may change with
    them."""

    kind: ClassVar[str] = "image regression"

    shift: int = 0

    def head(self, channels: Number) -> nn.Module:
        return ClassifierHead(channels, self.outputs)


class Rescale(nn.Module):
    """From standardised numbers to their own unit."""

    mean: Tensor
    std: Tensor

    def __init__(self, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(mean))
        self.register_buffer("std", torch.tensor(std))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.std + self.mean


def number_scale(y: np.ndarray) -> Scale:
    """Mean and standard deviation of each column (1 for one that never changes), in double precision."""
    y = y.astype(np.float64)
    std = y.std(0)
    std[std < 1e-12] = 1.0
    return tuple(y.mean(0).tolist()), tuple(std.tolist())
