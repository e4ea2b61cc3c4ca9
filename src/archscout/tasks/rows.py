"""Rows of a table: numbers and categories in columns; one class for each, one in order, or numbers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from archscout.core.registry import register
from archscout.core.task import Split, Task
from archscout.networks.elastic import Number
from archscout.networks.rows import DeployedRows, RowsHead, Standardised
from archscout.tasks.classification import Classification
from archscout.tasks.ordinal import Ordinal
from archscout.tasks.regression import Regression
from archscout.tasks.table import Column

Statistics = tuple[tuple[float, ...], tuple[float, ...]]


@dataclass(frozen=True)
class RowsTask(Task):
    """A task whose inputs are rows: N x columns, float32, NaN for a number that is missing, as they are stored.

    To a network they are standardised, with the mean for what is missing, and a column more for each in which training
    lacks numbers (`Standardised`). Categories are columns of 0 and 1 already.

    Args:
        columns: of the table, in order: what they are called, and their categories.
        gaps: the places of stored columns that have one more.
        statistics: mean and standard deviation of each stored column; those of `train` where None.
    """

    spaces: ClassVar[tuple[str, ...]] = ("rows",)

    columns: tuple[Column, ...] = ()
    gaps: tuple[int, ...] = ()
    statistics: Statistics | None = None

    @property
    def deployed_shape(self) -> tuple[int, ...]:
        return (self.input_shape[0] - len(self.gaps),)

    @cached_property
    def normalisation(self) -> Statistics:
        """Mean and standard deviation of each stored column, without what is missing (1 for one that never changes)."""
        if self.statistics is not None:
            return self.statistics
        x = self.train.x.astype(np.float64)
        mean, std = np.nanmean(x, 0), np.nanstd(x, 0)
        std[std < 1e-8] = 1.0
        return tuple(mean.tolist()), tuple(std.tolist())

    def tensors(self, split: Split, device: Any = "cpu") -> tuple[Tensor, Tensor]:
        x = torch.tensor(split.x, dtype=torch.float32)
        return Standardised(*self.normalisation, self.gaps)(x).to(device), torch.from_numpy(split.y).to(device)

    def head(self, channels: Number) -> nn.Module:
        return RowsHead(channels, self.outputs)

    def deploy(self, network: nn.Module) -> nn.Module:
        return DeployedRows(Standardised(*self.normalisation, self.gaps), network)

    def describe(self) -> dict[str, Any]:
        described = super().describe()
        return described | {"statistics": [list(numbers) for numbers in self.normalisation],
                            "columns": [[column.name, list(column.categories)] for column in self.columns]}  # fmt: skip

    @classmethod
    def fields_of(cls, description: Mapping[str, Any]) -> dict[str, Any]:
        mean, std = (tuple(float(number) for number in numbers) for numbers in description["statistics"])
        columns = tuple(Column(str(name), tuple(map(str, categories))) for name, categories in description["columns"])
        if len(mean) != len(std) or set(description["gaps"]) - set(range(len(mean))):
            raise ValueError("columns do not fit")
        return super().fields_of(description) | {"statistics": (mean, std), "columns": columns}


@register("kind", "rows classification")
@dataclass(frozen=True)
class RowsClassification(Classification, RowsTask):
    """One class for each row; the metric is the fraction of those whose class has the largest output."""

    kind: ClassVar[str] = "rows classification"


@register("kind", "rows regression")
@dataclass(frozen=True)
class RowsRegression(Regression, RowsTask):
    """Numbers for each row; the usual metric is the root mean squared error in the numbers' own unit."""

    kind: ClassVar[str] = "rows regression"


@register("kind", "ordinal rows")
@dataclass(frozen=True)
class OrdinalRows(Ordinal, RowsTask):
    """One of several classes in order for each row."""

    kind: ClassVar[str] = "ordinal rows"

    def score(self, channels: Number) -> nn.Module:
        return RowsHead(channels, 1)
