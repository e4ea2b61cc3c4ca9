"""NAS-Bench-NLP (Klyuchnikov et al. 2020, arXiv 2006.07116): recurrent cells, with learning curves on WikiText-2.

The file has the cell in `recipe` (JSON), losses after each of 50 epochs and the seconds that each took. Curves of
diverged trainings are filled up with NaN, and their final losses are missing. Losses on Penn Treebank in a
`ptb_results.parquet` beside it (Serianni, Kalita 2023, arXiv 2306.00288) are joined by `recipe_id`; most of its rows
are of cells whose recipe the file does not have.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from archscout.core.errors import DataError
from archscout.tables.draft import Draft, join, numbers, read_columns
from archscout.tables.metric import Metric

_SPLITS = {"train_losses": "train", "val_losses": "valid", "test_losses": "test"}


def read(file: Path) -> Draft:
    """The table in `wikitext2_curves.parquet`, with the losses on Penn Treebank that lie beside it."""
    source = read_columns(file, ["recipe_id", "recipe", "num_params", *_SPLITS, "wall_times"], ["seed"])
    lengths = [len(curve or ()) for curve in source["wall_times"]]
    epochs = max(lengths, default=0)
    columns: dict[str, Any] = {"architecture": source["recipe"], "recipe_id": source["recipe_id"]}
    metrics = []
    for name, split in _SPLITS.items():
        matrix = _curves(source[name], lengths, epochs, file, name)
        columns[f"{split}_loss_curve"] = list(matrix)
        columns[f"{split}_loss"] = matrix[:, -1].copy() if epochs else np.full(len(lengths), np.nan)
        metrics += [
            Metric(f"{split}_loss", "loss", dataset="wikitext2", split=split, epochs=epochs),
            Metric(f"{split}_loss_curve", "loss", dataset="wikitext2", split=split, epochs=epochs),
        ]
    columns["seconds"] = list(_curves(source["wall_times"], lengths, epochs, file, "wall_times"))
    columns["params"] = numbers(source["num_params"], file, "num_params")
    metrics += [Metric("seconds", "seconds", dataset="wikitext2", epochs=epochs), Metric("params", "cost")]
    if "seed" in source:
        columns["seed"] = source["seed"]
    diverged = sum(length < epochs for length in lengths)
    notes = [f"{diverged} trainings diverged: their curves end early."] if diverged else []
    beside = file.parent / "ptb_results.parquet"
    if beside.is_file():
        other = read_columns(beside, ["recipe_id", "loss"])
        joined = join(source["recipe_id"], other["recipe_id"], {"loss": other["loss"]})
        columns["ptb_loss"] = numbers(joined["loss"], beside, "loss")
        metrics.append(Metric("ptb_loss", "loss", dataset="ptb"))
        left = len(set(other["recipe_id"]) - set(source["recipe_id"]))
        notes.append(f"{left} cells of {beside.name} have no recipe in '{file.name}' and are left out.")
    else:
        notes.append(f"there is no {beside.name} beside '{file.name}', so its columns are not joined.")
    return Draft(
        space="nasbench_nlp",
        columns=columns,
        metrics=metrics,
        default="valid_loss",
        name="nasbench_nlp",
        task="language modelling (WikiText-2, Penn Treebank)",
        source="NAS-Bench-NLP (arXiv 2006.07116), Apache-2.0; Penn Treebank by training-free-nas, CC-BY-4.0",
        origin=(file, "recipe"),
        notes=notes,
    )


def _curves(curves: list[Any], lengths: list[int], epochs: int, file: Path, column: str) -> np.ndarray:
    """Rows x epochs, NaN after the end of a curve. Raises `DataError` where a row's curves differ in length."""
    matrix = np.full((len(curves), epochs), np.nan)
    for row, curve in enumerate(curves):
        if len(curve or ()) != lengths[row]:
            raise DataError(
                f"row {row} of '{file}', column '{column}', has {len(curve or ())} epochs where 'wall_times' has "
                f"{lengths[row]}: make the curves of a row of one length."
            )
        matrix[row, : lengths[row]] = [np.nan if value is None else value for value in curve or ()]
    return matrix
