"""EfficientNet-Lite0 with blocks replaced by single convolutions (RAN-explicit), beside itself and beside its cuts.

    python -m benchmarks.shrink.replaced cifar10.npz --way whole
    python -m benchmarks.shrink.replaced cifar10.npz --way replaced
    python -m benchmarks.shrink.replaced cifar10.npz --way cut

Each way has as many processor seconds, transfer included (`time.process_time` is the run's clock; one thread), on
images of 96 pixels; `replaced` and `cut` must take at most a share of the time of the whole network in ONNX Runtime.
Rows go to docs/results/shrink_replaced.json; `benchmarks/supernets/trained_page.py` writes the page.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

from archscout.shrink.run import shrink
from benchmarks.common import RESULTS, Rows, arguments, machine
from benchmarks.shrink.common import Lines

SIDE, LATENCY = 96, "latency:runtime=onnxruntime"
WAYS = ("whole", "replaced", "cut")


def run(data: Path, way: str, seconds: float, seed: int, share: str) -> dict[str, object]:
    """A row: accuracies, and milliseconds of the original and of the result."""
    began = time.process_time()
    with tempfile.TemporaryDirectory() as out:
        result = shrink(
            "efficientnet_lite0", data, maximum={LATENCY: "1s" if way == "whole" else share}, size=SIDE,
            budget=f"{seconds:g}s", seed=seed, out=out, clock=time.process_time, replace=way == "replaced",
            progress=Lines(),
        )  # fmt: skip
    metrics = result.metrics
    return {
        "way": way, "data": data.name, "seconds": seconds, "seed": seed, "share": share,
        "cpu_seconds": time.process_time() - began, "valid": metrics["valid_accuracy"],
        "test": metrics["test_accuracy"], "milliseconds": metrics["costs"]["latency_onnx_ms"],
        "original": metrics["original"]["costs"]["latency_onnx_ms"], "params": metrics["costs"]["params"],
        "macs": metrics["costs"]["macs"], "steps": metrics["original"]["steps"],
        "architecture": metrics["architecture"], "conditions": machine(),
    }  # fmt: skip


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("--way", choices=WAYS, default="replaced")
    parser.add_argument("--seconds", type=float, default=170)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--share", default="75%")
    parser.add_argument("--out", type=Path, default=RESULTS / "shrink_replaced.json")
    options = parser.parse_args()
    rows = Rows(options.out, ("way", "data", "seconds", "seed", "share"))
    rows.add(run(options.data, options.way, options.seconds, options.seed, options.share))


if __name__ == "__main__":
    main()
