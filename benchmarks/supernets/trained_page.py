"""Writes docs/results/trained-supernets.md from what `elastic.py`, `many_limits.py`, `survival.py`,
`shrink/replacement.py` and `shrink/replaced.py` have measured.

python -m benchmarks.supernets.trained_page
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from archscout.core.files import write_text
from archscout.study.summary import interval
from benchmarks.common import RESULTS, arguments, read_result
from benchmarks.shrink.page import table

Row = Mapping[str, Any]


def cell(values: Iterable[float], digits: int = 1, factor: float = 100.0) -> str:
    """The mean of repeats with its interval, in percent unless told otherwise; a single one as it is."""
    repeats = [factor * value for value in values]
    mean, low, high = interval(repeats)
    if len(repeats) == 1:
        return f"{mean:.{digits}f}"
    return f"{mean:.{digits}f} [{low:.{digits}f}, {high:.{digits}f}]"


def elastic(rows: Sequence[Row]) -> list[str]:
    """The corners of a space, and the order of random architectures; a table for each number of passes."""
    truth = [row for row in rows if row["kind"] == "truth"]
    passes = sorted({row["asked"] for row in rows if row["kind"] == "supernet"})
    if not passes:
        return []
    lines = [
        "",
        "## One training for an elastic space",
        "",
        "`benchmarks/supernets/elastic.py`: handwritten digits, `mobile:width=8,stages=2,depth=2`, as many passes of a "
        "batch for every system. Test accuracy (percent) by inherited weights of the corners of the space and of "
        f"{len(truth)} random architectures; rank correlation of the latter with training each of them alone for "
        f"{truth[0]['passes']} passes, and the same with multiply-adds regressed out of both. `each alone`: a corner "
        "trained alone with as many passes as a whole supernet gets.",
    ]
    for count in passes:
        lines += ["", f"{count:,} passes:", "", *corners([row for row in rows if row.get("asked") == count], truth)]
    return lines


def corners(rows: Sequence[Row], truth: Sequence[Row]) -> list[str]:
    """A table of systems that had as many passes."""
    supernets, alone = ([row for row in rows if row["kind"] == kind] for kind in ("supernet", "alone"))
    names = list(supernets[0]["corners"])
    lines = []
    for system in dict.fromkeys(row["system"] for row in supernets):
        own = [row for row in supernets if row["system"] == system]
        lines.append(
            [
                system, len(own), *(cell([row["corners"][name] for row in own]) for name in names),
                cell([row["random"] for row in own]), cell([row["spearman"] for row in own], 2, 1),
                cell([row["partial"] for row in own], 2, 1), cell([row["seconds"] for row in own], 0, 1),
            ]
        )  # fmt: skip
    if alone:
        values = {name: [row["accuracy"] for row in alone if row["corner"] == name] for name in names}
        counts = len(min(values.values(), key=len))
        cells = [cell(values[name]) if values[name] else "" for name in names]
        took = cell([row["seconds"] for row in alone], 0, 1)
        lines.append(["each alone", counts, *cells, cell([row["accuracy"] for row in truth]), "", "", took])
    titles = ["system", "seeds", *names, "random", "Spearman", "without multiply-adds", "CPU s"]
    return table(titles, lines)


def many_limits(rows: Sequence[Row]) -> list[str]:
    """One training for several limits."""
    if not rows:
        return []
    names = list(rows[0]["accuracies"])
    lines = [
        [
            name,
            *(cell([row["accuracies"][name][place] for row in rows]) for place in range(3)),
            cell([row["seconds"].get(name, 0.0) for row in rows], 0, 1),
        ]
        for name in names
    ]
    return [
        "",
        "## One training for several limits",
        "",
        f"`benchmarks/supernets/many_limits.py`, {len(rows)} seeds: a trained residual network on handwritten digits "
        f"(test accuracy {cell([row['original'] for row in rows])} %), cut for three limits of multiply-adds; "
        f"{rows[0]['passes']:,} passes in all. Test accuracy, percent. `none`: cut, with batch normalisation "
        "estimated anew. "
        "`searched`: what evolution on inherited scores finds under the limit, in place of what was cut.",
        "",
        *table(["training", "60 %", "30 %", "15 %", "CPU s"], lines),
        "",
        "Mean over the limits: " + "; ".join(f"{name} {100 * mean_of(rows, name):.1f}" for name in names) + ".",
    ]


def mean_of(rows: Sequence[Row], name: str) -> float:
    """The accuracy of a way of training, mean over seeds and limits."""
    values = [value for row in rows for value in row["accuracies"][name]]
    return sum(values) / len(values)


def survival(rows: Sequence[Row]) -> list[str]:
    """What PAD-NAS leaves."""
    if not rows:
        return []
    lines = []
    for grouped, (number, first) in itertools.product((False, True), enumerate(rows[0]["left"])):
        own = [row["left"][number] for row in rows if row["grouped"] == grouped]
        if not own:
            continue
        lines.append(
            [
                "grouped" if grouped else "uniform",
                len(own),
                first["round"], f"{first['networks']:,}", cell([each["best"] for each in own]),
                f"{100 * first['at_random']:.1f}", cell([each["accuracy"] for each in own], 2, 1),
            ]
        )  # fmt: skip
    return [
        "",
        "## What PAD-NAS leaves of NAS-Bench-201",
        "",
        f"`benchmarks/supernets/survival.py`, {rows[0]['steps']:,} steps in all: the share of "
        "the truly "
        "best 1 % that is still in the space, beside the expectation where options go at random (percent), and "
        "the mean true "
        "accuracy of what is left (87.06 in the whole space).",
        "",
        *table(["paths", "seeds", "round", "networks left", "of the best 1 %", "at random", "accuracy left"], lines),
    ]


def replacement(result: Row) -> list[str]:
    """Blocks of a backbone against single convolutions."""
    if not result:
        return []
    rows, whole = result["rows"], result["whole"]
    lines = [
        [f"`{row['block']}`", "x".join(map(str, row["shape"])), f"{row['before']:.3f}", f"{row['after']:.3f}",
         f"{row['before'] / row['after']:.2f}", f"{row['harm']:.3f}"]
        for row in rows
    ]  # fmt: skip
    quicker = [row for row in rows if row["after"] < row["before"]]
    least = whole - sum(row["before"] - row["after"] for row in quicker)
    return [
        "",
        "## Blocks of EfficientNet-Lite0 against single convolutions",
        "",
        f"`benchmarks/shrink/replacement.py`: {result['side']} pixels, ONNX Runtime, one thread; milliseconds of "
        "a block and of "
        "a 3 x 3 convolution of the same shape, and the divergence of the backbone's answers when it is "
        "replaced, fitted and "
        f"not trained. {len(quicker)} of {len(rows)} would be quicker; with all of these replaced the network "
        "would take "
        f"{least:.2f} of {whole:.2f} ms ({whole / least:.2f} times as quick).",
        "",
        *table(["block", "input", "block, ms", "convolution, ms", "times as quick", "harm"], lines),
    ]


WAYS = {"whole": "as it is", "replaced": "blocks replaced", "cut": "channels cut"}


def replaced(rows: Sequence[Row]) -> list[str]:
    """A backbone with blocks replaced, trained, beside itself and its cuts."""
    if not rows:
        return []
    lines = []
    for way, share in sorted(
        {(row["way"], row["share"]) for row in rows}, key=lambda key: (list(WAYS).index(key[0]), key[1])
    ):
        own = [row for row in rows if (row["way"], row["share"]) == (way, share)]
        count = sum(row["architecture"].count("form=convolution") for row in own) / len(own)
        lines.append(
            [
                WAYS[way], "" if way == "whole" else share, len(own), cell([row["original"] for row in own], 2, 1),
                cell([row["milliseconds"] for row in own], 2, 1), cell([row["params"] for row in own], 2, 1e-6),
                cell([row["macs"] for row in own], 0, 1e-6), f"{count:g}" if way == "replaced" else "",
                cell([row["test"] for row in own]),
            ]
        )  # fmt: skip
    first = rows[0]
    return [
        "",
        f"`benchmarks/shrink/replaced.py`: the same after training, {first['data']}, {first['seconds']:g} processor "
        "seconds for each way, transfer included; milliseconds in ONNX Runtime, of the whole network as its run "
        "measured it, and of what came out. A limit in percent is a share of the former.",
        "",
        *(f"- {line}" for line in judged(rows)),
        "",
        *table(
            [
                "way",
                "limit",
                "seeds",
                "whole, ms",
                "ms",
                "parameters, M",
                "multiply-adds, M",
                "blocks replaced",
                "test",
            ],
            lines,
        ),
    ]


QUICKER, POINTS = 1.3, 1.0
"""Times as quick as the whole network, and points of accuracy lost at most, that replacing blocks should come to."""


def judged(rows: Sequence[Row]) -> list[str]:
    """Whether replacing does, by seed, beside the whole network's run and its cuts."""
    whole = {row["seed"]: row for row in rows if row["way"] == "whole"}
    told = []
    for row in rows:
        if row["way"] == "whole" or row["seed"] not in whole:
            continue
        beside = whole[row["seed"]]
        times, lost = beside["milliseconds"] / row["milliseconds"], 100 * (beside["test"] - row["test"])
        if row["architecture"] == "whole":
            told.append(
                f"{WAYS[row['way']].capitalize()}, limit {row['share']}, seed {row['seed']}: nothing was, for the "
                f"whole network took {row['original']:.2f} ms on a busy machine when its limit was set; no answer."
            )
            continue
        holds = "holds" if times >= QUICKER and lost <= POINTS else "does not hold"
        told.append(
            f"{WAYS[row['way']].capitalize()}, limit {row['share']}, seed {row['seed']}: {times:.2f} times as quick as "
            f"the whole network, {lost:.1f} points lost; {QUICKER:g} times at {POINTS:g} point {holds}."
        )
    return told


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--out", type=Path, default=RESULTS / "trained-supernets.md")
    out = parser.parse_args().out
    rows = {
        name: read_result(RESULTS / f"supernets_{name}.json").get("rows", [])
        for name in ("elastic", "many_limits", "survival")
    }
    lines = [
        "# Supernets of elastic spaces and of trained networks",
        "",
        "Written by `benchmarks/supernets/trained_page.py`. Intervals are 95 % bootstrap intervals over seeds. "
        "One thread; CPU "
        "seconds are of the training alone, beside other programs.",
        *elastic(rows["elastic"]),
        *many_limits(rows["many_limits"]),
        *survival(rows["survival"]),
        *replacement(read_result(RESULTS / "shrink_replacement.json")),
        *replaced(read_result(RESULTS / "shrink_replaced.json").get("rows", [])),
    ]
    write_text(out, "\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
