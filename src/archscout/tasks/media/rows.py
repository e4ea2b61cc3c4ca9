"""Rows: numbers and categories of a table, a column each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from archscout.core.errors import DataError
from archscout.core.task import Split
from archscout.tasks import checks, table
from archscout.tasks.media.medium import Decoded, Medium
from archscout.tasks.pictures import Watch, refused
from archscout.tasks.targets import Targets


class Rows(Medium):
    """Rows as N x columns, float32, NaN for a number that is missing."""

    name = "rows"
    noun = "row"
    nouns = "rows"
    OPTIONS = ()
    KINDS: ClassVar[Mapping[str, str]] = {
        "classification": "rows classification",
        "ordinal": "ordinal rows",
        "regression": "rows regression",
    }

    columns: tuple[table.Column, ...] = ()
    """Of the table; numbers by place where an array is given."""

    count = 0
    """Rows that were taken."""

    def taken(self, x: np.ndarray, called: str, rate: int | None) -> np.ndarray:
        """Rows of an array: N x columns numbers. Raises `DataError` for others."""
        if x.ndim != 2 or x.dtype.kind not in "buif" or 0 in x.shape:
            raise DataError(f"{called} is {x.dtype} of shape {x.shape}: rows are N x columns numbers.")
        if not self.columns:
            self.columns = tuple(table.Column(str(number)) for number in range(x.shape[1]))
        self.count += len(x)
        odd = ~((np.abs(x.astype(np.float64)) <= checks.MOST) | np.isnan(x.astype(np.float64))).all(1)
        if odd.any():
            raise DataError(f"{called} has no finite number in row {int(odd.argmax())}: repair it, or write NaN.")
        for place, column in enumerate(self.columns if x.shape[1] == len(self.columns) else ()):
            if not column.categories and x.dtype.itemsize > 4:
                numbers = x[:, place].astype(np.float64)
                table.check_precision(numbers, column.name, len(np.unique(numbers[np.isfinite(numbers)])))
        return table.stored(x.astype(np.float64), self.columns)

    def decoded(
        self,
        encoded: Mapping[str, Sequence[Any]],
        bad: Sequence[tuple[str, str]],
        *,
        skip_bad: bool,
        watch: Watch | None,
    ) -> Decoded:
        """Nothing is left to decode; bad rows are refused, or told."""
        return Decoded({}, {}, refused(bad, len(bad) + self.count, skip_bad, "rows"))

    def alike(self, x: Mapping[str, np.ndarray]) -> None:
        train = x.get("train")
        if train is None:
            return
        for split, rows in x.items():
            if rows.shape[1:] != train.shape[1:]:
                raise DataError(
                    f"the {split} rows of {self.source} have {rows.shape[1]} columns where train has {train.shape[1]}."
                )
        if np.isnan(train).all(0).any():
            place = int(np.isnan(train).all(0).argmax())
            raise DataError(f"column {place} of the training rows of {self.source} has no numbers: leave it out.")

    def fields(self, targets: Targets, data: Mapping[str, Split], encoded: bool) -> dict[str, Any]:
        """A mark for each column in which numbers are missing, in whatever split."""
        gaps = np.flatnonzero(np.any([np.isnan(split.x).any(0) for split in data.values()], 0))
        return {
            "input_shape": (data["train"].x.shape[1] + len(gaps),),
            "columns": self.columns,
            "gaps": tuple(gaps.tolist()),
        }
