"""The page about training-free scores on NAS-Bench-201, from the files that `zero_cost_nasbench201.py` writes.

Undefined scores rank last and are counted. Intervals: 95 %, bootstrap over architectures.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from archscout.core.seeds import stream
from archscout.estimators.zero_cost.ranks import ranks
from archscout.study import metrics

RESULTS = Path(__file__).parents[1] / "docs" / "results"
TARGETS = {"c10_test_200": "CIFAR-10", "c100_test_200": "CIFAR-100", "in16_test_200": "ImageNet16-120"}
REFERENCE = {
    "jacob_cov": 0.821, "naswot": 0.796, "epe_nas": 0.789, "params": 0.752, "synflow": 0.737, "l2_norm": 0.724,
    "macs": 0.719, "snip": 0.553, "grad_norm": 0.552, "fisher": 0.502, "grasp": 0.494, "zen": 0.103, "plain": -0.367,
}  # fmt: skip
"""Spearman with CIFAR-10 accuracy (half split) of published values of NASLib's scores, 9,445 cells without a dead
operation."""
BASELINE = ("naswot", "jacob_cov", "synflow", "params")
TUNED = (*BASELINE, "epsilon_log")
WEIGHTS = (0.0, 0.5, 1.0, 2.0)


def write(table: Path, runs: Path) -> None:
    """docs/results/training-free.md, .json and .svg, of what the runs have so far."""
    truth = accuracies(table)
    whole = _whole(runs, truth)
    sample = _sample(runs, truth)
    made: dict[str, Any] = {"whole space": section(whole, truth), "sample": section(sample, truth)}
    made["seeds"] = _seeds(runs, truth)
    made["ensembles"] = ensembles(sample, truth)
    RESULTS.mkdir(parents=True, exist_ok=True)
    (RESULTS / "training-free.json").write_text(json.dumps(made, indent=1) + "\n", encoding="utf-8")
    (RESULTS / "training-free.md").write_text(page(made), encoding="utf-8")
    picture(made, RESULTS / "training-free.svg")


def accuracies(table: Path) -> pd.DataFrame:
    """Of each architecture: test accuracies in percent, whether no operation is dead, whether a path is free."""
    columns = ["arch", "c10v_test_200", *TARGETS]
    truth = pd.read_parquet(table, columns=columns).rename(columns={"arch": "architecture"})
    cells = [[part.partition("~")[0] for part in text.split("|") if "~" in part] for text in truth["architecture"]]
    truth["alive"] = [not has_dead_operation(cell) for cell in cells]
    truth["free"] = [3 in _reached(cell, ("skip_connect", "avg_pool_3x3")) for cell in cells]
    return truth.set_index("architecture")


EDGES = ((0, 1), (0, 2), (1, 2), (0, 3), (1, 3), (2, 3))
"""Of a cell, in the order of its text."""


def _reached(cell: list[str], operations: tuple[str, ...], *, backwards: bool = False) -> set[int]:
    """The nodes that the input reaches (or that reach the output) over edges with these operations."""
    found = {3} if backwards else {0}
    for (source, target), operation in sorted(zip(EDGES, cell, strict=True), reverse=backwards):
        begin, end = (target, source) if backwards else (source, target)
        if begin in found and operation in operations:
            found.add(end)
    return found


def has_dead_operation(cell: list[str]) -> bool:
    """Whether some operation gets no input, or reaches no output."""
    every = ("skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3")
    fed, needed = _reached(cell, every), _reached(cell, every, backwards=True)
    return any(o != "none" and (i not in fed or j not in needed) for (i, j), o in zip(EDGES, cell, strict=True))


def _read(file: Path) -> pd.DataFrame:
    """Scores by architecture, columns named without parameters of batch; seconds apart, as `name seconds`."""
    if not file.is_file():
        return pd.DataFrame()
    frame = pd.read_csv(file).set_index("architecture")
    return frame.rename(
        columns=lambda c: f"{_plain(c[: -len('_seconds')])} seconds" if c.endswith("_seconds") else _plain(c)
    )


def _plain(name: str) -> str:
    head, _, parameters = name.partition(":")
    return head + (" (expected)" if "expected=true" in parameters else "")


def _whole(runs: Path, truth: pd.DataFrame) -> pd.DataFrame:
    """Scores of all architectures, from those of the networks that they are; the small network's are marked."""
    exact, small = _read(runs / "exact.csv"), _read(runs / "small.csv")
    small = small.rename(columns={c: f"{c} (small network)" for c in small if not c.endswith(" seconds")})
    if not len(exact) and not len(small):
        return pd.DataFrame()
    network = pd.read_csv(runs / "networks.csv").set_index("architecture")["network"].reindex(truth.index)
    columns = [frame.reindex(network).set_index(truth.index) for frame in (exact, small) if len(frame)]
    made = pd.concat(columns, axis=1)
    return made[made[[c for c in made if c.endswith(" seconds")]].notna().any(axis=1)]


