"""How well the default predictor, scout, orders networks that it has not seen, beside a forest and published figures.

    archscout table import nasbench201 accuracy.parquet --out tables/nasbench201.parquet     (and other tables)
    archscout score nasbench201 --archs tables/nasbench201.parquet --data cifar10.npz --out scores.csv \\
        --with synflow:expected=true,nasgraph:expected=true,nn_mass,epsilon:batch=32,epsilon_log:batch=16
    python -m benchmarks.predictors.scout --tables tables --scores scores.csv --workers 2

Each part is a study (`archscout.study`) in its own folder of `--runs`, from which a stopped run goes on. Clean
protocol: the networks learned from are drawn at random, all other architectures of the table are predicted, and among
these there is no network that was learned from, none that differs from one in dead edges only, and no isomorph. Papers'
protocol: all 15,625 architectures are predicted, those learned from among them. Mutants: what a search meets
(`Problem.mutants`). 20 repeats with seed 0; the predictor was developed on CIFAR-10 with other draws. Parts that are
not finished, and tables that are not there, are left out and named. Writes docs/results/predictors.md and .json.
"""

from __future__ import annotations

import argparse
import csv
import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

import archscout
from archscout.core import seeds
from archscout.core.errors import ArchscoutError
from archscout.core.files import write_text
from archscout.core.registry import create
from archscout.estimators.encodings.encode import ENCODINGS, default_encoding, encode, widths
from archscout.estimators.predictors.scout import Scout
from archscout.study.estimators import Plan, compare
from archscout.study.summary import summary
from archscout.tables.load import load
from archscout.tables.table import Table
from benchmarks.common import RESULTS, arguments, write_result

PLAIN, LIVE = "random_forest:encoding=plain", "random_forest:encoding=live"
CIFAR10, CIFAR100, IMAGENET = "c10_test_200", "c100_test_200", "in16_test_200"
SIZES = (25, 100, 400)
TARGETS = {"scout": (0.68, 0.79, 0.85), "with": (0.72, 0.82, 0.87)}
PINAT = {78: 0.549, 156: 0.631, 469: 0.706}
"""Kendall's tau of PINAT (AAAI 2023) on NAS-Bench-201, as its authors' repository states it."""
CELLS = 5000
"""Random cells of NAS-Bench-101 whose encoding is timed."""

