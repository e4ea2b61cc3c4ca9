"""Rows of tables: reference networks of the space `rows` against scikit-learn's gradient boosting, in three folds.

    python -m benchmarks.tasks.boosting

Tables that come with scikit-learn; boosting as it comes (`HistGradientBoosting...`), networks by the recipe of the
house for 60 epochs, the last of which counts. Rows (set, contender, fold, value, processor seconds) are added to
docs/results/boosting.json as they come; `kinds_page.py` sums them up.
"""

from __future__ import annotations

import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import sklearn.datasets
import torch
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.model_selection import KFold

from benchmarks.common import RESULTS, Rows, arguments, machine

FILE = RESULTS / "boosting.json"
SETS = {"wine": "classification", "breast_cancer": "classification", "diabetes": "regression"}
CONTENDERS = ("boosting", "mlp", "resnet_small")
FOLDS, EPOCHS = 3, 60


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--results", type=Path, default=FILE)
    options = parser.parse_args()
    torch.set_num_threads(1)
    keys = ("set", "contender", "fold")
    rows = Rows(options.results, keys, about={"machine": machine(), "epochs": EPOCHS}, sort=True)
    for name, kind in SETS.items():
        x, y = getattr(sklearn.datasets, f"load_{name}")(return_X_y=True)
        for fold, parts in enumerate(KFold(FOLDS, shuffle=True, random_state=0).split(x)):
            for contender in CONTENDERS:
                cell = {"set": name, "contender": contender, "fold": fold}
                if not rows.has(**cell):
                    started = time.process_time()
                    value = (boosted if contender == "boosting" else trained)(x, y, parts, kind, contender)
                    rows.add(cell | {"value": value, "seconds": round(time.process_time() - started, 1)})


def boosted(x: np.ndarray, y: np.ndarray, parts: Any, kind: str, _: str) -> float:
    """Accuracy, or root mean squared error, of gradient boosting."""
    learned, held = parts
    make = HistGradientBoostingRegressor if kind == "regression" else HistGradientBoostingClassifier
    said = make(random_state=0).fit(x[learned], y[learned]).predict(x[held])
    return float(np.sqrt(np.square(said - y[held]).mean()) if kind == "regression" else (said == y[held]).mean())


def trained(x: np.ndarray, y: np.ndarray, parts: Any, kind: str, reference: str) -> float:
    """The same of a reference network."""
    import archscout
    from archscout.core.errors import DataNotice
    from archscout.networks.pick import build
    from archscout.training.recipe import Recipe
    from archscout.training.trainer import train

    learned, held = parts
    splits = {"x_train": x[learned], "y_train": y[learned]}
    splits |= {f"{axis}_{split}": values[held] for split in ("valid", "test") for axis, values in (("x", x), ("y", y))}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DataNotice)
        task = archscout.task(splits, medium="rows", kind=kind)
    space = archscout.space("rows")
    network = build(space, space.references()[reference], task, seed=0)
    # Nothing is chosen by what is held out: the last epoch counts.
    outcome = train(network, task, Recipe.default(task, EPOCHS), seed=0)
    return float(outcome.curve[-1][f"valid_{task.metric}"])


if __name__ == "__main__":
    main()
