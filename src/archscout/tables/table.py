"""Tabular benchmarks: what the networks of a space came to, in one Parquet file.

The file has one row an architecture (or one a training of it):

| column | type | what it is |
| --- | --- | --- |
| `architecture` | text | what `space.parse` reads |
| `canonical` | text | its canonical form; written by `write`, computed where it is missing |
| one a metric | number | an accuracy (a fraction), a loss, seconds, a cost, a score; null or NaN where it is missing |
| one a curve | list of numbers | the same after each epoch, of one length in all rows; seconds: of each epoch |
| any other | any | carried along, not looked at |

What the columns mean stands in the file's metadata, as JSON under the key `archscout`:

    {"format": 1, "name": "tiny", "space": "nasbench201", "task": "digits", "default": "valid_accuracy",
     "source": "where it comes from, and under which licence",
     "metrics": {"valid_accuracy": {"kind": "accuracy", "dataset": "digits", "split": "valid", "epochs": 12}, ...}}

Metrics of one data set, split and kind are one measure at several fidelities (`epochs`), and a curve of these is that
measure at every epoch.

One network may have several rows: several seeds, or several architectures that build the same network. `column` and
`rows` give the rows as they are; `value`, `curve` and `seconds` answer for the network, with the mean over all its rows
that have a value. Rows are counted from 0.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from archscout.core.architecture import Architecture
from archscout.core.errors import DataError, UsageError
from archscout.core.files import replacing
from archscout.core.registry import create
from archscout.core.space import Space
from archscout.tables.columns import Columns
from archscout.tables.metric import Metric
from archscout.tables.parquet import FORMAT, KEY

_SPOT_CHECKS = 8
"""Stored canonical forms that are computed again on loading: a space may have changed its mind since."""


class Table(Columns):
    """A tabular benchmark in a Parquet file; made by `Table.open`, or `archscout.table(name_or_path)`.

    >>> table = archscout.table("nasbench201.parquet")                        # doctest: +SKIP
    >>> table.value("|skip_connect~0|+...", "c10_test_200")                   # doctest: +SKIP
    0.9436
    """

    def __init__(self, path: Path, metadata: Mapping[str, Any]) -> None:
        super().__init__(path, metadata)
        self._means: dict[tuple[str, int | None], list[float]] = {}
        self._mean_seconds: dict[tuple[str, int | None], list[float]] = {}
        self._mean_curves: dict[str, np.ndarray] = {}

    @classmethod
    def open(cls, file: str | Path, space: Space | None = None) -> Table:
        """The table in a file. Raises `DataError` for one that is no table, with what is wrong where.

        Args:
            file: a Parquet file with the columns and metadata described above.
            space: instead of the one that the file names: for a space that has no registered name.
        """
        table = cls.read(Path(file))
        if space is not None:
            table.__dict__["space"] = space
        return table

    def __reduce__(self) -> tuple[Any, ...]:
        return _reopen, (self.path, self.__dict__.get("space"), self.name)

    # -- what is in it --------------------------------------------------------------------------------------------

    @cached_property
    def space(self) -> Space:
        """The space that the architectures are of."""
        try:
            instance: Space = create("space", str(self.metadata["space"]))
        except UsageError as error:
            raise DataError(
                f"'{self.path}' is of space '{self.metadata['space']}', which is not registered here: {error}"
            ) from error
        return instance

    @cached_property
    def canonical(self) -> list[str]:
        """The canonical form of each row: the file's, unless a spot check says that the space has changed."""
        texts, forms = self.architectures, self.texts("canonical")
        if forms and None not in forms:
            probes = sorted({round(place) for place in np.linspace(0, len(texts) - 1, _SPOT_CHECKS)})
            if all(forms[row] == self._canonical(row) for row in probes):
                return forms  # type: ignore[return-value]
        return [self._canonical(row) for row in range(len(texts))]

    # -- questions about one network ------------------------------------------------------------------------------

    @cached_property
    def numbers(self) -> dict[str, int]:
        """The number of each canonical form: networks are counted in the order of the file."""
        return {form: number for number, form in enumerate(dict.fromkeys(self.canonical))}

    @cached_property
    def networks(self) -> np.ndarray:
        """The number of the network that each row is of (int64); equal where the canonical forms are."""
        return np.asarray([self.numbers[form] for form in self.canonical], dtype=np.int64)

    @cached_property
    def first_rows(self) -> np.ndarray:
        """The first row of each network, by its number."""
        return np.asarray(np.unique(self.networks, return_index=True)[1])

    def network(self, architecture: Architecture | str) -> int:
        """The number of an architecture's network. Raises `UsageError` where the table does not have it."""
        number = self._by_text.get(str(architecture))
        if number is None:
            # By its text: the space that it was made by may differ in its parameters.
            number = self.numbers.get(self.space.canonical(self.space.parse(str(architecture))))
            if number is None:
                raise UsageError(f"table '{self.name}' has no architecture '{architecture}'.")
        return number

    def __contains__(self, architecture: object) -> bool:
        try:
            return isinstance(architecture, Architecture | str) and self.network(architecture) >= 0
        except UsageError:
            return False

    def rows(self, architecture: Architecture | str) -> list[int]:
        """All rows of an architecture's network."""
        return [int(row) for row in np.flatnonzero(self.networks == self.network(architecture))]

    def value(self, architecture: Architecture | str, metric: str | None = None, *, epochs: int | None = None) -> float:
        """A metric of a network: the mean over its rows; NaN where none has a value.

        Args:
            architecture: any that builds the network, as text or parsed.
            metric: the default metric where not given.
            epochs: the same measure after so many epochs (one of `fidelities(metric)`).
        """
        return self.values(metric, epochs=epochs)[self.network(architecture)]

    def values(self, metric: str | None = None, *, epochs: int | None = None) -> list[float]:
        """A metric of every network, by its number: what `value` answers from."""
        key = (self.default_metric if metric is None else metric, epochs)
        if key not in self._means:
            self._means[key] = self._mean(self._at(*key)).tolist()
        return self._means[key]

    def fidelities(self, metric: str | None = None) -> tuple[int, ...]:
        """After how many epochs a measure is known, rising; empty where the table does not say."""
        about = self.metric(metric)
        alike = [other for other in self._metrics.values() if other.measure == about.measure]
        known = {other.epochs for other in alike if other.name not in self._lists and other.epochs is not None}
        for other in alike:
            if other.name in self._lists:
                known |= set(range(1, self.curve_matrix(other.name).shape[1] + 1))
        return tuple(sorted(known))

    def fidelity(self, epochs: int | None = None, metric: str | None = None) -> int | None:
        """The longest training that the table knows which is no longer than asked for; else the shortest.

        None where the table does not say for how long it trained.
        """
        known = self.fidelities(metric)
        wished = self.metric(metric).epochs if epochs is None else epochs
        if not known:
            return None
        return max((e for e in known if wished is None or e <= wished), default=known[0])

    def curve(self, architecture: Architecture | str, metric: str) -> np.ndarray:
        """A curve of a network, one number an epoch: the mean over its rows."""
        network = self.network(architecture)
        if metric not in self._mean_curves:
            self._mean_curves[metric] = self._mean(self.curve_matrix(metric))
        return np.array(self._mean_curves[metric][network])

    def history(
        self, architecture: Architecture | str, *, epochs: int | None = None, metric: str | None = None
    ) -> tuple[dict[str, float], ...]:
        """The curves of a network as a training gives them: a row an epoch, `valid_loss`, `train_accuracy`, ...

        Those of the metric's data set; empty where the table has none.
        """
        about = self.metric(metric)
        curves = {}
        for name in self.curves:
            of = self.metric(name)
            if of.dataset == about.dataset and of.split:
                curves[f"{of.split}_{of.kind}"] = self.curve(architecture, name)[:epochs].tolist()
        length = max(map(len, curves.values()), default=0)
        return tuple(
            {"epoch": place + 1.0} | {name: values[place] for name, values in curves.items() if place < len(values)}
            for place in range(length)
        )

    def seconds(
        self, architecture: Architecture | str, *, epochs: int | None = None, metric: str | None = None
    ) -> float:
        """What the training of a network took, in seconds; NaN where the table does not say.

        Args:
            architecture: any that builds the network.
            epochs: of this training; all of the metric's where not given. Where only the seconds of a longer or shorter
                one are known, they are taken as proportional to its epochs.
            metric: whose training (each data set has its own); the default metric's where not given.
        """
        return self.all_seconds(epochs=epochs, metric=metric)[self.network(architecture)]

    def all_seconds(self, *, epochs: int | None = None, metric: str | None = None) -> list[float]:
        """What `seconds` answers from: those of every network, by its number."""
        about = self.metric(metric)
        epochs = about.epochs if epochs is None else epochs
        timed = [m for m in self._metrics.values() if m.kind == "seconds"]
        mine = [m for m in timed if m.dataset == about.dataset] or [m for m in timed if not m.dataset]
        key = (about.dataset, epochs)
        if key not in self._mean_seconds:
            seconds = self._seconds(mine, epochs)
            known = np.isfinite(seconds) & (seconds >= 0)  # a damaged clock tells nothing
            self._mean_seconds[key] = self._mean(np.where(known, seconds, math.nan)).tolist()
        return self._mean_seconds[key]

    def best(self, metric: str | None = None) -> tuple[str, float]:
        """The best network (its first architecture in the file) and its value: what regret is counted from."""
        values = np.asarray(self.values(metric))
        if not np.isfinite(values).any():
            raise DataError(f"'{self.path}' has no value of '{self.metric(metric).name}'.")
        place = int(np.nanargmax(values) if self.metric(metric).higher else np.nanargmin(values))
        return self.architectures[int(self.first_rows[place])], float(values[place])

    # -- inside ---------------------------------------------------------------------------------------------------

    @cached_property
    def _by_text(self) -> dict[str, int]:
        return {text: self.numbers[form] for text, form in zip(self.architectures, self.canonical, strict=True)}

    def _canonical(self, row: int) -> str:
        try:
            return self.space.canonical(self.space.parse(self.architectures[row]))
        except UsageError as error:
            raise DataError(
                f"row {row} of '{self.path}', column 'architecture', is not of space '{self.space.name}': {error}"
            ) from error

    def _at(self, metric: str, epochs: int | None) -> np.ndarray:
        """A metric, or the same measure after so many epochs: one number a row."""
        about = self.metric(metric)
        if epochs is None or (epochs == about.epochs and metric not in self._lists):
            return self.column(metric)
        alike = [other for other in self._metrics.values() if other.measure == about.measure]
        for other in alike:
            if other.epochs == epochs and other.name not in self._lists:
                return self.column(other.name)
        for other in alike:
            if other.name in self._lists and 1 <= epochs <= self.curve_matrix(other.name).shape[1]:
                return self.curve_matrix(other.name)[:, epochs - 1]
        known = ", ".join(map(str, self.fidelities(metric))) or "not known"
        raise UsageError(f"table '{self.name}' has no '{metric}' after {epochs} epochs; the epochs are {known}.")

    def _seconds(self, timed: Sequence[Metric], epochs: int | None) -> np.ndarray:
        for metric in timed:
            if metric.name in self._lists:
                each = self.curve_matrix(metric.name)
                whole = each.shape[1] if epochs is None else epochs
                if whole <= each.shape[1]:
                    return np.asarray(each[:, :whole].sum(axis=1))
        totals = [metric for metric in timed if metric.name not in self._lists]
        if not totals:
            return np.full(len(self), math.nan)
        closest = min(totals, key=lambda m: abs(math.log((m.epochs or 1) / (epochs or m.epochs or 1))))
        share = epochs / closest.epochs if epochs and closest.epochs else 1.0
        return self.column(closest.name) * share

    def _mean(self, rows: np.ndarray) -> np.ndarray:
        """The mean of the rows of each network, leaving out what is missing or infinite."""
        known = np.isfinite(rows)
        shape = (len(self.numbers), *rows.shape[1:])
        total, count = np.zeros(shape), np.zeros(shape)
        np.add.at(total, self.networks, np.where(known, rows, 0.0))
        np.add.at(count, self.networks, known)
        with np.errstate(invalid="ignore"):
            return np.asarray(np.where(count > 0, total / count, math.nan))


