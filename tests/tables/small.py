"""A small table, made and spoiled."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from archscout.tables.metric import Metric
from archscout.tables.parquet import KEY
from archscout.tables.table import Table, write

CONV = "|nor_conv_3x3~0|+|none~0|none~1|+|none~0|skip_connect~1|none~2|"
SAME = "|none~0|+|nor_conv_3x3~0|none~1|+|none~0|none~1|skip_connect~2|"
"""The same network as CONV, by way of another node."""
POOL = "|avg_pool_3x3~0|+|none~0|none~1|+|none~0|skip_connect~1|none~2|"
WIRE = "|none~0|+|none~0|none~1|+|skip_connect~0|none~1|none~2|"
DEAD = "|none~0|+|nor_conv_1x1~0|none~1|+|skip_connect~0|none~1|none~2|"
"""The same network as WIRE, with an operation whose output goes nowhere."""

COLUMNS: dict[str, Any] = {
    "architecture": [CONV, POOL, SAME, WIRE],
    "accuracy": [0.9, 0.5, 0.8, None],
    "accuracy_4": [0.6, 0.4, math.nan, 0.3],
    "test": [0.88, 0.52, 0.82, 0.2],
    "curve": [[0.5, 0.7], [0.3, 0.4], [0.3, 0.5], None],
    "time": [100.0, 50.0, 200.0, 10.0],
    "note": ["a", "b", "c", "d"],
}
METRICS = [
    Metric("accuracy", dataset="digits", split="valid", epochs=8),
    Metric("accuracy_4", dataset="digits", split="valid", epochs=4),
    Metric("test", dataset="digits", split="test", epochs=8),
    Metric("curve", dataset="digits", split="valid"),
    Metric("time", kind="seconds", dataset="digits", epochs=8),
]


def make(file: Path, **changes: Any) -> Table:
    return write(file, "nasbench201", COLUMNS | changes, METRICS, default="accuracy", task="digits")


def rewrite(
    file: Path, columns: Mapping[str, Any] | None = None, metadata: Mapping[str, Any] | bytes | None = None
) -> Path:
    """Change columns or metadata of a table behind the back of `write`."""
    content = pq.read_table(file)
    described = json.loads(content.schema.metadata[KEY])
    for name, values in (columns or {}).items():
        content = content.drop_columns([name]) if name in content.column_names else content
        if values is not None:
            content = content.append_column(name, pa.array(values))
    stored = metadata if isinstance(metadata, bytes) else json.dumps(described | dict(metadata or {})).encode()
    pq.write_table(content.replace_schema_metadata({KEY: stored}), file)
    return file
