"""What 3,000 photographs and some minutes of one core come to, from a backbone: accuracy by CPU seconds.

    python benchmarks/shrink_transfer.py cifar10.npz --seconds 240 --seeds 0,1,2 --out docs/results/shrink.json

Seconds are of the processor, everything included (`time.process_time` is the run's clock). The file gets a row a run as
soon as it is finished; `--page` writes the page `shrink.md` beside it from the rows that are there.
"""

import argparse
import json
import tempfile
import time
from pathlib import Path

import archscout


class Told:
    """Progress as lines."""

    def __init__(self) -> None:
        self.began = time.process_time()

    def say(self, text: str) -> None:
        print(f"{time.process_time() - self.began:7.1f}  {text}", flush=True)

    def update(self, phase: str, done: float, total: object, best: float | None, left: float | None) -> None:
        self.say(f"{phase}: epoch {done:g}, best {best}")

    def close(self) -> None:
        pass


def run(data: Path, seconds: float, seed: int, maximum: dict[str, str]) -> dict[str, object]:
    began = time.process_time()
    with tempfile.TemporaryDirectory() as out:
        result = archscout.shrink(
            "efficientnet_lite0", data, maximum=maximum, budget=f"{seconds:g}s", seed=seed, out=out,
            clock=time.process_time, progress=Told(),
        )  # fmt: skip
    metrics = result.metrics
    return {
        "data": data.name, "seconds": seconds, "seed": seed, "maximum": maximum,
        "cpu_seconds": time.process_time() - began,
        "valid": metrics["valid_accuracy"], "test": metrics["test_accuracy"],
        "costs": metrics["costs"], "steps": metrics["original"]["steps"], "space": metrics["space"],
        "architecture": metrics["architecture"], "epochs": metrics["epochs"],
    }  # fmt: skip


def page(rows: list[dict]) -> str:
    lines = [
        "# Starting from a trained network",
        "",
        "Written by `benchmarks/shrink_transfer.py`. EfficientNet-Lite0 with ImageNet weights on the user's images;",
        "seconds are of one core, with everything included (probe, fine-tuning, measuring, test, export). The machine",
        "was busy with other work, which makes CPU seconds dearer than on a quiet one.",
        "",
        "| data | CPU s given | limits | seed | CPU s used | probe, valid | epochs | valid | test | latency (ms) |",
        "| --- | ---: | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for row in rows:
        limits = ", ".join(f"{name} {limit}" for name, limit in row["maximum"].items()) or "none"
        first = row["steps"][0]["valid_accuracy"]
        lines.append(
            f"| {row['data']} | {row['seconds']:g} | {limits} | {row['seed']} | {row['cpu_seconds']:.0f} "
            f"| {first:.1%} | {row['epochs']} | {row['valid']:.1%} | {row['test']:.1%} "
            f"| {row['costs']['latency_ms']:.1f} |"
        )
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("--seconds", type=float, default=240)
    parser.add_argument("--seeds", default="0")
    parser.add_argument("--max", action="append", default=[])
    parser.add_argument("--out", type=Path, default=Path("docs/results/shrink.json"))
    parser.add_argument("--page", action="store_true", help="write the page alone")
    options = parser.parse_args()
    rows = json.loads(options.out.read_text()) if options.out.is_file() else []
    if not options.page:
        maximum = dict(text.split("=") for text in options.max)
        for seed in map(int, options.seeds.split(",")):
            rows.append(run(options.data, options.seconds, seed, maximum))
            options.out.write_text(json.dumps(rows, indent=1) + "\n")
    if rows:
        options.out.with_suffix(".md").write_text(page(rows))


if __name__ == "__main__":
    main()