def write(
    file: str | Path,
    space: Space | str,
    columns: Mapping[str, Any],
    metrics: Sequence[Metric],
    *,
    default: str,
    name: str = "",
    task: str = "",
    source: str = "",
    origin: tuple[Path, str] | None = None,
    origin_rows: Sequence[int] | None = None,
    **more: Any,
) -> Table:
    """Write a table with its canonical index; returns it, opened. The file is there whole or not at all.

    Args:
        file: the Parquet file.
        space: what the architectures are of; a `Space` may stand for one that has no registered name.
        columns: `architecture` (texts), a sequence of numbers for each metric (of lists of numbers for a curve; None
            or NaN where a value is missing), and whatever else is to be carried along. All of one length.
        metrics: what the columns hold.
        default: the metric that is meant where none is named.
        name: of the table; the file's where empty.
        task: what the networks were trained for, as text.
        source: where the values come from, and under which licence.
        origin: the file and column that the architectures were read from, for what is said of a bad one.
        origin_rows: the row of that file that each was read from.
        more: further JSON for the metadata.

    Raises:
        DataError: an architecture that the space does not parse (with its row), curves of different lengths, a column
            that is missing or of another length.
        UsageError: a file that cannot be written.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = Path(file)
    instance: Space = create("space", space) if isinstance(space, str) else space
    texts = [str(text) if text is not None else "" for text in columns.get("architecture", ())]
    for metric in metrics:
        if metric.name not in columns:
            raise DataError(f"'{path}' would have no column '{metric.name}': give its values.")
    for column, values in columns.items():
        if len(values) != len(texts):
            raise DataError(
                f"column '{column}' for '{path}' has {len(values)} rows where 'architecture' has {len(texts)}."
            )
    described = {m.name: {k: v for k, v in asdict(m).items() if k != "name" and v not in ("", None)} for m in metrics}
    metadata = {
        "format": FORMAT,
        "name": name or path.stem,
        "space": instance.name,
        "task": task,
        "default": default,
        "metrics": described,
        "source": source,
        **more,
    }
    forms = []
    for row, text in enumerate(texts):
        try:
            forms.append(instance.canonical(instance.parse(text)))
        except UsageError as error:
            place, column = origin or (path, "architecture")
            row = row if origin_rows is None else origin_rows[row]
            raise DataError(
                f"row {row} of '{place}', column '{column}', is not of space '{instance.name}': {error}"
            ) from error
    arrays = {"architecture": pa.array(texts, pa.string()), "canonical": pa.array(forms, pa.string())}
    arrays |= {k: pa.array(v, from_pandas=True) for k, v in columns.items() if k not in arrays}
    content = pa.table(arrays).replace_schema_metadata({KEY: json.dumps(metadata).encode()})
    partial = path
    try:
        with replacing(path) as partial:
            pq.write_table(content, partial, compression="zstd")
            table = Table.open(partial, instance)
            for curve in table.curves:
                table.curve_matrix(curve)
    except OSError as error:
        raise UsageError(f"cannot write '{path}': {error.strerror or error}; name another file.") from error
    except DataError as error:
        raise DataError(str(error).replace(str(partial), str(path))) from error
    finally:
        with suppress(OSError):
            partial.unlink(missing_ok=True)
    return Table.open(path, instance)


def _reopen(path: Path, space: Space | None, name: str) -> Table:
    table = Table.open(path, space)
    table.name = name
    return table
