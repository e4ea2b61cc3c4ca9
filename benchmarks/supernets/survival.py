"""What PAD-NAS leaves of NAS-Bench-201: the share of the truly best architectures that is still in the space.

    python -m benchmarks.supernets.survival --data cifar10_jpeg.npz --table accuracy.parquet --seeds 3

Data and truth as in `ranking.py`. After each round, which takes one of five operations from each edge: the share of the
best 1 % of the 15,625 architectures that is left, beside it the expectation where operations go at random, and the mean
true accuracy of what is left. With single uniform paths, as published, and with grouped ones around a fixed backbone.
Results are kept as they come. Writes docs/results/supernets_survival.json.
"""

from __future__ import annotations

import itertools
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from archscout.core.registry import create
from archscout.core.seeds import derive
from archscout.supernets.distributions import Distribution
from archscout.supernets.phases import Settings, fit
from archscout.supernets.shrinking import part
from archscout.supernets.supernet import Supernet
from benchmarks.common import RESULTS, Rows, arguments
from benchmarks.supernets.common import Stand, read_table, small_cifar

SPACE, ROUNDS, BEST = "nasbench201:width=4,cells=1", 3, 0.01


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--data", required=True)
    parser.add_argument("--table", required=True)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=1200)
    parser.add_argument("--out", type=Path, default=RESULTS / "supernets_survival.json")
    options = parser.parse_args()
    torch.set_num_threads(1)
    space, task, rows = create("space", SPACE), small_cifar(options.data), Rows(options.out)
    truth, _ = read_table(options.table)
    best = sorted(truth, key=truth.__getitem__, reverse=True)[: round(BEST * len(truth))]
    for seed, grouped in itertools.product(range(options.seeds), (False, True)):
        if rows.has(seed=seed, grouped=grouped):
            continue
        own, began, left = derive(seed, "survival"), time.process_time(), []
        method = create("method", f"pad_nas:rounds={ROUNDS},keep=2,samples=100,grouped={str(grouped).lower()}")
        supernet, distribution = Supernet(space, task, seed=own), Distribution(space)
        with tempfile.TemporaryDirectory() as folder:
            run = Stand(space, task, seed, Path(folder))
            for number, phase in enumerate(method.phases(run, supernet, options.steps)):
                settings = Settings(options.steps // (ROUNDS + 1), 64)
                distribution = fit(supernet, distribution, [phase], settings, seed=derive(own, number)).distribution
                if number:
                    alive = part(distribution)
                    accuracies = [truth[architecture.text] for architecture in alive]
                    left.append(
                        {
                            "round": number, "networks": len(accuracies), "accuracy": float(np.mean(accuracies)),
                            "best": sum(space.parse(text) in alive for text in best) / len(best),
                            "at_random": ((5 - number) / 5) ** 6,
                        }
                    )  # fmt: skip
        rows.add(
            {
                "seed": seed,
                "grouped": grouped,
                "steps": options.steps,
                "left": left,
                "seconds": time.process_time() - began,
            }
        )


if __name__ == "__main__":
    main()
