"""Measure the networks of this folder on this machine and write times.csv.

    python measure.py

Needs Python 3.8 or newer, onnxruntime and numpy; nothing else of Archscout. After a warm-up, rounds of runs follow
until the medians of the three fastest rounds lie within 3 % (other programs can only slow a round down), at most 25.
"""

from __future__ import annotations

import csv
import gc
import json
import platform
import statistics
import sys
import time
from pathlib import Path

import numpy as np
import onnxruntime

AGREEING, STABLE, MOST_ROUNDS, RUNS, ROUND_SECONDS, WARM_UP_SECONDS = 3, 0.03, 25, 10, 0.02, 0.1


def measure(file: Path, shape: list[int], threads: int) -> tuple[float, float, float, int]:
    """Median milliseconds, 95th percentile, spread of the rounds that count, and the number of their runs."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
    inputs = {"input": np.random.default_rng(0).random(shape, dtype=np.float32)}

    def once() -> float:
        began = time.perf_counter()
        session.run(None, inputs)
        return time.perf_counter() - began

    times, end = [once() for _ in range(3)], time.perf_counter() + WARM_UP_SECONDS
    while time.perf_counter() < end:
        times.append(once())
    runs = max(RUNS, min(1000, int(ROUND_SECONDS / max(min(times), 1e-9))))
    rounds: list[list[float]] = []
    spread = float("inf")
    gc.disable()
    while len(rounds) < MOST_ROUNDS and (len(rounds) < AGREEING or spread > STABLE):
        rounds.append([once() for _ in range(runs)])
        rounds.sort(key=statistics.median)
        spread = statistics.median(rounds[:AGREEING][-1]) / statistics.median(rounds[0]) - 1
    gc.enable()
    counted = sorted(seconds for kept in rounds[:AGREEING] for seconds in kept)
    percentile = counted[int(0.95 * (len(counted) - 1))]
    return statistics.median(counted) * 1e3, percentile * 1e3, spread, len(counted)


def main() -> None:
    """Measure every network of bundle.json, and write a row for each."""
    folder = Path(__file__).resolve().parent
    bundle = json.loads((folder / "bundle.json").read_text(encoding="utf-8"))
    shape = [bundle["conditions"]["batch"], *bundle["input_shape"]]
    threads = bundle["conditions"]["threads"]
    machine = platform.processor() or platform.machine()
    restless = 0
    with (folder / "times.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["architecture", "latency_ms", "p95_ms", "spread", "runs", "machine", "onnxruntime"])
        for number, network in enumerate(bundle["networks"], start=1):
            ms, p95, spread, runs = measure(folder / network["file"], shape, threads)
            row = [network["architecture"], f"{ms:.6g}", f"{p95:.6g}", f"{spread:.4f}", runs, machine]
            writer.writerow([*row, onnxruntime.__version__])
            file.flush()
            restless += spread > STABLE
            sys.stdout.write(f"{number} of {len(bundle['networks'])}: {ms:.4g} ms (spread {100 * spread:.1f} %)\n")
    if restless:
        sys.stdout.write(f"{restless} measurements did not settle: close other programs and run this again.\n")
    sys.stdout.write("Done: take times.csv back to where the bundle was made.\n")


if __name__ == "__main__":
    main()
