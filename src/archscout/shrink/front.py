"""One trained network made to keep each of several limits, from one transfer."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

from torch import nn

from archscout.core import options as checked
from archscout.core.budget import Budget
from archscout.core.cost import Limit, Limits
from archscout.core.errors import UsageError
from archscout.core.files import write_json
from archscout.core.registry import create, names
from archscout.core.task import Task
from archscout.core.written import significant
from archscout.search.result import Result
from archscout.search.search import resolve_task
from archscout.shrink.limits import limit_of, read_limits, written
from archscout.shrink.record import TRANSFER_SHARE
from archscout.shrink.run import shrink
from archscout.store.folder import run_folder


def shrink_front(
    network: nn.Module | str | Any,
    data: Task | Path | str,
    limits: Limit | Iterable[Limit],
    *,
    maximum: Limits | None = None,
    budget: str | float | timedelta | Budget | None = "10m",
    name: str | None = None,
    out: str | Path = "runs",
    **options: Any,
) -> list[Result]:
    """One network for each limit of latency: runs `NAME-LIMIT`, after one transfer in equal shares of what it leaves.

    The transfer of a backbone has the share of the whole budget that it has in a run by itself, in the first run.

    `NAME/front.json` has what each came to. For the rest see `shrink`. Raises `UsageError` for limits that are none.
    """
    wanted = _read(limits)
    costs, others = read_limits(maximum)
    if "latency" in costs:
        raise UsageError("the latency is limited by --max and by --limits: give one of them.")
    task = resolve_task(data)
    whole = Budget.read(budget, "10m")
    source = network if isinstance(network, str) else type(network).__name__
    name = (
        name
        if name is not None
        else re.sub(r"[^A-Za-z0-9._=-]+", "-", f"shrink-{source}-{task.name}-seed{options.get('seed', 0)}").strip("-")
    )
    folder = run_folder(checked.path(out, "the folder of runs"), name)
    results: list[Result] = []
    transfer = TRANSFER_SHARE * whole.seconds if isinstance(network, str) and network in names("backbone") else 0.0
    rest = (whole.seconds - transfer) / len(wanted)
    for limit in wanted:
        each = name + "-" + limit.replace("%", "percent")
        limited, seconds = {**others, "latency": limit}, rest if results else rest + transfer
        results.append(
            shrink(
                network, task, maximum=limited, budget=Budget(seconds), name=each, out=out, shared=folder,
                transfer_share=transfer / (rest + transfer) or TRANSFER_SHARE, **options,
            )
        )  # fmt: skip
    metric = str(task.metric)
    rows = [
        {"limit": limit, "run": str(result.metrics["run"]), f"valid_{metric}": result.metrics[f"valid_{metric}"],
         f"test_{metric}": result.metrics[f"test_{metric}"], "costs": result.metrics["costs"]}
        for limit, result in zip(wanted, results, strict=True)
    ]  # fmt: skip
    write_json(folder / "front.json", rows)
    return results


def _read(limits: Limit | Iterable[Limit]) -> list[str]:
    """Limits of latency as texts. Raises `UsageError`."""
    latency = create("cost", "latency")
    if isinstance(limits, str):
        limits = limits.split(",")
    given: list[Any] = list(limits) if checked.listed(limits) else [limits]  # type: ignore[arg-type]
    given = [limit for limit in given if not isinstance(limit, str) or limit.strip()]
    wanted = [written(latency, "latency", limit).strip() for limit in given]
    amounts = {("%" in limit, limit_of(latency, "latency", limit, 1.0)) for limit in wanted}
    if not wanted or len(amounts) < len(wanted):
        raise UsageError(f"'{','.join(wanted)}' are no limits of latency: write, say, 5ms,10ms,20ms, each once.")
    return wanted


def front_table(limits: Sequence[str], results: Sequence[Result]) -> str:
    """The networks side by side, a line each: limit, latency, what they are worth on the test split, run."""
    metric = next((key for key in results[0].metrics if key.startswith("test_")), "")
    rows = [("limit", "latency", metric.replace("_", " "), "run")]
    for limit, result in zip(limits, results, strict=True):
        latency, value = result.metrics["costs"].get("latency_ms"), result.metrics.get(metric)
        rows.append(
            (
                limit,
                "" if latency is None else f"{significant(latency, 3)} ms",
                "" if value is None else significant(value, 4),
                str(result.metrics["run"]),
            )
        )
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    return "\n".join(
        "  ".join(cell.ljust(wide) for cell, wide in zip(row, widths, strict=True)).rstrip() for row in rows
    )
