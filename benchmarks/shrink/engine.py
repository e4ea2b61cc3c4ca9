"""The engine that chooses what to cut, by itself: how long the knapsack and the rating of all options take.

    python -m benchmarks.shrink.engine

`knapsack` is 60 groups of 16 options under one and two limits, random, halved in total; `rating` is EfficientNet-Lite0
at 96 pixels on 64 inputs, every option alone. Processor seconds of one thread. Rows go to docs/results/shrink.json.
"""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import torch

from archscout.core.registry import create
from archscout.shrink import rating
from archscout.shrink.knapsack import choose
from archscout.spaces.trained import BackboneSpace
from benchmarks.common import arguments
from benchmarks.shrink.common import FILE, add


def knapsack(limits: int, seed: int) -> dict[str, object]:
    rng = np.random.default_rng(seed)
    shares = np.linspace(1, 0.1, 16)
    harms = [rng.uniform(0.1, 2) * (1 - shares) ** 2 + rng.uniform(0, 0.01, 16) for _ in range(60)]
    costs = [[rng.uniform(0.5, 3) * (shares + rng.uniform(0, 0.01, 16)) for _ in range(60)] for _ in range(limits)]
    allowed = [0.5 * sum(float(each.max()) for each in table) for table in costs]
    began = time.process_time()
    chosen = choose(harms, costs, allowed)
    seconds = time.process_time() - began
    assert chosen is not None
    return {"groups": 60, "options": 16, "limits": limits, "seed": seed, "cpu_seconds": seconds}


def rate(side: int, examples: int) -> dict[str, object]:
    space = BackboneSpace(create("backbone", "efficientnet_lite0"), side)
    network = space.module.eval()
    x = torch.randn(examples, 3, side, side, generator=torch.Generator().manual_seed(0))
    began = time.process_time()
    harms = rating.harms(network, space, x)
    seconds = time.process_time() - began
    options = sum(len(row) - 1 for row in harms.values())
    return {"network": space.name, "examples": examples, "options": options, "cpu_seconds": seconds}


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--results", type=Path, default=FILE)
    results = parser.parse_args().results
    torch.set_num_threads(1)
    for seed in range(3):
        for limits in (1, 2):
            add("knapsack", knapsack(limits, seed), results)
    add("rating", rate(96, 64), results)


if __name__ == "__main__":
    main()
