"""What integers cost on handwritten digits: schemes, algorithms, bits, a residual and a depthwise network.

    python -m benchmarks.deploy.quantisation

Runs `archscout.study.quantisation` on the built-in task `digits` (1,797 images of 8 x 8), 3 seeds; goes on where it was
stopped, and `--minutes` stops it. Writes docs/results/quantisation.json; `benchmarks/deploy/page.py` writes the page.
"""

from __future__ import annotations

import time
from pathlib import Path

import archscout
from archscout.core.errors import ArchscoutError
from archscout.core.registry import create
from archscout.study.quantisation import Grid, compare, summary
from benchmarks.common import RESULTS, arguments, machine, write_result

NETWORKS = {
    "residual": "stem16k3s1_residual16x1k3_residual32x1k3-stride_residual64x1-stride",
    "depthwise": "stem16k3s1_inverted16x1k3e4_inverted32x1k3e4-stride",
}
GRIDS = {
    "algorithms": Grid(tuple(NETWORKS.values()), bits=("w8a8", "w4a4", "w3a8", "w2a8")),
    "quantisers": Grid(
        tuple(NETWORKS.values()), schemes=("microcontroller", "papers"), bits=("w4a4",),
        algorithms=("lsq_plus", "pact", "dorefa", "dsq", "tqt", "ste"),
    ),
}  # fmt: skip
"""What is compared: rounding that is learned against one kind of training, and kinds of training."""


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--runs", type=Path, default=Path("runs/quantisation"))
    parser.add_argument("--minutes", type=float, default=1e9, help="stop after so many; the same command goes on")
    options = parser.parse_args()
    space, task, ends = create("space", "classic"), archscout.task("digits"), time.time() + 60 * options.minutes
    names = {text: name for name, text in NETWORKS.items()}

    def progress(done: int, total: int) -> None:
        print(f"  {done}/{total}", flush=True)
        if time.time() > ends and done < total:
            raise ArchscoutError("stopped; the same command goes on.")

    result = {"version": archscout.__version__, **machine(), "task": "digits", "networks": NETWORKS, "rows": []}
    for name, grid in GRIDS.items():
        print(name, flush=True)
        rows = compare(space, task, grid, options.runs / name, progress=progress)
        result["rows"] += [
            {"study": name} | entry | {"architecture": names[entry["architecture"]]} for entry in summary(rows)
        ]
        write_result(RESULTS / "quantisation.json", result)


if __name__ == "__main__":
    main()
