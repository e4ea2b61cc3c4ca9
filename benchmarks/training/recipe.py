"""How networks are best trained in little time: recipes compared by accuracy and processor seconds.

    python -m benchmarks.training.recipe --data-root DATA                        # what is not in the results yet
    python -m benchmarks.training.recipe --data-root DATA --tasks cifar10 --networks plain_small --epochs 8 \\
        --recipes muon sgd
    python -m benchmarks.training.recipe --report                                # the page alone

DATA is a folder with `cifar10.npz` and `fashion_mnist.npz` (`x_train`, `y_train`, `x_test`, `y_test`; see
docs/results/README.md); `digits` needs none. Each training is one row of docs/results/recipe.json, written as it ends,
so that the benchmark goes on where it was stopped: accuracy on the validation and the test split, processor seconds of
one thread (evaluation after each epoch included), number format and memory layout. docs/results/recipe.md is made from
the rows: means over seeds, and each recipe's difference to the first, paired by task, network, epochs and seed.
"""

from __future__ import annotations

import dataclasses
import statistics
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

import torch
from torch import nn

from archscout.core.files import write_text
from archscout.core.registry import create
from archscout.core.task import Task
from archscout.networks.pick import build
from archscout.tasks.load import load
from archscout.training.trainer import Recipe, predict, train
from benchmarks.common import RESULTS, Rows, arguments

FILES = {"cifar10": "cifar10.npz", "fashion": "fashion_mnist.npz"}

NETWORKS = {
    "plain_small": ("classic", "plain_small"),
    "plain": ("classic", "plain"),
    "cell": ("nasbench201:width=8,cells=1", "best_cifar100"),
    "mobile": ("mobile", "mobilenet_v2_small"),
}
"""Spaces and their reference designs: four plain convolutions (32 to 128 and 64 to 256 channels), a NAS-Bench-201 cell,
a network of depthwise convolutions."""

MUON = {"optimizer": "muon", "learning_rate": 0.1, "sgd_learning_rate": 0.1}

LONG = {**MUON, "smaller_side": 0.6, "schedule": "linear", "batch_size": 2}

RECIPES: dict[str, dict[str, Any]] = {
    "sgd": {},
    "sgd, single precision": {"precision": "float32"},
    "muon": MUON,
    "muon, rate .02": {**MUON, "learning_rate": 0.02},
    "muon, rate .05": {**MUON, "learning_rate": 0.05},
    "muon, rate .2": {**MUON, "learning_rate": 0.2},
    "muon, momentum .6": {**MUON, "momentum": 0.6},
    "muon, weight decay .01": {**MUON, "weight_decay": 0.01},
    "muon, vectors at .02": {**MUON, "sgd_learning_rate": 0.02},
    "muon, vectors at .5": {**MUON, "sgd_learning_rate": 0.5},
    "muon, linear schedule": {**MUON, "schedule": "linear"},
    "muon, no warm-up": {**MUON, "warmup_epochs": 0.0},
    "muon, twice the batch": {**MUON, "batch_size": 2},
    "muon, smoothing .2": {**MUON, "label_smoothing": 0.2},
    "muon, smaller images": {**MUON, "smaller_side": 0.6},
    "muon, smaller, linear, batch 64": LONG,
    "muon, smaller, linear, batch 64, decay .02": {**LONG, "weight_decay": 0.02},
    "muon, smaller, linear, batch 64, decay .02, smoothing .2": {**LONG, "weight_decay": 0.02, "label_smoothing": 0.2},
    "muon, augmented": {**MUON, "augment": True},
    "muon, not augmented": {**MUON, "augment": False},
    "sgd, smaller images": {"smaller_side": 0.6},
    "default": {"default": True},
}
"""Changes to `before`; a batch size is a factor."""


def before(task: Task, epochs: int) -> Recipe:
    """The default recipe before any of this was measured, in what it is about."""
    examples = len(task.train)
    batch_size = 32 if examples < 5_000 else 64 if examples < 20_000 else 128
    return Recipe(epochs, batch_size, learning_rate=0.2, augment=epochs >= 10)


def recipe(name: str, task: Task, epochs: int) -> Recipe:
    changes = dict(RECIPES[name])
    if changes.pop("default", False):
        return Recipe.default(task, epochs)
    recipe = before(task, epochs)
    changes["batch_size"] = int(recipe.batch_size * changes.pop("batch_size", 1))
    return dataclasses.replace(recipe, **changes)


def network(name: str, task: Task, seed: int) -> nn.Module:
    space_name, reference = NETWORKS[name]
    space = create("space", space_name)
    return build(space, space.references()[reference], task, seed=seed)


