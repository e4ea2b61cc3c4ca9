"""Compares searches on a table: how near to its best network they come, after how many trainings and seconds."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from archscout.core import options
from archscout.core.budget import Budget
from archscout.core.errors import ArchscoutError, UsageError
from archscout.core.registry import names
from archscout.core.seeds import derive
from archscout.methods.strategy import resolve_method
from archscout.study.record import Record, carry_out
from archscout.study.simulated import UNDEFINED_SCORES, SimulatedRun, simulate
from archscout.study.summary import interval, paired, with_interval
from archscout.tables.table import Table

POINTS = 20
"""Of a regret curve, evenly spread on a logarithmic scale."""

SURE = 0.05
"""A paired test that gives less than this tells two searches apart."""

COLUMNS: dict[str, type] = {
    "repeat": int, "estimator": str, "evaluations": int, "regret_after": dict, "regret_at": dict,
    **dict.fromkeys(("regret", "mean_regret", "to_optimum", "seconds"), float),
}  # fmt: skip
"""The types of what stands in a row."""


@dataclass(frozen=True)
class Races:
    """What is compared, and how.

    Args:
        contenders: names of strategies or methods.
        budget: of each search: so many trainings (`200trials`), or simulated time (`10h`).
        repeats: how often, each time with another seed.
        metric: what is searched for.
        seed: of all random decisions.
    """

    contenders: tuple[str, ...]
    budget: str
    repeats: int
    metric: str
    seed: int = 0


def race(
    table: Table,
    races: Races,
    folder: Path,
    *,
    workers: int = 0,
    fresh: bool = False,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> list[dict[str, Any]]:
    """Simulate every search, in `folder`; the same call again goes on where it was stopped.

    Returns one row for each contender and repeat: `regret` at the end, `mean_regret` over all trainings (the area under
    the curve, divided by its length; a training that pauses counts by its epochs), `evaluations` in all and
    `to_optimum` (NaN where the best network was not found), `seconds` simulated, and the curves: `regret_after` so many
    trainings, `regret_at` so many simulated seconds. Regret is the distance of the best network so far from the best of
    the table.

    Raises `UsageError` for unknown names and for a folder of another study.
    """
    workers = options.workers(workers)
    races = replace(
        races,
        contenders=tuple(options.several(races.contenders, "strategies or methods")),
        budget=races.budget if isinstance(races.budget, str) else str(Budget.read(races.budget, "200trials")),
        repeats=options.whole(races.repeats, "the number of repeats", 1),
        metric=table.searched(races.metric).name,
        seed=options.seed(races.seed),
    )
    if not races.contenders:
        raise UsageError("nothing is compared: name strategies or methods (--with random,evolution).")
    for name in races.contenders:
        if not resolve_method(name, ()).simulates:
            raise UsageError(
                f"'{name}' trains or scores networks of its own, which a table cannot answer: leave it out here, and "
                "search with it without --table."
            )
    SimulatedRun(
        table, Budget.read(races.budget, "200trials"), metric=races.metric
    )  # before anything is written: can it be?
    setting = {
        "study": "strategies", "table": table.name, "content": table.digest,
        "metric": races.metric, "budget": races.budget, "seed": races.seed,
    }  # fmt: skip
    with Record.open(folder, setting, fresh) as record:
        jobs = [(name, repeat) for repeat in range(races.repeats) for name in races.contenders]
        rows = carry_out(record, jobs, (table, races), measure, workers, progress, COLUMNS)
    return sorted(rows, key=lambda row: races.contenders.index(row["estimator"]))


def measure(payload: tuple[Table, Races], name: str, repeat: int) -> list[dict[str, Any]]:
    """The row of one search."""
    table, races = payload
    seed = derive(races.seed, "race", repeat) % 2**31
    trajectory = simulate(table, name, races.budget, seed, metric=races.metric)
    regret, seconds = trajectory.regret, trajectory.seconds
    # Trainings that pause count by their epochs: what is compared is what was spent, not how often it was asked for.
    most = max(1, int(trajectory.spent[-1] + 1e-6))
    after = [trajectory.regret_after(count) for count in range(1, most + 1)]
    optimum = trajectory.evaluations_to_optimum
    return [
        {
            "repeat": repeat,
            "estimator": name,
            "regret": float(regret[-1]),
            "mean_regret": float(np.nanmean(after)),
            "evaluations": len(regret),
            "to_optimum": math.nan if optimum is None else optimum,
            "undefined_scores": list(trajectory.notes.get(UNDEFINED_SCORES, ())),
            "seconds": float(seconds[-1]),
            "regret_after": {str(n): after[n - 1] for n in spread(1, most)},
            "regret_at": _at(regret, seconds),
        }
    ]


def without_scores(table: Table, rows: Sequence[dict[str, Any]]) -> list[str]:
    """A sentence for each set of zero-cost scores that searches asked for and the table does not have."""
    searches: dict[str, list[str]] = {}
    for row in rows:
        if row.get("undefined_scores"):
            searches.setdefault(", ".join(row["undefined_scores"]), []).append(row["estimator"])
    return [
        f"table '{table.name}' has no scores {scores}: {', '.join(dict.fromkeys(some))} searched without them."
        for scores, some in searches.items()
    ]


def comparable(table: Table, metric: str) -> tuple[list[str], list[str]]:
    """Names of all strategies and methods that can search a table; and of those that cannot, each with the reason.

    Methods with shared weights, and those that pick by scores alone, train networks and are not tried.
    """
    able, unable = [], []
    for name in sorted({*names("strategy"), *names("method")}):
        try:
            method = resolve_method(name, ())
            if method.simulates:
                simulate(table, method, "1trials", 0, metric=metric)
                able.append(name)
        except ArchscoutError as error:
            unable.append(f"{name} ({str(error).rstrip('.')})")
    return able, unable


def winners(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """For budgets of 10, 20, 50, ... trainings and the whole one: who has the least regret, who is not surely worse.

    `equal` are those that a paired test does not tell from the winner (p above 0.05).
    """
    contenders = list(dict.fromkeys(row["estimator"] for row in rows))
    most = max(int(count) for row in rows for count in row["regret_after"])
    lines = []
    budgets = {base * 10**power for power in range(1, len(str(most)) + 1) for base in (1, 2, 5)}
    for budget in sorted({most, *(budget for budget in budgets if budget < most)}):
        regrets = {name: [_after(row, budget) for row in rows if row["estimator"] == name] for name in contenders}
        winner = min(contenders, key=lambda name: float(np.mean(regrets[name])))
        equal = [n for n in contenders if n != winner and paired(regrets[winner], regrets[n]) > SURE]
        lines.append(
            {"trainings": budget, "winner": winner, "regret": float(np.mean(regrets[winner])), "equal": equal}
        )  # fmt: skip
    return lines


def _after(row: dict[str, Any], budget: int) -> float:
    """The regret after so many trainings: that of the last point of the curve which is no later."""
    points = [(int(count), regret) for count, regret in row["regret_after"].items()]
    return float(max((point for point in points if point[0] <= budget), default=points[0])[1])


def spread(low: int, high: int) -> list[int]:
    """Some whole numbers between two, evenly spread on a logarithmic scale, both among them.

    >>> spread(1, 4)
    [1, 2, 3, 4]
    """
    return sorted({round(float(n)) for n in np.geomspace(low, high, POINTS)})


def _at(regret: np.ndarray, seconds: np.ndarray) -> dict[str, float]:
    """The regret at some times: that of the last training which had ended."""
    if not seconds[-1] > 0:
        return {}
    times = np.geomspace(max(seconds[0], seconds[-1] / 1000), seconds[-1], POINTS)
    places = np.searchsorted(seconds, times * (1 + 1e-12), side="right") - 1
    return {f"{time:.6g}": float(regret[place]) for time, place in zip(times, places, strict=True) if place >= 0}


def summary(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """One entry a contender, the lowest final regret first.

    Every number as its mean with a 95 % interval (`NAME`, `NAME_low`, `NAME_high`); `found` is the share of repeats
    that found the best network, and `to_optimum` the mean over these alone; `p_against_best` is the paired test of the
    mean regret against the contender with the lowest; `curves` maps `regret_after` and `regret_at` to arrays of
    points, means, low and high ends.
    """
    contenders = list(dict.fromkeys(row["estimator"] for row in rows))
    by_name = {name: [row for row in rows if row["estimator"] == name] for name in contenders}
    best = min(contenders, key=lambda name: float(np.mean([row["mean_regret"] for row in by_name[name]])))
    entries = []
    for name, mine in by_name.items():
        entry: dict[str, Any] = {"estimator": name, "repeats": len(mine)}
        for key in ("regret", "mean_regret", "evaluations", "seconds"):
            entry |= with_interval(key, [row[key] for row in mine])
        reached = [row["to_optimum"] for row in mine if not math.isnan(row["to_optimum"])]
        entry["found"] = len(reached) / len(mine)
        entry |= with_interval("to_optimum", reached)
        pairs = [[row["mean_regret"] for row in by_name[one]] for one in (best, name)]
        entry["p_against_best"] = 1.0 if name == best else paired(*pairs)
        entry["curves"] = {}
        for key in ("regret_after", "regret_at"):
            points, values = curve(rows, name, key)
            stats = [interval(column) for column in values.T]
            entry["curves"][key] = (points, *(np.asarray([s[i] for s in stats]) for i in range(3)))
        entries.append(entry)
    return sorted(entries, key=lambda entry: entry["regret"])


def curve(rows: Sequence[dict[str, Any]], name: str, key: str) -> tuple[np.ndarray, np.ndarray]:
    """The regret curves of a contender's repeats on common points: points (P,), regrets (repeats, P).

    A search is worth, at any point, what it had last found; points are those at which every repeat has begun and at
    least one goes on.
    """
    curves = [
        (np.asarray([float(x) for x in row[key]]), np.asarray(list(row[key].values())))
        for row in rows
        if row["estimator"] == name and row[key]
    ]
    if not curves:
        return np.empty(0), np.empty((0, 0))
    points = np.unique(np.concatenate([xs for xs, _ in curves]))
    points = points[points >= max(xs[0] for xs, _ in curves)]
    values = [ys[np.searchsorted(xs, points, side="right") - 1] for xs, ys in curves]
    return points, np.asarray(values)
