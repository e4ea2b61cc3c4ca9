"""How many questions a second a table answers, alone and inside a simulated search.

    python -m benchmarks.tables.queries
    python -m benchmarks.tables.queries --table nasbench201.parquet

Without --table, a table of all 15,625 architectures of NAS-Bench-201 with made-up values is written and used. Three
things are told apart: looking values up; a simulated search being asked for trainings, which it answers with whole
trials; and searches by strategies, most of whose time goes into proposing. Each is the best of several repeats.
Writes docs/results/table_queries.json.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from archscout.core.budget import Budget
from archscout.core.registry import create
from archscout.core.seeds import stream
from archscout.study.simulated import SimulatedRun, simulate
from archscout.tables.metric import Metric
from archscout.tables.table import Table, write
from benchmarks.common import RESULTS, arguments, machine, write_result


def make(file: Path) -> Table:
    """Every architecture of NAS-Bench-201, with values and seconds that are made up."""
    texts = [architecture.text for architecture in create("space", "nasbench201")]
    values = [0.5 + 0.05 * text.count("3x3~") + 0.02 * text.count("1x1") for text in texts]
    columns = {"architecture": texts, "accuracy": values, "time": [100 * value for value in values]}
    metrics = [Metric("accuracy", epochs=200), Metric("time", "seconds", epochs=200)]
    return write(file, "nasbench201", columns, metrics, default="accuracy")


def best(repeats: int, work: Callable[[], int]) -> dict[str, float]:
    """The quickest of several repeats: how many were answered, in what time."""
    fastest, count = float("inf"), 0
    for _ in range(repeats):
        began = time.perf_counter()
        count = work()
        fastest = min(fastest, time.perf_counter() - began)
    return {"count": count, "seconds": round(fastest, 5), "per_second": round(count / fastest)}


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--table", help="a table's name or file; made up if not given")
    parser.add_argument("--trials", type=int, default=1000, help="trainings of each search")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--out", type=Path, default=RESULTS / "table_queries.json")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        result = measure(options, Path(folder))
    write_result(options.out, result)
    print(json.dumps(result, indent=2))


def measure(arguments: argparse.Namespace, folder: Path) -> dict[str, Any]:
    from archscout.tables.load import load

    began = time.perf_counter()
    table = load(arguments.table) if arguments.table else make(folder / "made.parquet")
    made = time.perf_counter() - began
    began = time.perf_counter()
    again = Table.open(table.path, table.space)
    again.value(again.architectures[0])
    opened = time.perf_counter() - began
    architectures = [table.space.parse(text) for text in table.architectures]
    order = stream(0, "benchmark").permutation(len(architectures)).tolist()
    shuffled = [architectures[place] for place in order]

    def look_up() -> int:
        for architecture in shuffled:
            table.value(architecture)
        return len(shuffled)

    def train() -> int:
        run = SimulatedRun(table, Budget())
        return len(run.evaluate(shuffled, "trained"))

    def searching(strategy: str) -> Callable[[], int]:
        return lambda: len(simulate(table, strategy, f"{arguments.trials}trials").trials)

    return {
        "asked": {"table": arguments.table or "made up, nasbench201", "trials": arguments.trials},
        "rows": len(table),
        "networks": len(table.first_rows),
        ("load" if arguments.table else "write_with_canonical_index"): {"seconds": round(made, 3)},
        "open_and_first_value": {"seconds": round(opened, 3)},
        "values_looked_up": best(arguments.repeats, look_up),
        "trainings_answered_in_a_simulated_search": best(arguments.repeats, train),
        "whole_search_random": best(arguments.repeats, searching("random")),
        "whole_search_evolution": best(arguments.repeats, searching("evolution")),
        "conditions": machine(),
    }


if __name__ == "__main__":
    main()
