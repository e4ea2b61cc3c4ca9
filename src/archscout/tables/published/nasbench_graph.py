"""NAS-Bench-Graph (Qin et al. 2022, arXiv 2206.09166): graph networks of four layers on nine graphs.

The file has one row a network and graph: `link` (the layer that each layer takes), `ops` (joined by commas), accuracies
as fractions (`valid_perf`, `test_perf`), `latency` in seconds and `params_M` in millions. Here a network has one row,
with columns such as `cora_valid`, `cora_test`, `cora_latency_ms` and `cora_params`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from archscout.tables.draft import Draft, numbers, read_columns
from archscout.tables.metric import Metric

_VALUES = {"valid_perf": "valid", "test_perf": "test", "latency": "latency_ms", "params_M": "params"}
_FACTOR = {"latency": 1e3, "params_M": 1e6}


def read(file: Path) -> Draft:
    """The table in `nasbench_graph.parquet`."""
    fields = read_columns(file, ["dataset", "link", "ops", *_VALUES])
    values = {name: _FACTOR.get(name, 1.0) * numbers(fields[name], file, name) for name in _VALUES}
    cells = list(zip(fields["link"], fields["ops"], strict=True))
    place = {cell: number for number, cell in enumerate(dict.fromkeys(cells))}
    rows = np.array([place[cell] for cell in cells])
    first = np.unique(rows, return_index=True)[1]
    columns: dict[str, Any] = {"architecture": [f"{link}:{ops}" for link, ops in place]}
    metrics = []
    graphs = np.array(fields["dataset"])
    for graph in sorted(set(fields["dataset"])):
        mine = graphs == graph
        for source, suffix in _VALUES.items():
            name = f"{graph}_{suffix}"
            columns[name] = np.full(len(place), np.nan)
            columns[name][rows[mine]] = values[source][mine]
            accuracy = suffix in ("valid", "test")
            metrics.append(
                Metric(name, "accuracy" if accuracy else "cost", dataset=graph, split=suffix if accuracy else "")
            )
    return Draft(
        space="nasbench_graph",
        columns=columns,
        metrics=metrics,
        default="cora_valid" if "cora_valid" in columns else metrics[0].name,
        name="nasbench_graph",
        task="node classification on nine graphs",
        source="NAS-Bench-Graph (arXiv 2206.09166), Apache-2.0",
        origin=(file, "link"),
        rows=first.tolist(),
    )
