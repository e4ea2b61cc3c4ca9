"""Writes docs/results/shrink.md from docs/results/shrink.json (`transfer.py`, `engine.py`) and its neighbours
`shrink_cuts.json` (`cuts.py`), `shrink_rival.json` (`rival.py`) and `shrink_again.json` (`again.py`).

python -m benchmarks.shrink.page
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from statistics import mean
from typing import Any

from archscout.core.files import write_text
from archscout.spaces.trained import SIZE
from benchmarks.common import arguments, read_result
from benchmarks.front_door.value_page import percent
from benchmarks.shrink.common import FILE, read

Row = Mapping[str, Any]


def write(results: Path = FILE) -> str:
    """The page, from a file of results and its neighbours."""
    rows = read(results)
    cut, rival, again = (
        read_result(results.with_name(f"{results.stem}_{each}.json")).get("rows", [])
        for each in ("cuts", "rival", "again")
    )
    kinds: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        kinds[row["kind"]].append(row)
    lines = ["# Starting from a trained network", "", "Written by `benchmarks/shrink/page.py` from `shrink*.json`."]
    if kinds["transfer"]:
        lines += transfer([row for row in kinds["transfer"] if not row["original"]["cuts"]])
        lines += cuts([row for row in kinds["transfer"] if row["original"]["cuts"]])
    lines += engine(kinds["knapsack"], kinds["rating"], kinds["choosing"])
    lines += measured_cuts(cut) + against_pruning(rival) + measured_again(again)
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
            between(int(row["space"].partition("size=")[2] or SIZE) for row in each),
            between(row["epochs"] for row in each),
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
            ("data", "seconds given", "limits", "seeds", "seconds used", "pixels a side", "passes",
             "head alone, validation", "test", "worst", "latency, worst (ms)"), shown),
    ]  # fmt: skip


def between(values: Iterable[int]) -> str:
    """The least and the most of some numbers."""
    least, *_, most = sorted([*values] * 2)
    return f"{least}" if least == most else f"{least} to {most}"


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


def engine(knapsacks: Sequence[Row], ratings: Sequence[Row], choices: Sequence[Row]) -> list[str]:
    """The engine by itself."""
    measured = [*knapsacks, *ratings, *choices]
    if not measured:
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
    rows += [
        (
            f"choosing what to cut of {row['network']} for {row['share']:.0%} of its latency "
            f"({row['rated']} architectures rated whole), and cutting it",
            f"{row['cpu_seconds']:.1f}",
        )
        for row in choices
    ]
    return ["", "## The engine", "", busy(measured), "", *table(("what", "seconds at most"), rows)]


def measured_cuts(rows: Sequence[Row]) -> list[str]:
    """Shares of the backbone's own latency, in one step and gradually."""
    if not rows:
        return []
    first = rows[0]
    measured = [value <= row["limit_ms"] for row in rows for value in row["measured_ms"]]
    shown = [
        (
            f"{row['share']:.0%}", row["how"], row["seed"], f"{100 * row['original']:.1f}", f"{100 * row['test']:.1f}",
            f"{row['limit_ms']:.2f}", f"{max(row['measured_ms']):.2f}", f"{row['params'] / 1e6:.2f}",
            f"{row['cpu_seconds']:.0f}",
        )
        for row in sorted(rows, key=lambda row: (-row["share"], row["how"], row["seed"]))
    ]  # fmt: skip
    return [
        "", "## Cuts to shares of its own latency", "",
        f"EfficientNet-Lite0 at 96 pixels on {first['data']}, transferred once, cut to a share of its latency;",
        f"choosing and recovery have {first['seconds']:g} processor seconds, `gradually` as many in two rounds.",
        f"Measured again, networks keep their limit in {sum(measured)} of {len(measured)} cases. Test accuracies in",
        "percent.", "", busy(rows), "",
        *table(
            ("limit", "how", "seed", "before", "after", "limit, ms", "measured, worst, ms", "parameters, M", "seconds"),
            shown,
        ),
    ]  # fmt: skip


