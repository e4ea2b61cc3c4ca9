"""What a proposal costs after 1,000 finished trials.

    archscout table import nasbench201 accuracy.parquet --out tables/nasbench201.parquet
    python -m benchmarks.strategies.proposing --tables tables

A strategy is told of 1,000 random trials of NAS-Bench-201 and asked for a round, which is as many proposals as it makes
between one lesson and the next (a single one where it has none). Seconds of the processor, of a whole round, after one
that nobody times. Writes docs/results/strategies_proposing.json and .md.
"""

from __future__ import annotations

from pathlib import Path
from time import process_time
from typing import Any

from archscout.core.files import write_text
from archscout.core.registry import create, names
from archscout.core.seeds import stream
from archscout.core.space import Space
from archscout.core.strategy import Strategy
from archscout.core.trial import History, Trial
from archscout.tables.table import Table
from archscout.tables.within import within
from benchmarks.common import RESULTS, Rows, arguments, read_result

KNOWN = 1000
METRIC = "c10v_valid_200"
FILE = RESULTS / "strategies_proposing.json"


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--tables", type=Path, default=Path("tables"))
    parser.add_argument("--only", default="", help="these strategies alone, joined by commas")
    parser.add_argument("--report", action="store_true", help="run nothing: the page of what is there")
    options = parser.parse_args()
    if not options.report:
        table = Table.open(options.tables / "nasbench201.parquet")
        space, history = within(table, METRIC), told(table)
        rows = Rows(FILE, ("strategy",), sort=True)
        for name in options.only.split(",") if options.only else names("strategy"):
            strategy = create("strategy", name)
            rows.add({"strategy": name, "round": round_of(strategy), "seconds": cost(space, strategy, history)})
    write_text(FILE.with_suffix(".md"), page(read_result(FILE)["rows"]))


def told(table: Table) -> History:
    """Random trials of the table."""
    space, values = within(table, METRIC), table.values(METRIC)
    rng = stream(0, "proposing")
    history = History()
    while len(history) < KNOWN:
        one = space.simplify(space.sample(rng))
        canonical = space.canonical(one)
        if canonical not in history.seen:
            value = float(values[table.numbers[canonical]])
            history.append(Trial(len(history), one, canonical, "trained", None, "completed", value, {}))
    return history


def round_of(strategy: Strategy) -> int:
    """How many proposals it makes between one lesson and the next."""
    return int(getattr(strategy, "batch", 1))


def cost(space: Space, strategy: Strategy, known: History) -> float:
    """Seconds of the processor for a round, without what is done once in a process: another round goes before it."""
    history = History(known)
    history.pending = []
    seconds = 0.0
    for turn in range(2):
        began = process_time()
        for place in range(round_of(strategy)):
            one = strategy.propose(space, history, stream(turn, "proposing", place))
            canonical = space.canonical(one)
            history.append(Trial(len(history), one, canonical, "trained", None, "completed", 0.5, {}))
        seconds = process_time() - began
    return round(seconds, 3)


def page(rows: list[dict[str, Any]]) -> str:
    lines = [
        "# What proposals cost",
        "",
        f"Made by `benchmarks/strategies/proposing.py`. After {KNOWN:,} trials of NAS-Bench-201: seconds of one core "
        "for a round of proposals, the lesson of a predictor included.",
        "",
        "| strategy | proposals of a round | seconds |",
        "| --- | --- | --- |",
        *(f"| {row['strategy']} | {row['round']} | {row['seconds']:.2f} |" for row in rows),
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
