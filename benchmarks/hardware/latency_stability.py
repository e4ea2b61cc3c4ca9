"""How well repeated measurements of latency agree within one run, and how far screening is from measuring.

    python -m benchmarks.hardware.latency_stability
    python -m benchmarks.hardware.latency_stability --repeats 10 --data ../shared/data/images/cifar10.npz

Every network is measured in turn, and then all again, so that repeats of one network lie apart in time. The range of a
network is (largest - smallest) / median of its repeats. Writes docs/results/latency_stability.json.
"""

from __future__ import annotations

import statistics
import time
from pathlib import Path
from typing import Any

import torch

from archscout.core.estimator import Setting
from archscout.core.registry import create
from archscout.core.seeds import stream
from archscout.tasks.load import load
from benchmarks.common import RESULTS, arguments, machine, write_result

COSTS = ("latency", "latency:runtime=onnxruntime")


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--spaces", default="nasbench201+mobile", help="joined by +")
    parser.add_argument("--data", default="digits")
    parser.add_argument("--networks", type=int, default=5)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--out", type=Path, default=RESULTS / "latency_stability.json")
    options = parser.parse_args()
    torch.set_num_threads(1)
    task = load(options.data).sealed()

    rows: list[dict[str, Any]] = []
    for name in options.spaces.split("+"):
        space = create("space", name)
        setting = Setting(space, task)
        for text in COSTS:
            cost = create("cost", text)
            networks = [space.sample(stream(number, "latency stability")) for number in range(options.networks)]
            measured: list[list[dict[str, float]]] = [[] for _ in networks]
            for _ in range(options.repeats):
                for repeats, architecture in zip(measured, networks, strict=True):
                    began = time.perf_counter()
                    careful = cost.measure(architecture, setting)
                    between = time.perf_counter()
                    quick = cost.screen([architecture], setting)[0]
                    repeats.append(
                        {
                            "ms": careful.value,
                            "p95_ms": careful.details["p95_ms"],
                            "spread": careful.spread,
                            "trusted": careful.trusted,
                            "rounds": careful.details["rounds"],
                            "seconds": between - began,
                            "screened_ms": quick.value,
                            "screen_seconds": time.perf_counter() - between,
                        }
                    )
            row = {"space": name, "cost": text, "networks": measured} | summary(measured)
            rows.append(row)
            print(f"{name:12} {text:30}", {key: round(value, 4) for key, value in summary(measured).items()})

    result = {
        "data": task.name,
        "repeats": options.repeats,
        "conditions": machine(),
        "rows": rows,
    }
    write_result(options.out, result)


def summary(measured: list[list[dict[str, float]]]) -> dict[str, float]:
    """Ranges over repeats, the share of repeats within 3 % and 5 % of their network's median, and seconds.

    `largest_range_trusted` leaves out measurements that say of themselves that they are not to be trusted.
    """
    ranges, trusted, shares, screens = [], [], [], []
    for repeats in measured:
        values = [repeat["ms"] for repeat in repeats]
        middle = statistics.median(values)
        ranges.append((max(values) - min(values)) / middle)
        kept = [repeat["ms"] for repeat in repeats if repeat["trusted"]]
        trusted += [(max(kept) - min(kept)) / middle] if kept else []
        shares += [abs(value / middle - 1) for value in values]
        screens += [repeat["screened_ms"] / middle for repeat in repeats]
    every = [repeat for repeats in measured for repeat in repeats]
    return {
        "median_ms": statistics.median(repeat["ms"] for repeat in every),
        "median_range": statistics.median(ranges),
        "largest_range": max(ranges),
        "within_3_percent": statistics.fmean(share <= 0.03 for share in shares),
        "within_5_percent": statistics.fmean(share <= 0.05 for share in shares),
        "trusted": statistics.fmean(repeat["trusted"] for repeats in measured for repeat in repeats),
        "largest_range_trusted": max(trusted, default=float("nan")),
        "screened_over_measured_smallest": min(screens),
        "screened_over_measured_largest": max(screens),
        "seconds": statistics.median(repeat["seconds"] for repeat in every),
        "screen_seconds": statistics.median(repeat["screen_seconds"] for repeat in every),
    }


if __name__ == "__main__":
    main()
