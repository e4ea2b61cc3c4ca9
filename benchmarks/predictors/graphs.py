"""Predictors that are graph networks: on the pruned graph, which they get by default, and on the raw one, as published.

    archscout table import nasbench201 accuracy.parquet --out tables/nasbench201.parquet
    python -m benchmarks.predictors.graphs --table tables/nasbench201.parquet

Clean protocol (`archscout.study`), both encodings on the same repeats: `graph` is the cell as it is written,
`live_graph` the same without zeros, dead nodes and plain wires. Goes on where it was stopped. Writes
docs/results/predictors_graphs.md and .json.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from archscout.core.files import write_text
from archscout.study.estimators import Plan, compare
from archscout.study.summary import interval
from archscout.tables.table import Table
from benchmarks.common import RESULTS, arguments, write_result

NAMES = ("pinat", "fr_nas", "gin", "brp_nas", "acenas", "nar")
PUBLISHED = {("pinat", 78): 0.549, ("pinat", 156): 0.631}
"""Kendall's tau that the authors report, by how many architectures were learned from."""


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--table", type=Path, required=True)
    parser.add_argument("--metric", default="c10_test_200")
    parser.add_argument("--sizes", default="50,78,156")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--names", default=",".join(NAMES))
    parser.add_argument("--runs", type=Path, default=Path("runs/predictors_graphs"))
    options = parser.parse_args()
    table = Table.open(options.table)
    names = tuple(f"{name}:encoding={graph}" for name in options.names.split(",") for graph in ("graph", "live_graph"))
    rows = compare(
        table, Plan(names, tuple(map(int, options.sizes.split(","))), options.repeats), options.runs,
        metric=options.metric, progress=lambda done, total: print(f"{done} of {total}", flush=True),
    )  # fmt: skip
    found = {"table": table.name, "metric": options.metric, "entries": entries(rows)}
    write_result(RESULTS / "predictors_graphs.json", found)
    write_text(RESULTS / "predictors_graphs.md", report(found))


def entries(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """One a predictor, graph and size: the mean of Kendall's tau, its interval, and each repeat."""
    grouped: dict[tuple[str, int], list[dict[str, Any]]] = {}
    for row in rows:
        grouped.setdefault((row["estimator"], row["train"]), []).append(row)
    made = []
    for (name, train), some in grouped.items():
        taus = [row["kendall"] for row in some]
        mean, low, high = interval(taus)
        predictor, _, graph = name.partition(":encoding=")
        made.append(
            {"estimator": predictor, "graph": graph, "train": train, "repeats": len(some), "kendall": mean, "low": low,
             "high": high, "each": taus, "fit_seconds": interval([row["fit_seconds"] for row in some])[0]}
        )  # fmt: skip
    return made


def report(found: dict[str, Any]) -> str:
    by = {(e["estimator"], e["train"], e["graph"]): e for e in found["entries"]}
    lines = [
        "# Graph networks: what pruning the graph is worth",
        "",
        f"Made by `benchmarks/predictors/graphs.py` on {found['table']}, `{found['metric']}`, clean protocol: "
        "Kendall's tau-b, mean over repeats with its 95 % bootstrap interval, the same repeats for both graphs. *Raw*: "
        "the cell as it is written, which is what the publications read; *pruned*: without zeros, dead nodes and plain "
        "wires, which is what these predictors get here by default. What a predictor gains is the pruning's, not its "
        "own.",
        "",
        "| predictor | learned from | repeats | raw graph | pruned graph | published, raw |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for name, train in dict.fromkeys((name, train) for name, train, _ in by):
        raw, pruned = by[name, train, "graph"], by[name, train, "live_graph"]
        published = PUBLISHED.get((name, train))
        lines.append(f"| {name} | {train} | {raw['repeats']} | {told(raw)} | {told(pruned)} | {published or ''} |")
    return "\n".join(lines) + "\n"


def told(entry: dict[str, Any]) -> str:
    return f"{entry['kendall']:.3f} [{entry['low']:.3f}, {entry['high']:.3f}]"


if __name__ == "__main__":
    main()
