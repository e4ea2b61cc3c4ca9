"""A regression task from outside, written from scratch: how full a vessel is, in litres."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import nn

from archscout.core.metric import Metric
from archscout.core.panel import Table
from archscout.core.task import Split, Task


@dataclass(frozen=True)
class Fill(Task):
    """Litres in a vessel, from a picture of it; the metric is the mean absolute error."""

    kind: ClassVar[str] = "fill"
    metric: ClassVar[Metric] = Metric("mean_absolute_error", "lower", "l", digits=3)

    def tensors(self, split, device="cpu"):
        return torch.from_numpy(split.x).to(device) / 255 - 0.5, torch.from_numpy(split.y).to(device)

    def head(self, channels):
        return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, 1), nn.Flatten(0))

    def loss(self, outputs, targets, smoothing=0.0):
        return (outputs - targets).square().mean()

    def measure(self, outputs, targets):
        return float((outputs - targets).abs().mean())

    def review(self, answers):
        worst = max(float((outputs - targets).abs().max()) for outputs, targets, _ in answers)
        return [Table("The worst answer", ["off by (l)"], [[worst]])]

    def deploy(self, network):
        return nn.Sequential(Scale(), network)


class Scale(nn.Module):
    """From stored pixels to what networks take."""

    def forward(self, x):
        return x / 255 - 0.5


def fill(*, examples: int = 24):
    """Pictures of 8 x 8 pixels that are white up to where a vessel is full."""

    def split(seed):
        level = np.random.default_rng(seed).integers(0, 9, examples)
        x = np.where(np.arange(8)[None, :, None] < level[:, None, None], 255, 0) * np.ones((1, 1, 8))
        return Split(x[:, None].astype(np.float32), (level / 8).astype(np.float32))

    return Fill("fill", (1, 8, 8), 1, split(0), split(1), split(2))
