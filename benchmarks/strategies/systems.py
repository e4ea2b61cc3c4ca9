"""What each published search system is worth beside its control: one measured row each.

    archscout table import nasbench201 accuracy.parquet --out tables/nasbench201.parquet
    python -m benchmarks.strategies.systems popnas --tables tables

A system's rows are kept in docs/results/strategies_systems.json, and docs/results/strategies_systems.md is written of
all. Trainings are answered from tables unless a row says otherwise; each repeat has a seed of its own, shared by all
that are compared.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from time import process_time
from typing import Any

import numpy as np

import archscout
from archscout.core.estimator import Setting
from archscout.core.registry import create
from archscout.core.strategy import AskTell
from archscout.core.trial import Trial
from archscout.strategies.pareto import hypervolume
from archscout.study.simulated import simulate
from archscout.study.summary import interval, paired
from archscout.tables.load import load
from archscout.tables.metric import Metric
from archscout.tables.table import Table, write
from benchmarks.common import RESULTS, arguments

Row = dict[str, Any]


def mean(values: Sequence[float]) -> str:
    """Mean and standard deviation of repeats."""
    return f"{np.mean(values):.4g} ± {np.std(values):.2g}"


# -- POPNAS -------------------------------------------------------------------------------------------------------

TIMED = "latency@titanx_256_ms"


def timed_table(tables: Path) -> Table:
    """NAS-Bench-201 with training time in proportion to the measured latency of a batch of 256 on a Titan X."""
    published = Table.open(tables / "nasbench201.parquet")
    first = [int(row) for row in published.first_rows]
    seconds = np.asarray(published.values(TIMED)) * 3 * 200 * 25_000 / 256 / 1000
    columns = {
        "architecture": [published.architectures[row] for row in first],
        "valid": np.asarray(published.values("c10v_valid_200")),
        "hours": seconds / 3600,
        "seconds": seconds,
    }
    metrics = [
        Metric("valid", split="valid", epochs=200),
        Metric("hours", kind="cost"),
        Metric("seconds", kind="seconds", epochs=200),
    ]
    return write(tables / "nasbench201-timed.parquet", "nasbench201", columns, metrics, default="valid")


def popnas(options: argparse.Namespace) -> list[Row]:
    table = timed_table(options.tables)
    hours = np.asarray(table.values("hours"))
    reference = [0.0, float(np.nanmax(hours))]
    found: dict[str, dict[str, list[float]]] = {}
    for seed in range(options.repeats):
        for name, method in (("POPNAS", "popnas"), ("without the time predictor", "popnas:time=false")):
            run = simulate(table, method, "400trials", seed)
            count = len(run.trials)
            steps = run.notes["predictors by step"]
            keep(found, name, run, hours, table, reference)
            found[name].setdefault("time", []).extend(s["time spearman"] for s in steps if "time spearman" in s)
            if name == "POPNAS":
                for rival in ("nsga2", "random"):
                    other = simulate(table, rival, f"{count}trials", seed, objectives=["hours"])
                    keep(found, f"{rival}, as many", other, hours, table, reference)
    rows = []
    for name, values in found.items():
        row = {key: mean(values[key]) for key in ("trainings", "hours", "best", "hypervolume")}
        rows.append({"search": name, **row, "time predictor": mean(values["time"]) if values.get("time") else ""})
    return rows


def keep(found: dict[str, Any], name: str, run: Any, hours: np.ndarray, table: Table, reference: list[float]) -> None:
    """One search's trainings, hours, best network, and the volume of accuracy and training time that it covers."""
    points = np.asarray([[-t.value, hours[table.numbers[t.canonical]]] for t in run.trials if t.defined])
    values = found.setdefault(name, {})
    for key, value in (
        ("trainings", len(run.trials)),
        ("hours", run.seconds[-1] / 3600),
        ("best", 100 * -points[:, 0].min()),
        ("hypervolume", hypervolume(points, reference)),
    ):
        values.setdefault(key, []).append(value)


# -- GraphPNAS ----------------------------------------------------------------------------------------------------

PUBLISHED = {"c10v_valid_200": "91.50 ± 0.09", "c100_valid_200": "73.42 ± 0.09", "in16_valid_200": "46.29 ± 0.27"}


def graphpnas(options: argparse.Namespace) -> list[Row]:
    grounds = [("nasbench201", metric, 100, published) for metric, published in PUBLISHED.items()]
    grounds.append(("nasbench101", "valid_acc_108", 150, ""))
    rows = []
    for name, metric, trials, published in grounds:
        table = Table.open(options.tables / f"{name}.parquet")
        row: Row = {"table": f"{name}, {metric}", "trainings": trials, "published": published}
        for method in ("graphpnas", "random", "evolution"):
            runs = [simulate(table, method, f"{trials}trials", seed, metric=metric) for seed in range(options.repeats)]
            row[method] = mean([100 * max(trial.value for trial in run.trials if trial.defined) for run in runs])
            print(name, metric, method, row[method], flush=True)
        rows.append(row)
    return rows