def against_pruning(rows: Sequence[Row]) -> list[str]:
    """ResNet-20 to the same measured latency by the engine and by Torch-Pruning."""
    if not rows:
        return []
    first = rows[0]
    names = {"engine": "Archscout", "magnitude": "Torch-Pruning, magnitude", "taylor": "Torch-Pruning, Taylor"}
    shown = [
        (
            f"{row['share']:.0%}", names[row["way"]], row["seed"], f"{100 * row['test']:.1f}",
            f"{100 * (row['test'] - row['original']):+.1f}", f"{row['limit_ms']:.3f}", f"{row['measured_ms']:.3f}",
            f"{row['macs'] / 1e6:.1f}", f"{row['cpu_seconds']:.0f}",
        )
        for row in sorted(rows, key=lambda row: (-row["share"], row["way"], row["seed"]))
    ]  # fmt: skip
    return [
        "", "## ResNet-20 against Torch-Pruning", "",
        f"Trained from nothing on {first['examples']:,} images of CIFAR-10 (as JPEG) for {first['train_seconds']:g}",
        f"processor seconds, to {100 * first['original']:.1f} % of the test images right with",
        f"{first['original_macs'] / 1e6:.1f} M multiply-adds; then cut to a share of its measured latency. Each way",
        "has the same processor time for choosing and fine-tuning together, and the same fine-tuning; the ratio of",
        "Torch-Pruning is found by measuring.", "",
        *(f"- {line}" for line in against(rows)), "", busy(rows), "",
        *table(
            ("limit", "by", "seed", "test", "change", "limit, ms", "measured, ms", "multiply-adds, M", "seconds"), shown
        ),
    ]  # fmt: skip


def against(rows: Sequence[Row]) -> list[str]:
    """Whether the engine's networks are better than each rival's, seed by seed, and what was measured twice."""
    told = []
    for share in sorted({row["share"] for row in rows}, reverse=True):
        own = {(row["way"], row["seed"]): row for row in rows if row["share"] == share}
        seeds = sorted(seed for way, seed in own if way == "engine")
        for way in sorted({way for way, _ in own} - {"engine"}):
            pairs = [
                100 * (own["engine", seed]["test"] - own[way, seed]["test"]) for seed in seeds if (way, seed) in own
            ]
            judged = "better" if min(pairs) > 0 else "worse" if max(pairs) < 0 else "not better"
            points = ", ".join(f"{value:+.1f}" for value in pairs)
            told.append(f"At {share:.0%} of the latency Archscout is {judged} than {way}: {points} points by seed.")
        times = [own["engine", seed]["original_ms"] for seed in seeds]
        if max(times) > 1.2 * min(times):
            told.append(
                f"The whole network took {min(times):.2f} to {max(times):.2f} ms by seed, for other programs ran: "
                "limits differ between seeds, not within one."
            )
    kept = sum(row["measured_ms"] <= row["limit_ms"] for row in rows)
    told.append(f"Measured once more at the end, {kept} of {len(rows)} networks keep their limit.")
    return told


def measured_again(rows: Sequence[Row]) -> list[str]:
    """Finished networks of runs under limits, loaded and measured anew."""
    if not rows:
        return []
    kept = [value <= row["limit_ms"] for row in rows for value in row["again_ms"]]
    shown = [
        (
            f"{row['share']} %", row["seed"], f"{row['limit_ms']:.3f}", f"{row['measured_ms']:.3f}",
            f"{min(row['again_ms']):.3f}", f"{max(row['again_ms']):.3f}",
            f"{sum(value <= row['limit_ms'] for value in row['again_ms'])} of {len(row['again_ms'])}",
        )
        for row in sorted(rows, key=lambda row: (-row["share"], row["seed"]))
    ]  # fmt: skip
    return [
        "", "## Limits, measured again", "",
        "ResNet-20 shrunk to shares of its own latency; each finished run is loaded and measured anew, as whoever",
        f"uses it would: limits are kept in {sum(kept)} of {len(kept)} cases. Milliseconds.", "", busy(rows), "",
        *table(("limit", "seed", "limit, ms", "in its run", "again, least", "again, most", "kept"), shown),
    ]  # fmt: skip


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--results", type=Path, default=FILE)
    results = parser.parse_args().results
    write_text(results.with_suffix(".md"), write(results))


if __name__ == "__main__":
    main()
