"""What a short training, or a score, tells of full training: the reason for how the cascade ranks its rungs.

    python -m benchmarks.training.fidelity --space nasbench201 --data digits --architectures 24
    python -m benchmarks.training.fidelity --space classic --data DATA/images/cifar10.npz --architectures 12 \\
        --recipes default sgd --examples 600 --full 18 --largest 5e6

Draws architectures, takes zero-cost scores, trains each for a few epochs and, with other seeds, twice in full; prints
Spearman's coefficient of each with the mean accuracy of the two full trainings, with 95 % bootstrap intervals, beside
the agreement of the two full trainings (what no estimator can beat by much). With several recipes, short trainings are
compared with the full ones of their own recipe and of the first. Results are kept as they come. Writes
docs/results/fidelity_<space>_<data>.json and .md.
"""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import torch

from archscout.core import seeds
from archscout.core.architecture import Architecture
from archscout.core.estimator import Setting
from archscout.core.files import write_text
from archscout.core.registry import create
from archscout.core.space import Space
from archscout.core.task import Task
from archscout.core.trial import Trial
from archscout.estimators.prior import Network
from archscout.estimators.zero_cost.harness import score
from archscout.methods.cascade import correlation, fidelities
from archscout.tasks.load import load
from archscout.training.trainer import default_epochs
from benchmarks.common import RESULTS, Rows, arguments

SCORES = ("naswot", "synflow", "params", "macs")

Row = dict[str, Any]


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--space", default="nasbench201")
    parser.add_argument("--data", default="digits")
    parser.add_argument("--architectures", type=int, default=24)
    parser.add_argument("--recipes", nargs="+", default=["default"])
    parser.add_argument("--examples", type=int, help="training examples, instead of all")
    parser.add_argument("--full", type=int, help="epochs of a full training, instead of those of the task")
    parser.add_argument("--largest", type=float, help="multiply-adds; larger networks are not drawn")
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    torch.set_num_threads(1)
    space, task = create("space", options.space), load(options.data).sealed()
    if options.examples:
        task = dataclasses.replace(task, train=task.train.head(options.examples))
    file = options.out / f"fidelity_{options.space.partition(':')[0]}_{task.name}.json"
    *short, full = fidelities(options.full or default_epochs(task), 3)
    about = {"space": options.space, "task": task.name, "full": full, "recipes": options.recipes}
    about |= {"examples": len(task.train), "largest": options.largest}
    rows = Rows(file, about=about)
    for number, architecture in enumerate(drawn(space, task, options)):
        if number >= len(rows.rows):
            rows.add(trained(space, task, architecture, short, full, options.recipes))
    text = table(about, short, rows.rows)
    write_text(file.with_suffix(".md"), text)
    print(text)


def drawn(space: Space, task: Task, options: argparse.Namespace) -> list[Architecture]:
    """Random architectures, no two alike, none larger than was asked for."""
    rng = seeds.stream(0, "fidelity")
    chosen: dict[str, Architecture] = {}
    while len(chosen) < options.architectures:
        architecture = space.simplify(space.sample(rng))
        if options.largest is None or Network.of(space, architecture, task).macs <= options.largest:
            chosen.setdefault(space.canonical(architecture), architecture)
    return list(chosen.values())


def trained(
    space: Space, task: Task, architecture: Architecture, short: list[int], full: int, recipes: list[str]
) -> Row:
    """Scores and trainings of one architecture: by each recipe the short ones, and two full ones."""
    row: Row = {"architecture": architecture.text}
    row |= {name: each[0].value for name, each in score([architecture], SCORES, Setting(space, task)).items()}
    plans = [(f"{epochs} epochs", epochs, 0) for epochs in short] + [("full 1", full, 1), ("full 2", full, 2)]
    for place, recipe in enumerate(recipes):
        estimator = create("estimator", f"trained:recipe={recipe}")
        for label, epochs, seed in plans:
            estimate = estimator.estimate([architecture], Setting(space, task, seed=seed), fidelity=epochs)[0]
            loss = Trial(0, architecture, "", "trained", epochs, "completed", curve=estimate.curve).loss
            cell = {"accuracy": estimate.value, "loss": loss, "seconds": estimate.seconds}
            row[named(label, recipe, place)] = cell
    return row