# -- controls -----------------------------------------------------------------------------------------------------


def controls(options: argparse.Namespace) -> list[Row]:
    """What no search is needed for: any network, and the largest by each count that the table has."""
    rows = []
    for name, metric in [*(("nasbench201", metric) for metric in PUBLISHED), ("nasbench101", "valid_acc_108")]:
        table = Table.open(options.tables / f"{name}.parquet")
        values = 100 * np.asarray(table.values(metric))
        row: Row = {"table": f"{name}, {metric}", "random pick": mean(values[np.isfinite(values)])}
        for cost in ("params", "macs"):
            counts = np.asarray(table.values(cost)) if cost in table.metrics else None
            largest = None if counts is None else np.nanmean(values[counts == np.nanmax(counts)])
            row[f"most {cost}"] = "not in the table" if largest is None else f"{largest:.2f}"
        rows.append(row | {"best": f"{np.nanmax(values):.2f}"})
    return rows


# -- NAGO ---------------------------------------------------------------------------------------------------------

EVALUATIONS = 60


def nago(options: argparse.Namespace) -> list[Row]:
    """The score naswot of 16 digits, for networks of 20,000 parameters: computed, not looked up."""
    space = create("space", "nago:params=20000")
    setting = Setting(space, archscout.task("digits").sealed())
    score = create("estimator", "naswot:batch=16")
    known: dict[str, float] = {}
    found: dict[str, list[list[float]]] = {}
    for seed in range(options.repeats):
        for name in ("random", "kernel_density", "noisy_bayesian"):
            loop = AskTell(create("strategy", name), space, seed=seed)
            values = []
            for number in range(EVALUATIONS):
                one = loop.ask()
                if one.text not in known:
                    known[one.text] = score.estimate([one], setting)[0].value
                values.append(known[one.text])
                loop.tell(Trial(number, one, space.canonical(one), "naswot", None, "completed", values[-1]))
            found.setdefault(name, []).append(values)
            print(name, seed, max(values), flush=True)
    rows = []
    for name, repeats in found.items():
        best = np.maximum.accumulate(np.asarray(repeats), axis=1)
        better = np.mean(best[:, -1] > np.asarray(found["random"]).max(axis=1))
        rows.append({
            "strategy": name, "evaluations": EVALUATIONS, "best score": mean(list(best[:, -1])),
            "mean of the best so far": mean(list(best.mean(axis=1))), "above random in": f"{better:.0%}",
        })  # fmt: skip
    return rows


# -- evolution with a predictor -------------------------------------------------------------------------------------


def assisted(options: argparse.Namespace) -> list[Row]:
    table = Table.open(options.tables / "nasbench201.parquet")
    rows = []
    named = [
        f"surrogate_evolution:control={c},predictor=random_forest" for c in ("preselection", "generation", "individual")
    ]
    for name in ("random", "evolution", *named):
        regrets = [
            100 * simulate(table, name, "100trials", seed, metric="c100_valid_200").regret
            for seed in range(options.repeats)
        ]
        rows.append({"search": name, **{f"after {n}": mean([r[n - 1] for r in regrets]) for n in (40, 100)}})
        print(rows[-1], flush=True)
    return rows


# -- many objectives ------------------------------------------------------------------------------------------------

TRADED = ("params", "latency@pixel3_ms")


def objectives(options: argparse.Namespace) -> list[Row]:
    table = Table.open(options.tables / "nasbench201.parquet")
    worst = [float(np.nanmax(table.values(key))) for key in TRADED]
    rows = []
    for name in ("random", "nsga2", "nsga3", "moead"):
        volumes = []
        for seed in range(options.repeats):
            run = simulate(table, name, "100trials", seed, metric="c10v_valid_200", objectives=TRADED)
            points = [[-t.value, *(t.costs[k] / w for k, w in zip(TRADED, worst, strict=True))] for t in run.trials]
            volumes.append(hypervolume(np.asarray(points), [0.0, 1.0, 1.0]))
        rows.append({"search": name, "trainings": 100, "hypervolume": mean(volumes)})
        print(rows[-1], flush=True)
    return rows


# -- curves -----------------------------------------------------------------------------------------------------------

NEAR = 0.005


