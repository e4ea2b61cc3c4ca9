"""What keeping the heap saves a training: the same training with and without `archscout.workers.forked.HEAP`.

    python -m benchmarks.training.heap

Reference designs of the space `classic` learn 1,280 random images of 32 x 32 pixels for two epochs by the default
recipe, each in a process of its own with one thread; pairs alternate. Processor seconds of the second epoch, user and
system time together. Written to docs/results/heap.json.
"""

from __future__ import annotations

import argparse
import os
import platform
import resource
import statistics
import subprocess
import sys

from benchmarks.common import RESULTS, arguments, machine, write_result

FILE = RESULTS / "heap.json"
NETWORKS = ("plain_small", "plain", "resnet9_small", "mobilenet_v2_small")
EXAMPLES = 1280


def train_once(name: str) -> float:
    import dataclasses

    import numpy as np
    import torch

    from archscout.core.registry import create
    from archscout.networks.pick import build
    from archscout.tasks.load import load
    from archscout.training.trainer import Recipe, train

    torch.set_num_threads(1)
    rng = np.random.default_rng(0)
    sizes = {"train": EXAMPLES, "valid": 64, "test": 64}
    arrays = {f"x_{s}": rng.integers(0, 256, (n, 32, 32, 3), dtype=np.uint8) for s, n in sizes.items()}
    task = load(arrays | {f"y_{s}": np.arange(n) % 10 for s, n in sizes.items()})
    space = create("space", "classic")
    network = build(space, space.references()[name], task, seed=0)
    # Long enough for number format and layout to be timed.
    recipe = dataclasses.replace(Recipe.default(task, 12), smaller_side=1.0)
    marks: list[float] = []

    def on_epoch(_: dict[str, float]) -> bool:
        used = resource.getrusage(resource.RUSAGE_SELF)
        marks.append(used.ru_utime + used.ru_stime)
        return len(marks) == 3

    train(network, task, recipe, seed=0, on_epoch=on_epoch)
    return marks[-1] - marks[0]


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--job", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.job:
        print(train_once(options.job))
        return
    from archscout.workers.forked import HEAP

    tunables = {"GLIBC_TUNABLES": ":".join(f"{name}={value}" for name, value in HEAP.items())}
    rows = {}
    for name in NETWORKS:
        seconds: dict[str, list[float]] = {"as it is": [], "kept": []}
        for _ in range(options.pairs):
            for how, setting in (("as it is", {}), ("kept", tunables)):
                command = [sys.executable, "-m", "benchmarks.training.heap", "--job", name]
                threads = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS"), "1")
                done = subprocess.run(
                    command, env=os.environ | threads | setting, stdout=subprocess.PIPE, text=True, check=True
                )
                seconds[how].append(float(done.stdout.splitlines()[-1]))
        ratios = [kept / plain for plain, kept in zip(seconds["as it is"], seconds["kept"], strict=True)]
        rows[name] = {"seconds": seconds, "ratio": statistics.median(ratios)}
        print(
            f"{name:20s} {statistics.median(ratios):.2f} of the time  {[round(ratio, 2) for ratio in ratios]}",
            flush=True,
        )
    conditions = {**machine(), "libc": " ".join(platform.libc_ver())}
    write_result(FILE, {"conditions": conditions, "networks": rows})


if __name__ == "__main__":
    main()
