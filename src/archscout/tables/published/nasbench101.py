"""NAS-Bench-101 (Ying et al. 2019, arXiv 1902.09635): cells on CIFAR-10 after 4, 12, 36 and 108 epochs.

The file has the cell in `adjacency` (the matrix row by row) and `interior_ops` (joined by commas), and validation
accuracies as fractions, of one training each. Scores in a `zero_cost.parquet` beside it (NAS-Bench-Suite-Zero,
Krishnakumar et al. 2022, arXiv 2210.03230) are joined by `module_hash`. Seconds are those of the 108 epochs; those of
shorter trainings, which the file does not have, are taken as proportional.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from archscout.tables.draft import Draft, join, numbers, read_columns
from archscout.tables.metric import Metric
from archscout.tables.published.nasbench201 import undefined_scores

_EPOCHS = (4, 12, 36, 108)
_SCORES = ("zen", "snip", "jacov", "grad_norm", "plain", "epe_nas", "fisher", "grasp", "l2_norm", "synflow")


def read(file: Path) -> Draft:
    """The table in `cells_20k.parquet`, with the scores that lie beside it."""
    accuracies = [f"valid_acc_{epochs}" for epochs in _EPOCHS]
    source = read_columns(
        file, ["module_hash", "adjacency", "interior_ops", "params", "training_time_s_108", *accuracies]
    )
    columns: dict[str, Any] = {
        "architecture": [
            f"{a}:{ops or ''}" for a, ops in zip(source["adjacency"], source["interior_ops"], strict=True)
        ],
        "module_hash": source["module_hash"],
    }
    for name in (*accuracies, "training_time_s_108", "params"):
        columns[name] = numbers(source[name], file, name)
    metrics = [
        Metric(name, dataset="cifar10", split="valid", epochs=epochs)
        for name, epochs in zip(accuracies, _EPOCHS, strict=True)
    ]
    metrics += [
        Metric("training_time_s_108", kind="seconds", dataset="cifar10", epochs=108),
        Metric("params", kind="cost"),
    ]
    notes = []
    beside = file.parent / "zero_cost.parquet"
    if beside.is_file():
        scores = read_columns(beside, ["module_hash"], _SCORES)
        present = {name: scores[name] for name in _SCORES if name in scores}
        for name, values in join(source["module_hash"], scores["module_hash"], present).items():
            columns[name] = undefined_scores(numbers(values, beside, name))
            metrics.append(Metric(name, kind="score"))
    else:
        notes.append(f"there is no {beside.name} beside '{file.name}', so its columns are not joined.")
    return Draft(
        space="nasbench101",
        columns=columns,
        metrics=metrics,
        default="valid_acc_108",
        name="nasbench101",
        task="image classification (CIFAR-10)",
        source="NAS-Bench-101 (arXiv 1902.09635), the 20,001 cells of nasbench-vis",
        origin=(file, "adjacency"),
        notes=notes,
    )
