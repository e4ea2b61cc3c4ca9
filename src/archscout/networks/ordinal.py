"""From one score to the chances that a class is above each of the thresholds between classes in order."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Thresholds(nn.Module):
    """A score (N x 1) against rising thresholds: N x (K - 1) logits of the class being above each of the first K - 1.

    The proportional odds model (McCullagh 1980): one score, so that no chance of a higher class exceeds that of a lower
    one. The first threshold is free, each further one is that before it and a positive step.
    """

    def __init__(self, score: nn.Module, classes: int) -> None:
        super().__init__()
        self.score = score
        self.first = nn.Parameter(torch.tensor([1 - classes / 2]))
        self.steps = nn.Parameter(torch.full((classes - 2,), 0.5413))  # softplus makes 1 of it

    def forward(self, x: Tensor) -> Tensor:
        thresholds = torch.cat([self.first, self.first + F.softplus(self.steps).cumsum(0)])
        logits: Tensor = self.score(x) - thresholds
        return logits