def curves(options: argparse.Namespace) -> list[Row]:
    """Epochs until the best network so far is within half a point of the best; the whole budget where it never is."""
    table = load("nasbench201-digits")
    rows = []
    for name in ("random", "hyperband", "f_hyperband", "asha", "freeze_thaw"):
        epochs, final = [], []
        for seed in range(options.repeats):
            run = simulate(table, name, "40trials", seed, metric="valid_accuracy")
            near = np.flatnonzero(run.regret <= NEAR)
            epochs.append(float(run.epochs[near[0]] if len(near) else 40 * 12))
            final.append(100 * run.regret[-1])
        rows.append({"search": name, "epochs to within half a point": mean(epochs), "regret after 480": mean(final)})
        print(rows[-1], flush=True)
    return rows


def rungs(options: argparse.Namespace) -> list[Row]:
    """Epochs until the best of the longest trainings is within half a point (of loss: .005) of the best of the table.

    What had not reached it when the budget, or the space, was at its end counts with all that it spent: a lower bound.
    """
    grounds = {
        "digits": (load("nasbench201-digits"), "valid_accuracy", 1000),
        "NAS-Bench-NLP": (Table.open(options.tables / "nasbench_nlp.parquet"), "valid_loss", 300),
    }
    rows = []
    for title, (table, metric, trainings) in grounds.items():
        plain: list[float] = []
        for name in ("random", "successive_halving", "hyperband", "asha", "asha:eta=3"):
            epochs, reached = [], 0
            for seed in range(options.repeats):
                run = simulate(table, name, f"{trainings}trials", seed, metric=metric)
                near = np.flatnonzero(run.regret <= NEAR + 1e-9)
                reached += len(near) > 0
                epochs.append(float(run.epochs[near[0] if len(near) else -1]))
            plain = plain or epochs
            middle, low, high = interval(epochs)
            rows.append(
                {
                    "table": title,
                    "search": name,
                    "reached": f"{reached} of {options.repeats}",
                    "epochs": f"{middle:,.0f} [{low:,.0f}, {high:,.0f}]",
                    "random's over these": f"{np.mean(plain) / middle:.2f}",
                    "p": "" if name == "random" else f"{paired(epochs, plain):.2g}",
                }
            )
            print(rows[-1], flush=True)
    return rows


SYSTEMS: Mapping[str, tuple[str, Callable[[argparse.Namespace], list[Row]]]] = {
    "controls": (
        "Controls: what any network comes to, and the largest one, without a training (validation accuracy, percent)",
        controls,
    ),
    "popnas": ("POPNASv3: NAS-Bench-201, CIFAR-10 validation; hypervolume of accuracy and training time", popnas),
    "graphpnas": ("GraphPNAS: the best validation accuracy found, in percent", graphpnas),
    "nago": ("NAGO: naswot of 16 digits, networks of 20,000 parameters", nago),
    "assisted": ("Surrogate-assisted evolution: NAS-Bench-201, CIFAR-100 validation, regret in points", assisted),
    "objectives": ("Three objectives: accuracy, parameters, latency on a Pixel 3; NAS-Bench-201", objectives),
    "rungs": (
        "Rungs: epochs to within half a point of the best; digits (12 epochs a training), NAS-Bench-NLP (50; loss); "
        "what never came so near counts with all that it spent",
        rungs,
    ),
    "curves": ("Freeze-thaw and f-Hyperband: digits, trainings of 12 epochs", curves),
}


def report(found: Mapping[str, Any]) -> str:
    """The page: one table a system."""
    lines = [
        "# Search systems beside their controls",
        "",
        "Made by `benchmarks/strategies/systems.py`. Mean ± standard deviation over repeats.",
    ]
    for name, entry in sorted(found.items(), key=lambda item: list(SYSTEMS).index(item[0])):
        columns = list(entry["rows"][0])
        lines += ["", f"## {SYSTEMS[name][0]}", "", *entry.get("notes", [])]
        lines.append("| " + " | ".join(columns) + " |")
        lines.append("| " + " | ".join("---" for _ in columns) + " |")
        lines += ["| " + " | ".join(str(row[column]) for column in columns) + " |" for row in entry["rows"]]
        if name != "controls":
            lines += ["", f"{entry['repeats']} repeats, {entry['cpu_seconds']:.0f} s of one core."]
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("systems", nargs="+", choices=sorted(SYSTEMS))
    parser.add_argument("--tables", type=Path, default=Path("tables"))
    parser.add_argument("--repeats", type=int, default=10)
    options = parser.parse_args()
    file = RESULTS / "strategies_systems.json"
    found = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    for name in options.systems:
        start = process_time()
        rows = SYSTEMS[name][1](options)
        found[name] = {"rows": rows, "repeats": options.repeats, "cpu_seconds": process_time() - start}
        file.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
        (RESULTS / "strategies_systems.md").write_text(report(found), encoding="utf-8")
    print(report({name: found[name] for name in options.systems}))


if __name__ == "__main__":
    main()
