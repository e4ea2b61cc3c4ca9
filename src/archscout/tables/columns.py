"""The columns of a table as they are in its file: a number, a text or a curve a row.

What they mean, and what they say of networks, is in `table.py`.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from archscout.core import options
from archscout.core.errors import DataError, UsageError, nearest
from archscout.tables.metric import Metric
from archscout.tables.parquet import curve_columns, description, opened

if TYPE_CHECKING:
    import pyarrow as pa


class Columns:
    """A Parquet file of a table, read column by column as they are first asked for."""

    def __init__(self, path: Path, metadata: Mapping[str, Any]) -> None:
        self.path, self.metadata = path, metadata
        self.name = str(metadata.get("name") or path.stem)
        self.task = str(metadata.get("task", ""))
        self._metrics = {name: Metric(name, **described) for name, described in metadata["metrics"].items()}
        self._lists: frozenset[str] = frozenset()
        self._rows = 0
        self.default_metric = str(metadata["default"])
        self._columns: dict[str, np.ndarray] = {}

    @classmethod
    def read(cls, path: Path) -> Self:
        """The columns of a file. Raises `DataError` for one that is no table, with what is wrong where."""
        with opened(path) as parquet:
            schema = parquet.schema_arrow
            columns = cls(path, description(path, schema))
            columns._lists = frozenset(curve_columns(path, schema, columns._metrics))
            columns._rows = int(parquet.metadata.num_rows)
        if columns.default_metric not in columns.metrics:
            raise DataError(
                f"'{path}': its default metric '{columns.default_metric}' is no column with one number a row: "
                f"{nearest(columns.default_metric, columns.metrics)}"
            )
        return columns

    def __repr__(self) -> str:
        return f"<Table {self.name}>"

    def __len__(self) -> int:
        return self._rows

    @property
    def metrics(self) -> tuple[str, ...]:
        """The columns with one number a row, in the order of the metadata."""
        return tuple(name for name in self._metrics if name not in self._lists)

    @property
    def curves(self) -> tuple[str, ...]:
        """The columns with a number an epoch."""
        return tuple(name for name in self._metrics if name in self._lists)

    def metric(self, name: str | Metric | None = None) -> Metric:
        """What a column holds; the default metric's where none is named. Raises `UsageError` for an unknown one."""
        name = self.default_metric if name is None else options.name_of(name, "the metric", Metric)
        if name not in self._metrics:
            raise UsageError(f"table '{self.name}' has no metric {options.shown(name)}: {nearest(name, self._metrics)}")
        return self._metrics[name]

    def searched(self, name: str | Metric | None = None) -> Metric:
        """The metric that a search goes by: the one that is named, or `searched_metric`. Raises `UsageError`."""
        return self.metric(self.searched_metric if name is None else name)

    @property
    def searched_metric(self) -> str:
        """What a search goes by where none is named: of a default on test examples, its like on validation ones."""
        default = self.metric()
        if default.split != "test":
            return default.name
        wanted = replace(default, name="", split="valid")
        like = (name for name in self.metrics if replace(self._metrics[name], name="") == wanted)
        return next(like, default.name)

    def texts(self, column: str) -> list[str | None]:
        """A column of text, as it is; empty where the file has no such column."""
        with opened(self.path) as parquet:
            if column not in parquet.schema_arrow.names:
                return []
            return parquet.read([column]).column(0).to_pylist()  # type: ignore[no-any-return]

    @cached_property
    def architectures(self) -> list[str]:
        """The architectures as text, in the order of the file. Raises `DataError` where one is missing."""
        texts = self.texts("architecture")
        for row, text in enumerate(texts):
            if not text:
                raise DataError(f"row {row} of '{self.path}' has no architecture: fill its column 'architecture'.")
        return texts  # type: ignore[return-value]

    @cached_property
    def digest(self) -> str:
        """A hash of the whole file: two tables with one digest say the same of the same networks."""
        with self.path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()[:16]

    def column(self, metric: str) -> np.ndarray:
        """A metric, one number a row (float64); NaN where it is missing."""
        if self.metric(metric).name in self._lists:
            raise UsageError(f"'{metric}' of table '{self.name}' is a curve: ask for curve_matrix('{metric}').")
        if metric not in self._columns:
            values = self._read(metric).to_numpy(zero_copy_only=False)
            self._columns[metric] = np.asarray(values, dtype=np.float64)
        return self._columns[metric]

    def lists(self, metric: str) -> list[list[float | None] | None]:
        """A curve as it is in the file, one list a row."""
        return self._read(metric).to_pylist()  # type: ignore[no-any-return]

    def curve_matrix(self, metric: str) -> np.ndarray:
        """A curve, rows x epochs (float64); a row of NaN where it is missing.

        Raises `DataError`, naming the row, where curves are of different lengths.
        """
        if self.metric(metric).name not in self._lists:
            raise UsageError(f"'{metric}' of table '{self.name}' is no curve: ask for column('{metric}').")
        if metric not in self._columns:
            lists = self.lists(metric)
            epochs = self.metric(metric).epochs or max((len(curve) for curve in lists if curve), default=0)
            matrix = np.full((len(lists), epochs), math.nan)
            for row, curve in enumerate(lists):
                if curve and len(curve) != epochs:
                    raise DataError(
                        f"row {row} of '{self.path}', column '{metric}', is a curve of {len(curve)} epochs where "
                        f"others have {epochs}: make all of one length."
                    )
                if curve:
                    matrix[row] = [math.nan if value is None else value for value in curve]
            self._columns[metric] = matrix
        return self._columns[metric]

    def _read(self, column: str) -> pa.ChunkedArray:
        with opened(self.path) as parquet:
            return parquet.read([column]).column(0).combine_chunks()
