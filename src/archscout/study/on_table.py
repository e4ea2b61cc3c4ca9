"""A simulated search with a folder: what it found and how lies there as files, as after any search.

A simulation takes moments and is the same each time, so that one that was stopped begins anew and ends the same, and
one that is finished is reported.
"""

from __future__ import annotations

import csv
import io
import math
import time
from collections.abc import Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np

from archscout import __version__
from archscout.core import options
from archscout.core.budget import Budget
from archscout.core.cells import cell
from archscout.core.cost import Constraint, Cost
from archscout.core.errors import UsageError, nearest
from archscout.core.files import well_formed, write_json, write_text
from archscout.core.method import Method
from archscout.core.progress import Progress
from archscout.core.registry import create, names
from archscout.core.strategy import Strategy
from archscout.core.task import Task
from archscout.costs.latency import Latency
from archscout.methods.strategy import resolve_method
from archscout.search.continuing import SIMULATION, claimed, grows, start_afresh
from archscout.search.result import Result
from archscout.search.search import resolve_task
from archscout.search.start import Source, read_start
from archscout.store.folder import run_folder
from archscout.study.simulated import UNDEFINED_SCORES, simulate
from archscout.tables.load import load
from archscout.tables.table import Table
from archscout.tables.trajectory import Trajectory


def search_table(
    table: str | Path | Table,
    *,
    metric: str | None = None,
    data: str | Path | Task | None = None,
    method: str | Method | Strategy = "cascade",
    maximum: Mapping[str, str | float] | None = None,
    objectives: str | Sequence[str] = (),
    budget: str | float | timedelta | Budget | None = "200trials",
    seed: int = 0,
    start: Source | None = None,
    name: str | None = None,
    out: str | Path = "runs",
    fresh: bool = False,
    progress: Progress | None = None,
) -> Result:
    """Search a table instead of training; writes `metrics.json` and `trials.csv` into the run's folder.

    Args:
        table: a registered table, a Parquet file, or a `Table`.
        metric: what is searched for; `Table.searched_metric` if not given.
        data: what zero-cost scores that the table does not have are computed on; without it they are undefined.
        method: a registered method, or a strategy.
        maximum: limits on costs that the table has a column of: `{"params": "1M", "latency@pixel3": "5ms"}`.
        objectives: costs that the table has a column of, to trade against the metric.
        budget: trainings (`200trials`) or simulated time (`10h`), as if they ran one after the other.
        seed: one seed, one search.
        start: what is evaluated before all else (`archscout.search.start`).
        name: of the run; by default made of table, metric, method and seed.
        out: the folder that the run's folder lies in.
        fresh: whether a run of this name that is there is set aside, under another name.
        progress: who is told how it goes.

    Raises:
        UsageError: a wrong name or value, a cost that the table does not have, a folder of another search.
        DataError: a file that is no table.
        ArchscoutError: the budget ended before anything was found.
    """
    began = time.monotonic()
    watch = options.watch(progress)
    budget, seed, out = Budget.read(budget, "200trials"), options.seed(seed), options.path(out, "the folder of runs")
    limits = options.mapping(maximum, "the limits", '{"params": "100k"}')
    wanted = options.several(objectives, "objectives")
    opened = table if isinstance(table, Table) else load(table)
    searched = opened.searched(metric).name
    if opened.metric(searched).kind == "accuracy" and np.nanmax([0.0, *opened.values(searched)]) > 1:
        watch.say(f"table '{opened.name}' has accuracies above 1, which are no fractions: see 'archscout table check'.")
    constraints = [_limit(opened, options.text(cost, "a cost"), limit) for cost, limit in limits.items()]
    keys = [_column(opened, text) for text in wanted if text not in ("accuracy", "value")]
    resolved = resolve_method(method, keys)
    method = method if isinstance(method, str) else resolved.name
    task = None if data is None else resolve_task(data)
    begun_with = read_start(start, opened.space, task)
    config = {
        "table": opened.name,
        "content": opened.digest,
        "metric": searched,
        "data": task.digest if task else None,
        "method": method,
        "maximum": {constraint.key: constraint.limit for constraint in constraints},
        "objectives": keys,
        "budget": str(budget),
        "seed": seed,
        **({"start": begun_with.digest} if begun_with.architectures else {}),
    }
    default = options.folder_name(f"{opened.name}-{searched}-{method}-seed{seed}")
    folder = run_folder(out, name or default)
    if fresh:
        start_afresh(folder, folder.name, None, watch)
        run_folder(out, folder.name)
    # What it simulates takes moments, so that a larger budget begins anew and comes by what the smaller one found.
    with claimed(folder, SIMULATION, {**config, "budget": None}):
        if _finished(folder, config):
            watch.say(f"run '{folder.name}' is finished: this is its result (--fresh begins anew).")
            return Result.read(folder)
        trajectory = simulate(
            opened, resolved, budget, seed, metric=searched, task=task, constraints=constraints, objectives=keys,
            start=begun_with,
        )  # fmt: skip
        undefined = trajectory.notes.get(UNDEFINED_SCORES, ())
        if undefined:
            watch.say(f"table '{opened.name}' has no scores {', '.join(undefined)}: --data would compute them.")
        _write_trials(folder, trajectory)
        seconds = time.monotonic() - began
        write_json(folder / "metrics.json", _metrics(opened, trajectory, config, constraints, folder.name, seconds))
    return Result.read(folder)


