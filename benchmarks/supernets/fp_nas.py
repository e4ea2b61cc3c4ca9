"""FP-NAS against PARSEC with shared weights that are trained: search time, samples, and what the mode is truly worth.

    python -m benchmarks.supernets.fp_nas --data cifar10_jpeg.npz --table accuracy.parquet --seeds 5
    python -m benchmarks.supernets.fp_nas --data cifar10_jpeg.npz --table accuracy.parquet --warm-up 300 --steps 60

Data and truth as in `ranking.py`; a supernet of NAS-Bench-201 of width 4 with one cell a stage. For each seed
one supernet is trained by grouped paths around a fixed backbone; from copies of it every rule goes on, weights and
distribution together, with as many steps and the same batches:

- PARSEC with 16 samples a step;
- FP-NAS from 16 on, in proportion to the entropy, and the same with balanced samples;
- the fair control: PARSEC with the number of samples a step that comes nearest to FP-NAS's total.

Kept: samples and CPU seconds of the search (the common training apart), true accuracy (percent) and percentile of the
mode at the end and along the way. Results are kept as they come, and a run that was stopped goes on. Writes
docs/results/supernets_fp_nas.json.
"""

from __future__ import annotations

import copy
import time
from pathlib import Path

import numpy as np
import torch

from archscout.core.registry import create
from archscout.methods.weight_sharing import adam_rate
from archscout.supernets.distributions import Distribution
from archscout.supernets.importance import Importance
from archscout.supernets.phases import Phase, Row, Settings, fit
from archscout.supernets.plans import Plan, Samples, SamplesByEntropy
from archscout.supernets.scattered import grouped
from archscout.supernets.supernet import Supernet
from archscout.supernets.terms import PosteriorMean
from archscout.supernets.weights import fixed_backbone
from benchmarks.common import RESULTS, Rows, arguments
from benchmarks.supernets.common import read_table, small_cifar

SAMPLES, TEMPERATURE, REACH = 16, 2.0, 24.0


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--data", required=True)
    parser.add_argument("--table", required=True)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--warm-up", type=int, default=600, help="steps of 256 examples before the search")
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--out", type=Path, default=RESULTS / "supernets_fp_nas.json")
    options = parser.parse_args()
    torch.set_num_threads(1)
    space, task = create("space", "nasbench201:width=4,cells=1"), small_cifar(options.data)
    truth, _ = read_table(options.table)
    accuracies = np.asarray(list(truth.values()))
    setting = {"warm_up": options.warm_up, "steps": options.steps, "batch": options.batch}
    rows = Rows(options.out, about={"task": task.name})
    factor = SAMPLES / float(Distribution(space).entropy().detach())
    plans: dict[str, Plan] = {
        "PARSEC": Samples(SAMPLES),
        "FP-NAS": SamplesByEntropy(factor),
        "FP-NAS, balanced": SamplesByEntropy(factor, balanced=True),
    }
    for seed in range(options.seeds):
        warm = None
        for rule in (*plans, "PARSEC of equal total"):
            if rows.has(rule=rule, seed=seed, **setting):
                continue
            if warm is None:
                warm = Supernet(space, task, seed=seed)
                phase = Phase(plan=grouped, weights=fixed_backbone, rate=(0.2, 0.0))
                fit(warm, Distribution(space), [phase], Settings(options.warm_up, 256), seed=seed)
            plan = plans.get(rule)
            if plan is None:
                drawn = next(
                    row["drawn"]
                    for row in rows.rows
                    if row["rule"] == "FP-NAS" and row | setting | {"seed": seed} == row
                )
                plan = Samples(max(2, round(drawn / options.steps)))
            distribution, course = Distribution(space), []
            began = time.process_time()

            def watch(number: int, row: Row | None, course: list = course, own: Distribution = distribution) -> None:
                if row is not None:
                    course.append([row["paths"], time.process_time() - began, truth[own.mode().text]])  # noqa: B023

            update = Importance(adam_rate(REACH, options.steps), temperature=TEMPERATURE)
            phase = Phase(
                plan=plan, objective=PosteriorMean(TEMPERATURE), weights=fixed_backbone, update=update, rate=(0.02, 0.0)
            )
            settings = Settings(options.steps, options.batch)
            trained = fit(copy.deepcopy(warm), distribution, [phase], settings, seed=seed, watch=watch)
            mode = distribution.mode().text
            rows.add(
                {
                    "rule": rule, "seed": seed, **setting, "drawn": trained.history[-1]["paths"],
                    "seconds": time.process_time() - began, "mode": mode, "accuracy": truth[mode],
                    "percentile": float((accuracies <= truth[mode]).mean()),
                    "entropy": trained.history[-1]["entropy"], "course": course,
                }
            )  # fmt: skip


if __name__ == "__main__":
    main()
