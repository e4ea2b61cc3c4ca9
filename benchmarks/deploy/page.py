"""The page about what integers cost: docs/results/deploy.md, from the results of the scripts beside it.

python -m benchmarks.deploy.page
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from archscout.core.files import write_text
from benchmarks.common import RESULTS, arguments, read_result
from benchmarks.deploy import estimates, found, joint, mixed_precision, observers, onnxruntime_default, sparsity

Entry = Mapping[str, Any]

_ENOUGH = 3
"""Trainings, below which no difference is called clear."""

EARLIER = (
    "Rows of learned rounding and training are of ranges from evenly spaced numbers, as they were taken before; on the "
    "residual network, the only one that has such rows, outputs of 8 bits are as noisy with either."
)


def main() -> None:
    arguments(__doc__).parse_args()
    result = read_result(RESULTS / "quantisation.json")
    parts = [
        *observers.section(read_result(observers.FILE)["rows"]),
        *onnxruntime_default.section(read_result(onnxruntime_default.FILE).get("rows", [])),
        *mixed_precision.section(read_result(mixed_precision.FILE).get("rows", [])),
        *sparsity.section(read_result(sparsity.FILE)),
        *joint.section(read_result(joint.FILE)),
        *found.section(read_result(found.FILE)),
        *estimates.section(read_result(estimates.FILE)),
    ]
    write_text(RESULTS / "deploy.md", page(result, parts))


def page(result: Mapping[str, Any], parts: Sequence[str]) -> str:
    rows: Sequence[Entry] = result["rows"]
    repeats = sorted({row["repeats"] for row in rows})
    shown = f"{repeats[0]}" if len(repeats) == 1 else f"{repeats[0]} to {repeats[-1]}"
    sections = [
        "# What integers cost",
        "Handwritten digits (1,797 images of 8 x 8, 360 of them for testing, so that one image is 0.28 points), a "
        f"residual network (ResNet-8) and a depthwise one, {shown} trainings of each (column n), by "
        "`python -m benchmarks.deploy.quantisation` and `benchmarks.deploy.page`. Points of accuracy that are lost, "
        "with the 95 % interval over trainings. `papers`: weights and inputs of layers alone, first and last layer of "
        "8 bits; all others are whole integer programs, and what is measured is their integer arithmetic.",
        "## What was expected, and what came out",
        "\n".join(f"- {line}" for line in claims(rows)),
        *part("8 bits, and fewer, rounded to nearest", [r for r in rows if r["algorithm"] == "nearest"], "bits"),
        *part(
            "Rounding that is learned, and training, with weights of 2 bits",
            [r for r in rows if r["bits"] == "w2a8"],
            "algorithm",
        ),
        *part(
            "The same with 4 and 3 bits",
            [r for r in rows if r["bits"] in ("w4a4", "w3a8") and r["algorithm"] != "nearest"],
            "bits",
            "algorithm",
        ),
        *part(
            "Kinds of quantisation-aware training, weights of 2 and activations of 4 bits",
            [r for r in rows if r["bits"] == "w2a4"],
            "algorithm",
        ),
        *parts,
        "## Conditions",
        *([EARLIER] if any(row.get("ranges") for row in rows) else []),
        f"Version {result['version']}, {result.get('cpu', 'an unknown processor')}, one thread. Seconds are of "
        "processor time.",
    ]
    return "\n\n".join(sections) + "\n"


def claims(rows: Sequence[Entry]) -> list[str]:
    """Each expectation beside the figures that bear it out, or do not."""
    by = {(r["architecture"], r["scheme"], r["bits"], r["algorithm"]): r for r in rows}
    said = []
    whole = [r["lost"] for r in rows if r["bits"] == "w8a8"]
    if whole:
        held = "holds" if max(whole) <= 0.5 else "does not hold"
        said.append(f"8 bits lose at most half a point: {held}; the most is {max(whole):.2f}.")
    for bits in ("w4a4", "w3a8", "w2a8"):
        cells = [by.get(key) for key in (
            ("depthwise", "academic", bits, "nearest"), ("residual", "academic", bits, "nearest"),
            ("depthwise", "microcontroller", bits, "nearest"),
        )]  # fmt: skip
        if all(cells):
            depthwise, residual, by_channel = (cell for cell in cells if cell)
            enough = min(cell["repeats"] for cell in (depthwise, residual, by_channel)) >= _ENOUGH
            clear = enough and depthwise["lost_low"] > residual["lost_high"]
            scale = enough and depthwise["lost_low"] > by_channel["lost_high"]
            said.append(
                f"The depthwise network loses most with one scale a tensor ({bits}): {depthwise['lost']:.2f} against "
                f"{residual['lost']:.2f}, {'clearly' if clear else 'which is not sure'}. With a scale a "
                f"channel it loses {by_channel['lost']:.2f}: one scale {'is' if scale else 'is not shown to be'} the "
                "reason."
            )
    for scheme in ("microcontroller", "academic", "papers"):
        for name in ("residual", "depthwise"):
            known = {a: r for a in ("nearest", "adaround", "qdrop", "lsq") if (r := by.get((name, scheme, "w2a8", a)))}
            if len(known) > 1:
                told = ", ".join(f"{a} {r['lost']:.2f} (n {r['repeats']})" for a, r in known.items())
                said.append(
                    f"What 2 bits lose, and what learned rounding and training leave of it ({name}, {scheme}): {told}."
                )
    for scheme in ("papers", "microcontroller"):
        for name in ("residual", "depthwise"):
            lost = {r["algorithm"]: r["lost"] for r in rows
                    if (r["architecture"], r["scheme"], r["bits"]) == (name, scheme, "w2a4")}  # fmt: skip
            if len(lost) > 1:
                best, worst = min(lost, key=lost.__getitem__), max(lost, key=lost.__getitem__)
                said.append(
                    f"Kinds of training lie {lost[worst] - lost[best]:.2f} points apart with {scheme} ({name}): from "
                    f"{best} ({lost[best]:.2f}) to {worst} ({lost[worst]:.2f})."
                )
    return said


def part(title: str, rows: Sequence[Entry], *keys: str) -> list[str]:
    """A heading and its table; nothing where there are no rows."""
    return [f"## {title}", table(rows, *keys)] if rows else []


def table(rows: Sequence[Entry], *keys: str) -> str:
    heads = ["network", "scheme", *keys]
    lines = [
        "| " + " | ".join([*heads, "in floating point", "in integers", "lost", "n", "s"]) + " |",
        "| " + " | ".join(["---"] * len(heads) + ["---:"] * 5) + " |",
    ]
    for r in rows:
        cells = [r["architecture"], r["scheme"], *(r[key] for key in keys)]
        numbers = [
            f"{r['float']:.2%}",
            f"{r['value']:.2%}",
            f"{r['lost']:.2f} ({r['lost_low']:.2f} to {r['lost_high']:.2f})",
        ]
        lines.append("| " + " | ".join([*cells, *numbers, str(r["repeats"]), f"{r['seconds']:.1f}"]) + " |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
