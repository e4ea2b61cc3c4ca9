"""Are limits kept? ResNet-20 shrunk to shares of its latency, loaded from its finished runs and measured again.

    python -m benchmarks.shrink.again cifar10.npz --work runs/again

ResNet-20 is trained for `--train` seconds, and `archscout.shrink` makes a network for each share of its latency in
`--seconds` each (both of the processor). Then every network is loaded from its run, as whoever uses it loads it, and
measured `--times` times: what it was searched under says nothing unless it holds then. Rows go to
docs/results/shrink_again.json; `page.py` writes the page.
"""

from __future__ import annotations

import time
from pathlib import Path

import torch

import archscout
from archscout.costs.latency import measure_module, until_trusted
from archscout.shrink.run import shrink
from archscout.tasks.load import load
from benchmarks.common import RESULTS, Rows, arguments, machine
from benchmarks.shrink.common import Lines
from benchmarks.shrink.rival import trained

FILE = RESULTS / "shrink_again.json"


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("--shares", type=int, nargs="+", default=(80, 65, 50, 35), help="in percent")
    parser.add_argument("--train", type=float, default=20)
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--times", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--work", type=Path, default=Path("runs/again"))
    parser.add_argument("--results", type=Path, default=FILE)
    options = parser.parse_args()
    torch.set_num_threads(1)
    task, seed = load(options.data), options.seed
    options.work.mkdir(parents=True, exist_ok=True)
    network = trained(options.work / f"resnet20-{seed}.safetensors", task, options.train, seed)
    rows = Rows(options.results, ("data", "share", "seed", "seconds"), sort=True)
    for share in options.shares:
        run = shrink(
            network, task, maximum={"latency": f"{share}%"}, budget=f"{options.seconds:g}s", seed=seed,
            out=options.work, name=f"{share}-{seed}", clock=time.process_time, progress=Lines(),
        )  # fmt: skip
        finished = archscout.load(options.work / f"{share}-{seed}", space=network, folded=True)
        again = [
            until_trusted(lambda finished=finished: measure_module(finished, task.input_shape))  # type: ignore[misc]
            for _ in range(options.times)
        ]
        rows.add({
            "data": options.data.name, "share": share, "seed": seed, "seconds": options.seconds,
            "limit_ms": run.metrics["constraints"][0]["limit"], "measured_ms": run.metrics["costs"]["latency_ms"],
            "again_ms": [each.value for each in again], "trusted": [each.trusted for each in again],
            "test": run.metrics["test_accuracy"], "conditions": machine(),
        })  # fmt: skip


if __name__ == "__main__":
    main()
