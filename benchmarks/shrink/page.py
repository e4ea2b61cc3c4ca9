"""Writes docs/results/shrink.md from docs/results/shrink.json (`transfer.py`, `engine.py`).

python -m benchmarks.shrink.page
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from statistics import mean
from typing import Any

from archscout.core.files import write_text
from benchmarks.common import arguments
from benchmarks.front_door.value_page import percent
from benchmarks.shrink.common import FILE, read

Row = Mapping[str, Any]


def write(rows: Sequence[Row]) -> str:
    """The page."""
    kinds: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        kinds[row["kind"]].append(row)
    lines = ["# Starting from a trained network", "", "Written by `benchmarks/shrink/page.py` from `shrink.json`."]
    if kinds["transfer"]:
        lines += transfer([row for row in kinds["transfer"] if not row["original"]["cuts"]])
        lines += cuts([row for row in kinds["transfer"] if row["original"]["cuts"]])
    lines += engine(kinds["knapsack"], kinds["rating"])
    return "\n".join(lines) + "\n"


def table(titles: Sequence[str], rows: Iterable[Sequence[object]]) -> list[str]:
    lines = ["| " + " | ".join(titles) + " |", "| --- |" + " ---: |" * (len(titles) - 1)]
    return [*lines, *("| " + " | ".join(str(cell) for cell in row) + " |" for row in rows)]


def busy(rows: Sequence[Row]) -> str:
    """The conditions of measurement in one sentence."""
    machines = sorted({str(row["conditions"]["cpu"]) for row in rows} - {""})
    loads = [row["conditions"]["load"] for row in rows]
    where = f" on {', '.join(machines)}" if machines else ""
    return (
        f"One thread{where}; seconds are of the processor. Programs that wanted to run at the same time: "
        f"{min(loads):.0f} to {max(loads):.0f} (two cores), which makes processor seconds dearer than on a quiet one."
    )


def transfer(rows: Sequence[Row]) -> list[str]:
    """Accuracy by seconds."""
    if not rows:
        return []
    groups: dict[tuple[str, float, str], list[Row]] = defaultdict(list)
    for row in rows:
        limits = ", ".join(f"{name} <= {limit}" for name, limit in row["maximum"].items()) or "none"
        groups[row["data"], row["seconds"], limits].append(row)
    shown = [
        (
            data, f"{seconds:g}", limits, len(each), f"{mean(row['cpu_seconds'] for row in each):.0f}",
            f"{100 * mean(row['original']['steps'][0]['valid_accuracy'] for row in each):.1f}",
            percent([row["test"] for row in each]), f"{100 * min(row['test'] for row in each):.1f}",
            f"{max(row['costs']['latency_ms'] for row in each):.1f}",
        )
        for (data, seconds, limits), each in sorted(groups.items())
    ]  # fmt: skip
    return [
        "", "## Transfer", "",
        "EfficientNet-Lite0 with ImageNet weights on the user's images, everything included (timing, head,",
        "fine-tuning, measuring, test, export). Accuracies in percent, with the 95 % interval of the mean over seeds",
        "(Student's t).", "", busy(rows), "",
        *table(
            ("data", "seconds given", "limits", "seeds", "seconds used", "head alone, validation", "test",
             "worst", "latency, worst (ms)"), shown),
    ]  # fmt: skip


def cuts(rows: Sequence[Row]) -> list[str]:
    """Runs under limits that the backbone itself breaks."""
    if not rows:
        return []
    lines = ["", "## Cut to limits", "", busy(rows)]
    for row in rows:
        limits = ", ".join(f"{name} <= {limit}" for name, limit in row["maximum"].items())
        before, after = row["original"]["costs"], row["costs"]
        lines += ["", f"### {row['data']}, {limits}, {row['seconds']:g} s, seed {row['seed']}", ""]
        lines += table(
            ("cost", "original", "result"),
            [(key, f"{before[key]:.4g}", f"{after[key]:.4g}") for key in after if key in before],
        )
        lines += ["", *table(("step", "validation"), [(s["step"], f"{s['valid_accuracy']:.1%}") for s in
                                                      row["original"]["steps"]])]  # fmt: skip
        lines += ["", f"Test {row['test']:.1%}. What was cut:", ""]
        lines += table(
            ("choice", "original", "result"),
            [(cut["choice"], cut["before"], cut["after"]) for cut in row["original"]["cuts"]],
        )
    return lines


def engine(knapsacks: Sequence[Row], ratings: Sequence[Row]) -> list[str]:
    """The engine by itself."""
    if not knapsacks and not ratings:
        return []
    rows = []
    for limits in sorted({row["limits"] for row in knapsacks}):
        times = [row["cpu_seconds"] for row in knapsacks if row["limits"] == limits]
        rows.append((f"knapsack, 60 groups of 16 options, {limits} limit{'s' * (limits > 1)}", f"{max(times):.2f}"))
    rows += [
        (
            f"rating {row['options']} options of {row['network']} alone, {row['examples']} inputs",
            f"{row['cpu_seconds']:.1f}",
        )
        for row in ratings
    ]
    return ["", "## The engine", "", busy([*knapsacks, *ratings]), "", *table(("what", "seconds at most"), rows)]


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--results", type=Path, default=FILE)
    results = parser.parse_args().results
    write_text(results.with_suffix(".md"), write(read(results)))


if __name__ == "__main__":
    main()
