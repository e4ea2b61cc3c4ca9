"""Systems with shared weights in the spaces that their papers are about, where these are not NAS-Bench-201.

    python -m benchmarks.supernets.spaces --data cifar10_jpeg.npz --cells cells_20k.parquet

- RF-DARTS beside DARTS on S1 to S4, parts of the DARTS space in which plain connections or noise take DARTS over. What
  each picks is trained alone, and so is a random architecture and the largest of 100 random ones by parameters.
- BN-NAS on NAS-Bench-101 and on `mobile`: rank correlation of its score with what networks come to. On NAS-Bench-101
  that is the published validation accuracy after 108 epochs, of cells drawn from `--cells` (a Parquet file with the
  columns `adjacency`, `interior_ops`, `valid_acc_108`); on `mobile` it is a short training of each. Controls: the
  number of parameters, and the score of scales as they begin, before anything is trained.

CIFAR-10 at 16 x 16 as in `systems.py`. All settings are far below the published ones, and stand in the rows. Results
are kept as they come. Writes docs/results/supernets_spaces.json.
"""

from __future__ import annotations

import argparse
import itertools
import math
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from archscout.core.architecture import Architecture
from archscout.core.estimator import Setting
from archscout.core.registry import create
from archscout.core.seeds import derive, stream
from archscout.core.space import Space
from archscout.core.task import Task
from archscout.estimators.trained import Trained
from archscout.study import metrics
from archscout.supernets.derive import norm_score
from archscout.supernets.distributions import Distribution
from archscout.supernets.phases import Settings, fit
from benchmarks.common import RESULTS, Rows, arguments
from benchmarks.supernets.common import Stand, small_cifar

