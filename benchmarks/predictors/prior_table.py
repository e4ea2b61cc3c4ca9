"""Trainings that teach the prior what to try first: networks of `classic` x data sets x lengths, for real.

    python -m benchmarks.predictors.prior_table --data-root DATA                 stopped, it goes on
    python -m benchmarks.predictors.prior_table --data-root DATA --only fashion --most 1e12 --seconds 300

Each row is one training by the default recipe: what it was trained on (examples, pixels, channels, classes), the
network (text, counts), epochs, the accuracy on at most 1,000 examples of the validation split, and processor seconds.
Networks are the reference designs and a few samples. Of each data set the cheapest trainings come first, and data sets
take turns, so that all have had as much processor time whenever it is stopped. Written to
src/archscout/estimators/data/prior.json after each training. All of it is some ten core-hours; `--most` leaves out what
needs more multiply-adds than that, `--seconds` ends it after so many processor seconds.
"""

from __future__ import annotations

import dataclasses
import math
import os
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

import archscout
from archscout.core.architecture import Architecture
from archscout.core.registry import create
from archscout.core.seeds import stream
from archscout.core.space import Space
from archscout.core.task import Split, Task
from archscout.estimators.prior import Network
from archscout.networks.pick import build
from archscout.training.trainer import Recipe, train
from benchmarks.common import ROOT, Rows, arguments
from benchmarks.front_door.value_data import make

TABLE = ROOT / "src" / "archscout" / "estimators" / "data" / "prior.json"

DATA = {
    "digits": (300, 1077), "mnist": (600, 3000), "fashion": (600, 4000), "spoken": (400, 960),
    "cifar10-3000": (600, 2400), "cifar100-10000": (6000,), "photos800": (640,), "addnist": (2000,),
    "multnist": (2000,), "cifartile": (1500,),
}  # fmt: skip
"""Data sets and how many of their training examples."""

ORIGIN = {
    "addnist": "mnist", "multnist": "mnist", "cifartile": "cifar10", "cifar10-3000": "cifar10",
    "cifar10-20000": "cifar10", "cifar100-10000": "cifar100", "photos800": "cifar100",
}  # fmt: skip
"""Of data sets that share images with others, what they are drawn from."""

EPOCHS = (3, 10, 30, 90)

VALIDATION = 1000
"""Examples of the validation split, at most."""


@dataclass(frozen=True)
class Job:
    data: str
    examples: int
    architecture: Architecture
    counts: Network
    epochs: int

    @property
    def work(self) -> float:
        """Multiply-adds of the training."""
        return 3 * self.counts.macs * self.examples * self.epochs

    def key(self) -> dict[str, Any]:
        network = str(self.architecture)
        return {"data": self.data, "examples": self.examples, "network": network, "epochs": self.epochs}


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--data-root", type=Path, default=os.environ.get("ARCHSCOUT_DATA"))
    parser.add_argument("--only", help="data sets, by commas")
    parser.add_argument("--most", type=float, default=3e13, help="multiply-adds of a training")
    parser.add_argument("--seconds", type=float, default=math.inf, help="of processor time, before no more is begun")
    parser.add_argument("--samples", type=int, default=5, help="random networks beside the references")
    parser.add_argument("--work", type=Path, default=Path("runs/value"))
    parser.add_argument("--out", type=Path, default=TABLE)
    options = parser.parse_args()
    if options.data_root is None:
        parser.error("say where the data are: --data-root, or the environment variable ARCHSCOUT_DATA")
    torch.set_num_threads(1)
    space: Space = create("space", "classic")
    networks = [*space.references().values(), *(space.sample(stream(n, "prior")) for n in range(options.samples))]
    tasks: dict[str, Task] = {}
    jobs = []
    for data in options.only.split(",") if options.only else DATA:
        tasks[data] = make(data, Path(options.data_root), options.work)
        for architecture in networks:
            counts = Network.of(space, architecture, tasks[data])
            for examples in DATA[data]:
                jobs += [Job(data, examples, architecture, counts, epochs) for epochs in EPOCHS]
    about = {
        "made_by": "benchmarks/predictors/prior_table.py", "version": archscout.__version__, "space": "classic",
        "accuracy": f"of the best epoch, on at most {VALIDATION} examples of the validation split",
        "recipe": "the default one",
    }  # fmt: skip
    rows = Rows(options.out, about={"about": about})
    jobs = sorted((job for job in jobs if job.work <= options.most), key=lambda job: job.work)
    while (job := due(jobs, rows)) is not None and time.process_time() < options.seconds:
        rows.add(trained(space, job, tasks[job.data]))


def due(jobs: Sequence[Job], rows: Rows) -> Job | None:
    """Of the data set that has had the least processor time, the first job without a row; None where all are done."""
    spent: Counter[str] = Counter()
    for row in rows.rows:
        spent[row["data"]] += row["cpu_seconds"]
    open_jobs: dict[str, Job] = {}
    for job in jobs:
        if job.data not in open_jobs and not rows.has(**job.key()):
            open_jobs[job.data] = job
    return min(open_jobs.values(), key=lambda job: spent[job.data], default=None)


def trained(space: Space, job: Job, whole: Task) -> dict[str, Any]:
    """The row of a training."""
    part, held = drawn(whole.train, job.examples, job.data), drawn(whole.valid, VALIDATION, job.data)
    task = dataclasses.replace(whole, train=part, valid=held, test=None)
    network = build(space, job.architecture, task)
    started = time.process_time()
    outcome = train(network, task, Recipe.default(task, job.epochs), seed=0)
    channels, height, width = task.input_shape
    return {
        "data": job.data, "examples": job.examples, "height": height, "width": width, "channels": channels,
        "classes": task.outputs, "network": str(job.architecture), **dataclasses.asdict(job.counts),
        "epochs": job.epochs,
        "accuracy": outcome.valid_metric, "cpu_seconds": round(time.process_time() - started, 2),
    }  # fmt: skip


def drawn(split: Split, most: int, data: str) -> Split:
    """Some examples of a split, the same ones each time."""
    rows = stream(0, "prior", data).permutation(len(split))[:most]
    return Split(split.x[rows], split.y[rows])


if __name__ == "__main__":
    main()
