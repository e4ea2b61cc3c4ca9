"""docs/results/tasks.md, from the rows of `kinds.py`.

python -m benchmarks.tasks.kinds_page
"""

from __future__ import annotations

from statistics import mean
from typing import Any

from archscout.core.files import write_text
from benchmarks.common import RESULTS, arguments, read_result
from benchmarks.tasks.kinds import CELLS, CONTENDERS, FILE

TITLES = {
    "lines": "lines of 4 to 8 digits (character error rate)",
    "spoken": "spoken digits, other speakers (accuracy)",
    "camvid": "CamVid 60 x 80 (mean intersection over union)",
}


def main() -> None:
    arguments(__doc__).parse_args()
    rows = read_result(FILE).get("rows", [])
    write_text(RESULTS / "tasks.md", page(rows))


def page(rows: list[dict[str, Any]]) -> str:
    lines = [
        "# Tasks beyond one label an image",
        "",
        "`archscout search` as it comes, one worker, against a network written by hand in plain PyTorch "
        "(`benchmarks/tasks/hand_made.py`: U-Net, CRNN, FCN, four convolutions over a spectrogram), each given the "
        "same processor time on one core. Made by `python -m benchmarks.tasks.kinds` and `kinds_page`; means over "
        "seeds, with the smallest and largest.",
        "",
        "| data | minutes | seeds | by hand | search | published | ms by hand | ms search |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for cell in CELLS:
        found = {name: [row for row in rows if row["cell"] == cell.name and row["contender"] == name and "test" in row]
                 for name in CONTENDERS}  # fmt: skip
        if not any(found.values()):
            continue
        inception = next(
            (row["inception_time"] for some in found.values() for row in some if "inception_time" in row), None
        )
        lines.append("| " + " | ".join([
            TITLES.get(cell.name, f"{cell.name} (accuracy)"), f"{cell.minutes:g}",
            "/".join(str(len(some)) for some in found.values()),
            *(shares([row["test"] for row in some]) for some in found.values()),
            "–" if inception is None else f"{inception:.1%} (InceptionTime)",
            *(times(some) for some in found.values()),
        ]) + " |")  # fmt: skip
    lines += ["", *remarks(rows), ""]
    return "\n".join(lines)


def remarks(rows: list[dict[str, Any]]) -> list[str]:
    loads = [row["load"] for row in rows if "load" in row]
    seeds = 1 + max(row["seed"] for row in rows)
    few = f"There are {seeds} seeds: " if seeds > 1 else "There is one seed: "
    return [
        "Smaller is better for lines; milliseconds are of one example in PyTorch, medians on one thread. "
        "InceptionTime's figure is that of aeon's result file, on the same split, an ensemble of five networks of "
        "1,500 epochs each. "
        f"Searches are told their time on the clock; other work went on beside them (load {min(loads):.1f} to "
        f"{max(loads):.1f} on two cores), which takes from what they get. "
        f"{few if seeds < 5 else 'Still, '}differences of a few points are noise.",
    ]


def shares(values: list[float]) -> str:
    if not values:
        return "–"
    return f"{mean(values):.1%}" + (f" ({min(values):.1%} to {max(values):.1%})" if len(values) > 1 else "")


def times(rows: list[dict[str, Any]]) -> str:
    return f"{mean(row['milliseconds'] for row in rows):.1f}" if rows else "–"


if __name__ == "__main__":
    main()
