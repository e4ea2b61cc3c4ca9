"""What `report.py` has measured as a page and a picture, beside what is published."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from archscout.core.registry import factory, parse_name

TARGETS = {"c10_test_200": "CIFAR-10", "c100_test_200": "CIFAR-100", "in16_test_200": "ImageNet16-120"}
REFERENCE = {
    "jacob_cov": 0.821, "naswot": 0.796, "epe_nas": 0.789, "params": 0.752, "synflow": 0.737, "l2_norm": 0.724,
    "macs": 0.719, "snip": 0.553, "grad_norm": 0.552, "fisher": 0.502, "grasp": 0.494, "zen": 0.103, "plain": -0.367,
}  # fmt: skip
"""Spearman with CIFAR-10 accuracy (half split) of published values of NASLib's scores, 9,445 cells without a dead
operation."""
SUITE = {
    "naswot": (0.77, 0.80, 0.77), "macs": (0.69, 0.71, 0.67), "jacob_cov": (0.75, 0.71, 0.71),
    "zen": (0.35, 0.35, 0.39), "params": (0.72, 0.73, 0.69), "l2_norm": (0.68, 0.72, 0.69),
    "synflow": (0.73, 0.76, 0.75), "snip": (0.58, 0.63, 0.57), "grad_norm": (0.58, 0.63, 0.57),
    "epe_nas": (0.70, 0.60, 0.33), "fisher": (0.50, 0.54, 0.48), "grasp": (0.51, 0.54, 0.55),
    "plain": (-0.26, -0.21, -0.22),
}  # fmt: skip
"""Spearman with validation accuracy on the three data sets, 1,000 random architectures: NAS-Bench-Suite-Zero
(Krishnakumar et al. 2022, arXiv 2210.03230), figure 2."""
ABDELFATTAH = {
    "grad_norm": (0.594, 0.637, 0.578), "snip": (0.596, 0.637, 0.578), "grasp": (0.514, 0.547, 0.549),
    "fisher": (0.360, 0.385, 0.327), "synflow": (0.737, 0.763, 0.751), "jacob_cov": (0.731, 0.704, 0.701),
}  # fmt: skip
"""The same over all 15,625, by the code of Abdelfattah et al. 2021, arXiv 2101.08134."""
CLAIMS = (
    ("meco", "CIFAR-10", 0.89, "holds"),
    ("swap", "CIFAR-100", 0.90, "with a prior on the size that is chosen for the space; ours has none"),
)
"""Score, data set, Spearman, and what is to be said of it."""
WHY = {
    "macs": "their count includes pooling (nine products a place)",
    "zen": "theirs reads running variances (`zen:running=true`)",
    "grasp": "theirs by a batch of another size",
    "plain": "its sign hangs on the draw of weights, see how far our own seeds agree",
}
"""Why a score may differ from `REFERENCE`."""
BASELINE = ("naswot", "jacob_cov", "synflow", "params")


def page(made: Mapping[str, Any]) -> str:
    """Markdown."""
    lines = [
        "# What training-free scores are worth on NAS-Bench-201",
        "",
        "Made by `benchmarks/zero_cost/nasbench201.py`: real CIFAR-10 images, accuracies after 200 epochs. Undefined "
        "scores rank last and are counted; operations that no input reaches, or that reach no output, are not built. "
        "`params`, `macs` and an order drawn at random are controls. Intervals: 95 %, bootstrap over architectures. "
        "Seconds are the median of what a score takes alone, on a machine shared with other programs. Figures are "
        "means over seeds of the weights and the batch, for scores that draw any.",
        "",
        "![Spearman with accuracy](training-free.svg)",
    ]
    titles = {
        "sample": "The published network (16 channels, 5 cells a stage), architectures drawn at random",
        "whole space": "All 15,625 architectures",
    }
    for key, title in titles.items():
        if made[key]:
            lines += ["", f"## {title}", "", *_correlations(made[key]), "", *_searches(made[key])]
            lines += _epsilon(made[key])
    lines += ["", "## Settings", "", *_settings(made["sample"])] if made["sample"] else []
    lines += ["", "## Beside published figures", "", *_beside(made["sample"], made["forms"])] if made["sample"] else []
    lines += _ensembles(made["ensembles"])
    several = {name: row for name, row in made["sample"].items() if row["seeds"] > 1 and row["between seeds"] < 1}
    if several:
        lines += [
            "", "## Seeds", "", "Spearman with accuracy (CIFAR-10) by seed, and of one seed's values with another's.",
            "", "| score | architectures | by seed | between seeds |", "| --- " * 4 + "|",
        ]  # fmt: skip
        lines += [
            f"| {name} | {row['architectures']} | {_figures(row['by seed'])} | {row['between seeds']:.3f} |"
            for name, row in _ordered(several)
        ]
    return "\n".join([*lines, ""])


def _settings(rows: Mapping[str, Any]) -> list[str]:
    """With which parameters each score was run, where it has any, and what is its default."""
    from benchmarks.zero_cost import nasbench201 as runs
    from benchmarks.zero_cost.report import _plain

    lists = (runs.SAMPLE, runs.VIEWS, runs.LAYERS, runs.DEAR, runs.REGIONS, runs.EXACT)
    asked = {_plain(text): text for names in lists for text in names}
    lines = [
        "The table above has these scores with these parameters, among them smaller batches and fewer repeats than the "
        "defaults of the estimators, which are the published ones where these are known.",
        "", "| score | as run | default |", "| --- " * 3 + "|",
    ]  # fmt: skip
    for name in sorted(set(rows) & set(asked)):
        head, given = parse_name(asked[name])
        usual = {key: p.default for key, p in inspect.signature(factory("estimator", head)).parameters.items()}
        if usual:
            run, default = (", ".join(f"{k} {v}" for k, v in each.items()) for each in (usual | given, usual))
            lines.append(f"| {name} | {run} | {'the same' if run == default else default} |")
    return lines


def _figures(values: Sequence[float]) -> str:
    return ", ".join(f"{value:.3f}" for value in values)


def _ordered(rows: Mapping[str, Any]) -> list[tuple[str, Any]]:
    return sorted(rows.items(), key=lambda item: -item[1]["CIFAR-10"]["spearman"])


def _correlations(rows: Mapping[str, Any]) -> list[str]:
    """How well each score orders networks."""
    head = [
        "score", "architectures", "seeds", "undefined", "CIFAR-10", "CIFAR-100", "ImageNet16-120", "Kendall",
        "with a free path", "without", "top 10 %", "Kendall of these",
    ]  # fmt: skip
    lines = [
        "Spearman, where nothing else is said; Kendall, free paths (from input to output without a convolution) and "
        "the top 10 % (by accuracy) on CIFAR-10.",
        "", "| " + " | ".join(head) + " |", "| --- " * len(head) + "|",
    ]  # fmt: skip
    for name, row in _ordered(rows):
        c10 = row["CIFAR-10"]
        low, high = c10["interval"]
        cells = [
            name, str(row["architectures"]), str(row["seeds"]), f"{row['undefined']:g}",
            f"{c10['spearman']:.3f} [{low:.3f}, {high:.3f}]",
            *(f"{row[label]['spearman']:.3f}" for label in ("CIFAR-100", "ImageNet16-120")), f"{c10['kendall']:.3f}",
            *("" if row[part] is None else f"{row[part]:.3f}" for part in ("with a free path", "without a free path")),
            f"{c10['spearman of the top 10 %']:.3f}", f"{c10['kendall of the top 10 %']:.3f}",
        ]  # fmt: skip
        lines.append("| " + " | ".join(cells) + " |")
    return lines


def _searches(rows: Mapping[str, Any]) -> list[str]:
    """What is found by taking the first of an order."""
    best = max(row["CIFAR-10"]["best of all"] for row in rows.values())
    head = [
        "score", "seconds", "top 10 % found", "NDCG", "first", "best of ten", "best of hundred", "CIFAR-100: first",
        "best of ten", "ImageNet16-120: first", "best of ten",
    ]  # fmt: skip
    lines = [
        "As a search: the share of the truly best tenth in the score's first tenth, and the accuracies that its first, "
        f"first ten and first hundred come to (CIFAR-10; the best here has {best:.2f}).",
        "", "| " + " | ".join(head) + " |", "| --- " * len(head) + "|",
    ]  # fmt: skip
    for name, row in _ordered(rows):
        c10 = row["CIFAR-10"]
        found = [f"{c10[key]:.3f}" for key in ("share of the top 10 % found", "ndcg")]
        picks = [
            f"{c10[key]:.2f}" for key in ("accuracy of the first", "best of the first ten", "best of the first hundred")
        ]
        for label in ("CIFAR-100", "ImageNet16-120"):
            picks += [f"{row[label][key]:.2f}" for key in ("accuracy of the first", "best of the first ten")]
        seconds = "" if row["seconds"] is None else f"{row['seconds']:.3f}"
        lines.append("| " + " | ".join([name, seconds, *found, *picks]) + " |")
    return lines


def _epsilon(rows: Mapping[str, Any]) -> list[str]:
    """What the published rule of epsilon leaves out."""
    if "epsilon" not in rows:
        return []
    row, ours = rows["epsilon"], rows.get("epsilon_log")
    said = (
        f"`epsilon` is undefined for {row['undefined']:g} of {row['architectures']} architectures: those without a "
        "path free of convolutions. The published .87 leaves them out, and holds among those that have one "
        f"({row['with a free path']:.3f}); it does not hold like for like: over all, undefined ones last, it is "
        f"{row['CIFAR-10']['spearman']:.3f} on CIFAR-10, {row['CIFAR-100']['spearman']:.3f} on CIFAR-100 and "
        f"{row['ImageNet16-120']['spearman']:.3f} on ImageNet16-120."
    )
    if ours is not None:
        said += (
            f" `epsilon_log`, which is defined for all but {ours['undefined']:g} (no path at all), comes to "
            f"{ours['CIFAR-10']['spearman']:.3f}, {ours['CIFAR-100']['spearman']:.3f} and "
            f"{ours['ImageNet16-120']['spearman']:.3f}; among those with a free path it is the weaker of the two "
            f"({ours['with a free path']:.3f})."
        )
    return ["", said]


def _beside(rows: Mapping[str, Any], forms: Mapping[str, Any]) -> list[str]:
    """Published figures next to ours."""
    lines = [
        "NASLib's values of 9,445 cells without a dead operation, against ours on such cells of the sample (CIFAR-10, "
        "trained on half the data). A figure holds where it is within .03 of ours, within our interval, or no further "
        "away than our seeds are from each other.",
        "", "| score | ours | published | difference | holds |", "| --- " * 5 + "|",
    ]  # fmt: skip
    for name, published in REFERENCE.items():
        if name in rows:
            value, (low, high) = rows[name]["like the reference"], rows[name]["its interval"]
            close, inside = abs(value - published) <= 0.03, low <= published <= high
            drawn = rows[name]["like the reference, by seed"]
            apart = abs(value - published) <= max(drawn) - min(drawn)
            why = f"no: {WHY.get(name, 'not explained')}"
            if name in forms:
                read, (least, most) = forms[name]["like the reference"], forms[name]["its interval"]
                why += f": done so, ours is {read:.3f} [{least:.3f}, {most:.3f}]"
            holds = "yes" if close else "within the interval" if inside else "within the seeds" if apart else why
            ours = f"{value:.3f} [{low:.3f}, {high:.3f}]"
            lines.append(f"| {name} | {ours} | {published:.3f} | {value - published:+.3f} | {holds} |")
    lines += ["", "What abstracts claim for NAS-Bench-201, Spearman:", ""]
    lines += ["| score | data | ours | published | |", "| --- " * 5 + "|"]
    for name, label, published, remark in CLAIMS:
        if name in rows:
            lines.append(f"| {name} | {label} | {rows[name][label]['spearman']:.3f} | {published:.2f} | {remark} |")
    lines += [
        "",
        "Over random architectures, dead operations and all, published figures count what is not connected; ours are "
        "of the network that remains. CIFAR-10, CIFAR-100, ImageNet16-120:",
        "", "| score | ours | NAS-Bench-Suite-Zero, 1,000 | Abdelfattah et al., all |", "| --- " * 4 + "|",
    ]  # fmt: skip
    for name in SUITE:
        if name in rows:
            ours = tuple(rows[name][label]["spearman"] for label in TARGETS.values())
            cells = [_three(ours), _three(SUITE[name]), _three(ABDELFATTAH.get(name, ()))]
            lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return lines


def _three(values: Sequence[float]) -> str:
    return ", ".join(f"{value:.2f}" for value in values)


def _ensembles(made: Mapping[str, Any]) -> list[str]:
    """What ensembles are worth."""
    if not made:
        return []
    labels = list(TARGETS.values())
    head = ["ensemble", "architectures", *labels, "Kendall", "first", "best of ten"]

    def rows(part: Mapping[str, Any]) -> list[str]:
        lines = ["", "| " + " | ".join(head) + " |", "| --- " * len(head) + "|"]
        for name, each in part.items():
            figures = [f"{each[key]:.3f}" for key in (*labels, "kendall")]
            figures += [f"{each[key]:.2f}" for key in ("accuracy of the first", "best of the first ten")]
            lines.append(f"| {name} | {each['architectures']:g} | " + " | ".join(figures) + " |")
        return lines

    weights = ", ".join(f"{weight:g} {name}" for name, weight in made["weights"].items())
    gains = [
        ", ".join(f"{part[f'tuned{end}'][label] - part[f'the four{end}'][label]:+.3f}" for label in labels)
        for part, end in ((made["all"], ", not tuned on"), (made["sample"], ""))
        if f"tuned{end}" in part
    ]
    lines = [
        "", "## Ensembles", "",
        f"Sums of logarithmic ranks: of the four {', '.join(BASELINE)}, and one with weights tuned on CIFAR-10 "
        f"accuracies of 1,000 architectures ({weights}), which the estimator `rank_blend` has. On all architectures, "
        "`naswot` and `jacob_cov` of the four are those of a network of 4 channels and 1 cell a stage, and `synflow` "
        f"is the expected one. There the tuned one is {gains[0]} from the four on the data sets, on networks that it "
        "was not tuned on. (By NASLib's values of the published network, without dead operations, the four have .881, "
        ".900 and .857.) The scores that it could take were chosen by looking at the sample below.",
        *rows(made["all"]),
    ]  # fmt: skip
    if made["sample"]:
        lines += [
            "",
            f"With all scores of the published network, on the sample, it is {gains[-1]} from the four, means over "
            "seeds. AZ-NAS reports .913, Kendall .741, on CIFAR-10, of 3,000 random architectures and batches of 64; "
            "batches are of 16 here.",
            *rows(made["sample"]),
        ]
    return lines


def picture(made: Mapping[str, Any], file: Path) -> None:
    """Spearman with accuracy on the three data sets, by score; the interval is CIFAR-10's."""
    import matplotlib as mpl
    from matplotlib import pyplot

    mpl.rcParams["svg.hashsalt"] = "archscout"
    rows = made["sample"] or made["whole space"]
    if not rows:
        return
    ordered = _ordered(rows)[::-1]
    places = range(len(ordered))
    figure, axes = pyplot.subplots(figsize=(8, 0.27 * len(ordered) + 1.2))
    axes.axvline(0, color="#999999", linewidth=0.8)
    for label, mark, colour in (
        ("ImageNet16-120", "^", "#54a24b"),
        ("CIFAR-100", "s", "#f58518"),
        ("CIFAR-10", "o", "#4c78a8"),
    ):
        axes.plot([row[label]["spearman"] for _, row in ordered], places, mark, color=colour, markersize=4, label=label)
    for place, (_, row) in enumerate(ordered):
        axes.plot(row["CIFAR-10"]["interval"], [place, place], color="#4c78a8", linewidth=1.2)
    controls = ("params", "macs", "random")
    axes.set_yticks(
        places, [f"{name}{' (control)' * (name in controls)}, n = {row['architectures']}" for name, row in ordered]
    )
    axes.set_ylim(-0.8, len(ordered) - 0.2)
    axes.grid(axis="x", color="#dddddd", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.set_xlabel("Spearman with test accuracy; 95 % interval of CIFAR-10; n architectures, undefined ones last")
    axes.legend(loc="lower right", fontsize=8)
    figure.savefig(file, bbox_inches="tight", metadata={"Date": None})
    pyplot.close(figure)