def _sample(runs: Path, truth: pd.DataFrame) -> pd.DataFrame:
    """Scores of the published network, seed 0, one row an architecture of the sample."""
    frames = [frame for name in ("sample_0", "views", "dear") if len(frame := _read(runs / f"{name}.csv"))]
    made = pd.concat(frames, axis=1) if frames else pd.DataFrame()
    exact = _whole(runs, truth)
    shared = [c for c in exact if "small network" not in c and not c.endswith(" seconds")]
    return made.join(exact[shared].loc[:, lambda f: ~f.columns.isin(made.columns)]) if len(made) else made


def section(frame: pd.DataFrame, truth: pd.DataFrame) -> dict[str, Any]:
    """For each score what it is worth, and the same for an order drawn at random."""
    scores = {c: frame[c] for c in frame if not c.endswith(" seconds")}
    if len(frame):
        drawn = stream(0, "benchmark", "random").random(len(frame))
        scores["random"] = pd.Series(drawn, index=frame.index)
    return {name: worth(name, column, frame, truth) for name, column in scores.items()}


def worth(name: str, column: pd.Series, frame: pd.DataFrame, truth: pd.DataFrame) -> dict[str, Any]:
    """What one score is worth on the architectures that it was asked about."""
    seconds = frame.get(f"{name} seconds")
    asked = column.index[seconds.notna()] if seconds is not None else column.index
    values, about = column.loc[asked].to_numpy(float), truth.loc[asked]
    row: dict[str, Any] = {
        "architectures": len(asked),
        "undefined": int(np.isnan(values).sum()),
        "seconds": None if seconds is None else round(float(seconds.dropna().median()), 4),
    }
    for target, label in TARGETS.items():
        accuracy = about[target].to_numpy(float)
        top = accuracy >= np.quantile(accuracy, 0.9)
        tenth = max(1, len(accuracy) // 10)
        row[label] = {
            "spearman": metrics.spearman(accuracy, values),
            "interval": _interval(accuracy, values),
            "kendall": metrics.kendall(accuracy, values),
            "spearman of the top 10 %": metrics.spearman(accuracy[top], values[top]),
            "share of the top 10 % found": metrics.precision_at(tenth, accuracy, values),
            "ndcg": metrics.ndcg_at(tenth, accuracy, values),
            "accuracy of the first": float(accuracy[metrics.best_first(values)[0]]),
            "best of the first ten": float(accuracy.max() - metrics.regret_at(10, accuracy, values)),
            "best of all": float(accuracy.max()),
        }
    accuracy = about["c10_test_200"].to_numpy(float)
    for part, chosen in (("with a free path", about["free"]), ("without a free path", ~about["free"])):
        row[part] = metrics.spearman(accuracy[chosen], values[chosen]) if chosen.sum() > 2 else None
    alive = about["alive"].to_numpy()
    row["like the reference"] = metrics.spearman(about["c10v_test_200"].to_numpy(float)[alive], values[alive])
    return row


def _interval(accuracy: np.ndarray, values: np.ndarray) -> list[float]:
    rng = stream(0, "benchmark", "bootstrap")
    count = min(len(values), 2000)  # a larger set has a narrower interval: scaled below
    found = []
    for _ in range(200):
        chosen = rng.integers(0, len(values), count)
        found.append(metrics.spearman(accuracy[chosen], values[chosen]))
    middle = metrics.spearman(accuracy, values)
    half = np.abs(np.quantile(found, [0.025, 0.975]) - np.mean(found)) * (count / len(values)) ** 0.5
    return [middle - float(half[0]), middle + float(half[1])]


def _seeds(runs: Path, truth: pd.DataFrame) -> dict[str, Any]:
    """Spearman with CIFAR-10 accuracy by seed, on the architectures that all seeds have; how far seeds agree."""
    frames = [_read(runs / f"sample_{seed}.csv") for seed in range(3)]
    shared = [t for t in frames[0].index if all(t in frame.index for frame in frames)] if len(frames[0]) else []
    if len(shared) < 10:
        return {}
    accuracy = truth.loc[shared, "c10_test_200"].to_numpy(float)
    made = {}
    for name in (c for c in frames[0] if not c.endswith(" seconds")):
        values = [frame.loc[shared, name].to_numpy(float) for frame in frames]
        agreement = [metrics.spearman(metrics.filled(a), b) for a, b in itertools.combinations(values, 2)]
        made[name] = {
            "architectures": len(shared),
            "spearman": [metrics.spearman(accuracy, v) for v in values],
            "between seeds": float(np.mean(agreement)),
        }
    return made


def ensembles(sample: pd.DataFrame, truth: pd.DataFrame) -> dict[str, Any]:
    """Sums of logarithmic ranks; one with weights chosen on CIFAR-10 accuracies of every other architecture."""
    if not len(sample) or not set(TUNED) <= set(sample.columns):
        return {}
    about = sample[sample[[f"{name} seconds" for name in BASELINE if f"{name} seconds" in sample]].notna().all(axis=1)]
    values = about[list(TUNED)].to_numpy(float)
    placed = np.log(ranks(values, values))
    accuracy = truth.loc[about.index, "c10_test_200"].to_numpy(float)
    tuning = np.arange(len(about)) % 2 == 0
    grid = [weights for weights in itertools.product(WEIGHTS, repeat=len(TUNED)) if any(weights)]
    best = max(grid, key=lambda w: metrics.spearman(accuracy[tuning], placed[tuning] @ np.array(w)))
    forms = {
        "log-rank sum of " + ", ".join(BASELINE): np.array([1.0] * len(BASELINE) + [0.0]),
        "tuned: " + ", ".join(f"{w:g} {n}" for w, n in zip(best, TUNED, strict=True) if w): np.array(best),
    }
    held = ~tuning
    return {
        name: {
            "architectures": int(held.sum()),
            **{
                label: metrics.spearman(truth.loc[about.index[held], target].to_numpy(float), placed[held] @ weights)
                for target, label in TARGETS.items()
            },
        }
        for name, weights in forms.items()
    }


# -- the page ---------------------------------------------------------------------------------------------------------


def page(made: Mapping[str, Any]) -> str:
    """Markdown."""
    lines = [
        "# What training-free scores are worth on NAS-Bench-201",
        "",
        "Made by `benchmarks/zero_cost_nasbench201.py`: real CIFAR-10 images; test accuracies of the table after 200 epochs. "
        "Undefined scores rank last and are counted. Spearman with its 95 % interval (bootstrap over architectures). Seconds are the "
        "median of what a score takes alone, on a machine shared with other programs.",
    ]
    titles = {
        "sample": "The published network (16 channels, 5 cells a stage), architectures drawn at random",
        "whole space": "All architectures",
    }
    for key, title in titles.items():
        if made[key]:
            lines += ["", f"## {title}", "", *_table(made[key])]
    if made["seeds"]:
        lines += [
            "",
            "## Seeds",
            "",
            "| score | architectures | Spearman by seed | between seeds |",
            "| --- | --- | --- | --- |",
        ]
        lines += [
            f"| {name} | {row['architectures']} | {', '.join(f'{v:.3f}' for v in row['spearman'])} | {row['between seeds']:.3f} |"
            for name, row in made["seeds"].items()
        ]
    if made["ensembles"]:
        lines += [
            "",
            "## Ensembles",
            "",
            "Weights were chosen on CIFAR-10 accuracies of half the sample; these are figures of the other half.",
            "",
        ]
        lines += ["| ensemble | architectures | " + " | ".join(TARGETS.values()) + " |", "| --- " * 5 + "|"]
        lines += [
            f"| {name} | {row['architectures']} | "
            + " | ".join(f"{row[label]:.3f}" for label in TARGETS.values())
            + " |"
            for name, row in made["ensembles"].items()
        ]
    return "\n".join([*lines, "", "![Spearman with accuracy](training-free.svg)", ""])


def _table(rows: Mapping[str, Any]) -> list[str]:
    head = [
        "score", "architectures", "undefined", "seconds", "CIFAR-10", "CIFAR-100", "ImageNet16-120", "Kendall", "top 10 %", "top 10 % found",
        "first", "best of ten", "free path", "no free path", "like the reference", "reference",
    ]  # fmt: skip
    lines = ["| " + " | ".join(head) + " |", "| --- " * len(head) + "|"]
    for name, row in sorted(rows.items(), key=lambda item: -item[1]["CIFAR-10"]["spearman"]):
        c10 = row["CIFAR-10"]
        low, high = c10["interval"]
        cells = [
            name,
            str(row["architectures"]),
            str(row["undefined"]),
            "" if row["seconds"] is None else f"{row['seconds']:.3f}",
            f"{c10['spearman']:.3f} [{low:.3f}, {high:.3f}]",
            *(f"{row[label]['spearman']:.3f}" for label in ("CIFAR-100", "ImageNet16-120")),
            *(f"{c10[key]:.3f}" for key in ("kendall", "spearman of the top 10 %", "share of the top 10 % found")),
            *(f"{c10[key]:.2f}" for key in ("accuracy of the first", "best of the first ten")),
            *("" if row[part] is None else f"{row[part]:.3f}" for part in ("with a free path", "without a free path")),
            f"{row['like the reference']:.3f}",
            f"{REFERENCE[name]:.3f}" if name in REFERENCE else "",
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return lines


def picture(made: Mapping[str, Any], file: Path) -> None:
    """Bars of Spearman with CIFAR-10 accuracy, the sample's where there are any."""
    import matplotlib as mpl
    from matplotlib import pyplot

    mpl.rcParams["svg.hashsalt"] = "archscout"
    rows = made["sample"] or made["whole space"]
    if not rows:
        return
    ordered = sorted(rows.items(), key=lambda item: item[1]["CIFAR-10"]["spearman"])
    figure, axes = pyplot.subplots(figsize=(7, 0.28 * len(ordered) + 1))
    for place, (_, row) in enumerate(ordered):
        low, high = row["CIFAR-10"]["interval"]
        middle = row["CIFAR-10"]["spearman"]
        axes.barh(place, middle, color="#4c78a8")
        axes.plot([low, high], [place, place], color="black", linewidth=1)
    axes.set_yticks(range(len(ordered)), [f"{name} ({row['architectures']})" for name, row in ordered])
    axes.set_xlabel("Spearman with CIFAR-10 test accuracy (number of architectures)")
    figure.savefig(file, bbox_inches="tight", metadata={"Date": None})
    pyplot.close(figure)
