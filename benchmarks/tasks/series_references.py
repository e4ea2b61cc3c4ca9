"""Which reference networks for series are best on average at equal time, measured within training splits alone.

    python -m benchmarks.tasks.series_references --aeon SITE/aeon

Halves of the training split of small sets of time series that come with the package aeon (`series_recipe.half`; test
splits are not looked at). Each reference of the space `series` trains by the recipe `series` for as many epochs as
`SECONDS` processor seconds pay for, three full trainings at most, as the final training of a search does. Rows (set,
reference, fold: how many were right of how many, their mean loss, epochs, processor seconds) are added to
docs/results/series_references.json as they come; `kinds_page.py` sums them up.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.common import RESULTS, Rows, arguments, machine
from benchmarks.tasks.series_recipe import half

FILE = RESULTS / "series_references.json"
SETS = ("ArrowHead", "PickupGestureWiimoteZ", "GunPoint", "ItalyPowerDemand")
SECONDS = 8.0
FOLDS = 2


def main() -> None:
    from archscout.spaces.series import REFERENCES

    parser = arguments(__doc__)
    parser.add_argument("--aeon", type=Path, required=True, help="the folder of the package aeon")
    parser.add_argument("--results", type=Path, default=FILE)
    parser.add_argument("--folds", type=int, default=FOLDS)
    options = parser.parse_args()
    torch.set_num_threads(1)
    keys = ("set", "reference", "fold")
    rows = Rows(options.results, keys, about={"machine": machine(), "seconds": SECONDS})
    for fold in range(options.folds):
        for name in SETS:
            for reference in REFERENCES:
                cell = dict(zip(keys, (name, reference, fold), strict=True))
                if not rows.has(**cell):
                    rows.add(cell | measured(options.aeon / "datasets" / "data" / name, reference, fold))


def measured(path: Path, reference: str, fold: int) -> dict[str, Any]:
    """What is right, of one half of the training split, of a network that was trained on the other."""
    import archscout
    from archscout.networks.pick import build
    from archscout.search.planning import LONGER
    from archscout.training.recipe import Recipe, full_epochs
    from archscout.training.trainer import train

    task = half(path, fold)
    space = archscout.space("series")

    def trained(epochs: int) -> tuple[dict[str, float], list[float]]:
        """The last row of the curve, and the processor seconds of each epoch."""
        marks = [time.process_time()]
        network = build(space, space.references()[reference], task, seed=0)
        recipe = Recipe.named("series", task, epochs)
        outcome = train(network, task, recipe, seed=0, on_epoch=lambda _: marks.append(time.process_time()))
        return outcome.curve[-1], np.diff(marks).tolist()

    epoch = float(np.median(trained(8)[1]))
    # Nothing is chosen by the half that is counted: the last epoch is.
    last, seconds = trained(max(1, min(LONGER * full_epochs(task), int(SECONDS / epoch))))
    count = len(task.valid)
    return {
        "right": round(last["valid_accuracy"] * count),
        "of": count,
        "loss": round(last["valid_loss"], 4),
        "epochs": len(seconds),
        "seconds": round(sum(seconds), 1),
    }


if __name__ == "__main__":
    main()
