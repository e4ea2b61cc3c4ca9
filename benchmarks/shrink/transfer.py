"""What some thousand photographs and some minutes of one core come to, from a backbone: accuracy by processor seconds.

    python -m benchmarks.shrink.transfer cifar10.npz --seconds 240 --seeds 0,1,2 --max latency=15ms

Seconds are of the processor, everything included (`time.process_time` is the run's clock; one thread). The file of
results gets a row a run as soon as it is finished; `page.py` writes the page.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

from archscout.shrink.run import shrink
from benchmarks.common import arguments
from benchmarks.shrink.common import FILE, Lines, add


def run(data: Path, seconds: float, seed: int, maximum: dict[str, str]) -> dict[str, object]:
    began = time.process_time()
    with tempfile.TemporaryDirectory() as out:
        result = shrink(
            "efficientnet_lite0", data, maximum=maximum, budget=f"{seconds:g}s", seed=seed, out=out,
            clock=time.process_time, progress=Lines(),
        )  # fmt: skip
    metrics = result.metrics
    return {
        "data": data.name, "seconds": seconds, "seed": seed, "maximum": maximum,
        "cpu_seconds": time.process_time() - began, "valid": metrics["valid_accuracy"],
        "test": metrics["test_accuracy"], "costs": metrics["costs"], "original": metrics["original"],
        "space": metrics["space"], "architecture": metrics["architecture"], "epochs": metrics["epochs"],
        "mirrored": metrics.get("mirrored"),
    }  # fmt: skip


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("--seconds", type=float, default=240)
    parser.add_argument("--seeds", default="0")
    parser.add_argument("--max", action="append", default=[], metavar="COST=VALUE")
    parser.add_argument("--results", type=Path, default=FILE)
    options = parser.parse_args()
    maximum = dict(text.split("=") for text in options.max)
    for seed in map(int, options.seeds.split(",")):
        add("transfer", run(options.data, options.seconds, seed, maximum), options.results)


if __name__ == "__main__":
    main()
