"""The page about training-free scores on NAS-Bench-201, from the files that `zero_cost_nasbench201.py` writes.

Undefined scores rank last and are counted. Figures are means over the seeds that have all architectures of the first.
Intervals: 95 %, bootstrap over architectures.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from archscout.core.seeds import stream
from archscout.estimators.zero_cost.ranks import among
from archscout.study import metrics

RESULTS = Path(__file__).parents[1] / "docs" / "results"
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
    ("meco", "CIFAR-10", 0.89, "holds; the number of parameters comes to .83"),
    ("swap", "CIFAR-100", 0.90, "with a prior on the size that is chosen for the space; ours has none"),
)
"""Score, data set, Spearman, and what is to be said of it."""
WHY = {
    "macs": "their count includes pooling: with it, ours is .719",
    "zen": "theirs reads running variances (`zen:running=true`)",
    "grasp": "theirs by a batch of another size",
    "plain": "its sign hangs on the draw of weights: our own seeds agree to .2 alone",
}
"""Why a score may differ from `REFERENCE`."""
BASELINE = ("naswot", "jacob_cov", "synflow", "params")
TUNED = ("meco", "near", "nasgraph (expected)", "synflow (expected)", "epsilon_log", "epsilon", "params")
WEIGHTS = (0.0, 0.25, 0.5, 1.0, 2.0)
SMALL = {
    "synflow": "synflow (expected)",
    "naswot": "naswot (small network)",
    "jacob_cov": "jacob_cov (small network)",
}
"""The form in which a score is there for all architectures."""
AZ_NAS = ("az_expressivity", "az_progressivity", "az_trainability", "macs")


def write(table: Path, runs: Path) -> None:
    """docs/results/training-free.md, .json and .svg, of what the runs have so far."""
    truth = accuracies(table)
    whole = _whole(runs, truth)
    samples = [_sample(runs, seed) for seed in range(3)]
    made: dict[str, Any] = {"whole space": section([whole], truth), "sample": section(samples, truth)}
    made["forms"] = section([_read(runs / "forms.csv")], truth)
    made["ensembles"] = ensembles(samples, whole, truth)
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
    truth["params"] = [count_params(cell) for cell in cells]
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


def count_params(cell: list[str]) -> float:
    """Parameters of the published network, operations that are dead left out."""
    every = ("skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3")
    fed, needed = _reached(cell, every), _reached(cell, every, backwards=True)
    live = [o for (i, j), o in zip(EDGES, cell, strict=True) if i in fed and j in needed]
    return 73_306 + 28_000.0 * live.count("nor_conv_1x1") + 243_040.0 * live.count("nor_conv_3x3")


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
    """Scores of all architectures, from those of the networks that they are; small networks' are marked."""
    frames = [_read(runs / "exact.csv"), _read(runs / "wide.csv")]
    made = _read(runs / "small.csv")
    frames.append(made.rename(columns=lambda c: f"{c} (small network)" if not c.endswith(" seconds") else f"small {c}"))
    if not any(map(len, frames)):
        return pd.DataFrame()
    network = pd.read_csv(runs / "networks.csv").set_index("architecture")["network"].reindex(truth.index)
    columns = [frame.reindex(network).set_index(truth.index) for frame in frames if len(frame)]
    made = pd.concat([*columns, truth[["params"]]], axis=1)
    return made[made[[c for c in made if c.endswith(" seconds")]].notna().any(axis=1)]


def _sample(runs: Path, seed: int) -> pd.DataFrame:
    """Scores of the published network, one row an architecture of the sample; what no draw changes is with seed 0."""
    files = (runs / f"{name}_{seed}.csv" for name in ("sample", "views", "dear"))
    frames = [frame for file in files if len(frame := _read(file))]
    made = pd.concat(frames, axis=1) if frames else pd.DataFrame()
    exact = _read(runs / "exact.csv")
    if len(made) and len(exact):
        made = made.drop(columns=[c for c in exact if c in made])
    if len(made) and len(exact) and not seed:
        network = pd.read_csv(runs / "networks.csv").set_index("architecture")["network"].reindex(made.index)
        made = made.join(exact.reindex(network).set_index(made.index))
    return made


