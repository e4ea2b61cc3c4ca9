"""Networks for rows of numbers, some of which may be missing."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from archscout.networks.elastic import Number, linear


class RowsHead(nn.Module):
    """A linear layer over features (N x features)."""

    def __init__(self, features: Number, outputs: int) -> None:
        super().__init__()
        self.classifier = linear(features, outputs)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.classifier(x)
        return y


class Standardised(nn.Module):
    """Numbers less their mean, in standard deviations; a missing one (NaN) is the mean, and marked where that happens.

    Args:
        mean, std: of each column.
        gaps: the columns in which numbers may be missing: each has one more column, 1 where it is.
    """

    mean: Tensor
    std: Tensor
    gaps: Tensor

    def __init__(self, mean: Sequence[float], std: Sequence[float], gaps: Sequence[int]) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(mean, dtype=torch.float32))
        self.register_buffer("std", torch.tensor(std, dtype=torch.float32))
        self.register_buffer("gaps", torch.tensor(list(gaps), dtype=torch.int64))

    def forward(self, x: Tensor) -> Tensor:
        if not len(self.gaps):
            return (x - self.mean) / self.std
        missing = x.isnan()
        numbers = torch.where(missing, torch.zeros_like(x), (x - self.mean) / self.std)
        return torch.cat([numbers, missing[:, self.gaps].to(x.dtype)], 1)


class DeployedRows(nn.Module):
    """A network that takes rows as they are stored (float32, N x columns, NaN for what is missing)."""

    def __init__(self, standardised: Standardised, network: nn.Module) -> None:
        super().__init__()
        self.standardised, self.network = standardised, network

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.network(self.standardised(x))
        return y
