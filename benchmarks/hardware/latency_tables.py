"""The published latency tables, as the benchmarks of latency models read them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from archscout.core.architecture import Architecture
from archscout.core.registry import create
from archscout.core.space import Space

TABLES = ("nasbench201", "fbnet")


def table(name: str, data: Path) -> tuple[Space, list[Architecture], dict[str, np.ndarray]]:
    """A space, its architectures in the order of HELP's files, and milliseconds of all of them on each device."""
    space: Space = create("space", name)
    if name == "nasbench201":
        latencies = pq.read_table(data / "nasbench201/latency_ms.parquet").sort_by("index").drop(["index"])
        texts = pq.read_table(data / "nasbench201/accuracy.parquet").sort_by("index").column("arch")
    else:
        whole = pq.read_table(data / "fbnet/latency_ms_and_zc.parquet")
        texts = whole.column("arch")
        latencies = whole.select([column for column in whole.column_names if column.startswith("lat_ms_")])
    architectures = [space.parse(text) for text in texts.to_pylist()]
    by_device = {
        c.removeprefix("lat_ms_"): latencies.column(c).to_numpy().astype(float) for c in latencies.column_names
    }
    return space, architectures, by_device


def accuracy(data: Path, metric: str) -> np.ndarray:
    """Accuracies of all cells of NAS-Bench-201, in percent, in the same order."""
    whole = pq.read_table(data / "nasbench201/accuracy.parquet").sort_by("index")
    return np.asarray(whole.column(metric).to_numpy(), dtype=float)
