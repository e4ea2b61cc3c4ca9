"""Trainings that teach the prior what to try first: networks of `classic` x data sets x lengths, for real.

    python -m benchmarks.predictors.prior_table --data-root DATA                 the cheapest first; stopped, it goes on
    python -m benchmarks.predictors.prior_table --data-root DATA --only fashion --most 1e12

Each row is one training by the default recipe: what it was trained on (examples, pixels, channels, classes), the
network (text, counts), epochs, the accuracy on the validation split, and processor seconds. Networks are the reference
designs and a few samples. Written to src/archscout/estimators/data/prior.json after each training. About ten
core-hours; `--most` leaves out what needs more multiply-adds than that.
"""

from __future__ import annotations

import dataclasses
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

import archscout
from archscout.core.architecture import Architecture
from archscout.core.registry import create
from archscout.core.seeds import stream
from archscout.core.space import Space
from archscout.core.task import Task
from archscout.estimators.prior import Network
from archscout.networks.pick import build
from archscout.training.trainer import Recipe, train
from benchmarks.common import ROOT, Rows, arguments
from benchmarks.front_door.value_data import make

TABLE = ROOT / "src" / "archscout" / "estimators" / "data" / "prior.json"

DATA = {
    "digits": (300, 1077), "mnist": (600, 3000), "fashion": (600, 4000), "spoken": (400, 960),
    "cifar10-3000": (600, 2400), "cifar100-10000": (6000,), "photos800": (640,), "cifar10-20000": (16000,),
}  # fmt: skip
"""Data sets and how many of their training examples."""

EPOCHS = (3, 10, 30, 90)


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
    parser.add_argument("--samples", type=int, default=12, help="random networks beside the references")
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
        "accuracy": "of the best epoch, on the validation split of the whole data set", "recipe": "the default one",
    }  # fmt: skip
    rows = Rows(options.out, about={"about": about})
    for job in sorted(jobs, key=lambda job: job.work):
        if job.work <= options.most and not rows.has(**job.key()):
            rows.add(trained(space, job, tasks[job.data]))


def trained(space: Space, job: Job, whole: Task) -> dict[str, Any]:
    """The row of a training."""
    rows = stream(0, "prior", job.data).permutation(len(whole.train))[: job.examples]
    part = dataclasses.replace(whole.train, x=whole.train.x[rows], y=whole.train.y[rows])
    task = dataclasses.replace(whole, train=part, test=None)
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


if __name__ == "__main__":
    main()