def section(frames: Sequence[pd.DataFrame], truth: pd.DataFrame) -> dict[str, Any]:
    """For each score what it is worth, and the same for an order drawn at random; a frame a seed."""
    first = frames[0]
    made = {}
    for name in (c for c in first if not c.endswith(" seconds")):
        asked = _asked(first, name)
        whole = [frame for frame in frames if name in frame and asked.equals(_asked(frame, name))]
        made[name] = worth([frame.loc[asked, name] for frame in whole], truth)
        seconds = first.get(f"{name} seconds")
        made[name]["seconds"] = None if seconds is None else round(float(seconds.dropna().median()), 4)
    if len(first):
        drawn = [
            pd.Series(stream(s, "benchmark", "random").random(len(first)), first.index) for s in range(len(frames))
        ]
        made["random"] = worth(drawn, truth) | {"seconds": None}
    return made


def _asked(frame: pd.DataFrame, name: str) -> pd.Index:
    """The architectures that a score was asked of, in one order."""
    seconds = frame.get(f"{name} seconds")
    return (frame.index if seconds is None else frame.index[seconds.notna()]).sort_values()


def worth(columns: Sequence[pd.Series], truth: pd.DataFrame) -> dict[str, Any]:
    """What one score is worth on the architectures that it was asked of: means over seeds, a column each."""
    about = truth.loc[columns[0].index]
    seeds = [column.to_numpy(float) for column in columns]
    by_seed = [_worth(values, about) for values in seeds]
    row: dict[str, Any] = {"architectures": len(about), "seeds": len(seeds), **_mean(by_seed)}
    for target, label in TARGETS.items():
        row[label]["interval"] = _interval(about[target].to_numpy(float), seeds)
    alive = about["alive"].to_numpy()
    row["its interval"] = _interval(about["c10v_test_200"].to_numpy(float)[alive], [values[alive] for values in seeds])
    row["by seed"] = [each["CIFAR-10"]["spearman"] for each in by_seed]
    row["like the reference, by seed"] = [each["like the reference"] for each in by_seed]
    pairs = itertools.combinations(seeds, 2)
    agreement = [metrics.spearman(metrics.filled(a), b) for a, b in pairs]
    row["between seeds"] = float(np.mean(agreement)) if agreement else None
    return row


