"""What each training-free score is worth on NAS-Bench-201, on real CIFAR-10 images, against the published accuracies.

    python -m benchmarks.zero_cost.nasbench201 --table accuracy.parquet --data cifar10.npz --minutes 60
    python -m benchmarks.zero_cost.nasbench201 --table accuracy.parquet --data cifar10.npz --report

`--table` is a Parquet file with the columns `arch`, `c10v_test_200` (trained on half the data) and test accuracies
`c10_test_200`, `c100_test_200` and `in16_test_200` of NAS-Bench-201, in percent; `--data` is anything that `archscout
score --data` takes. Scores are written row by row to CSV files in `--runs`, from which a stopped run goes on:

- `networks.csv`: of each of the 15,625 architectures the first that is the same network (there are 5,260);
- `exact.csv`: scores on one channel, which no drawn weight changes, of all networks;
- `wide.csv`: scores of the published network, of all networks;
- `small.csv`: scores of a small network (4 channels, 1 cell a stage, batch 32), of all networks;
- `sample_SEED.csv`: scores of the published network (16 channels, 5 cells), of as many of 1,000 architectures, drawn
  once and in random order, as the time allows, for each of three seeds of the weights and the batch;
- `views_SEED.csv`, `layers_SEED.csv` and `dear_SEED.csv`: the other scores, likewise;
- `regions_SEED.csv`: linear regions as published, likewise;
- `forms.csv`: scores as public code forms them, where that explains its figures, seed 0.

`--report` makes docs/results/training-free.md, .json and .svg of what is there; scores without a file keep what the
JSON file says of them.
"""

from __future__ import annotations

import argparse
import csv
import time
from pathlib import Path

import torch

from archscout.core.architecture import Architecture
from archscout.core.registry import create
from archscout.core.space import Space
from archscout.study import scoring
from archscout.tasks.load import load
from archscout.workers.engines import engine
from benchmarks.common import arguments

EXACT = ["synflow:expected=true", "nasgraph:expected=true", "nn_mass", "epsilon:batch=32", "epsilon_log:batch=16"]
SMALL = ["jacob_cov:batch=32", "naswot:batch=32"]
SAMPLE = [
    "params", "macs", "l2_norm", "grad_norm", "snip", "plain", "fisher", "knas", "jacob_cov", "epe_nas",
    "naswot:batch=64", "das:batch=64", "synflow",
]  # fmt: skip
VIEWS = [
    "nonlinear_units", "nn_mass", "nasgraph:expected=true", "zen", "zico", "swap:repeats=2", "meco", "near:batch=64",
    "az_expressivity:batch=16", "az_progressivity:batch=16", "az_trainability:batch=16", "dextr:batch=64",
]  # fmt: skip
DEAR = [
    "grasp:batch=32", "gradsign:batch=32", "vkdnw:batch=4", "te_nas_ntk:batch=24", "eigen_nas:batch=24",
    "te_nas_regions:network=thin,repeats=1", "teg_mse:batch=16,repeats=1", "nasgraph",
]  # fmt: skip
LAYERS = ["l_swag"]
WIDE = ["meco", "near:batch=64"]
REGIONS = ["te_nas_regions"]
FORMS = ["zen:running=true"]
COUNT = 1000
SEEDS = (0, 1, 2)


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--table", type=Path, required=True)
    parser.add_argument("--data", required=True)
    parser.add_argument("--runs", type=Path, default=Path("runs/zero_cost_nasbench201"))
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--workers", type=int, default=0, help="processes; 0: this one")
    parser.add_argument(
        "--only", default="", help="files to write, without .csv, with commas between them; all if empty"
    )
    parser.add_argument("--report", action="store_true", help="only write the report of what is there")
    options = parser.parse_args()
    torch.set_num_threads(1)
    if not options.report:
        run(options)
    from benchmarks.zero_cost import report

    report.write(options.table, options.runs)


def networks(file: Path, space: Space, rows: list[Architecture]) -> list[Architecture]:
    """One architecture a network; `file` says which stands for which."""
    if not file.is_file():
        forms = [space.canonical(row) for row in rows]
        first = {form: row.text for form, row in zip(reversed(forms), reversed(rows), strict=True)}
        file.parent.mkdir(parents=True, exist_ok=True)
        pairs = ((row.text, first[form]) for row, form in zip(rows, forms, strict=True))
        with file.open("w", newline="") as stream:
            csv.writer(stream).writerows([("architecture", "network"), *pairs])
    with file.open(newline="") as stream:
        return [space.parse(text) for text in dict.fromkeys(row["network"] for row in csv.DictReader(stream))]


def run(options: argparse.Namespace) -> None:
    import pyarrow.parquet as parquet

    task = load(options.data).sealed()
    published, small = create("space", "nasbench201"), create("space", "nasbench201:width=4,cells=1")
    rows = [published.parse(text) for text in parquet.read_table(options.table)["arch"].to_pylist()]
    everything = networks(options.runs / "networks.csv", published, rows)
    drawn = scoring.sample(published, COUNT, seed=0)
    deadline = time.monotonic() + 60 * options.minutes
    jobs = [
        ("exact", published, EXACT, everything, len(everything), 0),
        ("sample_0", published, SAMPLE, drawn, 100, 0),
        ("small", small, SMALL, everything, len(everything), 0),
        ("sample_0", published, SAMPLE, drawn, 200, 0),
        ("views_0", published, VIEWS, drawn, 50, 0),
        ("dear_0", published, DEAR, drawn, 30, 0),
        ("sample_1", published, SAMPLE, drawn, 50, 1),
        ("sample_2", published, SAMPLE, drawn, 50, 2),
        ("sample_0", published, SAMPLE, drawn, COUNT, 0),
        ("views_0", published, VIEWS, drawn, COUNT, 0),
        ("dear_0", published, DEAR, drawn, COUNT, 0),
        *((f"layers_{seed}", published, LAYERS, drawn, COUNT, seed) for seed in SEEDS),
        *((f"regions_{seed}", published, REGIONS, drawn, COUNT, seed) for seed in SEEDS),
        ("forms", published, FORMS, drawn, COUNT, 0),
        ("wide", published, WIDE, everything, len(everything), 0),
        *((f"sample_{seed}", published, SAMPLE, drawn, COUNT, seed) for seed in SEEDS[1:]),
        *((f"views_{seed}", published, VIEWS, drawn, COUNT, seed) for seed in SEEDS[1:]),
        *((f"dear_{seed}", published, DEAR, drawn, COUNT, seed) for seed in SEEDS[1:]),
    ]
    for name, space, names, architectures, count, seed in jobs:
        done = COUNT if options.only and name not in options.only.split(",") else 0
        while done < count and time.monotonic() < deadline:
            done = min(done + (50 if count <= COUNT else 500), count)
            with engine("local", options.workers, (space, task, "cpu")) as pool:
                file = options.runs / f"{name}.csv"
                listed = architectures[:done]
                scores = scoring.score(space, task, names, listed, file=file, engine=pool, seed=seed)
            if scores.added:
                each = scores.seconds / scores.added
                print(f"{time.strftime('%H:%M:%S')} {name}: {scores.rows} rows, {each:.2f} s each", flush=True)


if __name__ == "__main__":
    main()
