"""Where cost-aware FP-NAS lands: five targets of multiply-adds on NAS-Bench-201, rewards from the table.

    python benchmarks/supernets_cost.py --table accuracy.parquet

The updates are the library's own, with a price that follows the samples' cost and with the published hinge at three
strengths; nothing is trained (see `fp_nas_vs_parsec.py`). What is derived is
the most probable architecture that keeps the target, as in a search. Multiply-adds (millions) are those of the
published networks, by their closed form; a target can be met only as nearly as there are networks, so that the nearest
one below is given too. Writes docs/results/supernets_cost.json.
"""

from __future__ import annotations

import argparse
import itertools
import json
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import torch
from fp_nas_vs_parsec import RESULTS, TableLandscape, TableSearch

from archscout.core.architecture import Architecture
from archscout.core.seeds import stream
from archscout.supernets.derive import likeliest
from archscout.supernets.plans import SamplesByEntropy
from archscout.supernets.updates import hinge

TARGETS = (30.0, 60.0, 100.0, 140.0, 180.0)
"""Millions of multiply-adds; the space goes from 8 to 223."""


def macs(architecture: Architecture) -> float:
    """Of the published network for CIFAR-10, in millions; fits all rows of the published counts to 1e-5."""
    counts = {name: architecture.text.count(name) for name in ("nor_conv_3x3", "nor_conv_1x1", "avg_pool_3x3")}
    return (
        7.943872 + 35.81952 * counts["nor_conv_3x3"] + 4.36224 * counts["nor_conv_1x1"]
        + 1.29024 * counts["avg_pool_3x3"]
    )  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--table", required=True)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--noise", type=float, default=1.0, help="of rewards, in points")
    parser.add_argument("--out", type=Path, default=RESULTS / "supernets_cost.json")
    options = parser.parse_args()
    torch.set_num_threads(1)
    landscape = TableLandscape(options.table)
    every = {architecture: macs(architecture) for architecture in landscape.space}
    accuracy = {
        a: float(
            landscape.true.max()
            - landscape.regret(np.asarray([[c.index(a[c.name]) for c in landscape.space.choices]]))[0]
        )
        for a in every
    }
    rows = []
    charges = {"price": None, "hinge 1": 1.0, "hinge 0.3": 0.3, "hinge 0.1": 0.1}
    for (kind, strength), target, seed in itertools.product(charges.items(), TARGETS, range(options.seeds)):

        def cost(architectures: Sequence[Architecture], target: float = target) -> list[float]:
            return [every[a] / target for a in architectures]

        def excess(architectures: Sequence[Architecture], target: float = target) -> list[float]:
            return hinge([every[a] for a in architectures], 0.98 * target)

        def admit(architectures: Iterable[Architecture], count: int, target: float = target) -> list[Architecture]:
            return list(itertools.islice((a for a in architectures if every[a] <= target), count))

        search = TableSearch(landscape, seed, options.noise)
        plan = SamplesByEntropy(16 / search.whole, balanced=True)
        if strength is None:
            distribution = search.run(plan, options.steps, "PricedImportance", cost=cost)
        else:
            distribution = search.run(plan, options.steps, cost=excess, strength=strength)
        (pick,) = likeliest(distribution, admit, 1, stream(seed, "derive"))
        rows.append(
            {
                "kind": kind, "target": target, "seed": seed, "pick": pick.text, "macs": every[pick],
                "accuracy": accuracy[pick], "mode_macs": every[distribution.mode()],
                "nearest_below": max(value for value in every.values() if value <= target),
                "best_below": max(accuracy[a] for a, value in every.items() if value <= target),
            }
        )  # fmt: skip
        print(rows[-1], flush=True)
    options.out.write_text(json.dumps({"steps": options.steps, "noise": options.noise, "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
