"""What integers cost on handwritten digits: schemes, algorithms, bits, a residual and a depthwise network.

    python -m benchmarks.deploy.quantisation

Runs `archscout.study.quantisation` on the built-in task `digits` (1,797 images of 8 x 8), 3 seeds; goes on where it was
stopped, and `--minutes` stops it. Writes docs/results/quantisation.json; `benchmarks/deploy/page.py` writes the page.
"""

from __future__ import annotations

import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import archscout
from archscout.core.errors import ArchscoutError
from archscout.core.registry import create
from archscout.deploy.quantisers import QUANTISERS
from archscout.study.quantisation import Grid, compare, summary
from benchmarks.common import RESULTS, arguments, machine, write_result

NETWORKS = {
    "residual": "stem16k3s1_residual16x1k3_residual32x1k3-stride_residual64x1-stride",
    "depthwise": "stem16k3s1_inverted16x1k3e4_inverted32x1k3e4-stride",
}
BOTH = tuple(NETWORKS.values())
GRIDS = (
    Grid(BOTH, algorithms=("nearest",), bits=("w8a8", "w4a4", "w3a8", "w2a8")),
    Grid(BOTH, algorithms=("adaround", "lsq"), bits=("w2a8",)),
    Grid(BOTH, algorithms=("qdrop",), bits=("w2a8",)),
    Grid(
        BOTH, schemes=("papers", "microcontroller"), bits=("w2a4",),
        algorithms=("ste", "lsq", "lsq_plus", "pact", "dorefa", "dsq", "tqt"),
    ),
    Grid(
        BOTH, schemes=("academic", "microcontroller"), bits=("w4a4", "w3a8"), algorithms=("adaround", "qdrop", "lsq"),
    ),
)  # fmt: skip
"""Fewer and fewer bits; rounding that is learned where rounding to nearest loses most; kinds of training."""


class StoppedError(ArchscoutError):
    """The time is over."""


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--runs", type=Path, default=Path("runs/quantisation"))
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--minutes", type=float, default=1e9, help="stop after so many; the same command goes on")
    options = parser.parse_args()
    space, task, ends = create("space", "classic"), archscout.task("digits"), time.time() + 60 * options.minutes

    def progress(done: int, total: int) -> None:
        print(f"  {done}/{total}", flush=True)
        if time.time() > ends and done < total:
            raise StoppedError("stopped; the same command goes on.")

    try:
        for grid in GRIDS:
            for repeats in range(1, options.repeats + 1):
                # One folder for all: a cell is measured once, and networks are trained once.
                compare(space, task, replace(grid, repeats=repeats), options.runs, progress=progress)
    except StoppedError as stopped:
        print(stopped)
    result = {"version": archscout.__version__, **machine(), "task": "digits", "networks": NETWORKS}
    write_result(RESULTS / "quantisation.json", result | {"rows": entries(options.runs)})


def entries(folder: Path) -> list[dict[str, Any]]:
    """Everything that was measured, by cell, with the networks' short names; a cell may have fewer repeats yet."""
    names = {text: name for name, text in NETWORKS.items()}
    lines = (json.loads(line) for line in (folder / "rows.jsonl").read_text(encoding="utf-8").splitlines())
    rows = [row for _, _, found in lines for row in found if "scheme" in row]
    order = [("w8a8", "w4a4", "w3a8", "w2a8", "w2a4"), ("nearest", "adaround", "qdrop", *QUANTISERS)]
    found = [entry | {"architecture": names[entry["architecture"]]} for entry in summary(rows)]
    return sorted(
        found,
        key=lambda e: (e["architecture"], e["scheme"], order[0].index(e["bits"]), order[1].index(e["algorithm"])),
    )


if __name__ == "__main__":
    main()
