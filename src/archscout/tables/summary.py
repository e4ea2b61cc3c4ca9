"""What is in a table, in numbers: for people, and as JSON."""

from __future__ import annotations

from typing import Any

import numpy as np

from archscout.core.errors import UsageError
from archscout.tables.table import Table

_BINS = 10


def summarise(table: Table, metric: str | None = None) -> dict[str, Any]:
    """Rows, networks and metrics with their range; of one metric the best, the histogram and what agrees with it.

    Args:
        table: what is summarised.
        metric: of which the best, the histogram and the correlations are; the table's default metric if not given.

    `best_row` is the best single row, as published; `best` the best network, by the mean of its rows. `correlations`
    are Spearman's, over the networks that have both values, with every other accuracy or loss of the table: other
    fidelities, splits and data sets.
    """
    about = table.metric(metric)
    if about.name in table.curves:
        raise UsageError(f"'{about.name}' of table '{table.name}' is a curve: name one of its metrics.")
    values = np.asarray(table.values(about.name))
    column = np.where(np.isfinite(table.column(about.name)), table.column(about.name), np.nan)
    row = int(np.nanargmax(column) if about.higher else np.nanargmin(column)) if np.isfinite(column).any() else None
    architecture, value = table.best(about.name) if row is not None else ("", float("nan"))
    finite = values[np.isfinite(values)]
    counts, edges = np.histogram(finite, bins=_BINS)
    return {
        "name": table.name,
        "file": str(table.path),
        "space": str(table.metadata["space"]),
        "task": table.task,
        "source": str(table.metadata.get("source", "")),
        "rows": len(table),
        "networks": len(table.first_rows),
        "default_metric": table.default_metric,
        "metrics": [_describe(table, name) for name in (*table.metrics, *table.curves)],
        "metric": about.name,
        "fidelities": list(table.fidelities(about.name)),
        "best": {"architecture": architecture, "value": value},
        "best_row": None
        if row is None
        else {"row": row, "architecture": table.architectures[row], "value": float(column[row])},
        "histogram": {"edges": edges.tolist(), "counts": counts.tolist()},
        "correlations": _correlations(table, about.name),
    }


def _describe(table: Table, name: str) -> dict[str, Any]:
    about = table.metric(name)
    curve = name in table.curves
    values = table.curve_matrix(name) if curve else table.column(name)
    known = values[np.isfinite(values)]
    return {
        "name": name,
        "kind": about.kind,
        "curve": curve,
        "dataset": about.dataset,
        "split": about.split,
        "epochs": about.epochs,
        "higher_is_better": about.higher,
        "rows": int(np.isfinite(values).any(axis=1).sum()) if curve else len(known),
        "least": float(known.min()) if len(known) else float("nan"),
        "median": float(np.median(known)) if len(known) else float("nan"),
        "most": float(known.max()) if len(known) else float("nan"),
    }


def _correlations(table: Table, metric: str) -> dict[str, float]:
    """Spearman's coefficient of a metric with every other accuracy or loss; NaN where it has none."""
    from scipy.stats import rankdata

    mine = np.asarray(table.values(metric))
    correlations: dict[str, float] = {}
    for name in table.metrics:
        if name == metric or table.metric(name).kind not in ("accuracy", "loss"):
            continue
        pairs = np.column_stack([mine, table.values(name)])
        pairs = pairs[np.isfinite(pairs).all(axis=1)]
        ranks = rankdata(pairs, axis=0)
        spread = float(ranks.std(axis=0).prod()) if len(pairs) else 0.0
        correlations[name] = (
            float((ranks - ranks.mean(axis=0)).prod(axis=1).mean()) / spread if spread else float("nan")
        )
    return correlations
