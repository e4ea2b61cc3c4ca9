"""What each system with shared weights picks on NAS-Bench-201, what that is truly worth, and how it fails.

    python -m benchmarks.supernets.systems --data cifar10_jpeg.npz --table accuracy.parquet --seeds 5

Data and truth as in `ranking.py`; supernets of width 8 with one cell a stage. Each system derives one
architecture; nothing is trained alone, for the table says what it comes to. Budgets are equal in forward passes of a
batch: a step of a dense mixture counts as the five options of it that run, twice where the architecture learns too.
Kept besides: the share of plain connections by step, and the warning.

    python -m benchmarks.supernets.systems --data cifar10_jpeg.npz --table accuracy.parquet --seeds 3 \\
        --passes 10000 --examples 500 --methods darts,rf_darts,pc_darts,balenas,balenas_tf

shows how plain connections take over where there are few images to train on. Results are kept as they come.
Writes docs/results/supernets_systems.json.
"""

from __future__ import annotations

import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from archscout.core.registry import create
from benchmarks.common import RESULTS, Rows, arguments
from benchmarks.supernets.common import Stand, read_table, small_cifar

CONTROL = "largest"
"""The network with most parameters: what a system has to beat; it trains nothing."""

METHODS = {
    CONTROL: CONTROL,
    "spos": "spos:steps={one}",
    "spos grouped": "spos:steps={one},paths=grouped,fixed=true",
    "random_sharing": "random_sharing:steps={one}",
    "en2as": "en2as:steps={one}",
    "setn": "setn:steps={mixed}",
    "gdas": "gdas:steps={two}",
    "proxyless": "proxyless:steps={proxyless}",
    "parsec": "parsec:steps={sampled}",
    "fp_nas": "fp_nas:steps={adaptive}",
    "fp_nas fixed": "fp_nas:steps={adaptive},fixed=true",
    "bn_nas": "bn_nas:steps={one}",
    "bn_nas fair": "bn_nas:steps={one},fair=true",
    "darts": "darts:steps={dense}",
    "darts2": "darts:steps={unrolled},order=2",
    "rf_darts": "rf_darts:steps={dense}",
    "pc_darts": "pc_darts:steps={dense}",
    "rf_pcdarts": "pc_darts:steps={dense},random_features=true",
    "balenas": "balenas:steps={dense}",
    "balenas_tf": "balenas_tf:steps={dense}",
}
PASSES_A_STEP = {
    "one": 1, "two": 2, "mixed": 6, "proxyless": 4, "sampled": 36, "adaptive": 5.6, "dense": 10, "unrolled": 30,
}  # fmt: skip


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--data", required=True)
    parser.add_argument("--table", required=True)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--passes", type=int, default=2000)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--evaluations", type=int, default=200, help="inherited scores of evolution")
    parser.add_argument("--methods", default=",".join(METHODS))
    parser.add_argument("--space", default="nasbench201:width=8,cells=1")
    parser.add_argument("--examples", type=int, default=None, help="to train on; all if not given")
    parser.add_argument("--out", type=Path, default=RESULTS / "supernets_systems.json")
    options = parser.parse_args()
    torch.set_num_threads(1)
    space, task = create("space", options.space), small_cifar(options.data)
    if options.examples is not None:
        task = replace(task, train=task.train.head(options.examples))
    truth, _ = read_table(options.table)
    accuracies = np.asarray(list(truth.values()))
    rows = Rows(
        options.out, about={"task": task.name, "random": {"accuracy": float(accuracies.mean()), "percentile": 0.5}}
    )
    steps = {kind: max(20, int(options.passes / each)) for kind, each in PASSES_A_STEP.items()}
    for seed in range(options.seeds):
        for name in options.methods.split(","):
            text = METHODS[name].format(**steps)
            if name != CONTROL:
                text += f",batch={options.batch},finalists=1"
            elif seed:
                continue
            if text.startswith(("spos", "random_sharing", "setn", "en2as", "bn_nas")):
                text += f",evaluations={options.evaluations}"
            if rows.has(system=name, seed=seed, method=text, space=options.space, examples=len(task.train)):
                continue
            began = time.process_time()
            with tempfile.TemporaryDirectory() as folder:
                run = Stand(space, task, seed, Path(folder))
                create("method", text).search(run)
            pick = run.found[0].text
            note = run.notes.get("weight_sharing", {"paths": 0, "warning": None, "history": []})
            history = [
                {key: row.get(key) for key in ("step", "skips", "entropy", "samples")}
                | {"skip": row["probabilities"]["skip_connect"], "none": row["probabilities"]["none"]}
                for row in note["history"][::-5][::-1]  # a dozen, the last among them
            ]
            rows.add(
                {
                    "system": name, "seed": seed, "method": text, "space": options.space,
                    "examples": len(task.train), "pick": pick, "accuracy": truth[pick],
                    "percentile": float((accuracies <= truth[pick]).mean()), "skips": pick.count("skip_connect"),
                    "nones": pick.count("none"), "paths": note["paths"], "seconds": time.process_time() - began,
                    "warned": note["warning"] is not None, "history": history,
                }
            )  # fmt: skip


if __name__ == "__main__":
    main()
