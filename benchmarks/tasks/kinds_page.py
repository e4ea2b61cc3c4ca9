"""docs/results/tasks.md, from the rows of `kinds.py` and of the other benchmarks in this folder.

python -m benchmarks.tasks.kinds_page
"""

from __future__ import annotations

from statistics import mean
from typing import Any

from archscout.core.files import write_text
from benchmarks.common import RESULTS, arguments, read_result
from benchmarks.tasks import boosting, masks_recipe, series_recipe, series_references, speakers
from benchmarks.tasks.kinds import CELLS, CONTENDERS, FILE
from benchmarks.tasks.reading_page import of_reading

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
        "(`benchmarks/tasks/hand_made.py`: U-Net, CRNN, FCN and ResNet for series, four convolutions over a "
        "spectrogram), each given the same processor time on one core. Made by `python -m benchmarks.tasks.kinds` and "
        "`kinds_page`; means over seeds, with the smallest and largest.",
        "",
        "| data | minutes | seeds | by hand | ResNet by hand | search | published | ms by hand | ms ResNet "
        "| ms search |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |",
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
    lines += ["", *remarks(rows), "", *few_speakers(), *of_series(), *of_references(), *of_masks(), *of_rows(),
              *of_reading()]  # fmt: skip
    return "\n".join(lines)


def few_speakers() -> list[str]:
    """The table of `speakers.py`, where it was run."""
    result = read_result(speakers.FILE)
    rows = {(tuple(row["pair"]), row["contender"]): row["equal_error_rate"] for row in result.get("rows", [])}
    known = [name for name in speakers.CONTENDERS if all((pair, name) in rows for pair in speakers.PAIRS)]
    if not known:
        return []
    titles = {"statistics": "statistics", "two": "2 speakers", "four": "4 speakers", "speeds": "4, three speeds",
              "hand_made": "by hand, 4 speakers"}  # fmt: skip
    lines = [
        "## Verification of few speakers",
        "",
        "Equal error rates (`python -m benchmarks.tasks.speakers`) on two of six speakers whom training does not know: "
        "mean and deviation of mel bands without any training, the reference `tdnn_small` trained with two or four "
        f"others ({result['passes']:,} passes; also with copies at 0.9 and 1.1 of the speed, `speeds=true`), and a "
        "small x-vector in plain PyTorch.",
        "",
        "| tested | " + " | ".join(titles[name] for name in known) + " |",
        "| --- |" + " --- |" * len(known),
    ]
    lines += [
        f"| {pair[0]} and {pair[1]} | " + " | ".join(f"{rows[pair, name]:.1%}" for name in known) + " |"
        for pair in speakers.PAIRS
    ]
    means = [mean(rows[pair, name] for pair in speakers.PAIRS) for name in known]
    low, high = (some(rows[pair, name] for pair in speakers.PAIRS for name in known[1:]) for some in (min, max))
    return [
        *lines,
        "| mean | " + " | ".join(f"{value:.1%}" for value in means) + " |",
        "",
        f"The error is that of the pair ({low:.0%} to {high:.0%}), more than of the recipe: from six speakers two are "
        "drawn to validate by and two to test on, so that a validation value says nothing of the test, and "
        "`archscout data check` tells so. More speakers in training help; copies at other speeds do not show it here.",
        "",
    ]


def of_series() -> list[str]:
    """The table of `series_recipe.py`: only what all recipes were measured on."""
    rows = read_result(series_recipe.FILE).get("rows", [])
    cells: dict[tuple[str, str, int], dict[str, Any]] = {}
    for row in rows:
        cells.setdefault((row["set"], row["reference"], row["fold"]), {})[row["recipe"]] = row
    whole = [cell for cell in cells.values() if len(cell) == len(series_recipe.RECIPES)]
    if not whole:
        return []
    total = sum(cell["sgd"]["of"] for cell in whole)
    right = {name: sum(cell[name]["right"] for cell in whole) / total for name in series_recipe.RECIPES}
    seconds = {name: sum(cell[name]["seconds"] for cell in whole) for name in series_recipe.RECIPES}
    return [
        "## How series are trained",
        "",
        f"Of {total} examples of training splits that were held out in turn (`python -m "
        "benchmarks.tasks.series_recipe`), what share was right; networks `fcn_small` and `inception_time_small`, "
        f"{series_recipe.EPOCHS} epochs. Augmentation moves series by a twentieth and hides a tenth.",
        "",
        "| recipe | right | processor seconds |",
        "| --- | --- | --- |",
        *(f"| {name} | {right[name]:.1%} | {seconds[name]:.0f} |" for name in right),
        "",
    ]