def named(label: str, recipe: str, place: int) -> str:
    """Of a training in a row; those by the first recipe need not say so."""
    return label if place == 0 else f"{label}, {recipe}"


def table(about: Row, short: list[int], rows: list[Row]) -> str:
    recipes = about.get("recipes", ["default"])
    several = len(recipes) > 1
    truths = [full_accuracy(rows, recipe, place) for place, recipe in enumerate(recipes)]
    drawn_from = f"{len(rows)} architectures of {about['space']}"
    if about.get("largest"):
        drawn_from += f" of at most {about['largest']:.2g} multiply-adds"
    examples = f" ({about['examples']:,} examples)" if several else ""
    lines = [
        f"# What tells full training ({about['full']} epochs) on {about['task']}{examples}: {drawn_from}",
        "",
        "Made by `benchmarks/training/fidelity.py`. Spearman's coefficient with the mean validation accuracy of two "
        "full trainings, 95 % bootstrap interval over architectures.",
        "",
        f"| estimator | Spearman |{f' with full ones by `{recipes[0]}` |' if several else ''} seconds |",
        "| --- | --- |" + (" --- |" if several else "") + " --- |",
    ]

    def line(name: str, values: list[float], place: int, seconds: float | None) -> None:
        kept = np.nan_to_num(values, nan=-1e30)
        cells = [shown(correlation(name, "", list(zip(kept, truths[place], strict=True)), 0.0))]
        cells += [shown(correlation(name, "", list(zip(kept, truths[0], strict=True)), 0.0))] if several else []
        lines.append(f"| {name} | {' | '.join(cells)} | {'' if seconds is None else f'{seconds:.2f}'} |")

    for name in SCORES:
        line(name, [row[name] for row in rows], 0, None)
    for place, recipe in enumerate(recipes):
        by = f" by `{recipe}`" if several else ""
        for epochs in short:
            cells = [row[named(f"{epochs} epochs", recipe, place)] for row in rows]
            seconds = float(np.mean([cell["seconds"] for cell in cells]))
            line(f"accuracy after {epochs} epochs{by}", [cell["accuracy"] for cell in cells], place, seconds)
            line(f"minus loss after {epochs} epochs{by}", [-cell["loss"] for cell in cells], place, seconds)
    notes = []
    for place, recipe in enumerate(recipes):
        by = f" by `{recipe}`" if several else ""
        twins = [tuple(row[named(f"full {n}", recipe, place)]["accuracy"] for n in (1, 2)) for row in rows]
        seconds = float(np.mean([row[named("full 1", recipe, place)]["seconds"] for row in rows]))
        agreed = shown(correlation("", "", twins, 0.0))
        lines.append(f"| one full training and the other{by} | {agreed} |{' |' if several else ''} {seconds:.2f} |")
        notes.append(
            f"Full accuracy{by}: mean {np.mean(truths[place]):.2%}, standard deviation {np.std(truths[place]):.2%}; "
            f"between the two trainings of one network {np.std([a - b for a, b in twins]) / 2**0.5:.2%}."
        )
    return "\n".join([*lines, "", *notes]) + "\n"


def full_accuracy(rows: list[Row], recipe: str, place: int) -> list[float]:
    """The mean of the two full trainings of each architecture."""
    pairs = [[row[named(f"full {n}", recipe, place)]["accuracy"] for n in (1, 2)] for row in rows]
    return [float(np.mean(pair)) for pair in pairs]


def shown(note: Row) -> str:
    return (
        "undefined" if note["spearman"] is None else f"{note['spearman']:.2f} [{note['low']:.2f}, {note['high']:.2f}]"
    )


if __name__ == "__main__":
    main()