def _finished(folder: Path, config: Mapping[str, Any]) -> bool:
    """Whether this very search has been made. Raises `UsageError` where it was made with a larger budget."""
    if not (folder / "metrics.json").is_file():
        return False
    with well_formed(folder / "metrics.json", "remove this run's folder, or give --fresh to set it aside."):
        before, now = (str(each["budget"]) for each in (Result.read(folder).metrics["config"], config))
    if before != now and not grows(before, now):
        raise UsageError(
            f"run '{folder.name}' has had a budget of {before}, and {now} is no more than that: give more, another "
            "--name, or --fresh to set it aside."
        )
    return before == now


def _column(table: Table, cost: str) -> str:
    """The column of a cost: of that name, or of the key of the registered cost. Raises `UsageError`."""
    candidates = [cost, f"{cost}_ms"]
    if cost.partition(":")[0] in names("cost"):
        candidates.append(create("cost", cost).key)
    for candidate in candidates:
        if candidate in table.metrics:
            return candidate
    known = [name for name in table.metrics if table.metric(name).kind == "cost"]
    raise UsageError(f"table '{table.name}' has no column of the cost '{cost}': {nearest(cost, known)}")


def _limit(table: Table, cost: str, limit: str | float) -> Constraint:
    key = _column(table, cost)
    quantity = Latency.quantity if key.endswith("_ms") else Cost.quantity
    if cost.partition(":")[0] in names("cost"):
        quantity = create("cost", cost).quantity
    return Constraint(cost, key, quantity(limit, cost))


def _metrics(
    table: Table,
    trajectory: Trajectory,
    config: Mapping[str, Any],
    constraints: Sequence[Constraint],
    name: str,
    seconds: float,
) -> dict[str, Any]:
    about = table.metric(trajectory.metric)
    winner = trajectory.winner
    values = {metric: table.value(winner, metric) for metric in table.metrics}
    value = values[about.name]
    alike = [
        other for other in (table.metric(metric) for metric in table.metrics)
        if other.split and (other.dataset, other.kind, other.epochs) == (about.dataset, about.kind, about.epochs)
    ]  # fmt: skip
    defined = {key: v for key, v in values.items() if not math.isnan(v)}
    simulated = float(trajectory.seconds[-1]) if trajectory.seconds[-1] else None
    return {
        "architecture": winner.text,
        "simulated": True,
        "table": table.name,
        "metric": about.name,
        "value": value,
        "optimum": trajectory.optimum,
        "regret": abs(trajectory.optimum - value),
        "evaluations_to_optimum": trajectory.evaluations_to_optimum,
        **{f"{other.split}_{other.kind}": values[other.name] for other in alike},
        "costs": {key: v for key, v in defined.items() if table.metric(key).kind == "cost"},
        "values": {key: v for key, v in defined.items() if table.metric(key).kind != "cost"},
        "constraints": [{"name": c.cost, "key": c.key, "limit": c.limit} for c in constraints],
        "space": table.space.name,
        "task": table.task,
        "run": name,
        "method": config["method"],
        "budget": config["budget"],
        "trials": len(trajectory.trials),
        "failed_trials": sum(trial.status == "failed" for trial in trajectory.trials),
        "rejected": trajectory.rejected,
        "undefined_scores": list(trajectory.notes.get(UNDEFINED_SCORES, ())),
        "simulated_seconds": simulated,
        "seconds": {"total": seconds},
        "seed": trajectory.seed,
        "config": dict(config),
        "version": __version__,
    }


def _write_trials(folder: Path, trajectory: Trajectory) -> None:
    """Every training in the order in which it was paid for, as CSV."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(("number", "architecture", "epochs", "value", "seconds", "best", "regret"))
    rows = zip(trajectory.trials, trajectory.seconds, trajectory.values, trajectory.regret, strict=True)
    for trial, seconds, best, regret in rows:
        text = cell(trial.architecture.text)
        writer.writerow((trial.number, text, trial.fidelity, repr(trial.value), f"{seconds:.6g}", best, regret))
    write_text(folder / "trials.csv", stream.getvalue())
