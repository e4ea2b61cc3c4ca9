"""Networks that a search finds within a microcontroller's limits, as C code that was compiled, run and counted.

    python -m benchmarks.deploy.found --data-root DATA

`spoken digits`: `archscout search` on the recordings of the Free Spoken Digit Dataset (`audio/spoken_digits.npz`), with
limits of flash, memory and instructions, then `archscout deploy --device cortex-m4`: 100 recordings of the test split
must give the bytes of the integer reference, on this machine and in QEMU where it is installed. `CIFAR-10`: the same on
`images/cifar10_jpeg.npz` with limits below what ResNet-8 of MLPerf Tiny (Banbury et al. 2021, arXiv 2106.07597) takes;
`ResNet-8` is that network itself by the same emitter, with drawn weights, for what it takes hangs on no number. Budgets
are of the clock, `--scale` multiplies them. Rows go to docs/results/found.json, and a run that was stopped goes on.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

import archscout
from archscout.core.registry import create
from archscout.core.task import Split, Task
from archscout.deploy import toolchain
from archscout.deploy.c import emit
from archscout.deploy.patches import best
from archscout.deploy.quantise import quantise
from archscout.deploy.reading import read
from archscout.finished.examples import calibration
from archscout.networks.pick import build
from benchmarks.common import RESULTS, Rows, arguments, machine

FILE = RESULTS / "found.json"
DEVICE, CORE, BOARD = "cortex-m4", "cortex-m4", "mps2-an386"
VECTORS = 100


@dataclasses.dataclass(frozen=True)
class Case:
    """A search: its data, limits, and budget in seconds."""

    data: str
    limits: Mapping[str, str]
    seconds: float
    space: str = "classic"


CASES = {
    "spoken digits": Case(
        "audio/spoken_digits.npz", {"flash": "60kB", "sram": "32kB", "instructions": "30M"}, seconds=120
    ),
    "CIFAR-10": Case("images/cifar10_jpeg.npz", {"flash": "85kB", "sram": "49kB", "instructions": "37M"}, seconds=1200),
}
RESNETS = {"ResNet-8": 0, **{f"ResNet-8, {side} x {side} patches": side for side in (2, 3, 4)}}
"""By name, patches along a side."""


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--data-root", type=Path, required=True)
    parser.add_argument("--only", action="append", choices=[*CASES, *RESNETS])
    parser.add_argument("--scale", type=float, default=1.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--runs", type=Path, default=Path("runs/found"))
    parser.add_argument("--results", type=Path, default=FILE)
    options = parser.parse_args()
    torch.set_num_threads(1)
    rows = Rows(options.results, ("name", "seed"), {"version": archscout.__version__, **machine()}, sort=True)
    for name in options.only or [*RESNETS, *CASES]:
        if rows.has(name=name, seed=options.seed):
            continue
        if name in RESNETS:
            rows.add({"name": name, "seed": options.seed, **resnet(RESNETS[name])})
        else:
            case = dataclasses.replace(CASES[name], seconds=CASES[name].seconds * options.scale)
            rows.add({"name": name, "seed": options.seed, **found(case, options.data_root, options.runs, options.seed)})


def found(case: Case, root: Path, runs: Path, seed: int) -> dict[str, Any]:
    """A search and what its network comes to in C."""
    task = archscout.task(str(root / case.data))
    name = f"{Path(case.data).stem}-{seed}"
    result = archscout.search(
        case.space, task, maximum=case.limits, budget=case.seconds, seed=seed, workers=0, name=name, out=runs
    )
    metrics = result.metrics
    budget = archscout.deploy(runs / name, DEVICE, runs / f"{name}-firmware", task, vectors=VECTORS)
    metric = task.metric
    return {
        "limits": dict(case.limits), "budget": case.seconds, "seconds": metrics["seconds"]["total"],
        "trials": metrics["trials"], "rejected": metrics["rejected"], "architecture": metrics["architecture"],
        "params": metrics["costs"]["params"],
        "float": metrics[f"test_{metric}"], "integers": budget[f"test_{metric}"], "vectors": VECTORS,
        "ran": budget["selftest"], **{key: budget[key] for key in ("flash_bytes", "sram_bytes", "instructions")},
    }  # fmt: skip


def resnet(side: int) -> dict[str, Any]:
    """ResNet-8 for images of 32 x 32 by the same emitter, with `side` x `side` patches; 0 for none."""
    space, task = create("space", "classic"), drawn_images()
    network = task.deploy(build(space, space.named("resnet8"), task).eval()).eval()
    program = read(network, task.input_shape)
    images = calibration(task, len(task.train))
    patches = best(program, side) if side else None
    code = emit(quantise(program, images, span=(0.0, 255.0)), images[:VECTORS], patches=patches)
    toolchain.check_on_host(code.files)
    there = toolchain.count(code.files, CORE, BOARD)
    return {
        "architecture": space.named("resnet8").text, "vectors": VECTORS, "flash_bytes": there.flash_bytes,
        "sram_bytes": code.arena.size + (there.stack_bytes or 0), "instructions": there.instructions,
        "ran": {"this machine": True, "board": there.instructions is not None},
    }  # fmt: skip


def drawn_images() -> Task:
    """Noise of the shape of CIFAR-10."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randint(0, 256, (VECTORS, 32, 32, 3), generator=generator, dtype=torch.uint8).numpy()
    y = (torch.arange(VECTORS) % 10).numpy()
    task: Task = archscout.task({"x_train": x, "y_train": y, "x_valid": x, "y_valid": y, "x_test": x, "y_test": y})
    return dataclasses.replace(task, train=Split(x, y))


def section(result: Mapping[str, Any]) -> list[str]:
    """What the page says of it."""
    rows: Sequence[Mapping[str, Any]] = result.get("rows", [])
    if not rows:
        return []
    lines = [
        "| network | flash | memory | instructions | test accuracy | in integers | search, s | architecture |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | --- |",
    ]
    for row in rows:
        steps = f"{row['instructions'] / 1e6:.1f} M" if row["instructions"] else ""
        accuracy = [f"{row[key]:.2%}" if key in row else "" for key in ("float", "integers")]
        budget = f"{row['budget']:.0f}" if "budget" in row else ""
        cells = [row["name"], f"{row['flash_bytes']:,}", f"{row['sram_bytes']:,}", steps, *accuracy, budget,
                 f"`{row['architecture']}`"]  # fmt: skip
        lines.append("| " + " | ".join(cells) + " |")
    run = [row["name"] for row in rows if row["ran"]["board"]]
    limits = "; ".join(
        f"{row['name']} {', '.join(f'{cost} {limit}' for cost, limit in row['limits'].items())}"
        for row in rows
        if "limits" in row
    )
    return [
        "## Networks that a search finds within a microcontroller's limits",
        f"By `benchmarks.deploy.found`: `archscout search` with limits ({limits}), then `archscout deploy --device "
        f"{DEVICE}`. {VECTORS} test examples gave the bytes of the integer reference, on the host and in QEMU's "
        f"Cortex-M4 ({', '.join(run)}). ResNet-8 is MLPerf Tiny's, by the same emitter; its weights are drawn. Of "
        "recordings the code begins at the spectrogram, which the program around it computes.",
        "\n".join(lines),
    ]


if __name__ == "__main__":
    main()
