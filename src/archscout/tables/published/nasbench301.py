"""NAS-Bench-301 (Zela et al. 2022, arXiv 2008.09777): scores of DARTS cells, surrogate accuracies of some.

The file has the cell in `arch` (NASLib's code), scores of NAS-Bench-Suite-Zero (Krishnakumar et al. 2022, arXiv
2210.03230) and, for 725 cells, the surrogate's `val_accuracy` in percent, `params` and `flops` in millions.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from archscout.tables.draft import Draft, fractions, numbers, read_columns
from archscout.tables.metric import Metric
from archscout.tables.published.nasbench201 import undefined_scores

_SCORES = {
    "nwot": "naswot", "zen": "zen", "synflow": "synflow", "grasp": "grasp", "fisher": "fisher",
    "grad_norm": "grad_norm", "l2_norm": "l2_norm", "plain": "plain", "epe_nas": "epe_nas", "jacov": "jacov",
    "snip": "snip",
}  # fmt: skip


def read(file: Path) -> Draft:
    """The table in `nasbench301_zero_cost.parquet`."""
    source = read_columns(file, ["arch", "val_accuracy"], [*_SCORES, "params", "flops"])
    columns: dict[str, Any] = {
        "architecture": source["arch"],
        "val_accuracy": fractions(numbers(source["val_accuracy"], file, "val_accuracy")),
    }
    metrics = [Metric("val_accuracy", dataset="cifar10", split="valid")]
    for name, count in (("params", "params"), ("flops", "macs")):
        if name in source:
            columns[count] = 1e6 * numbers(source[name], file, name)
            metrics.append(Metric(count, kind="cost"))
    for name, score in _SCORES.items():
        if name in source:
            columns[score] = undefined_scores(numbers(source[name], file, name))
            metrics.append(Metric(score, kind="score"))
    return Draft(
        space="darts",
        columns=columns,
        metrics=metrics,
        default="val_accuracy",
        name="nasbench301",
        task="image classification (CIFAR-10)",
        source="NAS-Bench-301 (arXiv 2008.09777) and NAS-Bench-Suite-Zero (arXiv 2210.03230) by NASLib, Apache-2.0",
        origin=(file, "arch"),
    )
