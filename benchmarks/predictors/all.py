"""Every predictor of the registry on the same ground: NAS-Bench-201 and our own table of digits.

    archscout table import nasbench201 accuracy.parquet --out tables/nasbench201.parquet
    archscout score nasbench201:width=8,cells=1 --archs TABLE --data digits --out digits_scores.csv \\
        --with jacob_cov,supernet,oneshot,rsws,fourier:source=nasbench201-fashion
                                                                    (TABLE: the file of nasbench201-digits)
    python -m benchmarks.predictors.all --nasbench201 tables/nasbench201.parquet --scores digits_scores.csv

Clean protocol (`archscout.study`): in each repeat other architectures are learned from, 1,000 random others predicted;
none of these is the same network as one learned from, or an isomorph. Predictors are as they are by their names, with
the settings that their docstrings state; the study's own are also shown on the features of the pruned graph. Everything
goes on where it was stopped; what is not finished is left out, and each line says how many repeats it rests on. Small
networks take most of the time: they have a number of repeats of their own. Writes docs/results/predictors_all.md and
.json.
"""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import numpy as np

import archscout
from archscout.core.errors import ArchscoutError
from archscout.core.files import write_text
from archscout.core.registry import create
from archscout.estimators.curves.base import CurveReader
from archscout.study.estimators import Plan, compare
from archscout.study.metrics import kendall
from archscout.study.problem import comparable
from archscout.study.summary import interval, winners
from archscout.tables.load import load
from archscout.tables.table import Table
from benchmarks.common import RESULTS, arguments, write_result

SIZES = (10, 25, 50, 100, 200, 400)
LIVE = ("rf", "lgb", "xgb", "ngb", "bayes_lin_reg", "gp", "sparse_gp", "var_sparse_gp", "mlp", "dngo", "bohamiann")
"""Those of the study that read any matrix, shown with the encoding `live` too."""
SCORES = (
    "jacov", "jacob_cov", "synflow", "naswot", "snip", "grad_norm", "grasp", "fisher", "params", "macs", "supernet",
    "oneshot", "rsws",
    "fourier:source=nasbench201-fashion",
)  # fmt: skip
PUBLISHED = ("jacov", "synflow", "snip", "grad_norm", "grasp", "fisher")
"""Scores that tables have for some architectures only (NAS-Bench-Suite-Zero, arXiv 2210.03230)."""
KEY = ("estimator", "train", "epochs", "repeat")
MOST, MOST_LIGHT = 60.0, 3.0
TREES_AND_PROCESSES = (
    "extra_trees", "gaussian_process", "gp", "lambdarank", "lgb", "lightgbm", "ngb", "random_forest", "rf", "scout",
    "sparse_gp", "var_sparse_gp", "wl_gp", "xgb",
)  # fmt: skip
SLOW = ("omni", "omni_seminas")
"""They tune themselves, at every size and every number of epochs."""


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--nasbench201", type=Path, help="the imported table; left out if not given")
    parser.add_argument("--digits", default="nasbench201-digits", help="the table of digits: its name, or a file")
    parser.add_argument("--scores", type=Path, help="a file of archscout score, for the table of digits")
    parser.add_argument("--runs", type=Path, default=Path("runs/predictors_all"))
    parser.add_argument("--repeats", type=int, default=20)
    parser.add_argument("--network-repeats", type=int, default=20)
    parser.add_argument("--network-sizes", default=",".join(map(str, SIZES)))
    parser.add_argument("--only", default="", help="these contenders alone, joined by commas")
    parser.add_argument("--workers", type=int, default=0)
    parser.add_argument("--report", action="store_true", help="run nothing: the page of what is there in --runs")
    options = parser.parse_args()
    tables: list[tuple[Table, str, Path | None]] = []
    if options.nasbench201 is not None:
        tables.append((Table.open(options.nasbench201), "c10_test_200", None))
    tables.append((load(options.digits), "test_accuracy", options.scores))
    found: dict[str, Any] = {"version": archscout.__version__, "tables": {}}
    for table, metric, scores in tables:
        folder = options.runs / f"{table.name}-{metric}"
        if not options.report:
            light, heavy = contenders(table, metric, scores)
            fewer = tuple(map(int, options.network_sizes.split(",")))
            for group, repeats, sizes in (
                (light, options.repeats, SIZES), (heavy, options.network_repeats, fewer)
            ):  # fmt: skip
                wanted = [name for name in group if not options.only or name in options.only.split(",")]
                part = folder / "-".join(map(str, sizes))
                run(table, metric, scores, part, wanted, sizes, repeats, options.workers)
        found["tables"][table.name] = {
            "metric": metric, "entries": entries(folder), "won": won(folder), "published": published(table, metric),
        }  # fmt: skip
    found["speed"] = speed(tables[0][0], tables[0][1]) if not options.only and not options.report else before("speed")
    write_result(RESULTS / "predictors_all.json", found)
    write_text(RESULTS / "predictors_all.md", report(found))


