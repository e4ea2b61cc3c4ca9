"""Warm starts and advisers on tables: what a start saves, and what somebody else's random proposals cost.

    python -m benchmarks.strategies.warm --tables tables

Adviser: in a loop of ask and tell, each trial is, with a probability of 0.3, a random architecture that somebody else
has proposed. Start: the search begins with the best 10 of another table (`--start`), or with the 10 that FLAN, trained
on another table alone, expects most of. The area is the mean regret after each of the trainings, in points; repeats of
one seed are paired. Writes docs/results/strategies_warm.json and .md.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from archscout.core.files import write_text
from archscout.core.registry import create
from archscout.core.seeds import stream
from archscout.core.space import Space
from archscout.core.strategy import AskTell
from archscout.core.trial import Trial
from archscout.study.simulated import simulate
from archscout.study.summary import interval, paired
from archscout.tables.load import load
from archscout.tables.table import Table
from archscout.tables.within import within
from benchmarks.common import RESULTS, Rows, arguments, read_result

SHARE = 0.3
TRIALS, STARTED = 100, 50
"""Trainings with an adviser, and after a start."""

STRATEGIES = ("evolution", "local_search", "kernel_density", "bayesian")
GROUNDS = (("nasbench201", "c10v_valid_200"), ("nasbench201-digits", "valid_accuracy"))
TARGETS = GROUNDS[:1]
SOURCES = {"nasbench201-digits": "the best 10 of digits", "nasbench101": "10 by FLAN from NAS-Bench-101"}
FILE = RESULTS / "strategies_warm.json"


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--tables", type=Path, default=Path("tables"))
    parser.add_argument("--repeats", type=int, default=20)
    parser.add_argument("--only", default=",".join((*STRATEGIES, "start")), help="strategies, or start, by commas")
    parser.add_argument("--report", action="store_true", help="run nothing: the page of what is there")
    options = parser.parse_args()
    if not options.report:
        rows = Rows(FILE, ("part", "table", "metric", "strategy", "with", "repeat"), sort=True)
        only = options.only.split(",")
        for repeat in range(options.repeats):
            for row in measured(options, only, repeat):
                if not rows.has(**row):
                    area = with_adviser(options, row) if row["part"] == "adviser" else with_start(options, row)
                    rows.add(row | {"area": area})
    write_text(FILE.with_suffix(".md"), page(read_result(FILE)["rows"]))


def measured(options: argparse.Namespace, only: list[str], repeat: int) -> Iterator[dict[str, Any]]:
    """What is to be measured, without its area."""
    for table, metric in GROUNDS:
        for strategy in STRATEGIES:
            for what in ("nobody", "adviser") if strategy in only else ():
                yield {"part": "adviser", "table": table, "metric": metric, "strategy": strategy, "with": what,
                       "repeat": repeat}  # fmt: skip
    for table, metric in TARGETS if "start" in only else ():
        for source in ("nothing", *SOURCES):
            yield {"part": "start", "table": table, "metric": metric, "strategy": "bayesian", "with": source,
                   "repeat": repeat}  # fmt: skip


@cache
def opened(tables: Path, name: str) -> Table:
    file = tables / f"{name}.parquet"
    return Table.open(file) if file.is_file() else load(name)


@cache
def space_of(table: Table, metric: str) -> Space:
    return within(table, metric)


def with_adviser(options: argparse.Namespace, row: dict[str, Any]) -> float:
    table = opened(options.tables, row["table"])
    space, values = space_of(table, row["metric"]), np.asarray(table.values(row["metric"]))
    loop = AskTell(create("strategy", row["strategy"]), space, seed=row["repeat"])
    adviser = stream(row["repeat"], "adviser")
    seen: set[str] = set()
    found: list[float] = []
    while len(found) < TRIALS:
        advised = row["with"] == "adviser" and adviser.random() < SHARE
        one = space.sample(adviser) if advised else loop.ask()
        canonical = space.canonical(one)
        value = float(values[table.numbers[canonical]])
        if canonical not in seen:
            found.append(value)
        seen.add(canonical)
        loop.tell(Trial(len(loop.history), one, canonical, "trained", None, "completed", value))
    return float(np.mean(np.nanmax(values) - np.maximum.accumulate(found)))


def with_start(options: argparse.Namespace, row: dict[str, Any]) -> float:
    table, source = opened(options.tables, row["table"]), row["with"]
    file = options.tables / f"{source}.parquet"
    start = None if source == "nothing" else file if file.is_file() else source
    found = simulate(table, row["strategy"], f"{STARTED}trials", row["repeat"], metric=row["metric"], start=start)
    return float(np.mean([found.regret_after(count) for count in range(1, STARTED + 1)]))


def page(rows: list[dict[str, Any]]) -> str:
    lines = [
        "# Warm starts and advisers",
        "",
        "Made by `benchmarks/strategies/warm.py`. Area: points of accuracy between the best network so far and the "
        "best of the table, mean over all trainings; mean over repeats with its 95 % bootstrap interval. "
        "Difference: paired by repeat, with its interval; p: Wilcoxon's signed rank test.",
    ]
    parts = {
        "adviser": f"Somebody else proposes {SHARE:.0%} of {TRIALS} trainings, at random, by ask and tell",
        "start": f"{STARTED} trainings of `bayesian`, of which the first 10 are those of a start (`--start`)",
    }
    for part, title in parts.items():
        some = [row for row in rows if row["part"] == part]
        lines += ["", f"## {title}", "", "| table | strategy | with | n | alone | area | difference | p |"]
        lines += ["| --- " * 8 + "|"]
        groups = dict.fromkeys((row["table"], row["metric"], row["strategy"]) for row in some)
        for table, metric, strategy in groups:
            areas: dict[str, dict[int, float]] = {}
            for row in some:
                if (row["table"], row["metric"], row["strategy"]) == (table, metric, strategy):
                    areas.setdefault(row["with"], {})[row["repeat"]] = row["area"]
            lines += [line(table, metric, strategy, areas, what) for what in areas if what not in ("nobody", "nothing")]
    return "\n".join(lines) + "\n"


def line(table: str, metric: str, strategy: str, areas: dict[str, dict[int, float]], what: str) -> str:
    alone = areas.get("nobody") or areas.get("nothing") or {}
    both = sorted(set(alone) & set(areas[what]))
    ours, theirs = ([100 * of[repeat] for repeat in both] for of in (areas[what], alone))
    mean, low, high = interval([a - b for a, b in zip(ours, theirs, strict=True)])
    return (
        f"| {table}, {metric} | {strategy} | {SOURCES.get(what, 'random proposals')} | {len(both)} | {shown(theirs)} | "
        f"{shown(ours)} | {mean:+.2f} [{low:+.2f}, {high:+.2f}] | {paired(ours, theirs):.2g} |"
    )


def shown(values: list[float]) -> str:
    mean, low, high = interval(values)
    return f"{mean:.2f} [{low:.2f}, {high:.2f}]"


if __name__ == "__main__":
    main()
