"""How networks for series are best trained where examples are few: recipes compared within training splits alone.

    python -m benchmarks.tasks.series_recipe --aeon SITE/aeon

Two folds of the training split of time series that come with the package aeon: the test splits, on which `kinds.py`
compares with what is published, are not looked at. The recipe `series` is "adamw as they are". Rows (set, reference,
recipe, fold: how many were right of how many, processor seconds) are added to docs/results/series_recipe.json as they
come; `kinds_page.py` sums them up.
"""

from __future__ import annotations

import dataclasses
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from benchmarks.common import RESULTS, Rows, arguments, machine

FILE = RESULTS / "series_recipe.json"
SETS = ("ItalyPowerDemand", "ArrowHead", "GunPoint")
REFERENCES = ("fcn_small", "inception_time_small")
EPOCHS = 150

RECIPES: dict[str, Callable[[Any], Any]] = {
    "sgd": lambda recipe: recipe,
    "adamw": lambda recipe: dataclasses.replace(recipe, optimizer="adamw", learning_rate=2e-3, batch_size=16),
    "sgd as they are": lambda recipe: dataclasses.replace(recipe, augment=False),
    "adamw as they are": lambda recipe: dataclasses.replace(
        recipe, optimizer="adamw", learning_rate=2e-3, batch_size=16, augment=False
    ),
}


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--aeon", type=Path, required=True, help="the folder of the package aeon")
    parser.add_argument("--results", type=Path, default=FILE)
    options = parser.parse_args()
    torch.set_num_threads(1)
    keys = ("set", "reference", "recipe", "fold")
    rows = Rows(options.results, keys, about={"machine": machine(), "epochs": EPOCHS})
    for name in SETS:
        for reference in REFERENCES:
            for recipe in RECIPES:
                for fold in (0, 1):
                    cell = dict(zip(keys, (name, reference, recipe, fold), strict=True))
                    if rows.has(**cell):
                        continue
                    rows.add(cell | measured(options.aeon / "datasets" / "data" / name, reference, recipe, fold))


def half(path: Path, fold: int) -> Any:
    """The task of the training split alone: one half of it (classes in proportion) to learn from, the other to measure
    on; folds 0 and 1 are of one division, 2 and 3 of the next.
    """
    import numpy as np
    from sklearn.model_selection import StratifiedKFold

    import archscout
    from archscout.core.errors import DataNotice
    from archscout.core.task import Split

    warnings.simplefilter("ignore", DataNotice)
    task = archscout.task(path)
    x, y = (np.concatenate([getattr(task.train, key), getattr(task.valid, key)]) for key in ("x", "y"))
    kept, held = list(StratifiedKFold(2, shuffle=True, random_state=fold // 2).split(x, y))[fold % 2]
    return dataclasses.replace(
        task, train=Split(x[kept], y[kept]), valid=Split(x[held], y[held]), test=None, statistics=None
    )


def measured(path: Path, reference: str, recipe: str, fold: int) -> dict[str, Any]:
    """How many of one half of the training split are right of a network that was trained on the other."""
    import archscout
    from archscout.networks.pick import build
    from archscout.training.recipe import Recipe
    from archscout.training.trainer import train

    task = half(path, fold)
    space = archscout.space("series")
    network = build(space, space.references()[reference], task, seed=0)
    # Nothing is chosen by the half that is counted: the last epoch is.
    chosen = RECIPES[recipe](Recipe.named("sgd", task, EPOCHS))
    started = time.process_time()
    outcome = train(network, task, chosen, seed=0)
    right = round(outcome.curve[-1]["valid_accuracy"] * len(task.valid))
    return {"right": right, "of": len(task.valid), "seconds": round(time.process_time() - started, 1)}


if __name__ == "__main__":
    main()
