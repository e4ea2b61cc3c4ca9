"""Searches on published tables: how near each comes to the best network, after how many trainings.

    archscout table import nasbench201 accuracy.parquet --out tables/nasbench201.parquet     (and other tables)
    python -m benchmarks.strategies.on_tables --tables tables --workers 2

Each search is simulated (`archscout.study.strategies`): its trainings are answered from the table. Strategies and the
default method see the same metric, each repeat has a seed of its own, shared by all. Goes on where it was stopped;
`--only` names those that are run. Writes docs/results/strategies.md and .json.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import archscout
from archscout.cli.options import split_names
from archscout.core.errors import ArchscoutError
from archscout.core.files import write_text
from archscout.study.strategies import Races, race, summary
from archscout.tables.load import load
from archscout.tables.table import Table
from benchmarks.common import RESULTS, arguments, write_result

CONTENDERS = (
    "random", "evolution", "local_search", "kernel_density", "bayesian", "bananas", "npenas", "brp_nas", "acenas",
    "weaknas", "weaknas:predictor=gaussian_process", "brp_nas:predictor=scout",
    "surrogate", "surrogate:predictor=gaussian_process",
    "surrogate:predictor=gaussian_process,acquisition=log_ei,batch=5",
    "successive_halving", "hyperband", "asha", "bohb", "guided", "cascade",
)  # fmt: skip
GROUNDS = (
    ("nasbench201", "c10v_valid_200", "NAS-Bench-201, CIFAR-10, validation accuracy"),
    ("nasbench201", "c100_valid_200", "NAS-Bench-201, CIFAR-100, validation accuracy"),
    ("nasbench201", "in16_valid_200", "NAS-Bench-201, ImageNet16-120, validation accuracy"),
    ("nasbench_macro", "mean_acc", "NAS-Bench-Macro"),
    ("nasbench201-digits", "valid_accuracy", "digits, ours, one training each"),
)
AFTER = (20, 50, 100)


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--tables", type=Path, default=Path("tables"))
    parser.add_argument("--runs", type=Path, default=Path("runs/strategies"))
    parser.add_argument("--repeats", type=int, default=20)
    parser.add_argument("--trials", type=int, default=100)
    parser.add_argument("--only", default=",".join(CONTENDERS), help="these searches alone, joined by commas")
    parser.add_argument("--workers", type=int, default=0)
    options = parser.parse_args()
    found: dict[str, Any] = {"version": archscout.__version__, "trials": options.trials, "grounds": []}
    for name, metric, title in GROUNDS:
        try:
            file = options.tables / f"{name}.parquet"
            table = Table.open(file) if file.is_file() else load(name)
            races = Races(tuple(split_names([options.only])), f"{options.trials}trials", options.repeats, metric)
            print(title, flush=True)
            rows = race(
                table, races, options.runs / f"{name}-{metric}", workers=options.workers,
                progress=lambda done, total: print(f"  {done}/{total}", flush=True),
            )  # fmt: skip
        except ArchscoutError as error:
            found["grounds"].append({"title": title, "missing": str(error)})
            continue
        found["grounds"].append({"title": title, "metric": metric, "entries": [entry_of(e) for e in summary(rows)]})
    write_result(RESULTS / "strategies.json", found)
    text = report(found)
    write_text(RESULTS / "strategies.md", text)
    print(text)


def entry_of(summarised: dict[str, Any]) -> dict[str, Any]:
    keys = ("estimator", "repeats", "regret", "mean_regret", "mean_regret_low", "mean_regret_high", "p_against_best")
    points, *stats = summarised["curves"]["regret_after"]
    after = {}
    for count in AFTER:
        place = max((i for i, point in enumerate(points) if point <= count), default=0)
        after[str(count)] = [float(column[place]) for column in stats]
    reached = {key: summarised[key] for key in ("found", "to_optimum", "to_optimum_low", "to_optimum_high")}
    return {key: summarised[key] for key in keys} | reached | {"after": after}


def report(found: dict[str, Any]) -> str:
    lines = [
        "# Searches on published tables",
        "",
        f"Made by `benchmarks/strategies/on_tables.py`: {found['trials']} trainings, answered from a table. Regret: "
        "points of accuracy between the best network so far and the best of the table, mean over repeats with its 95 % "
        "bootstrap interval; *area*: its mean over all trainings, the one number to compare by; p: paired Wilcoxon "
        "test of the area against the search with the least; *found*: repeats that found the best network, and after "
        "how many trainings on average (of these alone). With a budget in trainings the cascade is the guided search "
        "with its own scores. Scores are columns of the table: naswot, zen, params and macs of NAS-Bench-201, params "
        "and macs of others; what a table lacks is undefined.",
    ]
    for ground in found["grounds"]:
        lines += ["", f"## {ground['title']}", ""]
        if "missing" in ground:
            lines.append(f"Not there when this was made: {ground['missing']}")
            continue
        lines += [
            "| search | n | "
            + " | ".join(f"after {count}" for count in AFTER)
            + " | area | p | found | trainings to it |",
            "| --- | --- | " + "--- | " * len(AFTER) + "--- | --- | --- | --- |",
        ]
        for entry in sorted(ground["entries"], key=lambda entry: entry["mean_regret"]):
            cells = [points(*entry["after"][str(count)]) for count in AFTER]
            area = points(*(entry[key] for key in ("mean_regret", "mean_regret_low", "mean_regret_high")))
            p = "" if entry["p_against_best"] == 1 else f"{entry['p_against_best']:.2g}"
            reached = [entry[key] for key in ("to_optimum", "to_optimum_low", "to_optimum_high")]
            trainings = "{:.0f} [{:.0f}, {:.0f}]".format(*reached) if entry["found"] else ""
            lines.append(
                f"| {entry['estimator']} | {entry['repeats']} | " + " | ".join(cells)
                + f" | {area} | {p} | {entry['found']:.0%} | {trainings} |"
            )  # fmt: skip
    return "\n".join(lines) + "\n"


def points(mean: float, low: float, high: float) -> str:
    return f"{100 * mean:.2f} [{100 * low:.2f}, {100 * high:.2f}]"


if __name__ == "__main__":
    main()
