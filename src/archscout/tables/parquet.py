"""The Parquet file of a table: what it says of itself, and whether its columns are what it says."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from archscout.core.errors import DataError, UsageError
from archscout.core.files import parse_json
from archscout.tables.metric import Metric

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

FORMAT = 1
KEY = b"archscout"
"""Where in the metadata of the file the table is described."""


@contextmanager
def opened(path: Path) -> Iterator[pq.ParquetFile]:
    """The file, opened. Raises `DataError` for one that is not there, or no Parquet."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    if not path.is_file():
        raise DataError(f"there is no table '{path}': name a Parquet file, or a table of 'archscout list tables'.")
    try:
        parquet = pq.ParquetFile(path)
    except (pa.ArrowException, OSError) as error:
        reason = f"'{path}' is no readable Parquet file ({str(error).partition('.')[0]})"
        advice = "restore it" if path.suffix == ".parquet" else "'archscout table import generic' makes tables of CSV"
        raise DataError(f"{reason}: {advice}.") from error
    with parquet:
        yield parquet


def description(path: Path, schema: pa.Schema) -> dict[str, Any]:
    """What the file says of itself. Raises `DataError` where it says nothing, or nothing that fits."""
    if "architecture" not in schema.names:
        raise DataError(
            f"'{path}' has no column 'architecture' (its columns: {', '.join(schema.names[:8])}): import it with "
            "'archscout table import'."
        )
    stored = (schema.metadata or {}).get(KEY)
    if stored is None:
        raise DataError(
            f"'{path}' does not say what its columns hold: import it with 'archscout table import generic {path} "
            "--space SPACE --column METRIC=COLUMN'."
        )
    try:
        metadata: dict[str, Any] = parse_json(
            stored, f"the description in '{path}'", "import or build the table again."
        )
        if metadata["format"] > FORMAT:
            raise DataError(
                f"'{path}' was written by a newer version (format {metadata['format']}): upgrade archscout."
            )
        if not all(isinstance(metadata[key], str) for key in ("space", "default")):
            raise TypeError("its space and default metric must be text")
        for name, described in metadata["metrics"].items():
            Metric(name, **described)
    except DataError:
        raise
    except (KeyError, TypeError, AttributeError, UsageError) as error:
        raise DataError(
            f"the description in '{path}' is damaged ({error}): import or build the table again."
        ) from error
    return metadata


def curve_columns(path: Path, schema: pa.Schema, metrics: Mapping[str, Metric]) -> Iterator[str]:
    """Yields the columns that hold curves. Raises `DataError` for a column of the wrong type, or a missing one."""
    import pyarrow.types as types

    def is_number(kind: pa.DataType) -> bool:
        return bool(types.is_integer(kind) or types.is_floating(kind) or types.is_null(kind))

    def is_text(kind: pa.DataType) -> bool:
        kind = kind.value_type if types.is_dictionary(kind) else kind
        return bool(types.is_string(kind) or types.is_large_string(kind))

    for column in ("architecture", "canonical"):
        if column in schema.names and not is_text(schema.field(column).type):
            raise DataError(f"column '{column}' of '{path}' holds {schema.field(column).type}, not text.")
    for metric in metrics:
        if metric not in schema.names:
            raise DataError(f"'{path}' describes a metric '{metric}' but has no such column: import or build it again.")
        kind = schema.field(metric).type
        if types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind):
            if is_number(kind.value_type):
                yield metric
                continue
        elif is_number(kind):
            continue
        raise DataError(f"column '{metric}' of '{path}' holds {kind}, where a metric must be numbers.")