def before(key: str) -> Any:
    file = RESULTS / "predictors_all.json"
    return json.loads(file.read_text(encoding="utf-8")).get(key, {}) if file.is_file() else {}


def contenders(table: Table, metric: str, scores: Path | None) -> tuple[list[str], list[str]]:
    """All that the table has something for: first those that are quick, then small networks and what tunes itself."""
    able, unable = comparable(table, metric=metric, scores=scores)
    print(f"{table.name}: left out: {'; '.join(unable) or 'nothing'}", flush=True)
    # Published scores may be there for some architectures only; these are no match for the others.
    there = [name for name in SCORES if name in table.metrics and np.isfinite(table.values(name)).mean() > 0.99]
    names = [name for name in able if is_learner(name) or name in there or (scores is not None and name in SCORES)]
    names += [f"{name}:encoding=live" for name in LIVE if name in able]
    heavy = [name for name in names if is_network(name) or name in SLOW]
    return [name for name in names if name not in heavy], heavy


def is_learner(name: str) -> bool:
    from archscout.study.problem import learner

    if name in SCORES:
        return False
    try:
        return learner(name) is not None or isinstance(create("estimator", name), CurveReader)
    except ArchscoutError:
        return False


def is_network(name: str) -> bool:
    from archscout.estimators.predictors.network import Network

    return name not in SCORES and isinstance(getattr(create("estimator", name), "predictor", None), Network)


def run(
    table: Table,
    metric: str,
    scores: Path | None,
    folder: Path,
    names: list[str],
    sizes: tuple[int, ...],
    repeats: int,
    workers: int,
) -> None:
    """All of a group, the first repeat of all before the second of any."""
    if names and repeats > 0:
        compare(
            table, Plan(tuple(names), sizes, repeats), folder, metric=metric, scores=scores, workers=workers,
            progress=lambda done, total: print(f"{table.name}: {done} of {total}", flush=True),
        )  # fmt: skip


def rows_in(folder: Path) -> list[dict[str, Any]]:
    """All rows of the studies of a table; what two of them have measured, once."""
    lines = [line for file in sorted(folder.glob("*/rows.jsonl")) for line in file.read_text("utf-8").splitlines()]
    rows = {tuple(row[key] for key in KEY): row for line in lines for row in json.loads(line)[2]}
    return [{k: float("nan") if v is None else v for k, v in row.items()} for row in rows.values()]


def entries(folder: Path) -> list[dict[str, Any]]:
    grouped: dict[tuple[str, int, int], list[dict[str, Any]]] = {}
    for row in rows_in(folder):
        grouped.setdefault((row["estimator"], row["train"], row["epochs"]), []).append(row)
    made = []
    for (name, train, epochs), rows in grouped.items():
        mean, low, high = interval([row["kendall"] for row in rows])
        made.append(
            {
                "estimator": name, "train": train, "epochs": epochs, "repeats": len(rows), "kendall": mean, "low": low,
                "high": high, "ndcg@10": interval([row["ndcg@10"] for row in rows])[0],
                "fit_seconds": interval([row["fit_seconds"] for row in rows])[0],
                "undefined": sum(row["undefined"] for row in rows),
            }
        )  # fmt: skip
    return made


def published(table: Table, metric: str) -> dict[str, list[float]]:
    """Of scores that the table has for some networks only: Kendall's tau on these, and how many they are."""
    truth, found = np.asarray(table.values(metric)), {}
    for name in (name for name in PUBLISHED if name in table.metrics):
        score = np.asarray(table.values(name))
        known = np.isfinite(truth) & np.isfinite(score)
        found[name] = [kendall(truth[known], score[known]), int(known.sum())]
    return found


def won(folder: Path) -> list[dict[str, Any]]:
    """The winner map of those repeats that all have."""
    rows = rows_in(folder)
    if not rows:
        return []
    return winners(rows)


def speed(table: Table, metric: str) -> dict[str, list[float]]:
    """CPU seconds of one thread: learning from 100, predicting the whole table."""
    import torch
    from sklearn.base import clone

    from archscout.study.problem import learner, problem

    torch.set_num_threads(1)
    light, heavy = contenders(table, metric, None)
    took = {}
    for name in (*light, *heavy):
        if ":" in name or name in SCORES or name in SLOW or not is_learner(name) or learner(name) is None:
            continue
        about = problem(table, [name], metric=metric)
        if name in about.begun:
            continue
        made = learner(name)
        assert made is not None
        predictor = clone(made.predictor)
        if "widths" in predictor.get_params():
            predictor.set_params(widths=about.widths[name])
        order, matrix = about.split(0, len(about)), about.features[name]
        start = time.process_time()
        predictor.fit(matrix[order[:100]], about.truth[order[:100]], matrix[order[-predictor.unlabelled :]])
        middle = time.process_time()
        predictor.predict(matrix)
        took[name] = [middle - start, time.process_time() - middle]
    return took