def _mean(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The mean of each figure."""
    first = rows[0]
    return {
        key: _mean([row[key] for row in rows])
        if isinstance(first[key], Mapping)
        else None
        if first[key] is None
        else float(np.mean([row[key] for row in rows]))
        for key in first
    }


def _worth(values: np.ndarray, about: pd.DataFrame) -> dict[str, Any]:
    """Of one seed."""
    row: dict[str, Any] = {"undefined": int(np.isnan(values).sum())}
    for target, label in TARGETS.items():
        accuracy = about[target].to_numpy(float)
        top = accuracy >= np.quantile(accuracy, 0.9)
        tenth = max(1, len(accuracy) // 10)
        row[label] = {
            "spearman": metrics.spearman(accuracy, values),
            "kendall": metrics.kendall(accuracy, values),
            "spearman of the top 10 %": metrics.spearman(accuracy[top], values[top]),
            "share of the top 10 % found": metrics.precision_at(tenth, accuracy, values),
            "ndcg": metrics.ndcg_at(tenth, accuracy, values),
            "accuracy of the first": float(accuracy[metrics.best_first(values)[0]]),
            "kendall of the top 10 %": metrics.kendall(accuracy[top], values[top]),
            "best of the first ten": float(accuracy.max() - metrics.regret_at(10, accuracy, values)),
            "best of the first hundred": float(accuracy.max() - metrics.regret_at(100, accuracy, values)),
            "best of all": float(accuracy.max()),
        }
    accuracy = about["c10_test_200"].to_numpy(float)
    for part, chosen in (("with a free path", about["free"]), ("without a free path", ~about["free"])):
        row[part] = metrics.spearman(accuracy[chosen], values[chosen]) if chosen.sum() > 2 else None
    alive = about["alive"].to_numpy()
    row["like the reference"] = metrics.spearman(about["c10v_test_200"].to_numpy(float)[alive], values[alive])
    return row


def _interval(accuracy: np.ndarray, seeds: Sequence[np.ndarray]) -> list[float]:
    """Of the mean of Spearman's coefficient over seeds."""

    def mean(chosen: np.ndarray) -> float:
        return float(np.mean([metrics.spearman(accuracy[chosen], values[chosen]) for values in seeds]))

    rng = stream(0, "benchmark", "bootstrap")
    count = min(len(accuracy), 2000)  # a larger set has a narrower interval: scaled below
    found = [mean(rng.integers(0, len(accuracy), count)) for _ in range(200)]
    middle = mean(np.arange(len(accuracy)))
    half = np.abs(np.quantile(found, [0.025, 0.975]) - np.mean(found)) * (count / len(accuracy)) ** 0.5
    return [middle - float(half[0]), middle + float(half[1])]


def ensembles(samples: Sequence[pd.DataFrame], whole: pd.DataFrame, truth: pd.DataFrame) -> dict[str, Any]:
    """Log-rank sums: the baseline, that of AZ-NAS, and one whose weights are tuned on CIFAR-10.

    Tuned on 1,000 of all architectures, going through the weights one by one, three times. What it is worth is said of
    those that are not the network of one of the 1,000; of the sample, with the baseline's scores of the published
    network, as a mean over seeds.
    """
    small = [SMALL.get(name, name) for name in BASELINE]
    if not {*TUNED, *small} <= set(whole.columns) or len(_complete(whole, TUNED)) < len(truth):
        return {}
    known = truth.loc[whole.index]
    tuning = stream(0, "benchmark", "ensemble").choice(len(whole), 1000, replace=False)
    logs = np.log(among(whole[list(TUNED)].to_numpy(float)))[tuning]
    accuracy = known["c10_test_200"].to_numpy(float)[tuning]
    tuned = np.ones(len(TUNED))
    for place in [*range(len(TUNED))] * 3:
        tries = [np.where(np.arange(len(tuned)) == place, weight, tuned) for weight in WEIGHTS]
        tuned = max((each for each in tries if each.any()), key=lambda each: metrics.spearman(accuracy, logs @ each))
    # What has the same scores is the same network.
    forms = pd.Series([row.tobytes() for row in whole[list(TUNED)].to_numpy(float)], index=whole.index)
    parts = {
        "all": np.ones(len(whole), bool),
        "not tuned on": ~forms.isin(set(forms.iloc[tuning])).to_numpy(),
        "without dead operations": known["alive"].to_numpy(),
        "without a free path": ~known["free"].to_numpy(),
    }
    four = np.ones(len(BASELINE))
    made: dict[str, Any] = {
        "weights": {name: float(weight) for name, weight in zip(TUNED, tuned, strict=True) if weight},
        "all": {
            f"{title}, {part}": _worth_of(whole[list(members)].to_numpy(float), weights, known, kept)
            for part, kept in parts.items()
            for title, members, weights in (("the four", small, four), ("tuned", TUNED, tuned))
        },
        "sample": {},
    }
    exact = [c for c in samples[0] if all(c not in each for each in samples[1:])]
    full = [samples[0], *(each.join(samples[0][exact]) for each in samples[1:] if len(each) == len(samples[0]))]
    for title, members, weights in (
        ("the four", BASELINE, four), ("tuned", TUNED, tuned), ("AZ-NAS", AZ_NAS, np.ones(len(AZ_NAS))),
    ):  # fmt: skip
        known_of = [about for each in full if set(members) <= set(each) and len(about := _complete(each, members))]
        rows = [
            _worth_of(about[list(members)].to_numpy(float), weights, truth.loc[about.index], np.ones(len(about), bool))
            for about in known_of
        ]
        if rows:
            made["sample"][title] = _mean(rows) | {"seeds": len(rows)}
    return made


def _complete(frame: pd.DataFrame, names: Sequence[str]) -> pd.DataFrame:
    """The architectures that all of these scores were asked of."""
    asked = [f"{name} seconds" for name in names if f"{name} seconds" in frame]
    return frame[frame[asked].notna().all(axis=1)]


def _worth_of(values: np.ndarray, weights: np.ndarray, about: pd.DataFrame, kept: np.ndarray) -> dict[str, Any]:
    """Of the log-rank sum with these weights (ranks among all), on those kept: Spearman, and its first picks."""
    combined = np.log(among(values)) @ weights
    accuracy = about["c10_test_200"].to_numpy(float)[kept]
    return {
        "architectures": int(kept.sum()),
        **{
            label: metrics.spearman(about[target].to_numpy(float)[kept], combined[kept])
            for target, label in TARGETS.items()
        },
        "kendall": metrics.kendall(accuracy, combined[kept]),
        "accuracy of the first": float(accuracy[metrics.best_first(combined[kept])[0]]),
        "best of the first ten": float(accuracy.max() - metrics.regret_at(10, accuracy, combined[kept])),
    }


# -- the page ---------------------------------------------------------------------------------------------------------


def page(made: Mapping[str, Any]) -> str:
    """Markdown."""
    lines = [
        "# What training-free scores are worth on NAS-Bench-201",
        "",
        "Made by `benchmarks/zero_cost_nasbench201.py`: real CIFAR-10 images, accuracies after 200 epochs. Undefined "
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
                why += f": so read, ours is {read:.3f} [{least:.3f}, {most:.3f}]"
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
