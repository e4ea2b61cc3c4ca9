"""Searches on published tables: how near each comes to the best network, after how many trainings.

    archscout table import nasbench201 accuracy.parquet --out tables/nasbench201.parquet     (and other tables)
    python -m benchmarks.strategies.on_tables --tables tables

Each search is simulated (`archscout.study.strategies`): its trainings are answered from the table, by validation where
the table has it. Repeat k has the same seed for all searches, so that they are compared in pairs; the default and its
controls are repeated more often than the rivals, some of which are dear. Goes on where it was stopped; `--only` and
`--on` run a part. What is finished so far joins docs/results/strategies.json (a search of more repeats stays), and
`tables_page.py` makes the page of it.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import archscout
from archscout.cli.options import split_names
from archscout.core.errors import ArchscoutError
from archscout.study.strategies import Races, race, summary, winners
from archscout.study.summary import paired
from archscout.tables.load import load
from archscout.tables.table import Table
from benchmarks.common import RESULTS, arguments, read_result, write_result

CONTROL, DEFAULT = "random", "cascade"
USUAL = (DEFAULT, "evolution", CONTROL)
"""Searches that are repeated most often, on all tables; of winners that are equal the first is named."""

RIVALS = (
    "bayesian", "surrogate_evolution", "reinforce", "local_search", "asha", "hyperband", "kernel_density",
    "weaknas", "nar", "npenas", "bananas", "brp_nas", "brp_nas:predictor=scout", "graphpnas", "acenas",
)  # fmt: skip
GROUNDS = (
    ("nasbench201", "c10v_valid_200", "NAS-Bench-201, CIFAR-10, validation accuracy"),
    ("nasbench201", "c100_valid_200", "NAS-Bench-201, CIFAR-100, validation accuracy"),
    ("nasbench201", "in16_valid_200", "NAS-Bench-201, ImageNet16-120, validation accuracy"),
    ("nasbench_macro", "mean_acc", "NAS-Bench-Macro, test accuracy"),
    ("nasbench201-digits", "valid_accuracy", "digits, ours, one training each"),
    ("nasbench101", "valid_acc_108", "NAS-Bench-101, 20,000 cells"),
    ("nasbench_graph", "cora_valid", "NAS-Bench-Graph, Cora"),
    ("nasbench_graph", "arxiv_valid", "NAS-Bench-Graph, arXiv"),
    ("darts", "valid_acc", "1,000 cells of DARTS"),
)
TRIED = 6
"""On so many of these, the first, the settings of the default were tried out."""

AFTER = (10, 20, 50, 100, 200, 300)
LENGTHS = (100, 300)
"""Trainings of each search: with the first number all searches are compared, with the second some of them."""


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--tables", type=Path, default=Path("tables"))
    parser.add_argument("--runs", type=Path, default=Path("runs/strategies"))
    parser.add_argument("--repeats", type=int, default=20, help="of the default and its controls")
    parser.add_argument("--rivals", type=int, default=6, help="repeats of the others")
    parser.add_argument("--trials", type=int, default=LENGTHS[0], choices=LENGTHS)
    parser.add_argument("--only", default=",".join((*USUAL, *RIVALS)), help="these searches alone, joined by commas")
    parser.add_argument("--on", default="", help="those tables alone whose metrics these are, joined by commas")
    parser.add_argument("--workers", type=int, default=0)
    parser.add_argument("--collect", action="store_true", help="run nothing: strategies.json of what is finished")
    options = parser.parse_args()
    names, metrics = split_names([options.only]), split_names([options.on])
    for name, metric, title in () if options.collect else GROUNDS:
        if metrics and metric not in metrics:
            continue
        print(title, flush=True)
        folder = folder_of(options.runs, name, metric, options.trials)
        try:
            file = options.tables / f"{name}.parquet"
            table = Table.open(file) if file.is_file() else load(name)
            for some, repeats in ((USUAL, options.repeats), (RIVALS, options.rivals)):
                contenders = tuple(one for one in names if one in some)
                races = Races(contenders, f"{options.trials}trials", repeats, metric)
                if contenders and repeats:
                    race(table, races, folder, workers=options.workers, progress=said)
        except ArchscoutError as error:
            print(f"  not run: {error}", flush=True)
    grounds = [
        entry
        for trials in LENGTHS
        for name, metric, title in GROUNDS
        if (entry := ground(title, metric, trials, rows_in(folder_of(options.runs, name, metric, trials))))
    ]
    file = RESULTS / "strategies.json"
    write_result(
        file, {"version": archscout.__version__, "grounds": joined(read_result(file).get("grounds", []), grounds)}
    )


def joined(before: Sequence[dict[str, Any]], now: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The grounds of the result file with what was measured since: rows of earlier runs need not be at hand.

    Of a search the entry of more repeats counts, the later one of as many. Who wins at which budget needs the rows of
    all searches: it is taken over where none is missing.
    """
    grounds = {(ground["title"], ground["trials"]): ground for ground in before}
    for ground in now:
        key = ground["title"], ground["trials"]
        old = {entry["estimator"]: entry for entry in grounds.get(key, ground)["entries"]}
        new = {entry["estimator"]: entry for entry in ground["entries"]}
        repeated = {name for name, entry in old.items() if entry["repeats"] > 1}
        whole = repeated <= set(new) and ground["common"] >= grounds.get(key, ground)["common"]
        kept = {name: one for name, one in old.items() if one["repeats"] > new.get(name, {"repeats": 0})["repeats"]}
        entries = {**old, **new, **kept}
        known = [*USUAL, *RIVALS]
        order = sorted(entries, key=lambda name: known.index(name) if name in known else len(known))
        grounds[key] = (ground if whole else grounds[key]) | {"entries": [entries[name] for name in order]}
    places = {(title, trials): place for place, (trials, title) in
              enumerate((trials, title) for trials in LENGTHS for _, _, title in GROUNDS)}  # fmt: skip
    return sorted(grounds.values(), key=lambda ground: places[ground["title"], ground["trials"]])


