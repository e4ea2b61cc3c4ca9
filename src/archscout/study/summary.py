"""Means over repeats with bootstrap intervals, paired tests, and who wins where."""

from __future__ import annotations

import csv
import io
import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from archscout.core.cells import cell
from archscout.study.metrics import LOWER

DRAWS = 2000
"""Bootstrap samples."""

Cell = tuple[str, int, int]
"""Estimator, networks learned from, epochs of a query."""

KEYS = frozenset({"repeat", "estimator", "train", "epochs"})


def interval(values: Sequence[float] | np.ndarray) -> tuple[float, float, float]:
    """The mean of repeats and its 95 % bootstrap interval (percentiles); NaN where a repeat is."""
    data = np.asarray(values, dtype=np.float64)
    if not len(data) or np.isnan(data).any():
        return math.nan, math.nan, math.nan
    draws = data[np.random.default_rng(0).integers(len(data), size=(DRAWS, len(data)))].mean(axis=1)
    low, high = np.percentile(draws, [2.5, 97.5])
    return float(data.mean()), float(low), float(high)


def with_interval(name: str, values: Sequence[float] | np.ndarray) -> dict[str, float]:
    """What an entry tells of a measurement: `interval` under `NAME`, `NAME_low` and `NAME_high`."""
    return dict(zip((name, f"{name}_low", f"{name}_high"), interval(values), strict=True))


def paired(first: Sequence[float] | np.ndarray, second: Sequence[float] | np.ndarray) -> float:
    """The two-sided p of Wilcoxon's signed rank test on pairs; 1 where all pairs are equal."""
    from scipy.stats import wilcoxon

    differences = np.asarray(first, dtype=np.float64) - np.asarray(second, dtype=np.float64)
    return float(wilcoxon(differences).pvalue) if np.any(differences) else 1.0


def cells(rows: Sequence[Mapping[str, Any]]) -> dict[Cell, dict[str, np.ndarray]]:
    """The rows by estimator, size and epochs: each measurement as an array over repeats."""
    groups: dict[Cell, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for row in sorted(rows, key=lambda row: row["repeat"]):
        for name, value in row.items():
            if name not in KEYS:
                groups[row["estimator"], row["train"], row["epochs"]][name].append(value)
    return {cell: {name: np.asarray(v, dtype=np.float64) for name, v in of.items()} for cell, of in groups.items()}


def summary(rows: Sequence[Mapping[str, Any]], metric: str = "kendall") -> list[dict[str, Any]]:
    """One entry a cell: every measurement's mean and interval, and the paired p against the best at this size.

    The best of a size, by the mean of `metric`, is found among what learned from that many networks or from none and
    looks at as many epochs.
    """
    grouped = cells(rows)
    entries = []
    for (name, train, epochs), measured in grouped.items():
        entry: dict[str, Any] = {"estimator": name, "train": train, "epochs": epochs, "repeats": len(measured[metric])}
        for key, values in measured.items():
            entry |= with_interval(key, values)
        rivals = {c: m[metric] for c, m in grouped.items() if c[1:] == (train, epochs)}
        best = _best(rivals, metric)
        entry["best"] = best == (name, train, epochs)
        same = len(rivals[best]) == len(measured[metric])
        entry["p_against_best"] = 1.0 if entry["best"] else paired(rivals[best], measured[metric]) if same else math.nan
        entries.append(entry)
    return entries


def winners(rows: Sequence[Mapping[str, Any]], metric: str = "kendall") -> list[dict[str, Any]]:
    """For every initialisation (networks learned from, 0 for none) and query (epochs, 0 for none): the best estimator.

    A score competes everywhere, what learns at its size for all epochs, a curve at its epochs for all sizes: whoever
    can pay for a cell may use what is cheaper. `p` is the paired test against the second best; None without one.
    """
    grouped = cells(rows)
    sizes = sorted({0} | {train for _, train, _ in grouped})
    epochs = sorted({0} | {e for _, _, e in grouped})
    lines = []
    for size in sizes:
        for query in epochs:
            able = {
                cell: measured[metric]
                for cell, measured in grouped.items()
                if cell[1] in (0, size) and cell[2] in (0, query)
            }
            if not able:
                continue
            best = _best(able, metric)
            rest = {cell: values for cell, values in able.items() if cell[0] != best[0]}
            second = _best(rest, metric) if rest else None
            p = None
            if second is not None and len(able[second]) == len(able[best]):
                p = paired(able[best], able[second])
            lines.append(
                {
                    "train": size, "epochs": query, "winner": best[0], metric: float(able[best].mean()),
                    "second": second[0] if second else None, "p": p,
                    "init_seconds": _mean(grouped, size, "simulated_seconds"),
                    "query_seconds": float(grouped[best]["query_seconds"].mean()),
                }
            )  # fmt: skip
    return lines


def _best(able: Mapping[Cell, np.ndarray], metric: str) -> Cell:
    sign = -1.0 if metric in LOWER else 1.0
    return max(able, key=lambda cell: (sign * float(np.mean(able[cell])), cell[0]))


def _mean(grouped: Mapping[Cell, Mapping[str, np.ndarray]], size: int, key: str) -> float:
    values = [measured[key].mean() for (_, train, _), measured in grouped.items() if train == size]
    return float(np.mean(values)) if values else 0.0


def as_csv(entries: Sequence[Mapping[str, Any]]) -> str:
    """Entries as CSV; NaN and None are empty."""
    names = list(dict.fromkeys(name for entry in entries for name in entry))
    stream = io.StringIO()
    writer = csv.DictWriter(stream, names, lineterminator="\n")
    writer.writeheader()
    for entry in entries:
        writer.writerow(
            {k: "" if v is None or (isinstance(v, float) and math.isnan(v)) else cell(v) for k, v in entry.items()}
        )
    return stream.getvalue()
