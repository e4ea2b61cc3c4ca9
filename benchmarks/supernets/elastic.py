"""What one training of a supernet gives all networks of an elastic space: BigNAS, OFA, PGONAS beside plain paths.

    python -m benchmarks.supernets.elastic --seeds 3
    python -m benchmarks.supernets.elastic --seeds 1 --passes 2400    # whether their order stays in longer ones

Handwritten digits (8 x 8); space `mobile:width=8,stages=2,depth=2`. Every system gets as many passes of a batch forward
and back; what the teacher of OFA takes besides is in its CPU seconds. Then, by
inherited weights with batch normalisation estimated anew on training images, on the test images: the corners of the
space (smallest, largest, narrow and deep, wide and shallow), and random architectures. Truth: the same networks trained
alone, the corners for as many passes as a whole supernet gets, the random ones for fewer (`--truth`), once.

Rank correlation is that of inherited accuracy with the truth of the random architectures, and the same after
multiply-adds are regressed out of both. Results are kept as they come. Writes docs/results/supernets_elastic.json.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from archscout.core.architecture import Architecture
from archscout.core.estimator import Setting
from archscout.core.registry import create
from archscout.core.seeds import derive, stream
from archscout.core.space import Space
from archscout.core.task import Task
from archscout.networks.pick import build
from archscout.study.metrics import partial_spearman, spearman
from archscout.supernets.batches import Batches
from archscout.supernets.distributions import Distribution
from archscout.supernets.evaluate import accuracy
from archscout.supernets.extent import by_size, ends, kinds
from archscout.supernets.phases import Phase, Settings, fit
from archscout.supernets.plans import Sandwich, uniform
from archscout.supernets.step import Job
from archscout.supernets.supernet import Supernet
from archscout.supernets.terms import Labels, Mean, distillation
from archscout.training.trainer import predict
from benchmarks.common import RESULTS, Rows, arguments
from benchmarks.supernets.common import Stand

TASK, SPACE, BATCH = "digits", "mobile:width=8,stages=2,depth=2", 64

STUDENTS = [Labels(teacher_only=True), distillation]
CONTROLS = {
    "uniform": ([Phase(plan=uniform)], 1.0),
    "sandwich, not distilled": ([Phase(plan=Sandwich(2), objective=Mean(summed=True))], 4.0),
    "sandwich, distilled": ([Phase(plan=Sandwich(2), objective=Mean(STUDENTS, summed=True))], 4.0),
}
"""By name: phases, and passes a step."""

METHODS = {
    "bignas": ("bignas", 4.0),
    "ofa": ("ofa", 1170 / 590),
    "pgonas": ("pgonas", 7.0),
    "pgonas, literal": ("pgonas:form=literal", 7.0),
    "pgonas, not ranked": ("pgonas:rank=false", 7.0),
    "pgonas, not ranked, not balanced": ("pgonas:rank=false,balanced=false", 7.0),
}


def corners(supernet: Supernet) -> dict[str, Architecture]:
    """Both ends, and two corners in which depth and width are opposed."""
    smallest, largest = ends(supernet)
    kind, options = kinds(supernet), by_size(supernet)

    def mixed(depth: int, width: int) -> Architecture:
        places = {"depth": depth, "width": width}
        values = {name: row[places.get(kind[name], len(row) // 2)] for name, row in options.items()}
        return supernet.space.architecture(values)

    return {"smallest": smallest, "narrow and deep": mixed(-1, 0), "wide and shallow": mixed(0, -1), "largest": largest}


def alone(space: Space, task: Task, architecture: Architecture, passes: int, seed: int) -> tuple[float, float]:
    """The test accuracy of a network trained alone as supernets are, and CPU seconds."""
    single = Supernet(space, task, seed=seed)
    single.network = build(space, architecture, task, seed=seed)
    began = time.process_time()
    phase = Phase(plan=lambda step: [Job(architecture)])
    fit(single, Distribution(space), [phase], Settings(passes, BATCH), seed=seed)
    took = time.process_time() - began
    assert task.test is not None
    outputs = predict(single.network.eval(), task, task.test)
    return task.measure(outputs, torch.as_tensor(task.test.y)), took


def train(space: Space, task: Task, system: str, passes: int, seed: int) -> tuple[Supernet, float, int]:
    """The supernet of a system, CPU seconds, and passes."""
    steps = passes / (CONTROLS | METHODS)[system][1]
    settings = Settings(round(steps), BATCH)
    own = derive(seed, system)
    with tempfile.TemporaryDirectory() as folder:
        run = Stand(space, task, seed, Path(folder))
        if system in CONTROLS:
            supernet, phases = Supernet(space, task, seed=own), CONTROLS[system][0]
        else:
            method = create("method", METHODS[system][0])
            supernet = method.supernet(run, own)
            phases = method.phases(run, supernet, settings.steps)
        began = time.process_time()
        trained = fit(supernet, Distribution(space), phases, settings, seed=own)
    return supernet, time.process_time() - began, int(trained.history[-1]["paths"])


def inherited(supernet: Supernet, task: Task, architectures: list[Architecture]) -> list[float]:
    """Test accuracy by inherited weights."""
    batches = Batches(task, task.train, 128, seed=0, name="calibration")
    calibration = [batches[number] for number in range(8)]
    assert task.test is not None
    test = task.tensors(task.test)
    return [accuracy(supernet, architecture, calibration, test) for architecture in architectures]


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--first", type=int, default=0, help="seed")
    parser.add_argument("--passes", type=int, default=600)
    parser.add_argument("--truth", type=int, default=200, help="passes of each random architecture alone")
    parser.add_argument("--random", type=int, default=24, help="random architectures")
    parser.add_argument("--systems", default=";".join([*CONTROLS, *METHODS]))
    parser.add_argument("--seconds", type=float, default=float("inf"), help="of CPU, after which nothing new is begun")
    parser.add_argument("--out", type=Path, default=RESULTS / "supernets_elastic.json")
    options = parser.parse_args()
    torch.set_num_threads(1)
    space, task = create("space", SPACE), create("task", TASK)
    ends_of = corners(Supernet(space, task))
    rng = stream(0, "random architectures")
    drawn = [space.sample(rng) for _ in range(options.random)]
    macs = create("cost", "macs")
    counted = [macs.measure(each, Setting(space, task)).value for each in drawn]
    rows = Rows(options.out)

    def late() -> bool:
        return time.process_time() > options.seconds

    for place, architecture in enumerate(drawn):
        if rows.has(kind="truth", place=place) or late():
            continue
        value, took = alone(space, task, architecture, options.truth, derive(0, "truth", place))
        rows.add({"kind": "truth", "place": place, "architecture": architecture.text, "macs": counted[place],
                  "passes": options.truth, "accuracy": value, "seconds": took})  # fmt: skip
    truth = [
        row["accuracy"] for row in sorted((r for r in rows.rows if r["kind"] == "truth"), key=lambda r: r["place"])
    ]
    for seed in range(options.first, options.first + options.seeds):
        for system in options.systems.split(";"):
            if rows.has(kind="supernet", system=system, seed=seed, asked=options.passes) or late():
                continue
            supernet, took, passes = train(space, task, system, options.passes, seed)
            found = inherited(supernet, task, [*ends_of.values(), *drawn])
            values = found[len(ends_of) :]
            rows.add({
                "kind": "supernet", "system": system, "seed": seed, "asked": options.passes, "passes": passes,
                "seconds": took,
                "corners": dict(zip(ends_of, found, strict=False)), "random": float(np.mean(values)),
                "spearman": spearman(truth, values), "partial": partial_spearman(truth, values, counted),
            })  # fmt: skip
        for name, architecture in ends_of.items():
            if rows.has(kind="alone", corner=name, seed=seed, asked=options.passes) or late():
                continue
            value, took = alone(space, task, architecture, options.passes, derive(seed, "alone", name))
            rows.add({"kind": "alone", "corner": name, "seed": seed, "asked": options.passes,
                      "passes": options.passes, "accuracy": value, "seconds": took})  # fmt: skip


if __name__ == "__main__":
    main()