OTHERS = {
    "nasbench101": "NAS-Bench-101, 20,001 cells", "nasbench_macro": "NAS-Bench-Macro", "darts": "DARTS, 1,000 trained",
    "nasbench301": "DARTS, 725 by the surrogate of NAS-Bench-301", "nasbench_nlp": "NAS-Bench-NLP",
    "nasbench_graph": "NAS-Bench-Graph", "enas": "ENAS, weight-sharing accuracy", "nasbench201-digits": "digits, ours",
    "nasbench201-fashion": "Fashion-MNIST, ours",
}  # fmt: skip


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--tables", type=Path, default=Path("tables"))
    parser.add_argument("--scores", type=Path, help="a file of archscout score, for all of NAS-Bench-201")
    parser.add_argument("--runs", type=Path, default=Path("runs/predictors_scout"))
    parser.add_argument("--repeats", type=int, default=20)
    parser.add_argument("--workers", type=int, default=0)
    parser.add_argument("--report", action="store_true", help="run nothing: the page of what is finished in --runs")
    options = parser.parse_args()
    file = RESULTS / "predictors.json"
    found: dict[str, Any] = {"version": archscout.__version__, "repeats": options.repeats, "parts": {}}
    table = Table.open(options.tables / "nasbench201.parquet")
    found["speed"] = speed(table)
    found["scores"] = "" if options.scores is None else scores_in(options.scores)
    parts = found["parts"]
    for metric in (CIFAR10, CIFAR100, IMAGENET):
        names = ["scout", LIVE, PLAIN] + (["gaussian_process", "extra_trees"] if metric == CIFAR10 else [])
        names += [f"scout:scores={found['scores']}"] if options.scores else []
        plan = Plan(tuple(names), SIZES, options.repeats, None)
        parts[f"clean {metric}"] = study(options, table, plan, metric)
    papers = Plan(("scout", LIVE, PLAIN), tuple(PINAT), options.repeats, None, clean=False)
    parts[f"papers {CIFAR10}"] = study(options, table, papers, CIFAR10)
    mutants = Plan(("scout", LIVE, PLAIN), SIZES, options.repeats, 200, mutants=True)
    parts[f"mutants {CIFAR10}"] = study(options, table, mutants, CIFAR10)
    for name in OTHERS:
        try:
            other = found_table(options.tables, name)
            known = np.isfinite(other.column(other.default_metric))
            rows = len({text for text, there in zip(other.architectures, known, strict=True) if there})
            sizes = tuple(size for size in SIZES if size <= rows // 2)
            parts[name] = study(options, other, Plan(("scout", PLAIN), sizes, options.repeats, 5000), None)
        except ArchscoutError as error:
            parts[name] = {"missing": str(error)}
        write_result(file, found)
    text = report(found)
    write_text(file.with_suffix(".md"), text)
    print(text)


def found_table(folder: Path, name: str) -> Table:
    file = folder / f"{name}.parquet"
    return Table.open(file) if file.is_file() else load(name)


def study(options: argparse.Namespace, table: Table, plan: Plan, metric: str | None) -> dict[str, Any]:
    kind = " mutants" if plan.mutants else "" if plan.clean else " papers"
    label = f"{table.name} {metric or table.default_metric}{kind}"
    print(label, flush=True)
    folder = options.runs / label.replace(" ", "-")
    if options.report:
        plan = replace(plan, contenders=finished(folder, plan))
    if "scout" not in plan.contenders:
        return {"missing": label}
    scores = options.scores if any("scores=" in name for name in plan.contenders) else None  # of one space only
    rows = compare(
        table, plan, folder, metric=metric, scores=scores, workers=options.workers,
        progress=lambda done, total: print(f"  {done}/{total}", flush=True),
    )  # fmt: skip
    keys = ("estimator", "train", "kendall", "kendall_low", "kendall_high", "spearman", "precision@10", "regret@10")
    entries = [{key: entry[key] for key in keys} | {"p": entry["p_against_best"]} for entry in summary(rows)]
    return {"table": table.name, "metric": metric or table.default_metric, "test": plan.test, "entries": entries}


def scores_in(file: Path) -> str:
    """The names of the scores in a file of `archscout score`, as scout takes them."""
    with file.open(newline="", encoding="utf-8") as stream:
        names = next(csv.reader(stream))
    return "+".join(name for name in names if name != "architecture" and not name.endswith("_seconds"))


def finished(folder: Path, plan: Plan) -> tuple[str, ...]:
    """The contenders of which all repeats are in the folder's record."""
    file = folder / "rows.jsonl"
    done = {tuple(json.loads(line)[:2]) for line in file.read_text().splitlines()} if file.is_file() else set()
    return tuple(name for name in plan.contenders if all((name, r) in done for r in range(plan.repeats)))


def speed(table: Table) -> dict[str, Any]:
    """CPU seconds of this machine: encoding the whole space, and learning from 100 to predict all 15,625."""
    space = create("space", "nasbench201")
    architectures = [space.parse(text) for text in table.architectures]
    took: dict[str, Any] = {}
    for name, encoding in ENCODINGS.items():
        start = time.process_time()
        matrix = encoding(space, architectures)
        took[f"encode {name}"] = [time.process_time() - start, matrix.shape[1]]
    name = default_encoding(space)
    matrix = np.concatenate([ENCODINGS[part](space, architectures) for part in name.split("+")], axis=1)
    truth = table.column(CIFAR10)
    inside = []
    for seed in range(5):
        order = seeds.stream(seed, "predictors_scout").permutation(len(truth))
        train, test = order[:100], order[100:]
        start = time.process_time()
        scout = Scout(widths=widths(name, space), seed=seed).fit(matrix[train], truth[train])
        middle = time.process_time()
        scout.predict(matrix)
        took["fit 100"] = middle - start
        took["predict 15,625"] = time.process_time() - middle
        mean, std = scout.predict(matrix[test], return_std=True)
        inside.append([float((np.abs(mean - truth[test]) <= k * std).mean()) for k in (1, 2)])
    took["within 1 and 2 deviations"] = np.mean(inside, axis=0).tolist()
    larger = create("space", "nasbench101")
    rng = seeds.stream(0, "predictors_scout", "nasbench101")
    some = [larger.sample(rng) for _ in range(CELLS)]
    start = time.process_time()
    encode(default_encoding(larger), larger, some)
    took["all of nasbench101"] = (time.process_time() - start) / CELLS * larger.size()
    return took


def report(found: dict[str, Any]) -> str:
    lines = [
        "# Predictors: how well scout orders networks that it has not seen",
        "",
        f"Made by `benchmarks/predictors/scout.py` ({found['repeats']} repeats, seed 0; developed on CIFAR-10 with "
        "other draws). Kendall's tau-b: mean over repeats, 95 % bootstrap interval.",
        "",
        "Clean protocol: all but what was learned from is predicted, without dead-edge twins or isomorphs of it.",
        "",
    ]
    for metric, title in ((CIFAR10, "CIFAR-10"), (CIFAR100, "CIFAR-100"), (IMAGENET, "ImageNet16-120")):
        part = found["parts"][f"clean {metric}"]
        if "missing" in part:
            continue
        lines += [f"## NAS-Bench-201, {title} (`{metric}`), clean protocol", ""]
        lines += grid(part["entries"])
        if metric == CIFAR10:
            asked = " / ".join(f"{x:.2f}" for x in TARGETS["scout"])
            more = " / ".join(f"{x:.2f}" for x in TARGETS["with"])
            lines += [f"Asked for at 25 / 100 / 400: {asked} from the architecture alone, {more} with scores.", ""]
    clean = found["parts"][f"clean {CIFAR10}"].get("entries", ())
    if any("scores" in entry["estimator"] for entry in clean):
        lines += [
            f"The scores are ours, by `archscout score`: `{found['scores']}` of the networks as published, on real "
            "CIFAR-10 images; those of the whole space take a few minutes of one thread.",
            "",
        ]
    papers = found["parts"][f"papers {CIFAR10}"]
    if "missing" not in papers:
        stated = ", ".join(f"{tau} at {size}" for size, tau in PINAT.items())
        lines += ["## NAS-Bench-201, CIFAR-10, papers' protocol: all 15,625 predicted", "", *grid(papers["entries"])]
        lines += [f"PINAT (AAAI 2023), as its authors' repository states: {stated}.", ""]
    mutants = found["parts"][f"mutants {CIFAR10}"]
    if "missing" not in mutants:
        lines += [
            "## NAS-Bench-201, CIFAR-10, mutants of good networks",
            "",
            "200 networks, one to three mutations away from the best five of ten random ones, are predicted; learned "
            "from are single mutants of these (without dead-edge twins or isomorphs of them). So a search meets them.",
            "",
            *grid(mutants["entries"]),
        ]
    lines += [
        "## Other tables, the same code",
        "",
        "p: paired Wilcoxon test over the repeats; above .05 the two are equal within chance.",
        "",
        "| table | metric | learned from | scout | random forest, plain encoding | p |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for name, title in OTHERS.items():
        part = found["parts"][name]
        if "missing" in part or not any(entry["estimator"] == PLAIN for entry in part["entries"]):
            continue
        by = {(entry["estimator"], entry["train"]): entry for entry in part["entries"]}
        for size in sorted({size for _, size in by}):
            scout, forest = by["scout", size], by[PLAIN, size]
            p = max(scout["p"], forest["p"]) if scout["p"] == forest["p"] == 1 else min(scout["p"], forest["p"])
            lines.append(f"| {title} | {part['metric']} | {size} | {cell(scout)} | {cell(forest)} | {p:.2g} |")
    absent = [OTHERS.get(name, name) for name, part in found["parts"].items() if "missing" in part]
    lines += ["", f"Not finished, or not there, when this was made: {', '.join(absent)}."] if absent else [""]
    took = found["speed"]
    lines += [
        "",
        "## Speed and calibration",
        "",
        "CPU seconds of one thread of the machine that made this page, with much else running on it:",
        "",
    ]
    lines += [
        "- encoding all 15,625 cells: "
        + ", ".join(f"`{k.removeprefix('encode ')}` {v[0]:.2f} s" for k, v in took.items() if k.startswith("encode")),
        f"- encoding the 423,624 cells of NAS-Bench-101 for scout: {took['all of nasbench101']:.0f} s, from {CELLS:,} "
        "random ones",
        f"- learning from 100: {took['fit 100']:.2f} s; predicting all 15,625: {took['predict 15,625']:.2f} s",
        "- of the errors on CIFAR-10 after learning from 100, {:.0%} are within one standard deviation (68 % of a "
        "normal distribution are), {:.0%} within two (95 %)".format(*took["within 1 and 2 deviations"]),
    ]
    return "\n".join(lines) + "\n"


def grid(entries: list[dict[str, Any]]) -> list[str]:
    sizes = sorted({entry["train"] for entry in entries})
    by = {(entry["estimator"], entry["train"]): entry for entry in entries}
    lines = ["| estimator | " + " | ".join(map(str, sizes)) + " |", "| --- |" + " --- |" * len(sizes)]
    for name in dict.fromkeys(entry["estimator"] for entry in entries):
        shown = "scout with scores" if name.startswith("scout:scores=") else name
        lines.append(f"| {shown} | " + " | ".join(cell(by[name, size]) for size in sizes) + " |")
    return [*lines, ""]


def cell(entry: dict[str, Any]) -> str:
    return f"{entry['kendall']:.3f} [{entry['kendall_low']:.3f}, {entry['kendall_high']:.3f}]"


if __name__ == "__main__":
    main()
