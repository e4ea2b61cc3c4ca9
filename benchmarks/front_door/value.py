"""Is a search worth it? Searches against what a user would pick instead, at equal processor time on one core.

    python -m benchmarks.front_door.value --data-root DATA                              everything (about 17 core-hours)
    python -m benchmarks.front_door.value --data-root DATA --only cifar10-3000@4m --seeds 1 --contenders plain,search

A cell is a data set and a budget; `CELLS` lists them with their limits on latency. Every contender runs in a process
of its own with one thread, and what it and its children take of a processor is measured from outside, imports included.
Rivals (`value_rivals.py`) are told the budget in processor seconds. Searches are told it in time on the clock, as users
tell it: run the benchmark on a machine that does nothing else, or they get less than the rivals. Each row says both.

Contenders: `plain`, `resnet8`, `resnet20`, `mobilenet_v2_small`, `svm`, `boosting` are the rivals; `reference:NAME` is
a reference design of the space `classic` trained alone by `archscout`'s own recipe (`reference:plain` is the plain
network once more), for as many epochs as the budget pays for; `auto` is `archscout search` as it comes, `search` the
same from random weights (`--space scratch`; it answers for an image and its mirror image where its limit leaves room),
`single` that with one answer an image (`mirrored=false`), `random` and `evolution` that with these strategies.
Searches run once for each limit (`search`, `search<1ms`).

Rows are added to docs/results/value.json as they come; a row that is there is not run again. Data: `value_data.py`.
`value_page.py` writes docs/results/value.md.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from benchmarks.common import RESULTS, Rows, arguments
from benchmarks.front_door.value_data import make

SEARCHES = ("search", "auto", "single", "random", "evolution")

FILE = RESULTS / "value.json"


@dataclass(frozen=True)
class Cell:
    """A data set and a budget in seconds; `limits` are on the latency of the network, in milliseconds."""

    data: str
    budget: str
    seeds: int = 5
    limits: tuple[float, ...] = (5.0, 1.0)
    controls: bool = False

    @property
    def name(self) -> str:
        return f"{self.data}@{self.budget}"

    @property
    def seconds(self) -> float:
        return 60.0 * float(self.budget.removesuffix("m"))

    def contenders(self) -> list[str]:
        """All of them, the searches at each limit."""
        references = ["reference:plain", "reference:resnet8", "reference:resnet9_small"]
        photographs = self.data.startswith(("cifar", "photos")) and self.limits
        searches = [
            "search",
            *(["auto", "single"] if photographs else []),
            *(["random", "evolution"] if self.controls else []),
        ]
        rivals = ["resnet18"] if self.budget == "30m" else RIVALS
        return [*rivals, *references, *(f"{name}<{limit:g}ms" for name in searches for limit in self.limits)]


RIVALS = ["plain", "resnet8", "resnet20", "mobilenet_v2_small", "svm", "boosting"]
CELLS = [
    *(Cell(data, "1m") for data in ("digits", "mnist", "fashion", "spoken")),
    *(Cell(data, "4m", controls=True) for data in ("cifar10-3000", "cifar100-10000", "fashion", "photos800")),
    *(Cell(data, "20m", seeds=3) for data in ("cifar10-20000", "cifar100-10000")),
    Cell("cifar10-50000", "32m", seeds=1, limits=(5.0,)),
    *(Cell(data, "30m", seeds=3, limits=()) for data in ("addnist", "multnist", "cifartile")),
]


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--data-root", type=Path, default=os.environ.get("ARCHSCOUT_DATA"))
    parser.add_argument("--only", help="cells, by commas; a part of a name is enough")
    parser.add_argument("--seeds", type=int, help="how many, instead of those of the cell")
    parser.add_argument("--contenders", help="by commas, instead of all; 'search' means it at each limit")
    parser.add_argument("--work", type=Path, default=Path("runs/value"), help="where runs and made data are kept")
    parser.add_argument("--results", type=Path, default=FILE)
    parser.add_argument("--job", nargs=3, metavar=("CELL", "CONTENDER", "SEED"), help=argparse.SUPPRESS)
    parser.add_argument("--again", action="store_true", help="run rows again that are there")
    options = parser.parse_args()
    if options.data_root is None:
        parser.error("say where the data are: --data-root, or the environment variable ARCHSCOUT_DATA")
    if options.job:
        cell, contender, seed = options.job
        print(json.dumps(run(cell_of(cell), contender, int(seed), Path(options.data_root), options.work)))
        return
    wanted = options.only.split(",") if options.only else [""]
    rows = results(options.results)
    for cell in CELLS:
        if not any(part in cell.name for part in wanted):
            continue
        for seed in range(options.seeds or cell.seeds):
            for contender in chosen(cell, options.contenders):
                if options.again or not rows.has(cell=cell.name, contender=contender, seed=seed):
                    make(cell.data, Path(options.data_root), options.work)  # once, and not on the budget
                    row = measured(cell, contender, seed, options)
                    rows.add(row)


def results(file: Path) -> Rows:
    """The rows that are there: one for each cell, contender and seed."""
    return Rows(file, ("cell", "contender", "seed"), sort=True)


def cell_of(name: str) -> Cell:
    return next(cell for cell in CELLS if cell.name == name)


def chosen(cell: Cell, contenders: str | None) -> list[str]:
    """Those asked for: by their full name, by the name of a search at every limit, or any reference design."""
    if contenders is None:
        return cell.contenders()
    known, names = cell.contenders(), []
    for name in contenders.split(","):
        at_limits = [full for full in known if full.startswith(f"{name}<")]
        if not at_limits and name not in known and not name.startswith("reference:") and "<" not in name:
            raise SystemExit(f"cell '{cell.name}' has no contender '{name}': use some of {', '.join(known)}.")
        names += at_limits or [name]
    return names


def measured(cell: Cell, contender: str, seed: int, options: argparse.Namespace) -> dict[str, Any]:
    """The row of one contender, run in a process of its own."""
    command = [
        sys.executable, "-m", "benchmarks.front_door.value", "--data-root", str(options.data_root),
        "--work", str(options.work), "--job", cell.name, contender, str(seed),
    ]  # fmt: skip
    threads = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
    before, started = cpu_of_children(), time.perf_counter()
    with tempfile.TemporaryFile("w+") as errors:
        process = subprocess.run(command, stdout=subprocess.PIPE, stderr=errors, text=True, env=os.environ | threads)
        errors.seek(0)
        complaint = (errors.read().strip().splitlines() or ["it said nothing"])[-1]
    row: dict[str, Any] = {"cell": cell.name, "contender": contender, "seed": seed}
    row |= json.loads(process.stdout.splitlines()[-1]) if process.returncode == 0 else {"error": complaint}
    # The workers of a search belong to a server that nobody waits for: what they take is not seen from here.
    searching = contender.partition("<")[0] in SEARCHES
    row["cpu_seconds"] = None if searching else round(cpu_of_children() - before, 2)
    row["wall_seconds"] = round(time.perf_counter() - started, 2)
    row["load"] = round(os.getloadavg()[0], 2)
    return row


def cpu_of_children() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


# -- one job, in its own process --------------------------------------------------------------------------------------


def run(cell: Cell, contender: str, seed: int, root: Path, work: Path) -> dict[str, Any]:
    """Train or search, and test once."""
    import torch

    torch.set_num_threads(1)
    task = make(cell.data, root, work)
    name, _, limit = contender.partition("<")
    if name in RIVALS or name == "resnet18":
        import numpy as np

        from benchmarks.front_door.value_rivals import RIVALS as TRAIN
        from benchmarks.front_door.value_rivals import Examples

        x, y = (np.concatenate([getattr(split, part) for split in (task.train, task.valid)]) for part in ("x", "y"))
        assert task.test is not None
        examples = Examples(x, y, task.test.x, task.test.y, task.outputs, task.flip)
        # Reading data and importing torch belong to the budget.
        return TRAIN[name](examples, cell.seconds - time.process_time(), seed)
    if name.startswith("reference:"):
        return train_reference(cell, name.removeprefix("reference:"), seed, task)
    return search(cell, name, limit, seed, task, work)


def train_reference(cell: Cell, name: str, seed: int, task: Any) -> dict[str, Any]:
    """A reference design by Archscout's trainer and recipe; an epoch is timed first, and paid for."""
    import torch
    from value_rivals import costs

    from archscout.core.registry import create
    from archscout.networks.pick import build
    from archscout.training.trainer import Recipe, predict, train

    space = create("space", "classic")
    architecture = space.references()[name]
    # The first epoch of a process prepares kernels, so that the second is timed.
    first = build(space, architecture, task, seed=seed)
    seconds: list[float] = []

    def note(row: Mapping[str, float]) -> None:
        seconds.append(time.process_time())

    train(first, task, Recipe.default(task, 2), seed=seed, on_epoch=note)
    epoch = seconds[1] - seconds[0]
    left = 0.95 * cell.seconds - time.process_time()
    epochs = max(1, min(200, int(left / epoch)))
    network = build(space, architecture, task, seed=seed)
    outcome = train(network, task, Recipe.default(task, epochs), seed=seed)
    assert task.test is not None
    accuracy = task.measure(predict(network, task, task.test), torch.from_numpy(task.test.y))
    x, _ = task.tensors(task.test.head(1))
    return {
        "test_accuracy": accuracy,
        "valid_accuracy": outcome.valid_metric,
        "epochs": epochs,
        "architecture": str(architecture),
        **costs(network, x),
    }


