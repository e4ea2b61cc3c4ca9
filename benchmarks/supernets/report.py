"""The page docs/results/weight-sharing.md, with its plots, of what the benchmarks of shared weights have written there.

    python -m benchmarks.supernets.report

Reads `supernets_ranking.json`, `supernets_systems.json`, `supernets_spaces.json`, `fp_nas_vs_parsec.json`,
`supernets_fp_nas.json`, `supernets_cost.json` and `supernets_speed.json` in docs/results; a part whose file is not
there is left out.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from archscout.core.files import write_text
from archscout.study.summary import interval
from benchmarks.common import RESULTS, arguments, read_result
from benchmarks.supernets.systems import CONTROL, METHODS

Row = dict[str, Any]

CLASSES = 6466
"""Of networks of NAS-Bench-201 that are not the same."""


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--results", type=Path, default=RESULTS)
    folder = parser.parse_args().results
    parts = {
        "supernets_ranking": ranking,
        "supernets_systems": systems,
        "supernets_spaces": spaces,
        "fp_nas_vs_parsec": samples,
        "supernets_fp_nas": searched,
        "supernets_cost": cost,
        "supernets_speed": speed,
    }
    lines = [
        "# Shared weights",
        "",
        "Made by `benchmarks/supernets/report.py` of what the benchmarks named below have written. Intervals are 95 % "
        "bootstrap intervals over seeds; ± is a standard error.",
    ]
    for name, part in parts.items():
        file = folder / f"{name}.json"
        if file.is_file():
            lines += ["", *part(json.loads(file.read_text()), folder)]
    write_text(folder / "weight-sharing.md", "\n".join(lines) + "\n")


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    return [
        "| " + " | ".join(head) + " |",
        "| " + " | ".join("---" for _ in head) + " |",
        *("| " + " | ".join(row) + " |" for row in rows),
    ]


def spread(values: Sequence[float], digits: int = 3) -> str:
    """The mean, with its interval where there are several."""
    mean, low, high = interval(values)
    text = f"{mean:.{digits}f}"
    return text if len(values) == 1 else f"{text} [{low:.{digits}f}, {high:.{digits}f}]"


def grouped(rows: Iterable[Row], *keys: str) -> dict[tuple, list[Row]]:
    found: dict[tuple, list[Row]] = {}
    for row in rows:
        found.setdefault(tuple(row[key] for key in keys), []).append(row)
    return found


def controls(folder: Path) -> list[tuple[str, float, float]]:
    """What needs no search: name, true accuracy (percent) and percentile of a random pick and of the largest networks.

    The largest are those that counting ranks first among all classes (`ranking.py`).
    """
    rankings, systems = (read_result(folder / f"supernets_{name}.json") for name in ("ranking", "systems"))
    rows = [row for row in rankings.get("rows", []) if row["paths"] in ("params", "macs") and row["count"] == CLASSES]
    named = {"params": "largest by parameters", "macs": "largest by multiply-adds"}
    largest = {named[row["paths"]]: (row["pick"], row["percentile"]) for row in rows}
    chance = [(systems["random"]["accuracy"], systems["random"]["percentile"])] if systems else []
    return [*(("random pick", a, p) for a, p in chance), *((n, a, p) for n, (a, p) in largest.items())]


# -- the parts --------------------------------------------------------------------------------------------------------


def ranking(found: Row, folder: Path) -> list[str]:
    lines = [
        "## Inherited scores against NAS-Bench-201",
        "",
        f"`benchmarks/supernets/ranking.py`. Trained on {found['task']}; all 6,466 published classes, or as many of "
        "them, evenly spread, as the table says. Truth: CIFAR-10 test accuracy after 200 epochs at full size, so that "
        "correlations are of what carries over. `uniform` paths are SPOS, `fair` ones FairNAS's; `grouped` ones are "
        "shared by sixteen examples, with batch statistics of their own; `fixed` are grouped, and what every network "
        "has (stem, reductions) stays random but for normalisation and classifier. Score: minus the loss on validation "
        "images. "
        "The goal is a Spearman correlation of 0.70. Parameters, multiply-adds and chance need no supernet. The kind "
        "of training was chosen by looking at seeds 0 and 1 on 150 networks of this table; settings of `fixed` that "
        "were run on more are all here.",
        "",
    ]
    head = (
        "training", "supernet", "batches", "classes", "seeds", "Spearman", "of each seed", "Kendall",
        "Spearman, best fifth", "of the best 50", "pick", "training, CPU s", "ranking, CPU s",
    )  # fmt: skip
    rows = []
    for (paths, space, passes, batch, rate, examples, count), own in grouped(
        found["rows"], "paths", "space", "passes", "batch", "rate", "examples", "count"
    ).items():
        cells = [spread([row[key] for row in own]) for key in ("kendall", "spearman_top", "precision")]
        control = paths in ("params", "macs", "random")
        trained = f"{passes:,} of {batch}, rate {rate}; scored on {examples}" if passes else f"scored on {examples}"
        rows.append(
            [
                paths, "" if control else f"`{space}`", "" if control else trained, f"{count:,}", str(len(own)),
                spread([row["spearman"] for row in own]), ", ".join(f"{row['spearman']:.2f}" for row in own), *cells,
                spread([row["pick"] for row in own], 2), spread([row["train_seconds"] for row in own], 0),
                spread([row["rank_seconds"] for row in own], 0),
            ]
        )  # fmt: skip
    lines += table(head, rows)
    trained_rows = [row for row in found["rows"] if row["passes"]]
    if trained_rows:
        lines += ["", _against_counting(found["rows"], trained_rows), "", _bias(trained_rows)]
    return lines


def _against_counting(rows: Sequence[Row], trained: Sequence[Row]) -> str:
    """How many rankings by trained supernets beat counting parameters on the same classes, and order the best."""
    counted = {row["count"]: row for row in rows if row["paths"] == "params"}
    above = sum(row["spearman"] >= 0.7 for row in trained)
    beats = sum(row["spearman"] > counted[row["count"]]["spearman"] for row in trained)
    orders = sum(row["spearman_top"] > counted[row["count"]]["spearman_top"] for row in trained)
    highest = max(row["spearman_top"] for row in trained)
    return (
        f"Of {len(trained)} rankings by trained supernets (some are of one supernet), {above} reach 0.70; "
        f"{beats or 'none'} beat{'s' * (beats == 1)} counting the parameters of the same classes, "
        f"{orders or 'none'} order{'s' * (orders == 1)} the best fifth better than that does, and the highest "
        f"correlation within the best fifth is {highest:.2f}."
    )


def _bias(trained: Sequence[Row]) -> str:
    said = []
    for (paths,), own in grouped(trained, "paths").items():
        operations: dict[str, list[float]] = {}
        for row in own:
            for key, value in row["bias"].items():
                operations.setdefault(key.split("=")[1], []).append(value)
        said.append(f"{paths}: " + ", ".join(f"`{name}` {np.mean(v):+.3f}" for name, v in operations.items()))
    return (
        "By how much of the ranks (-1 to 1) networks with an operation are ranked above their true place (mean over "
        f"edges and rankings): {'; '.join(said)}."
    )


def systems(found: Row, folder: Path) -> list[str]:
    main, *others = grouped(found["rows"], "space", "examples").items()
    (space, examples), picked = main
    lines = [
        "## What each system picks",
        "",
        f"`benchmarks/supernets/systems.py`. Trained on {found['task']} ({examples:,} images), space `{space}`, equal "
        "budgets in forward passes; the first architecture that each derives, with its true accuracy (percent) and the "
        f"share of all 15,625 that are no better. A random pick has {found['random']['accuracy']:.2f} and 0.50. "
        "Searches are short: what fails here need not fail with the published budgets, and the other way round. "
        "`largest` is the control: the network with most parameters, found by counting, without data.",
        "",
    ]
    rows = []
    for (name, method), own in grouped(picked, "system", "method").items():
        rows.append(
            [
                name, f"`{method}`", str(len(own)), spread([row["accuracy"] for row in own], 2),
                spread([row["percentile"] for row in own], 2), spread([row["skips"] for row in own], 1),
                spread([row["nones"] for row in own], 1), str(sum(row["warned"] for row in own)),
                spread([row["seconds"] for row in own], 0),
            ]
        )  # fmt: skip
    head = (
        "system", "command", "seeds", "true accuracy", "percentile", "skips of 6", "none of 6", "warned", "CPU s"
    )  # fmt: skip
    lines += table(head, rows)
    lines += [
        f"| {name} | | | {accuracy:.2f} | {percentile:.2f} | | | | 0 |"
        for name, accuracy, percentile in controls(folder)
        if "parameters" not in name
    ]
    control = [row["accuracy"] for row in picked if row["system"] == CONTROL]
    if control:
        means = {name: np.mean([row["accuracy"] for row in own]) for (name,), own in grouped(picked, "system").items()}
        better = [f"`{name}`" for name, mean in means.items() if mean > control[0]]
        lines += ["", f"On average better than the largest network: {', '.join(better) or 'none'}."]
    missing = [name for name in METHODS if not any(row["system"] == name for row in picked)]
    if missing:
        lines += ["", f"Not run yet: {', '.join(missing)}."]
    mixtures = [row for row in picked if any(kind in row["system"] for kind in ("darts", "balenas"))]
    if mixtures:
        skips = [f"`{name}` {_last_skip(own):.2f}" for (name,), own in grouped(mixtures, "system").items()]
        lines += [
            "",
            f"The mean probability of `skip_connect` at the end, 0.20 at the start, is {', '.join(skips)}.",
        ]
    for (place, images), own in others:
        lines += ["", *_collapse(own, place, images, folder)]
    return lines


def _last_skip(rows: Sequence[Row]) -> float:
    return float(np.mean([row["history"][-1]["skip"] for row in rows]))


def _collapse(rows: list[Row], space: str, examples: int, folder: Path) -> list[str]:
    """What becomes of plain connections in long searches on few images."""
    _skips(rows, examples, folder / "weight-sharing-skips.svg")
    shares = (0.25, 0.5, 0.75, 1.0)
    systems = grouped(rows, "system", "method").items()
    last = max(row["history"][-1]["step"] for row in rows)
    lines = [
        "### Plain connections, with few images",
        "",
        f"Longer searches in `{space}` with {examples:,} images to train the weights on: the mean probability of "
        "`skip_connect`, 0.20 at the start, after so many epochs of the weights, and what is picked. Warned: searches "
        "that said so while they ran, and the earliest step that did.",
        "",
    ]
    head = ("system", "command", "seeds", *(f"{share * last * 64 / examples:.0f} epochs" for share in shares),
            "skips of 6", "true accuracy", "warned")  # fmt: skip
    cells = []
    for (name, method), own in systems:
        steps = own[0]["history"][-1]["step"]
        nearest = [
            np.mean([min(row["history"], key=lambda e: abs(e["step"] - share * steps))["skip"] for row in own])
            for share in shares
        ]
        over = [e["step"] for row in own for e in row["history"] if (e["skips"] or 0) >= 0.5]
        warned = f"{sum(row['warned'] for row in own)} of {len(own)}" + (f", step {min(over)}" if over else "")
        cells.append(
            [
                name, f"`{method}`", str(len(own)), *(f"{value:.2f}" for value in nearest),
                spread([row["skips"] for row in own], 1), spread([row["accuracy"] for row in own], 2), warned,
            ]
        )  # fmt: skip
    for name, accuracy, _ in controls(folder):
        cells.append([name, *[""] * (len(head) - 3), f"{accuracy:.2f}", ""])
    return [*lines, *table(head, cells), "", "![Probability of plain connections by epoch](weight-sharing-skips.svg)"]


def spaces(found: Row, folder: Path) -> list[str]:
    """RF-DARTS on S1 to S4, BN-NAS on NAS-Bench-101 and `mobile`."""
    lines = [
        "## In other spaces",
        "",
        f"`benchmarks/supernets/spaces.py`. Trained on {found['examples']:,} images of {found['task']}; networks that "
        f"are trained alone get {found['epochs']} epochs, with validation accuracy (percent) as what they come to. "
        "All of it is far below the published settings: what fails here need not fail there.",
    ]
    parts = [row for row in found["rows"] if "part" in row]
    if parts:
        lines += ["", "S1 to S4, parts of the DARTS space in which DARTS is known to fail:", ""]
        head = (
            "part", "system", "supernet", "steps", "seeds", "skips of 8, normal cell", "noise of 8", "accuracy alone",
            "parameters", "CPU s",
        )  # fmt: skip
        lines += table(
            head,
            [
                [
                    part, system, "" if not steps else f"`{own[0]['searched']}`", str(steps or ""), str(len(own)),
                    *(spread([row[key] for row in own], 1) for key in ("skips", "noise", "accuracy")),
                    spread([row["params"] for row in own], 0), spread([row["seconds"] for row in own], 0),
                ]
                for (part, system, steps), own in grouped(parts, "part", "system", "steps").items()
            ],
        )  # fmt: skip
        better = []
        for (part,), own in grouped(parts, "part").items():
            means = {name: np.mean([r["accuracy"] for r in some]) for (name,), some in grouped(own, "system").items()}
            if {"darts", "rf_darts"} <= set(means):
                better.append(f"{part} {means['rf_darts'] - means['darts']:+.1f}")
        if better:
            lines += ["", f"RF-DARTS against DARTS, points of accuracy alone: {', '.join(better)}."]
    shared = [row for row in found["rows"] if row.get("system") == "bn_nas"]
    if shared:
        lines += [
            "",
            "BN-NAS: Spearman correlation of the sizes of scales with accuracy, after training and before it (all "
            "scales are alike then: what is counted is how many there are). Truth: the published accuracy after 108 "
            "epochs (NAS-Bench-101), a short training of each (`mobile`).",
            "",
        ]
        head = (
            "space", "networks", "steps", "seeds", "Spearman", "untrained", "params", "score with params", "pick",
            "largest", "mean", "best", "CPU s",
        )  # fmt: skip
        keys = ("spearman", "untrained", "params", "with_params")
        lines += table(
            head,
            [
                [
                    f"`{space}`", str(networks), str(steps), str(len(own)),
                    *(spread([row[key] for row in own if row[key] is not None] or [float("nan")]) for key in keys),
                    *(spread([row[key] for row in own], 2) for key in ("pick", "largest", "mean", "best")),
                    spread([row["seconds"] for row in own], 0),
                ]
                for (space, networks, steps), own in grouped(shared, "space", "networks", "steps").items()
            ],
        )  # fmt: skip
    missing = ["DARTS and RF-DARTS on S1 to S4"] if not parts else []
    if not any(row["space"].startswith("mobile") for row in shared):
        missing.append("BN-NAS on `mobile`")
    return [*lines, "", f"Not run yet: {', '.join(missing)}."] if missing else lines


def samples(found: Row, folder: Path) -> list[str]:
    lines = [
        "## FP-NAS against PARSEC",
        "",
        f"`benchmarks/supernets/fp_nas_vs_parsec.py`, {found['seeds']} searches each "
        f"({found['seeds_of_blocks']} on blocks). Rewards come from a table (NAS-Bench-201) or from "
        "drawn landscapes of blocks of five choices (720 combinations a block), with noise; nothing is trained. "
        "Regret: points of accuracy between the mode of the distribution and the best.",
        "",
        "As published, 400 steps: PARSEC with 16 samples a step; FP-NAS from 16 on, in proportion to the entropy; the "
        "same with balanced samples, which is this package's own; and the best PARSEC of no more samples in all than "
        "FP-NAS took.",
        "",
    ]
    settings = [(f"table, noise {noise}", each) for noise, each in found["table"].items()]
    settings += [(f"blocks, {name}", each) for name, each in found["blocks"].items()]
    kinds = ("parsec", "fp_nas", "fp_nas_balanced", "parsec_of_equal_total")
    rows = []
    for name, each in settings:
        own = [each["as_published"][kind] for kind in kinds]
        cells = [f"{cell['drawn']:,.0f}: {cell['regret']:.2f} ± {cell['error']:.2f}" for cell in own]
        fewer = [1 - own[place]["drawn"] / own[0]["drawn"] for place in (1, 2)]
        rows.append([name, *cells, *(f"{share:.0%}" for share in fewer)])
    head = (
        "landscape", "PARSEC, samples: regret", "FP-NAS", "FP-NAS, balanced", "best PARSEC of no more", "FP-NAS fewer",
        "balanced fewer",
    )  # fmt: skip
    lines += table(head, rows)
    lines += [
        "",
        "To equal quality, the fair control: the least samples with which each rule, over its own grid of samples a "
        "step and steps, comes to the regret of PARSEC's 6,400 (within 0.02 points on the table, 0.1 on blocks). In "
        "brackets: the share fewer than PARSEC at its best, with its interval. A dash: not reached within the grid, of "
        "at most 16 samples a step and 400 steps, with which adaptive rules draw far fewer than 6,400; at the end of "
        "an interval: not reached in more than 2.5 % of the resamples. The last two columns: the share fewer than the "
        "6,400 themselves.",
        "",
    ]
    rows = []
    for name, each in settings:
        cells = []
        for rule in each["to_equal_quality"].values():
            need, fewer = rule["drawn"]["needed"]["value"], rule["drawn"]["fewer_than_parsec"]
            if need is None:
                cells.append("–")
                continue
            ends = [f"{fewer[end]:.0%}" if fewer[end] is not None else "–" for end in ("low", "high")]
            cells.append(f"{need:,.0f} ({fewer['value']:.0%} [{', '.join(ends)}])")
        for rule in ("FP-NAS", "FP-NAS, balanced"):
            need = each["to_equal_quality"][rule]["drawn"]["needed"]["value"]
            cells.append("–" if need is None else f"{1 - need / each['as_published']['parsec']['drawn']:.0%}")
        rows.append([name, *cells])
    rules = next(iter(found["table"].values()))["to_equal_quality"]
    head = ("landscape", *rules, "FP-NAS fewer than 6,400", "balanced fewer than 6,400")
    lines += table(head, rows)
    agree = []
    for rule, own in found["check"].items():
        both = " against ".join(f"{mean:.2f} ± {error:.2f}" for mean, error in own.values())
        agree.append(f"{rule} {both}")
    _curves(found["curves"]["1.0"], folder / "weight-sharing-samples.svg")
    lines += ["", "![Regret by samples, noise of one point](weight-sharing-samples.svg)"]
    if agree:
        lines += [
            "",
            "The searches run side by side in NumPy. With the library's own parts, on the table with noise 1, 8 "
            f"samples and 100 steps, the regret must be the same: {', '.join(agree)}.",
        ]
    return lines


def searched(found: Row, folder: Path) -> list[str]:
    lines = [
        "## FP-NAS against PARSEC with trained supernets",
        "",
        f"`benchmarks/supernets/fp_nas.py`. Trained on {found['task']}; from one supernet a seed, trained by grouped "
        "paths around a fixed backbone, every rule goes on for as many steps of 64 examples. Search time is CPU time "
        "without what is common. Accuracy (percent) and percentile are the true ones of the mode. In brackets: how "
        "many times less than PARSEC with 16 samples. Samples of a step that are the same network run once, so that "
        "PARSEC too gets quicker as it decides.",
    ]
    head = ("rule", "seeds", "samples", "CPU s", "true accuracy", "percentile", "entropy at the end, nats")
    for (warm_up, steps), setting in grouped(found["rows"], "warm_up", "steps").items():
        by = grouped(setting, "rule")
        base = by["PARSEC",]
        rows = []
        for (rule,), own in by.items():
            pairs = [(row, other) for row in own for other in base if other["seed"] == row["seed"]]
            times = [
                f"{np.mean([row[key] for row in own]):,.0f} "
                f"({np.mean([other[key] for _, other in pairs]) / np.mean([row[key] for row, _ in pairs]):.2f})"
                for key in ("drawn", "seconds")
            ]
            rows.append(
                [
                    rule, str(len(own)), *times, spread([row["accuracy"] for row in own], 2),
                    spread([row["percentile"] for row in own], 2), spread([row["entropy"] for row in own], 2),
                ]
            )  # fmt: skip
        rows += [
            [name, "", "", "", f"{accuracy:.2f}", f"{percentile:.2f}", ""]
            for name, accuracy, percentile in controls(folder)
        ]
        lines += ["", f"After {warm_up:,} steps of training, {steps} steps of search:", "", *table(head, rows)]
        first, last = (
            np.mean([_each_sample(row["course"], part) for row in base]) * 1000
            for part in (slice(0, 11), slice(-11, None))
        )
        lines += [
            "",
            f"A sample of PARSEC's takes {first:.0f} ms in its first ten steps and {last:.0f} ms in its last.",
        ]
    return lines


def _each_sample(course: Sequence[Sequence[float]], part: slice) -> float:
    """Seconds a sample in a part of a search."""
    (drawn, seconds, _), *_, (later, end, _) = course[part]
    return (end - seconds) / (later - drawn)


KINDS = {
    "near": "price; best of the likeliest that use 95 %",
    "likeliest": "price; the likeliest",
    "hinge": "hinge 0.3; the likeliest",
}


def cost(found: Row, folder: Path) -> list[str]:
    lines = [
        "## Where cost-aware search lands",
        "",
        f"`benchmarks/supernets/cost.py`: FP-NAS with balanced samples, {found['steps']} steps, rewards from the table "
        f"with noise {found['noise']}. Targets: the 10, 30, 50, 70 and 90 % quantiles of the space. In each cell the "
        "share of the target that the pick uses (least and most over seeds) and its true accuracy (percent, mean). The "
        "first line is what `archscout search --method fp_nas` does under a limit.",
    ]
    names = {
        "macs": ("Multiply-adds of the published networks", "M"),
        "latency": (f"Latency on {found['device']}, as the package's model of it predicts", "ms"),
    }
    for (name,), own in grouped(found["rows"], "cost").items():
        title, unit = names[name]
        by = grouped(own, "kind", "target")
        targets = sorted({target for _, target in by})
        rows = []
        for kind in KINDS:
            cells = []
            for target in targets:
                used = [row["used"] for row in by[kind, target]]
                accuracy = np.mean([row["accuracy"] for row in by[kind, target]])
                cells.append(f"{min(used):.0%} to {max(used):.0%}, {accuracy:.2f}")
            rows.append([KINDS[kind], str(min(len(by[kind, target]) for target in targets)), *cells])
        rows.append(["the best that keeps it", "", *(f"{by['near', t][0]['best_below']:.2f}" for t in targets)])
        rows.append(["the best that uses 95 % too", "", *(f"{by['near', t][0]['best_near']:.2f}" for t in targets)])
        lines += ["", f"{title}:", ""]
        lines += table(("limit kept by", "seeds", *(f"{target:.1f} {unit}" for target in targets)), rows)
        lines += ["", _landing(by, targets, unit)]
    return lines


def _landing(by: dict[tuple, list[Row]], targets: Sequence[float], unit: str) -> str:
    """Whether the goals are met, in a sentence."""
    landed = [row["used"] for target in targets for row in by["near", target]]
    drops = []
    for lower, upper in itertools.pairwise(targets):
        one, other = ([row["accuracy"] for row in by["near", target]] for target in (lower, upper))
        error = np.sqrt(np.var(one, ddof=1) / len(one) + np.var(other, ddof=1) / len(other)) if len(other) > 1 else 0
        if np.mean(one) - np.mean(other) > 2 * error:
            there = [by["near", target][0]["best_near"] for target in (lower, upper)]
            drops.append(
                f"from {lower:.1f} to {upper:.1f} {unit} by {np.mean(one) - np.mean(other):.2f} points (the best that "
                f"there is with 95 % of the limit, from {there[0]:.2f} to {there[1]:.2f})"
            )
    within = f"{sum(0.95 <= used <= 1 + 1e-9 for used in landed)} of {len(landed)} searches land within 5 % below."
    if not drops:
        return f"{within} Accuracy rises with the target, within two standard errors."
    return (
        f"{within} Accuracy rises with the target, but falls {' and '.join(drops)}: using the whole of a limit is no "
        "good by itself."
    )


def speed(found: Row, folder: Path) -> list[str]:
    path, mixed = found["single_path"], found["dense"]
    ranked = "; ".join(f"{row['seconds']:.0f} s with {row['batch']} examples" for row in found["ranking"])
    return [
        "## What it costs",
        "",
        "`benchmarks/supernets/speed.py`: NAS-Bench-201 of width 8, 16 x 16 images, batch 64, one thread, CPU time.",
        "",
        f"- A single-path step takes {path['ratio']:.2f} times that of the stand-alone network "
        f"({path['shared_ms']:.1f} against {path['alone_ms']:.1f} ms, {path['networks']} networks).",
        f"- A dense step takes {mixed['ratio']:.2f} times its operators and the rest of the network "
        f"({mixed['dense_ms']:.0f} against {mixed['operators_ms']:.0f} + {mixed['rest_ms']:.0f} ms).",
        f"- Ranking {found['ranking'][0]['networks']:,} networks from a supernet of width 4: {ranked}.",
    ]


# -- plots ------------------------------------------------------------------------------------------------------------


def _save(figure: Any, file: Path) -> None:
    figure.savefig(file, bbox_inches="tight", metadata={"Date": None})


def _pyplot() -> Any:
    import matplotlib as mpl
    from matplotlib import pyplot

    mpl.use("svg")
    mpl.rcParams["svg.hashsalt"] = "archscout"
    return pyplot


def _curves(cells: dict[str, list[Row]], file: Path) -> None:
    """For each rule the lower envelope of regret over its grid."""
    pyplot = _pyplot()
    figure, axes = pyplot.subplots(figsize=(6, 3.5))
    for rule, own in cells.items():
        points = sorted((cell["drawn"], cell["regret"]) for cell in own)
        best = np.minimum.accumulate([regret for _, regret in points])
        axes.step([drawn for drawn, _ in points], best, where="post", label=rule)
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlabel("architectures sampled in a search")
    axes.set_ylabel("regret of the mode, points")
    axes.legend()
    _save(figure, file)
    pyplot.close(figure)


def _skips(rows: list[Row], examples: int, file: Path) -> None:
    """The mean probability of a plain connection by epoch, a line a search."""
    pyplot = _pyplot()
    figure, axes = pyplot.subplots(figsize=(6, 3.5))
    names = list(dict.fromkeys(row["system"] for row in rows))
    for row in rows:
        axes.plot(
            [entry["step"] * 64 / examples for entry in row["history"]], [entry["skip"] for entry in row["history"]],
            color=f"C{names.index(row['system'])}", label=row["system"] if row["seed"] == 0 else None,
        )  # fmt: skip
    axes.axhline(0.2, color="grey", linewidth=0.5)
    axes.set_xlabel("epochs of the weights")
    axes.set_ylabel("mean probability of skip_connect")
    axes.legend()
    _save(figure, file)
    pyplot.close(figure)


if __name__ == "__main__":
    main()
