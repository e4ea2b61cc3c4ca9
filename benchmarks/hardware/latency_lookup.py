"""How well a lookup table of layers tells the latency of whole networks on this machine.

    python -m benchmarks.hardware.latency_lookup
    python -m benchmarks.hardware.latency_lookup --space mobile --data mnist5k --networks 60 --calibrate 10

Random networks are measured whole, twice, with all layers of all of them measured alone in between. Ten of the networks
calibrate the table (a line over the sums); the others, which it has not seen, are what it is judged by. What the second
measurement of the whole networks says of the first is the most that anything could reach. Intervals are bootstrapped
over networks. Writes docs/results/latency_lookup.json, and every measurement to --cache as it is made: a run that is
stopped goes on from there.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.stats import spearmanr

from archscout.core.cost import Measurement
from archscout.core.estimator import Setting
from archscout.core.registry import create
from archscout.core.seeds import stream
from archscout.costs.latency import measure_module, until_trusted
from archscout.costs.models.lookup import LookupTable
from archscout.tasks.load import load
from benchmarks.common import RESULTS, arguments, machine, write_result


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--space", default="mobile")
    parser.add_argument("--data", default="mnist5k")
    parser.add_argument("--networks", type=int, default=60)
    parser.add_argument("--calibrate", type=int, default=10)
    parser.add_argument("--attempts", type=int, default=3, help="at a measurement that cannot be trusted")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--cache", type=Path, default=Path("runs/latency_lookup.jsonl"))
    parser.add_argument("--out", type=Path, default=RESULTS / "latency_lookup.json")
    options = parser.parse_args()
    torch.set_num_threads(1)
    space, task = create("space", options.space), load(options.data).sealed()
    setting, cost = Setting(space, task), create("cost", "latency")
    rng = stream(options.seed, "lookup benchmark")
    networks = [space.sample(rng) for _ in range(options.networks)]
    options.cache.parent.mkdir(parents=True, exist_ok=True)
    rows = [json.loads(line) for line in options.cache.read_text().splitlines()] if options.cache.is_file() else []
    known: dict[str, dict[str, Any]] = {row["what"]: row for row in rows}

    def kept(what: str, measure: Callable[[], Measurement]) -> float:
        if what not in known:
            began = time.perf_counter()
            found = until_trusted(measure, attempts=options.attempts)
            seconds = time.perf_counter() - began
            known[what] = {"what": what, "ms": found.value, "trusted": found.trusted, "seconds": seconds}
            with options.cache.open("a") as file:
                file.write(json.dumps(known[what]) + "\n")
        return float(known[what]["ms"])

    def timer(module: torch.nn.Module, shape: tuple[int, ...]) -> float:
        return kept(f"layer {module} {shape}", lambda: measure_module(module, shape))

    def whole(time: str) -> np.ndarray:
        return np.asarray([kept(f"{time} {each}", partial(cost.measure, each, setting)) for each in networks])

    first = whole("first")
    table = LookupTable(space, task, timer)
    for network in networks:
        table.total(network)
    again = whole("again")
    fitted, judged = slice(0, options.calibrate), slice(options.calibrate, None)
    table.fit(space, networks[fitted], first[fitted])
    predicted, _ = table.predict(networks[judged])
    macs = np.asarray([create("cost", "macs").measure(each, setting).value for each in networks[judged]])
    result: dict[str, Any] = {
        "space": space.name,
        "data": task.name,
        "networks": len(networks),
        "calibrated_by": options.calibrate,
        "seed": options.seed,
        "layers_measured": len(table.entries),
        "trusted": float(np.mean([row["trusted"] for row in known.values()])),
        "range_ms": [float(first.min()), float(first.max())],
        "spearman_table": interval(predicted, first[judged]),
        "spearman_macs": interval(macs, first[judged]),
        "spearman_measured_again": interval(again[judged], first[judged]),
        "median_relative_error_table": float(np.median(np.abs(predicted / first[judged] - 1))),
        "within_10_percent_table": float(np.mean(np.abs(predicted / first[judged] - 1) <= 0.1)),
        "median_difference_measured_again": float(np.median(np.abs(again / first - 1))),
        "seconds": {
            kind: sum(row["seconds"] for row in known.values() if row["what"].startswith(kind))
            for kind in ("first", "layer", "again")
        },
        "conditions": machine(),
        "measured_ms": first.tolist(),
        "measured_again_ms": again.tolist(),
        "predicted_ms": predicted.tolist(),
    }
    write_result(options.out, result)
    for name in ("spearman_table", "spearman_macs", "spearman_measured_again", "median_relative_error_table"):
        print(f"{name:32} {result[name]}")


def interval(predicted: np.ndarray, true: np.ndarray, rounds: int = 1000) -> dict[str, float]:
    """Spearman's rank correlation with its bootstrapped 95 % interval."""
    rng = stream(0, "bootstrap")
    drawn = []
    for _ in range(rounds):
        picks = rng.integers(len(true), size=len(true))
        drawn.append(float(spearmanr(predicted[picks], true[picks]).statistic))
    low, high = np.quantile(drawn, [0.025, 0.975])
    return {"value": float(spearmanr(predicted, true).statistic), "low": float(low), "high": float(high)}


if __name__ == "__main__":
    main()
