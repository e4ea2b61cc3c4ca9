"""Where cost-aware FP-NAS lands: five targets of multiply-adds and five of latency on NAS-Bench-201, rewards from the
table.

    python -m benchmarks.supernets.cost --table accuracy.parquet

Nothing is trained (see `fp_nas_vs_parsec.py`); update, price and derivation are the library's own. Targets are the
10 %, 30 %, 50 %, 70 % and 90 % quantiles of the space's costs, so that each can be met. Multiply-adds (millions) are
those of the published networks, by their closed form; latency (ms) is what the model of a phone that comes with the
package predicts. Three ways to keep a target:

- `near`: a price follows the cost of the samples; of the most probable 32 that use 95 % of the target at least, and
  keep it, the one with the best reward, as in `archscout search --method fp_nas`;
- `likeliest`: the same search, of which the most probable architecture that keeps the target is taken;
- `hinge`: the published hinge of strength 0.3 instead of the price, and the most probable architecture.

The reward in the derivation is the mean of eight looks, each with the noise of one. Results are kept as they come, and
a run that was stopped goes on. Writes docs/results/supernets_cost.json.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import torch

from archscout.core.architecture import Architecture
from archscout.core.estimator import Setting
from archscout.core.registry import create
from archscout.core.seeds import stream
from archscout.methods.fp_nas import CANDIDATES
from archscout.supernets.derive import likeliest, near_limit
from archscout.supernets.importance import hinge
from archscout.supernets.plans import SamplesByEntropy
from archscout.testing import tiny_task
from benchmarks.common import RESULTS, Rows, arguments
from benchmarks.supernets.fp_nas_vs_parsec import TableLandscape, TableSearch

QUANTILES = (0.1, 0.3, 0.5, 0.7, 0.9)
USE, LOOKS = 0.95, 8


def macs(architecture: Architecture) -> float:
    """Of the published network for CIFAR-10, in millions; fits all rows of the published counts to 1e-5."""
    counts = {name: architecture.text.count(name) for name in ("nor_conv_3x3", "nor_conv_1x1", "avg_pool_3x3")}
    return (
        7.943872 + 35.81952 * counts["nor_conv_3x3"] + 4.36224 * counts["nor_conv_1x1"]
        + 1.29024 * counts["avg_pool_3x3"]
    )  # fmt: skip


def latencies(architectures: Sequence[Architecture], device: str) -> list[float]:
    """Predicted for the published networks, in milliseconds."""
    space = create("space", "nasbench201:width=16,cells=5")
    setting = Setting(space, tiny_task((3, 32, 32), 10))
    found = create("cost", f"latency@{device}").screen([space.parse(a.text) for a in architectures], setting)
    return [each.value for each in found]


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--table", required=True)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=150)
    parser.add_argument("--noise", type=float, default=1.0, help="of rewards, in points")
    parser.add_argument("--device", default="pixel3")
    parser.add_argument("--out", type=Path, default=RESULTS / "supernets_cost.json")
    options = parser.parse_args()
    torch.set_num_threads(1)
    landscape = TableLandscape(options.table)
    space = landscape.space
    architectures = list(space)
    places = np.asarray([[choice.index(a[choice.name]) for choice in space.choices] for a in architectures])
    seen = dict(zip(architectures, landscape.reward(places[:, :, None])[:, 0].tolist(), strict=True))
    true = dict(zip(architectures, (landscape.true.max() - landscape.regret(places)).tolist(), strict=True))
    costs = {"macs": [macs(a) for a in architectures], "latency": latencies(architectures, options.device)}
    about = {"steps": options.steps, "noise": options.noise, "device": options.device, "quantiles": QUANTILES}
    rows = Rows(options.out, about=about)
    for name, values in costs.items():
        every = dict(zip(architectures, values, strict=True))
        targets = [float(np.quantile(values, share, method="inverted_cdf")) for share in QUANTILES]
        for seed, target in itertools.product(range(options.seeds), targets):
            if rows.has(cost=name, target=target, seed=seed):
                continue

            def relative(some: Sequence[Architecture], every: dict = every, target: float = target) -> list[float]:
                return [every[a] / target for a in some]

            def excess(some: Sequence[Architecture], every: dict = every, target: float = target) -> list[float]:
                return hinge([every[a] for a in some], 0.98 * target)

            def admit(
                some: Iterable[Architecture], count: int, every: dict = every, target: float = target
            ) -> list[Architecture]:
                return list(itertools.islice((a for a in some if every[a] <= target), count))

            priced, charged = (TableSearch(landscape, seed, options.noise) for _ in range(2))
            plan = SamplesByEntropy(16 / priced.whole, balanced=True)
            first = priced.run(plan, options.steps, "PricedImportance", cost=relative)
            second = charged.run(plan, options.steps, cost=excess, strength=0.3)
            near = likeliest(first, near_limit(admit, relative, USE), CANDIDATES, stream(seed, "derive"))
            noise = stream(seed, "looks").standard_normal((LOOKS, len(near))).mean(0) * options.noise
            picks = {
                "near": near[int(np.argmax([seen[a] + error for a, error in zip(near, noise, strict=True)]))],
                "likeliest": likeliest(first, admit, 1, stream(seed, "derive"))[0],
                "hinge": likeliest(second, admit, 1, stream(seed, "derive"))[0],
            }
            for kind, pick in picks.items():
                rows.add(
                    {
                        "cost": name, "kind": kind, "target": target, "seed": seed, "pick": pick.text,
                        "used": every[pick] / target, "accuracy": true[pick],
                        "best_below": max(true[a] for a, value in every.items() if value <= target),
                        "best_near": max(true[a] for a, value in every.items() if USE * target <= value <= target),
                    }
                )  # fmt: skip


if __name__ == "__main__":
    main()
