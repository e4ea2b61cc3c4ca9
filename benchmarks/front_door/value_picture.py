"""Draws docs/images/value.svg from docs/results/value.json (`value.py`): searches beside what one would pick instead.

python -m benchmarks.front_door.value_picture
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.common import ROOT, arguments
from benchmarks.front_door.value import CELLS, FILE, Cell, results
from benchmarks.front_door.value_page import accuracies

PICTURE = ROOT / "docs/images/value.svg"
LABELS = {"digits": "digits", "mnist": "MNIST", "fashion": "Fashion-MNIST", "spoken": "spoken digits"} | {
    "cifar10-3000": "CIFAR-10, 3,000 images", "cifar10-20000": "CIFAR-10, 20,000 images",
    "cifar10-50000": "CIFAR-10, 50,000 images", "cifar100-10000": "CIFAR-100, 10,000 images",
    "photos800": "800 photographs", "addnist": "AddNIST", "multnist": "MultNIST", "cifartile": "CIFARTile",
}  # fmt: skip
CONTENDERS = {
    "auto": ("archscout search", "*", "#d62728"),
    "search": ("archscout search, from random weights", "o", "#d62728"),
    "plain": ("plain network by hand", "s", "#4c78a8"),
    "resnet8": ("ResNet-8", "^", "#54a24b"),
    "resnet20": ("ResNet-20", "v", "#54a24b"),
    "mobilenet_v2_small": ("small MobileNetV2", "D", "#b279a2"),
    "svm": ("support vector machine", "P", "#9d755d"),
    "boosting": ("boosted trees", "X", "#9d755d"),
}


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--results", type=Path, default=FILE)
    parser.add_argument("--out", type=Path, default=PICTURE)
    options = parser.parse_args()
    draw(results(options.results).rows, options.out)


def draw(rows: Sequence[Mapping[str, Any]], file: Path) -> None:
    """A line a cell with the mean test accuracy of each contender; small marks are single seeds."""
    import matplotlib as mpl
    from matplotlib import pyplot

    mpl.rcParams["svg.hashsalt"] = "archscout"
    lines = [(cell, means(rows, cell)) for cell in CELLS]
    lines = [(cell, values) for cell, values in lines if any(name in values for name in ("auto", "search"))][::-1]
    figure, axes = pyplot.subplots(figsize=(8, 0.42 * len(lines) + 1.4))
    for name, (label, mark, colour) in CONTENDERS.items():
        points = [(values[name], place) for place, (_, values) in enumerate(lines) if name in values]
        if points:
            middles = [100 * float(np.mean(seeds)) for seeds, _ in points]
            axes.plot(middles, [place for _, place in points], mark, color=colour, label=label, zorder=3)
        for seeds, place in points:
            axes.plot([100 * seed for seed in seeds], [place] * len(seeds), "|", color=colour, markersize=8, alpha=0.6)
    axes.set_yticks(range(len(lines)), [f"{LABELS[cell.data]}, {cell.budget[:-1]} min" for cell, _ in lines])
    axes.set_ylim(-0.6, len(lines) - 0.4)
    axes.grid(color="#dddddd", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.set_xlabel("test accuracy, % (equal time of one core; searches under 5 ms; strokes are single seeds)")
    axes.legend(loc="upper center", bbox_to_anchor=(0.4, -0.85 / figure.get_figheight()), ncols=3, fontsize=8)
    figure.savefig(file, bbox_inches="tight", metadata={"Date": None})
    pyplot.close(figure)


def means(rows: Sequence[Mapping[str, Any]], cell: Cell) -> dict[str, list[float]]:
    """Test accuracies over seeds by contender; searches under 5 ms, or without a limit where the cell has none."""
    mine = [row for row in rows if row["cell"] == cell.name]
    named = {f"{name}<5ms" if name in ("auto", "search") and cell.limits else name: name for name in CONTENDERS}
    values = {name: list(accuracies(mine, contender).values()) for contender, name in named.items()}
    return {name: seeds for name, seeds in values.items() if seeds}


if __name__ == "__main__":
    main()
