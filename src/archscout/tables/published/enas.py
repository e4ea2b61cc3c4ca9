"""Cells of ENAS (Pham et al. 2018, arXiv 1802.03268), judged by shared weights (D-VAE, arXiv 1904.11088).

The file has the cell in `structure` (for each of six nodes its operation and a bit for each earlier one) and the
accuracy of a network with shared weights, `ws_accuracy`, as a fraction: no training of its own.
"""

from __future__ import annotations

from pathlib import Path

from archscout.tables.draft import Draft, numbers, read_columns
from archscout.tables.metric import Metric


def read(file: Path) -> Draft:
    """The table in `enas6_weight_sharing.parquet`."""
    columns = read_columns(file, ["structure", "ws_accuracy"])
    return Draft(
        space="enas",
        columns={
            "architecture": columns["structure"],
            "ws_accuracy": numbers(columns["ws_accuracy"], file, "ws_accuracy"),
        },
        metrics=[Metric("ws_accuracy", dataset="cifar10", split="valid")],
        default="ws_accuracy",
        name="enas",
        task="image classification (CIFAR-10), by shared weights",
        source="D-VAE (arXiv 1904.11088), MIT",
        origin=(file, "structure"),
    )
