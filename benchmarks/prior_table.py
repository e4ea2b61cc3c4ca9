"""Trainings that teach the prior what to try first: networks of `classic` x data sets x lengths, for real.

    python benchmarks/prior_table.py --data-root DATA                       the cheapest first; stopped, it goes on
    python benchmarks/prior_table.py --data-root DATA --only fashion --most 1e12

Each row is one training by the default recipe: what it was trained on (examples, pixels, channels, classes), the
network (text, counts), epochs, the accuracy on the validation split, and processor seconds. Networks are the reference
designs and a few samples. Written to src/archscout/estimators/data/prior.json after each training. About ten
core-hours; `--most` leaves out what needs more multiply-adds than that.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from value_data import make

import archscout
from archscout.core.architecture import Architecture
from archscout.core.registry import create
from archscout.core.seeds import stream
from archscout.core.space import Space
from archscout.core.task import Task
from archscout.estimators.prior import Network
from archscout.networks.pick import build
from archscout.training.trainer import Recipe, train

TABLE = Path(__file__).parents[1] / "src" / "archscout" / "estimators" / "data" / "prior.json"

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

    def key(self) -> tuple[Any, ...]:
        return self.data, self.examples, str(self.architecture), self.epochs


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
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
    rows = json.loads(options.out.read_text())["rows"] if options.out.is_file() else []
    done = {(row["data"], row["examples"], row["network"], row["epochs"]) for row in rows}
    for job in sorted(jobs, key=lambda job: job.work):
        if job.work <= options.most and job.key() not in done:
            rows.append(trained(space, job, tasks[job.data]))
            write(options.out, rows)
            print(f"{rows[-1]['accuracy']:.3f}  {rows[-1]['cpu_seconds']:7.1f} s  {job.key()}", flush=True)


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


def write(file: Path, rows: list[dict[str, Any]]) -> None:
    about = {
        "made_by": "benchmarks/prior_table.py", "version": archscout.__version__, "space": "classic",
        "accuracy": "of the best epoch, on the validation split of the whole data set", "recipe": "the default one",
    }  # fmt: skip
    file.parent.mkdir(parents=True, exist_ok=True)
    new = file.with_suffix(".new")
    lines = ",\n".join(json.dumps(row) for row in rows)
    new.write_text(f'{{"about": {json.dumps(about)},\n"rows": [\n{lines}\n]}}\n')
    new.replace(file)


if __name__ == "__main__":
    main()
