"""Patterns of open and closed rectifiers: shared by the scores that count different ones."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from archscout.estimators.zero_cost.watching import Watcher

TABULATED = 16
"""Rows at most whose columns are counted in a table, of 2^16 bits then."""


class Codes(Watcher):
    """The codes of all rectifiers: 1 where one is open."""

    def __init__(self) -> None:
        self.parts: list[Tensor] = []

    def gate(self, x: Tensor) -> None:
        self.parts.append((x > 0).flatten(1))

    def by_example(self) -> Tensor:
        """N x units, boolean; no columns where there is no rectifier."""
        return torch.cat(self.parts, 1) if self.parts else torch.zeros((0, 0), dtype=torch.bool)


def different_rows(codes: Tensor) -> int:
    """How many different rows a boolean matrix has; bits are packed, so that rows are compared as texts of bytes."""
    if not codes.numel():
        return min(len(codes), 1)
    packed = np.packbits(codes.numpy(), axis=1)
    return len(np.unique(np.ascontiguousarray(packed).view(f"V{packed.shape[1]}")))


def different_columns(parts: list[Tensor]) -> int:
    """How many different columns boolean matrices with equal numbers of rows have together.

    Of few rows, each column is a number below 2^rows; a table of so many bits says which occur. No sorting.
    """
    rows = len(parts[0])
    if rows > TABULATED:
        return different_rows(torch.cat(parts, 1).T.contiguous())
    seen = torch.zeros(1 << rows, dtype=torch.bool)
    places = torch.tensor([1 << row for row in range(rows)], dtype=torch.int32)
    for part in parts:
        seen[(part.to(torch.int32) * places[:, None]).sum(0, dtype=torch.int64)] = True
    return int(seen.sum())
