"""Tasks beyond one label an image: a search against a network written by hand, at equal processor time on one core.

    python -m benchmarks.tasks.kinds --data-root DATA --aeon SITE/aeon         everything (about an hour and a half)
    python -m benchmarks.tasks.kinds --data-root DATA --only lines --seeds 1

A cell is a data set and a budget: spoken digits of speakers that are not trained on (`audio/spoken_digits.npz`), CamVid
at 60 x 80 pixels (`images/camvid_60x80.npz`), lines of real digits (made here), and time series that come with the
package aeon (`--aeon`, its folder), whose results of InceptionTime on the same splits are noted beside them. Each
contender runs in a process of its own with one thread: `hand_made` (`hand_made.py`; of series `hand_made_resnet`, too)
and `search`, which is `archscout search` as it comes. Rows are added to docs/results/tasks.json as they come; a row
that is there is not run again.
`kinds_page.py` writes docs/results/tasks.md.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.common import RESULTS, Rows, arguments, machine

FILE = RESULTS / "tasks.json"
CONTENDERS = ("hand_made", "hand_made_resnet", "search")
"""The second for series alone."""

PUBLISHED = Path("testing/example_results_files/classification/accuracy/InceptionTime_accuracy.csv")
"""Of aeon: InceptionTime's accuracy on resamples of each set, the first of which is the split that all know."""


@dataclass(frozen=True)
class Cell:
    """Data, a budget in minutes, and whether what is measured should be small."""

    name: str
    minutes: float
    source: str
    lower: bool = False

    @property
    def seconds(self) -> float:
        return 60 * self.minutes

    @property
    def contenders(self) -> tuple[str, ...]:
        return CONTENDERS if "{aeon}" in self.source else ("hand_made", "search")

    @property
    def data_set(self) -> str:
        return self.source.rpartition("/")[2]


CELLS = [
    Cell("lines", 2, "digit_lines:digits=mnist5k", lower=True),
    Cell("spoken", 2, "{root}/audio/spoken_digits.npz:group=speaker,split=none"),
    Cell("camvid", 3, "{root}/images/camvid_60x80.npz:unlabelled=11"),
    *(
        Cell(name, 1, f"{{aeon}}/datasets/data/{name}")
        for name in ("GunPoint", "ItalyPowerDemand", "ArrowHead", "PickupGestureWiimoteZ")
    ),
    *(
        Cell(name, 2, f"{{aeon}}/datasets/data/{name}")
        for name in ("BasicMotions", "OSULeaf", "ACSF1", "JapaneseVowels")
    ),
]


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--data-root", type=Path, default=os.environ.get("ARCHSCOUT_DATA"))
    parser.add_argument("--aeon", type=Path, help="the folder of the package aeon")
    parser.add_argument("--only", help="cells, by commas")
    parser.add_argument("--contenders", help="by commas, instead of all")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--work", type=Path, default=Path("runs/tasks"), help="where runs are kept")
    parser.add_argument("--results", type=Path, default=FILE)
    parser.add_argument("--job", nargs=3, metavar=("CELL", "CONTENDER", "SEED"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.job:
        name, contender, seed = options.job
        cell = next(cell for cell in CELLS if cell.name == name)
        print(json.dumps(run(cell, contender, int(seed), options)))
        return
    rows = Rows(options.results, ("cell", "contender", "seed"), about={"machine": machine()}, sort=True)
    for seed in range(options.seeds):
        for cell in CELLS:
            if options.only and cell.name not in options.only.split(","):
                continue
            missing = next(
                (key for key in ("root", "aeon") if f"{{{key}}}" in cell.source and not given(options, key)), ""
            )
            if missing:
                print(f"{cell.name} is left out: say where its data are (--{missing.replace('root', 'data-root')})")
                continue
            for contender in cell.contenders:
                if options.contenders and contender not in options.contenders.split(","):
                    continue
                if not rows.has(cell=cell.name, contender=contender, seed=seed):
                    rows.add(measured(cell, contender, seed, options))


def given(options: argparse.Namespace, key: str) -> Path | None:
    return options.data_root if key == "root" else options.aeon  # type: ignore[no-any-return]


def measured(cell: Cell, contender: str, seed: int, options: argparse.Namespace) -> dict[str, Any]:
    """The row of one contender, run in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.tasks.kinds", "--job", cell.name, contender, str(seed)]
    for flag, value in (("--data-root", options.data_root), ("--aeon", options.aeon), ("--work", options.work)):
        command += [flag, str(value)] if value is not None else []
    threads = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
    started = time.perf_counter()
    with tempfile.TemporaryFile("w+") as errors:
        process = subprocess.run(command, stdout=subprocess.PIPE, stderr=errors, text=True, env=os.environ | threads)
        errors.seek(0)
        complaint = (errors.read().strip().splitlines() or ["it said nothing"])[-1]
    row: dict[str, Any] = {"cell": cell.name, "contender": contender, "seed": seed, "minutes": cell.minutes}
    row |= json.loads(process.stdout.splitlines()[-1]) if process.returncode == 0 else {"error": complaint}
    return row | {"wall_seconds": round(time.perf_counter() - started, 1), "load": round(os.getloadavg()[0], 1)}


def published(cell: Cell, aeon: Path | None) -> float | None:
    """InceptionTime's accuracy on the known split, where aeon has it."""
    if aeon is None or not (aeon / PUBLISHED).is_file():
        return None
    with (aeon / PUBLISHED).open(newline="") as file:
        return next((float(row[1]) for row in csv.reader(file) if row[0] == cell.data_set), None)


# -- one job, in its own process --------------------------------------------------------------------------------------


def run(cell: Cell, contender: str, seed: int, options: argparse.Namespace) -> dict[str, Any]:
    """Train or search, and test once."""
    import warnings

    import torch

    import archscout
    from archscout.core.errors import DataNotice
    from benchmarks.tasks.hand_made import milliseconds, train

    torch.set_num_threads(1)
    warnings.simplefilter("ignore", DataNotice)
    task = archscout.task(cell.source.format(root=options.data_root, aeon=options.aeon))
    about = {"metric": str(task.metric), "examples": [len(task.train), len(task.valid), len(task.test)]}
    inception = published(cell, options.aeon)
    if inception is not None:
        about["inception_time"] = inception
    if contender.startswith("hand_made"):
        # Reading data and importing torch belong to the budget.
        name = contender.removeprefix("hand_made").lstrip("_")
        return about | train(task, cell.seconds - time.process_time(), seed, name)
    result = archscout.search(
        "scratch", task, budget=f"{cell.minutes}m", seed=seed, workers=1, out=options.work, name=f"{cell.name}-{seed}"
    )
    network = archscout.load(result.folder)
    stored = torch.from_numpy(task.test.x[:1]).float()
    return about | {
        "test": result.metrics[f"test_{task.metric}"],
        "architecture": result.metrics["architecture"],
        "space": result.metrics["space"],
        "trials": result.metrics["trials"],
        "params": result.metrics["costs"].get("params"),
        "milliseconds": milliseconds(network, stored.permute(0, 3, 1, 2).contiguous() if stored.ndim == 4 else stored),
    }


if __name__ == "__main__":
    main()
