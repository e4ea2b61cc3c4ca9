"""The engine that chooses what to cut, by itself: how long the knapsack and the rating of all options take.

    python -m benchmarks.shrink.engine

`knapsack` is 60 groups of 16 options under one and two limits, random, halved in total; `rating` is EfficientNet-Lite0
at 96 pixels on 64 inputs, every option alone; `choosing` is all that comes before recovery: what is cut of it so that
half of its latency is left (importance, ratings, the choice, measuring), and the statistics of what is left. Processor
seconds of one thread. Rows go to docs/results/shrink.json; `--label` tells code of another day from today's.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import torch

from archscout.core.estimator import Setting
from archscout.core.registry import create
from archscout.shrink import rating
from archscout.shrink.knapsack import choose
from archscout.shrink.limits import measure
from archscout.shrink.reduction import Cutting
from archscout.spaces.trained import BackboneSpace
from archscout.testing.tasks import tiny_task
from benchmarks.common import arguments
from benchmarks.shrink.common import FILE, add, begun


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


def choosing(side: int, share: float) -> dict[str, object]:
    task = tiny_task((3, 32, 32), classes=10, examples=400)
    space = BackboneSpace(create("backbone", "efficientnet_lite0"), side)
    torch.manual_seed(0)
    network, cost = space.adapted(task).eval(), create("cost", "latency")
    limit = share * measure(cost, network, space.widest, setting := Setting(space, task.sealed())).value
    with tempfile.TemporaryDirectory() as folder:
        record = begun(Path(folder), task, 1e6, 0)
        way = Cutting(record, network, space, setting, {"latency": cost})
        began = time.process_time()
        architecture, report = way.choose({"latency": limit}, "cut")
        chosen = time.process_time()
        way.smaller(architecture)
        cut = time.process_time()
    return {"network": space.name, "share": share, "rated": report["rated"], "choosing": chosen - began,
            "cutting": cut - chosen, "cpu_seconds": cut - began}  # fmt: skip


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--label", default="")
    parser.add_argument("--only", choices=("knapsack", "rating", "choosing"), nargs="+")
    parser.add_argument("--results", type=Path, default=FILE)
    options = parser.parse_args()
    torch.set_num_threads(1)
    measurements: dict[str, list[Callable[[], dict[str, object]]]] = {
        "knapsack": [partial(knapsack, limits, seed) for seed in range(3) for limits in (1, 2)],
        "rating": [partial(rate, 96, 64)],
        "choosing": [partial(choosing, 96, 0.5)],
    }
    for kind in options.only or measurements:
        for measured in measurements[kind]:
            add(kind, measured() | ({"label": options.label} if options.label else {}), options.results)


if __name__ == "__main__":
    main()