def report(found: dict[str, Any]) -> str:
    lines = [
        "# All predictors on the same ground",
        "",
        "Made by `benchmarks/predictors/all.py`. Kendall's tau-b, mean over repeats with its 95 % bootstrap interval "
        "where there are five repeats or more; `n` is the number of repeats, which may differ between the sizes of a "
        "row. Clean protocol: 1,000 random architectures"
        " are predicted, none the same network as one learned from, or an isomorph. `NAME:encoding=live` is the same "
        "predictor on the features of the pruned graph; bananas, mlp, bonas and gcn, which the study of 31 predictors "
        "tunes, are at their default settings, and so is OMNI where it says `tune=0`. What is undefined ranks last. "
        "Small networks are too slow for twenty repeats at all sizes, and SemiNAS with curves at any.",
        "",
    ]
    for table, part in found["tables"].items():
        if not part["entries"]:
            continue
        lines += [f"## {table}, `{part['metric']}`: learned from so many architectures", ""]
        learned = [e for e in part["entries"] if e["train"] and not e["epochs"]]
        lines += grid(learned, "train")
        single = sorted((e for e in part["entries"] if not e["train"] and not e["epochs"]), key=lambda e: -e["kendall"])
        if single:
            lines += [
                "Scores, which learn nothing: " + ", ".join(f"{e['estimator']} {e['kendall']:.3f}" for e in single)
            ]
            lines += [""]
        if part["published"]:
            told = ", ".join(f"{name} {tau:.3f} ({count})" for name, (tau, count) in part["published"].items())
            lines += [f"Published scores, on the networks that have one (how many): {told}", ""]
        read = [e for e in part["entries"] if not e["train"] and e["epochs"]]
        if read:
            lines += ["### Read from so many epochs of a training, nothing learned", "", *grid(read, "epochs")]
        both = [e for e in part["entries"] if e["train"] and e["epochs"]]
        for size in sorted({e["train"] for e in both}):
            some = [e for e in both if e["train"] == size]
            lines += [f"### Learned from {size}, and read from so many epochs", "", *grid(some, "epochs")]
    if found["speed"]:
        lines += [
            "## Speed",
            "",
            "CPU seconds of one thread, on a machine with much else running: learning from 100 architectures of "
            f"NAS-Bench-201 / predicting all 15,625. Asked for: {MOST:g} s together, {MOST_LIGHT:g} s for trees and "
            f"Gaussian processes. Above: {', '.join(too_slow(found['speed'])) or 'none'}.",
            "",
            ", ".join(f"{name} {fit:.1f} / {said:.1f}" for name, (fit, said) in sorted(found["speed"].items())),
            "",
        ]
    return "\n".join(lines)


def too_slow(took: dict[str, list[float]]) -> list[str]:
    return [
        f"{name} {sum(seconds):.1f} s" for name, seconds in sorted(took.items())
        if sum(seconds) > (MOST_LIGHT if name in TREES_AND_PROCESSES else MOST)
    ]  # fmt: skip


def grid(some: list[dict[str, Any]], by: str) -> list[str]:
    columns = sorted({entry[by] for entry in some})
    cells = {(entry["estimator"], entry[by]): entry for entry in some}
    names = sorted({entry["estimator"] for entry in some}, key=lambda name: -best(cells, name, columns))
    lines = ["| estimator | n | " + " | ".join(map(str, columns)) + " |", "| --- | --- |" + " --- |" * len(columns)]
    for name in names:
        counts = sorted({cells[name, column]["repeats"] for column in columns if (name, column) in cells})
        repeats = f"{counts[0]}" if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"
        shown = [cell(cells.get((name, column))) for column in columns]
        lines.append(f"| {name} | {repeats} | " + " | ".join(shown) + " |")
    return [*lines, ""]


def best(cells: dict[tuple[str, int], dict[str, Any]], name: str, columns: list[int]) -> float:
    """The mean over the columns, by which rows are sorted."""
    known = [cells[name, column]["kendall"] for column in columns if (name, column) in cells]
    return sum(known) / len(known)


def cell(entry: dict[str, Any] | None) -> str:
    if entry is None:
        return ""
    spread = f" [{entry['low']:.2f}, {entry['high']:.2f}]" if entry["repeats"] >= 5 else ""
    return f"{entry['kendall']:.3f}{spread}"


if __name__ == "__main__":
    main()
