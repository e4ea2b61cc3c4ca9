"""The default method against random search and regularised evolution at equal wall-clock budget.

    python -m benchmarks.front_door.search_vs_baselines --space nasbench201 --data digits --max latency=2ms \\
        --budget 60s --seeds 5

Each search runs alone, with everything included (final training and export). Results are kept as they come, so that the
script can be stopped and started again. Writes docs/results/search_vs_baselines_<data>.json and .md.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
from scipy.stats import wilcoxon

import archscout
from archscout.core.errors import ArchscoutError
from archscout.core.files import write_text
from archscout.search.search import search
from benchmarks.common import RESULTS, Rows, arguments, read_result


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--space", default="nasbench201")
    parser.add_argument("--data", default="digits")
    parser.add_argument("--max", default="latency=2ms")
    parser.add_argument("--budget", default="60s")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--methods", default="cascade,random,evolution")
    parser.add_argument("--out", type=Path, default=Path("runs/baselines"))
    parser.add_argument("--results", type=Path, default=RESULTS)
    options = parser.parse_args()
    label = Path(options.data).stem.replace(":", "-").replace("=", "-").replace(",", "-")
    file = options.results / f"search_vs_baselines_{label}.json"
    asked = {key: getattr(options, key) for key in ("space", "max", "budget", "workers")} | {"data": label}
    if read_result(file).get("asked", asked) != asked:
        file.unlink()
    rows = Rows(file, about={"asked": asked, "version": archscout.__version__})
    limits = dict([options.max.split("=", 1)]) if options.max else {}

    for seed in range(options.seeds):
        for method in options.methods.split(","):
            if rows.has(seed=seed, method=method):
                continue
            name = f"{label}-{method}-{seed}"
            shutil.rmtree(options.out / name, ignore_errors=True)
            try:
                metrics = search(
                    options.space, options.data, method=method, maximum=limits, budget=options.budget, seed=seed,
                    workers=options.workers, out=options.out, name=name,
                ).metrics  # fmt: skip
            except ArchscoutError as error:
                metrics = {"error": str(error)}
            row = {"seed": seed, "method": method} | {
                key: metrics.get(key)
                for key in ("valid_accuracy", "test_accuracy", "costs", "trials", "scored", "rejected", "epochs",
                            "failed_trials", "seconds", "architecture", "error", "conditions")
            }  # fmt: skip
            rows.add(row)
    text = table(asked, rows.rows)
    write_text(file.with_suffix(".md"), text)
    print(text)


def table(asked: dict, rows: list[dict]) -> str:
    methods = list(dict.fromkeys(row["method"] for row in rows))
    by = {(row["method"], row["seed"]): row for row in rows if row["valid_accuracy"] is not None}
    seeds = sorted({row["seed"] for row in rows if all((m, row["seed"]) in by for m in methods)})
    rng = np.random.default_rng(0)
    lines = [
        f"# {asked['space']} on {asked['data']}, {asked['max'] or 'no limit'}, {asked['budget']} of wall clock, "
        f"{asked['workers']} workers, {len(seeds)} seeds",
        "",
        "Made by `benchmarks/front_door/search_vs_baselines.py`. Intervals: 95 %, bootstrap over seeds. p: Wilcoxon "
        "signed rank against the first method, two-sided, paired by seed (five pairs cannot go below 0.0625).",
        "",
        "| method | validation accuracy | test accuracy | trained | limit kept | seconds | p |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for method in methods:
        mine = [by[method, seed] for seed in seeds]
        valid = np.array([row["valid_accuracy"] for row in mine])
        test = np.array([row["test_accuracy"] for row in mine], dtype=float)
        base = np.array([by[methods[0], seed]["valid_accuracy"] for seed in seeds])
        p = "" if method == methods[0] or not np.any(valid - base) else f"{wilcoxon(valid, base).pvalue:.3f}"
        draws = [rng.choice(valid, len(valid)).mean() for _ in range(2000)]
        low, high = np.percentile(draws, [2.5, 97.5])
        lines.append(
            f"| {method} | {valid.mean():.2%} [{low:.2%}, {high:.2%}] | {test.mean():.2%} "
            f"| {np.mean([row['trials'] for row in mine]):.0f} | {len(mine)}/{len(mine)} "
            f"| {np.mean([row['seconds']['total'] for row in mine]):.0f} | {p} |"
        )
    failed = [row for row in rows if row["error"]]
    lines += ["", f"Searches that ended without a network: {len(failed)}."] + [
        f"- {r['method']} {r['seed']}: {r['error']}" for r in failed
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
