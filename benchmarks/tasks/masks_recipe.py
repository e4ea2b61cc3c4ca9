"""How networks for masks are best trained: losses compared on the validation images of CamVid.

    python -m benchmarks.tasks.masks_recipe --data-root DATA         # four minutes

The reference `bisenet_small` on CamVid at 60 x 80 pixels (`images/camvid_60x80.npz`), trained on its training images by
the recipe that images have, with its label smoothing, without, and with weights of classes in the loss by how rare
their pixels are. The test images, on which `kinds.py` compares, are not looked at. Rows (loss, seed: mean intersection
over union of the last epoch, processor seconds) are added to docs/results/masks_recipe.json as they come;
`kinds_page.py` has them as a table.
"""

from __future__ import annotations

import dataclasses
import os
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.common import RESULTS, Rows, arguments, machine

FILE = RESULTS / "masks_recipe.json"
REFERENCE = "bisenet_small"
EPOCHS = 28
SMOOTHING = 0.2
LOSSES = ("smoothed labels", "as they are", "root of rarity", "rarity")


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--data-root", type=Path, default=os.environ.get("ARCHSCOUT_DATA"))
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--results", type=Path, default=FILE)
    options = parser.parse_args()
    torch.set_num_threads(1)
    rows = Rows(options.results, ("loss", "seed"), about={"machine": machine(), "epochs": EPOCHS})
    for seed in range(options.seeds):
        for loss in LOSSES:
            if not rows.has(loss=loss, seed=seed):
                rows.add({"loss": loss, "seed": seed, **measured(options.data_root, loss, seed)})


def measured(root: Path, loss: str, seed: int) -> dict[str, Any]:
    """The metric on the validation images after the last epoch."""
    import archscout
    from archscout.core.errors import DataNotice
    from archscout.networks.pick import build
    from archscout.training.recipe import Recipe
    from archscout.training.trainer import train

    warnings.simplefilter("ignore", DataNotice)
    task: Any = archscout.task(f"{root}/images/camvid_60x80.npz:unlabelled=11")
    root_of_rarity = np.asarray(task.class_weights)
    power = {"root of rarity": 1, "rarity": 2}.get(loss, 0)
    weights = tuple((root_of_rarity**power).tolist()) if power else ()
    task = dataclasses.replace(task, class_weights=weights)
    recipe = Recipe.default(task, EPOCHS)
    recipe = dataclasses.replace(recipe, label_smoothing=SMOOTHING if loss == LOSSES[0] else 0.0)
    space = archscout.space("segmentation")
    network = build(space, space.references()[REFERENCE], task, seed=seed)
    started = time.process_time()
    outcome = train(network, task, recipe, seed=seed)
    value = outcome.curve[-1][f"valid_{task.metric}"]
    return {"valid": round(value, 4), "seconds": round(time.process_time() - started, 1)}


if __name__ == "__main__":
    main()