def run(task: Task, row: dict[str, Any]) -> dict[str, Any]:
    """One training: the row with what it came to."""
    model = network(row["network"], task, row["seed"])
    started = time.process_time()
    outcome = train(model, task, recipe(row["recipe"], task, row["epochs"]), seed=row["seed"])
    seconds = time.process_time() - started
    test = task.measure(predict(model, task, task.test), torch.from_numpy(task.test.y))
    assert outcome.mode is not None
    return {
        **row, "valid_accuracy": outcome.valid_metric, "test_accuracy": test, "processor_seconds": round(seconds, 2),
        **outcome.mode.notes(),
    }  # fmt: skip


KEYS = ("task", "network", "epochs", "recipe", "seed")


def accuracy(row: dict[str, Any]) -> float:
    """The mean over both splits, which is less noisy than either; neither is fitted."""
    return (row["valid_accuracy"] + row["test_accuracy"]) / 2


def interval(values: list[float]) -> str:
    """Mean and standard error."""
    error = statistics.stdev(values) / len(values) ** 0.5 if len(values) > 1 else float("nan")
    return f"{100 * statistics.fmean(values):.1f} ± {100 * error:.1f}" if len(values) > 1 else f"{100 * values[0]:.1f}"


def page(rows: list[dict[str, Any]]) -> str:
    """The rows as Markdown."""
    groups: dict[tuple[Any, ...], list[dict[str, Any]]] = defaultdict(list)
    for row in rows:
        groups[tuple(row[name] for name in KEYS[:-1])].append(row)
    lines = [
        "# Recipes of training",
        "",
        "Made by `benchmarks/training/recipe.py` from `recipe.json`: one thread of a processor with matrix units for",
        "bfloat16. Accuracy is the mean over validation and test split, in percent, with its standard error over",
        "seeds; seconds are processor seconds of one training, each epoch's evaluation included. `sgd` is the recipe",
        "before; what follows it changes one thing or, with Muon, the optimiser and one thing more. `default` is what",
        "`Recipe.default` gives now.",
    ]
    for place in sorted({group[:3] for group in groups}):
        task, name, epochs = place
        lines += ["", f"## {name} on {task}, {epochs} epochs", ""]
        lines += ["| recipe | accuracy | against `sgd`, same seeds | seconds | format | seeds |", "| --- " * 6 + "|"]
        base = {row["seed"]: accuracy(row) for row in groups.get((*place, "sgd"), [])}
        for recipe_name in RECIPES:
            some = groups.get((*place, recipe_name))
            if not some:
                continue
            paired = [accuracy(row) - base[row["seed"]] for row in some if row["seed"] in base]
            against = interval(paired) if paired and recipe_name != "sgd" else ""
            seconds = statistics.median(row["processor_seconds"] for row in some)
            formats = "/".join(sorted({row["precision"] for row in some}))
            values = interval([accuracy(row) for row in some])
            lines.append(f"| {recipe_name} | {values} | {against} | {seconds:.1f} | {formats} | {len(some)} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--data-root", type=Path)
    parser.add_argument("--tasks", nargs="+", default=["digits", "cifar10", "fashion"])
    parser.add_argument("--networks", nargs="+", default=["plain_small", "cell", "mobile"], choices=NETWORKS)
    parser.add_argument("--epochs", type=int, nargs="+", default=[3, 10, 30])
    parser.add_argument("--recipes", nargs="+", default=list(RECIPES), choices=RECIPES)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--report", action="store_true", help="make the page and train nothing")
    options = parser.parse_args()
    file = RESULTS / "recipe.json"
    rows = Rows(file, KEYS, {"torch": str(torch.__version__), "threads": 1}, sort=True)
    torch.set_num_threads(1)
    # Seeds outermost: whenever it is stopped, all comparisons have about as many.
    wanted = [
        {"task": task, "network": name, "epochs": epochs, "recipe": recipe_name, "seed": seed}
        for seed in range(options.seeds)
        for task in options.tasks
        for name in options.networks
        for epochs in options.epochs
        for recipe_name in options.recipes
    ]
    tasks: dict[str, Task] = {}
    for row in [] if options.report else wanted:
        if rows.has(**row):
            continue
        name = row["task"]
        if name not in tasks:
            if name in FILES and options.data_root is None:
                parser.error(f"task {name} needs --data-root")
            tasks[name] = load(str(options.data_root / FILES[name])) if name in FILES else load(name)
            # The first training imports half of torch.
            train(network("cell", tasks[name], 0), tasks[name], Recipe(1, 4096, augment=False), seed=0)
        rows.add(run(tasks[name], row))
    write_text(RESULTS / "recipe.md", page(rows.rows))


if __name__ == "__main__":
    main()