PARTS = ("s1", "s2", "s3", "s4")
SEARCHED, ALONE = "darts:part={part},width=4,layers=3", "darts:part={part},width=8,layers=5"
CONTROLS = ("random", "largest of 100")
SHARED = {"nasbench101": "nasbench101:width=16,cells=1", "mobile": "mobile:width=8,stages=3,depth=2"}
BATCH = 64


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--data", required=True)
    parser.add_argument("--cells", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--steps", type=int, default=200, help="of each supernet")
    parser.add_argument("--examples", type=int, default=5_000, help="to train on")
    parser.add_argument("--epochs", type=int, default=5, help="of networks that are trained alone")
    parser.add_argument("--cells-drawn", type=int, default=500)
    parser.add_argument("--trained", type=int, default=24, help="networks of `mobile` that are trained alone")
    parser.add_argument("--only", default="parts,nasbench101,mobile")
    parser.add_argument("--out", type=Path, default=RESULTS / "supernets_spaces.json")
    options = parser.parse_args()
    torch.set_num_threads(1)
    task = small_cifar(options.data)
    task = replace(task, train=task.train.head(options.examples), valid=task.valid.head(2_000))
    rows = Rows(options.out, about={"task": task.name, "examples": options.examples, "epochs": options.epochs})
    asked = options.only.split(",")
    for seed in range(options.seeds):
        if "parts" in asked:
            for part, system in itertools.product(PARTS, (*CONTROLS, "darts", "rf_darts")):
                _part(rows, task, part, system, seed, options)
        for name in (name for name in SHARED if name in asked):
            _shared(rows, task, name, seed, options)


# -- S1 to S4 ---------------------------------------------------------------------------------------------------------


def _part(rows: Rows, task: Task, part: str, system: str, seed: int, options: argparse.Namespace) -> None:
    steps = 0 if system in CONTROLS else options.steps
    if rows.has(part=part, system=system, seed=seed, steps=steps, epochs=options.epochs):
        return
    began = time.process_time()
    searched, alone = (create("space", text.format(part=part)) for text in (SEARCHED, ALONE))
    pick = _pick(searched, task, system, seed, steps)
    seconds = time.process_time() - began
    normal = [str(option) for name, option in pick.items() if name.startswith("normal")]
    (told,) = Trained(options.epochs).estimate([alone.parse(pick.text)], Setting(alone, task, seed=seed))
    rows.add(
        {
            "part": part, "system": system, "seed": seed, "steps": steps, "epochs": options.epochs,
            "searched": SEARCHED.format(part=part), "alone": ALONE.format(part=part), "pick": pick.text,
            "skips": normal.count("skip_connect"), "noise": normal.count("noise"),
            "params": _params(alone, task, [pick])[0], "accuracy": 100 * told.value, "seconds": seconds,
        }
    )  # fmt: skip


def _pick(space: Space, task: Task, system: str, seed: int, steps: int) -> Architecture:
    rng = stream(seed, "spaces", system, space.name)
    if system == "random":
        return space.sample(rng)
    if system in CONTROLS:
        drawn = [space.sample(rng) for _ in range(100)]
        return drawn[int(np.argmax(_params(space, task, drawn)))]
    with tempfile.TemporaryDirectory() as folder:
        run = Stand(space, task, seed, Path(folder))
        create("method", f"{system}:steps={steps},batch={BATCH},finalists=1").search(run)
    return run.found[0]


def _params(space: Space, task: Task, architectures: Sequence[Architecture]) -> list[float]:
    return [row.value for row in create("cost", "params").screen(architectures, Setting(space, task))]


# -- BN-NAS -----------------------------------------------------------------------------------------------------------


def _shared(rows: Rows, task: Task, name: str, seed: int, options: argparse.Namespace) -> None:
    if rows.has(space=SHARED[name], system="bn_nas", seed=seed, steps=options.steps):
        return
    space = create("space", SHARED[name])
    drawn, truth = _truth(rows, space, task, name, options)
    began = time.process_time()
    before, scores = _scores(space, task, seed, options.steps, drawn)
    counts = _params(space, task, drawn)
    rows.add(
        {
            "space": SHARED[name], "system": "bn_nas", "seed": seed, "steps": options.steps, "networks": len(drawn),
            "spearman": _spearman(scores, truth), "untrained": _spearman(before, truth),
            "params": _spearman(counts, truth), "with_params": _spearman(scores, counts),
            "pick": float(100 * truth[int(np.argmax(scores))]), "largest": float(100 * truth[int(np.argmax(counts))]),
            "mean": float(100 * truth.mean()), "best": float(100 * truth.max()),
            "seconds": time.process_time() - began,
        }
    )  # fmt: skip


def _spearman(scores: Sequence[float], truth: Any) -> float | None:
    value = metrics.spearman(truth, scores)
    return None if math.isnan(value) else float(value)


def _scores(
    space: Space, task: Task, seed: int, steps: int, architectures: Sequence[Architecture]
) -> tuple[Sequence[float], Sequence[float]]:
    """What the method's score says of each before and after its supernet was trained."""
    method, own = create("method", f"bn_nas:steps={steps},batch={BATCH}"), derive(seed, "spaces", "bn_nas")
    with tempfile.TemporaryDirectory() as folder:
        run = Stand(space, task, seed, Path(folder))
        supernet = method.supernet(run, own)
        before = norm_score(supernet, architectures)
        fit(supernet, Distribution(space), method.phases(run, supernet, steps), Settings(steps, BATCH), seed=own)
        return before, norm_score(supernet, architectures)


def _truth(
    rows: Rows, space: Space, task: Task, name: str, options: argparse.Namespace
) -> tuple[list[Architecture], np.ndarray]:
    """Networks and their accuracies (shares): published, or after a short training of each."""
    rng = stream(0, "spaces", "truth", name)
    if name == "nasbench101":
        import pyarrow.parquet as parquet

        cells = parquet.read_table(options.cells).to_pylist()
        drawn = [cells[place] for place in rng.permutation(len(cells))[: options.cells_drawn]]
        return [_cell(space, cell) for cell in drawn], np.asarray([cell["valid_acc_108"] for cell in drawn])
    networks = [space.sample(rng) for _ in range(options.trained)]
    known = {
        row["network"]: row["accuracy"] for row in rows.rows if row.get("space") == SHARED[name] and "network" in row
    }
    for network in networks:
        if network.text not in known:
            (told,) = Trained(options.epochs).estimate([network], Setting(space, task, seed=0))
            known[network.text] = told.value
            rows.add({"space": SHARED[name], "network": network.text, "accuracy": told.value, "epochs": options.epochs})
    return networks, np.asarray([known[network.text] for network in networks])


def _cell(space: Space, cell: dict[str, Any]) -> Architecture:
    return space.parse(f"{cell['adjacency']}:{cell['interior_ops']}")


if __name__ == "__main__":
    main()
