"""NAS-Bench-Macro (Su et al. 2021, arXiv 2103.11922): all 6,561 networks of eight layers on CIFAR-10.

The file has the architecture in `arch` (eight digits) and the test accuracies of three trainings, in percent.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from archscout.tables.draft import Draft, fractions, numbers, read_columns
from archscout.tables.metric import Metric

_ACCURACIES = ("mean_acc", "test_acc_0", "test_acc_1", "test_acc_2")


def read(file: Path) -> Draft:
    """The table in `cifar10.parquet`."""
    source = read_columns(file, ["arch", *_ACCURACIES, "params", "flops"])
    columns: dict[str, Any] = {"architecture": source["arch"]}
    for name in _ACCURACIES:
        columns[name] = fractions(numbers(source[name], file, name))
    columns["params"] = numbers(source["params"], file, "params")
    columns["macs"] = numbers(source["flops"], file, "flops")
    metrics = [Metric("mean_acc", dataset="cifar10", split="test")]
    metrics += [Metric(name, dataset=f"cifar10, training {name[-1]}", split="test") for name in _ACCURACIES[1:]]
    return Draft(
        space="nasbench_macro",
        columns=columns,
        metrics=[*metrics, Metric("params", kind="cost"), Metric("macs", kind="cost")],
        default="mean_acc",
        name="nasbench_macro",
        task="image classification (CIFAR-10)",
        source="NAS-Bench-Macro (arXiv 2103.11922), Apache-2.0",
        origin=(file, "arch"),
    )