def said(done: int, total: int) -> None:
    """Tell how far a race is, now and then."""
    if done % 20 == 0 or done == total:
        print(f"  {done}/{total}", flush=True)


def folder_of(runs: Path, name: str, metric: str, trials: int) -> Path:
    """Where the rows of a table's searches are."""
    return runs / (f"{name}-{metric}" + (f"-{trials}" if trials != LENGTHS[0] else ""))


def rows_in(folder: Path) -> list[dict[str, Any]]:
    """The rows of all finished searches of a study."""
    file = folder / "rows.jsonl"
    lines = file.read_text(encoding="utf-8").splitlines() if file.is_file() else []
    rows = [row for line in lines for row in json.loads(line)[2]]
    return [{key: math.nan if value is None else value for key, value in row.items()} for row in rows]


def ground(title: str, metric: str, trials: int, rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """What a table tells of its searches; nothing where there are no rows.

    Searches are listed with the repeats that each of them has; the winners of budgets are found in the repeats that all
    searches have which were repeated at all.
    """
    names = [name for name in (*USUAL, *RIVALS) if any(row["estimator"] == name for row in rows)]
    if not names:
        return {}
    by_name = {name: {row["repeat"]: row for row in rows if row["estimator"] == name} for name in names}
    repeated = [name for name in names if len(by_name[name]) > 1]
    common = set.intersection(*(set(by_name[name]) for name in repeated))
    shared = [by_name[name][repeat] for repeat in sorted(common) for name in repeated]
    entries = [entry_of(by_name[name], trials) | against(by_name[name], by_name) for name in names]
    return {
        "title": title, "metric": metric, "trials": trials, "entries": entries, "common": len(common),
        "winners": winners(shared) if len(common) > 1 else [],
    }  # fmt: skip


def entry_of(mine: dict[int, dict[str, Any]], trials: int) -> dict[str, Any]:
    """The means of one search over its own repeats, with their intervals."""
    (summarised,) = summary([mine[repeat] for repeat in sorted(mine)])
    keys = ("estimator", "repeats", "regret", "mean_regret", "mean_regret_low", "mean_regret_high")
    points, *stats = summarised["curves"]["regret_after"]
    after = {}
    for count in (count for count in AFTER if count <= trials):
        place = max((i for i, point in enumerate(points) if point <= count), default=0)
        after[str(count)] = [float(column[place]) for column in stats]
    reached = {key: summarised[key] for key in ("found", "to_optimum", "to_optimum_low", "to_optimum_high")}
    reached = {key: None if math.isnan(value) else value for key, value in reached.items()}
    return {key: summarised[key] for key in keys} | reached | {"after": after}


def against(mine: dict[int, dict[str, Any]], by_name: dict[str, dict[int, dict[str, Any]]]) -> dict[str, float]:
    """The area of a search as a share of random search's and of the default's, each with the paired test of the two;
    of the repeats that both have."""
    found: dict[str, float] = {}
    for name, other in by_name.items():
        both = sorted(set(mine) & set(other))
        if name in (CONTROL, DEFAULT) and both:
            own, rival = ([some[repeat]["mean_regret"] for repeat in both] for some in (mine, other))
            word = "random" if name == CONTROL else "default"
            found |= {f"of_{word}": sum(own) / sum(rival), f"p_against_{word}": paired(own, rival)}
    return found


if __name__ == "__main__":
    main()
