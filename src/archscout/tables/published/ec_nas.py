"""EC-NAS (Bakhtiarifard, Igel, Selvan 2022, arXiv 2210.06015): cells of NAS-Bench-101 with the energy of training.

The file has one row a training: the cell in `adjacency` and `interior_ops`, `epochs`, `space` and `repeat`, accuracies
as fractions, seconds and kilowatt-hours. All 2,532 cells of up to five vertices were trained once for 4 epochs (`5V`),
the 91 of up to four vertices three times for 4, 12, 36 and 108 (`4V`). Here a row is a cell, space and repeat, with
columns such as `valid_acc_4` and `train_energy_kwh_4`. The trainings are not those of NAS-Bench-101.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from archscout.tables.draft import Draft, numbers, read_columns
from archscout.tables.metric import Metric

_CELL = ("adjacency", "interior_ops", "space", "repeat")
_ACCURACIES = {"train_acc": "train", "valid_acc": "valid", "test_acc": "test"}
_OTHERS = {"training_time_s": "seconds", "train_energy_kwh": "cost"}


def read(file: Path) -> Draft:
    """The table in `ec_nas_energy.parquet`."""
    fields = read_columns(file, [*_CELL, "epochs", "params", *_ACCURACIES, *_OTHERS])
    trainings = list(zip(*(fields[name] for name in _CELL), strict=True))
    place = {training: row for row, training in enumerate(dict.fromkeys(trainings))}
    rows = np.array([place[training] for training in trainings], dtype=int)
    first = np.unique(rows, return_index=True)[1]
    epochs = np.array(fields["epochs"])
    columns: dict[str, Any] = {
        "architecture": [f"{adjacency}:{operations or ''}" for adjacency, operations, _, _ in place],
        "trained_as": [space for _, _, space, _ in place],
        "repeat": [repeat for *_, repeat in place],
        "params": numbers(fields["params"], file, "params")[first],
    }
    metrics = [Metric("params", "cost")]
    for known in sorted(set(fields["epochs"])):
        mine = epochs == known
        for source in (*_ACCURACIES, *_OTHERS):
            name = f"{source}_{known}"
            columns[name] = np.full(len(place), np.nan)
            columns[name][rows[mine]] = numbers(fields[source], file, source)[mine]
            kind, split = _OTHERS.get(source, "accuracy"), _ACCURACIES.get(source, "")
            metrics.append(Metric(name, kind, dataset="cifar10", split=split, epochs=int(known)))
    return Draft(
        space="nasbench101",
        columns=columns,
        metrics=metrics,
        default=f"valid_acc_{min(fields['epochs'], default=4)}",
        name="ec_nas",
        task="image classification (CIFAR-10)",
        source="EC-NAS (arXiv 2210.06015), MIT",
        origin=(file, "adjacency"),
        rows=first.tolist(),
    )
