"""The page about training-free scores on NAS-Bench-201, from the files that `nasbench201.py` writes.

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

from archscout.core.files import write_text
from archscout.core.seeds import stream
from archscout.estimators.zero_cost.ranks import among
from archscout.study import metrics
from benchmarks.common import RESULTS, write_result
from benchmarks.zero_cost.page import BASELINE, TARGETS, page, picture

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
    made["forms"]["macs"] = worth([truth["macs with pooling"]], truth)
    made["ensembles"] = ensembles(samples, whole, truth)
    made = _with_stored(made)
    write_result(RESULTS / "training-free.json", made)
    write_text(RESULTS / "training-free.md", page(made))
    picture(made, RESULTS / "training-free.svg")


def _with_stored(made: Mapping[str, Any]) -> dict[str, Any]:
    """With what the last report says of scores that there are no files of; an order drawn at random stays as it was."""
    file = RESULTS / "training-free.json"
    if not file.is_file():
        return dict(made)
    stored: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return {
        part: {**rows, **{name: row for name, row in made[part].items() if name not in rows or name != "random"}}
        for part, rows in stored.items()
    }


def accuracies(table: Path) -> pd.DataFrame:
    """Of each architecture: test accuracies in percent, whether no operation is dead, whether a path is free."""
    columns = ["arch", "c10v_test_200", *TARGETS]
    truth = pd.read_parquet(table, columns=columns).rename(columns={"arch": "architecture"})
    cells = [[part.partition("~")[0] for part in text.split("|") if "~" in part] for text in truth["architecture"]]
    truth["alive"] = [not has_dead_operation(cell) for cell in cells]
    truth["params"] = [count_params(cell) for cell in cells]
    truth["macs with pooling"] = [count_macs(cell, pooling=9) for cell in cells]
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


def count_macs(cell: list[str], *, pooling: int) -> float:
    """Multiply-adds of the published network's cells, pooling with so many a place; what is dead counts as well."""
    stages = ((16, 32), (32, 16), (64, 8))
    by_channel = {"nor_conv_1x1": 1, "nor_conv_3x3": 9}
    return sum(
        5.0 * side**2 * width * (sum(by_channel.get(o, 0) for o in cell) * width + pooling * cell.count("avg_pool_3x3"))
        for width, side in stages
    )


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
    return (
        head
        + (" (expected)" if "expected=true" in parameters else "")
        + (" (thin network)" if "network=thin" in parameters else "")
    )


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
    files = (runs / f"{name}_{seed}.csv" for name in ("sample", "views", "layers", "dear", "regions"))
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