def of_references() -> list[str]:
    """The table of `series_references.py`: references that all sets and folds were measured with."""
    rows = read_result(series_references.FILE).get("rows", [])
    cells = {(row["set"], row["fold"]) for row in rows}
    lines: list[tuple[float, str]] = []
    for name in dict.fromkeys(row["reference"] for row in rows):
        measured = [row for row in rows if row["reference"] == name]
        if {(row["set"], row["fold"]) for row in measured} == cells:
            right = sum(row["right"] for row in measured) / sum(row["of"] for row in measured)
            epochs = mean(row["epochs"] for row in measured)
            lines.append(
                (right, f"| `{name}` | {right:.1%} | {mean(row['loss'] for row in measured):.2f} | {epochs:.0f} |")
            )
    if not lines:
        return []
    return [
        "## Which network for series, before anything is known",
        "",
        f"Each trained for {series_references.SECONDS:g} processor seconds on one half of a training split and "
        "measured on the other (`python -m benchmarks.tasks.series_references`): "
        f"{', '.join(sorted({row['set'] for row in rows}))}.",
        "",
        "| reference | right | loss | epochs |",
        "| --- | --- | --- | --- |",
        *(line for _, line in sorted(lines, reverse=True)),
        "",
    ]


def of_masks() -> list[str]:
    """The table of `masks_recipe.py`: the losses that were measured."""
    rows = read_result(masks_recipe.FILE).get("rows", [])
    lines = []
    for loss in masks_recipe.LOSSES:
        measured = [row for row in rows if row["loss"] == loss]
        if measured:
            seconds = mean(row["seconds"] for row in measured)
            lines.append(f"| {loss} | {shares([row['valid'] for row in measured])} | {seconds:.0f} |")
    if not lines:
        return []
    return [
        "## How masks are trained",
        "",
        "Mean intersection over union on the validation images of CamVid (`python -m benchmarks.tasks.masks_recipe`) "
        f"of `{masks_recipe.REFERENCE}` after {masks_recipe.EPOCHS} epochs on its training images: with labels "
        "smoothed by "
        f"{masks_recipe.SMOOTHING:g} as those of single images are, as they are, and with classes weighed in the loss "
        "by the root of how rare their pixels are (what is used), or by how rare they are.",
        "",
        "| loss | overlap | processor seconds |",
        "| --- | --- | --- |",
        *lines,
        "",
    ]


def of_rows() -> list[str]:
    """The table of `boosting.py`, where it was run."""
    rows = read_result(boosting.FILE).get("rows", [])
    values = {(row["set"], row["contender"], row["fold"]): row["value"] for row in rows}
    folds = range(boosting.FOLDS)
    lines = []
    for name, kind in boosting.SETS.items():
        found = [[values.get((name, contender, fold)) for fold in folds] for contender in boosting.CONTENDERS]
        if any(value is None for each in found for value in each):
            continue
        means = [mean(each) for each in found]
        told = [f"{value:.1f}" if kind == "regression" else f"{value:.1%}" for value in means]
        metric = "root mean squared error" if kind == "regression" else "accuracy"
        lines.append(f"| {name.replace('_', ' ')} ({metric}) | " + " | ".join(told) + " |")
    if not lines:
        return []
    return [
        "## Rows of tables",
        "",
        f"Means of {boosting.FOLDS} folds (`python -m benchmarks.tasks.boosting`): scikit-learn's gradient boosting as "
        f"it comes, and two reference networks of the space `rows`, {boosting.EPOCHS} epochs, without any search.",
        "",
        "| data | boosting | `mlp` | `resnet_small` |",
        "| --- | --- | --- | --- |",
        *lines,
        "",
    ]


def remarks(rows: list[dict[str, Any]]) -> list[str]:
    loads = [row["load"] for row in rows if "load" in row]
    seeds = 1 + max(row["seed"] for row in rows)
    former = sorted({row["cell"] for row in rows if row.get("recipe") == "sgd"})
    few = f"There are {seeds} seeds: " if seeds > 1 else "There is one seed: "
    return [
        "Smaller is better for lines; milliseconds are of one example in PyTorch, medians on one thread. "
        "InceptionTime's figure is that of aeon's result file, on the same split, an ensemble of five networks of "
        "1,500 epochs each. "
        f"Searches are told their time on the clock; other work went on beside them (load {min(loads):.1f} to "
        f"{max(loads):.1f} on two cores), which takes from what they get. "
        f"{few if seeds < 5 else 'Still, '}differences of a few points are noise."
        + (f" Searched with the recipe `sgd`, before there was `series`: {', '.join(former)}." if former else ""),
    ]


def shares(values: list[float]) -> str:
    if not values:
        return "–"
    return f"{mean(values):.1%}" + (f" ({min(values):.1%} to {max(values):.1%})" if len(values) > 1 else "")


def times(rows: list[dict[str, Any]]) -> str:
    known = [row["milliseconds"] for row in rows if "milliseconds" in row]  # none where too much went on beside it
    return f"{mean(known):.1f}" if known else "–"


if __name__ == "__main__":
    main()