def search(cell: Cell, name: str, limit: str, seed: int, task: Any, work: Path) -> dict[str, Any]:
    """`archscout search` with one worker, from random weights or (`auto`) from trained ones where these promise more.

    `single` answers once for an image. A method only for the controls.
    """
    import archscout

    options: dict[str, Any] = {"method": name} if name in ("random", "evolution") else {}
    if name == "single":
        task = replace(task, mirrored=False)
    if limit:
        options["maximum"] = {"latency": limit}
    result = archscout.search(
        "auto" if name == "auto" else "scratch", task, budget=cell.budget, seed=seed, workers=1, out=work,
        name=f"{cell.name}-{name}-{limit}-{seed}".replace("@", "-"), **options,
    )  # fmt: skip
    metrics = result.metrics
    kept = ("test_accuracy", "valid_accuracy", "architecture", "trials", "epochs", "seconds")
    row = {key: metrics[key] for key in kept if key in metrics}
    if (metrics.get("mirrored") or {}).get("chosen"):
        row["alone"] = {
            "valid_accuracy": metrics["mirrored"]["valid_accuracy"]["alone"],
            "latency_ms": metrics["mirrored"]["costs"]["latency_ms"]["alone"],
        }
    return row | {"params": metrics["costs"].get("params"), "latency_ms": metrics["costs"].get("latency_ms")}


if __name__ == "__main__":
    main()
