"""Whether the default recipe is a good one: each part of it changed alone, over several seeds.

    python benchmarks/recipe.py
    python benchmarks/recipe.py --space mobile --data mnist5k --epochs 2 5

Prints, and writes to docs/results/recipe_<space>_<data>.json, for each number of epochs and each change: mean accuracy
on the validation and the test split with its standard error, and processor seconds of one training.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import statistics
import time
from pathlib import Path
from typing import Any

import torch

from archscout.core import seeds
from archscout.core.registry import create
from archscout.networks.pick import build
from archscout.tasks.load import load
from archscout.training.trainer import Recipe, predict, train

CELL = "|nor_conv_3x3~0|+|nor_conv_3x3~0|nor_conv_3x3~1|+|skip_connect~0|nor_conv_3x3~1|nor_conv_3x3~2|"
RESULTS = Path(__file__).parents[1] / "docs" / "results"


def changes(recipe: Recipe) -> dict[str, dict[str, Any]]:
    return {
        "default": {},
        "half the batch": {"batch_size": recipe.batch_size // 2},
        "twice the batch": {"batch_size": recipe.batch_size * 2},
        "half the rate": {"learning_rate": recipe.learning_rate / 2},
        "twice the rate": {"learning_rate": recipe.learning_rate * 2},
        "adamw": {"optimizer": "adamw", "learning_rate": 0.01, "weight_decay": 0.05},
        "no augmentation" if recipe.augment else "augmentation": {"augment": not recipe.augment},
        "statistics of PyTorch": {"norm_momentum": 0.1},
        "no label smoothing": {"label_smoothing": 0.0},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--space", default="nasbench201")
    parser.add_argument("--data", default="digits")
    parser.add_argument("--epochs", type=int, nargs="+", default=[2, 5, 10, 30])
    parser.add_argument("--seeds", type=int, default=5)
    options = parser.parse_args()
    torch.set_num_threads(1)
    task, space = load(options.data), create("space", options.space)
    known = options.space.startswith("nasbench201")
    architecture = space.parse(CELL) if known else space.sample(seeds.stream(1, "recipe"))
    print(f"{task.name}, {space.name}, {architecture}")
    targets = torch.from_numpy(task.test.y)
    rows = []
    train(build(space, architecture, task), task, Recipe(1), seed=0)  # the first training imports half of torch
    for epochs in options.epochs:
        default = Recipe.default(task, epochs)
        for name, change in changes(default).items():
            recipe = dataclasses.replace(default, **change)
            valid, test, seconds = [], [], []
            for seed in range(options.seeds):
                network = build(space, architecture, task, seed=seed)
                started = time.process_time()
                valid.append(train(network, task, recipe, seed=seed).valid_metric)
                seconds.append(time.process_time() - started)
                test.append(task.measure(predict(network, task, task.test), targets))
            row = {
                "epochs": epochs,
                "recipe": name,
                "valid_accuracy": statistics.fmean(valid),
                "test_accuracy": statistics.fmean(test),
                "standard_error": statistics.stdev([(v + t) / 2 for v, t in zip(valid, test, strict=True)])
                / options.seeds**0.5,
                "processor_seconds": statistics.median(seconds),
            }
            rows.append(row)
            print(
                f"{epochs:3d} epochs  {name:22s} valid {row['valid_accuracy']:.4f}  test {row['test_accuracy']:.4f}  "
                f"+- {row['standard_error']:.4f}  {row['processor_seconds']:.2f} s",
                flush=True,
            )
    label = f"{options.space}_{Path(options.data).stem}".replace(":", "-").replace("=", "-").replace(",", "-")
    RESULTS.mkdir(parents=True, exist_ok=True)
    result = {
        "task": task.name, "space": space.name, "architecture": str(architecture), "seeds": options.seeds,
        "torch": str(torch.__version__), "threads": 1, "rows": rows,
    }  # fmt: skip
    (RESULTS / f"recipe_{label}.json").write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
