"""What each section of the page says, as plain values for the template: sentences, tables and figures.

A report may lack any part (a task without a test split, a run whose store is elsewhere): the section then is None, or
holds one sentence that says why there is nothing to show.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from archscout.core.metric import Metric
from archscout.report import candidates, figures, panels
from archscout.report.candidates import level_name, rung_name
from archscout.report.quantities import (
    cost_name,
    cost_text,
    duration,
    finite,
    metric_text,
    percent,
    share,
    significant,
    value_text,
)
from archscout.report.style import Figure
from archscout.report.view import View

_BUSY = {
    "prepare": "loading the data and starting the workers",
    "feasibility": "finding out whether the limits can be met",
    "calibration": "learning how long a training takes here",
    "costs": "working out what candidates cost, before training them",
    "zero-cost scores": "looking at untrained networks",
    "supernet training": "training the weights that all architectures share",
    "derivation": "choosing architectures by inherited weights",
    "finish": "measuring again, testing, exporting",
    "other": "reading, timing steps, measuring",
}


def search(view: View) -> dict[str, Any]:
    """The course of the search, and its phases as a table."""
    full = candidates.full_epochs(view.report)
    rows = [
        {
            "phase": phase.name,
            "what": level_name(phase.estimator, phase.fidelity, full),
            "count": f"{phase.count:,}",
            "failed": f"{phase.failed:,}" if phase.failed else "",
            "seconds": duration(phase.seconds),
            "each": duration(phase.seconds / (phase.count + phase.failed)),
            "best": value_text(view.value_metric, phase.best, 2) if phase.estimator == view.estimator
            else significant(phase.best, 4) if phase.best is not None else "–",
        }
        for phase in candidates.phases(view.trials)
    ]  # fmt: skip
    section: dict[str, Any] = {"rows": rows, "failed": any(row["failed"] for row in rows), "figures": [], "note": ""}
    if not len(view.course.values):
        section["note"] = "The trials of this search are not at hand, so its course cannot be shown."
        return section
    for by, title in (("time", "by time"), ("count", "by evaluations")):
        figure = figures.progress(view.course, view.value_metric, by=by, value_title=view.value_title)
        section["figures"].append((by, title, figure, _shown(figure, "values", "every new best")))
    return section


def tradeoff(view: View) -> dict[str, Any] | None:
    """Value against each cost that is known, the constrained ones first."""
    keys = [*view.limits, "latency_ms", "params", "macs", "peak_memory_bytes"]
    keys += sorted({key for network in view.networks for key in network.costs})
    charts = []
    for key in dict.fromkeys(keys):
        figure = figures.tradeoff(
            view.networks,
            key,
            view.value_metric,
            value_title=view.value_title,
            limit=view.limits.get(key),
            winner=str(view.winner.get("architecture")),
        )
        if figure is not None:
            charts.append((key, cost_name(key).title, figure, _shown(figure, "networks", "all on the front")))
    return {"figures": charts, "pareto": _pareto(view)} if charts else None


def _pareto(view: View) -> dict[str, Any] | None:
    rows = (view.report.get("pareto") or [])[:50]
    if not rows:
        return None
    keys = list(dict.fromkeys(key for row in rows for key in row.get("costs") or {}))
    return {
        "heads": [cost_name(key).title for key in keys],
        "rows": [
            {
                "architecture": row.get("architecture"),
                "value": metric_text(view.metric, row.get("value"), 2),
                "costs": [cost_text(key, (row.get("costs") or {}).get(key)) for key in keys],
            }
            for row in rows
        ],
    }


def _shown(figure: Figure, things: str, always: str) -> str:
    """How much of the data a figure shows, said whenever that is not all of it."""
    text = ""
    if figure.shown < figure.total:
        text = f"Shown are {figure.shown:,} of {figure.total:,} {things}: {always}, and others drawn at random."
    if figure.below:
        verb = "lies" if figure.below == 1 else "lie"
        text += f" {figure.below:,} {verb} below the picture; a double click zooms out to them."
    return text.strip()


def answers(view: View) -> dict[str, Any] | None:
    """What the task says of the winner's answers: mistakes, scatter, classes one by one."""
    shown = panels.show(view.panels)
    if not shown:
        return None
    right, total = view.right
    note = f"{right:,} of {total:,} test examples are right, {total - right:,} are wrong." if total else ""
    return {"panels": shown, "note": note}


def method_panels(view: View) -> list[panels.Shown]:
    """What the method noted to be shown."""
    return panels.show((view.report.get("notes") or {}).get("panels"))


def training(view: View) -> list[tuple[str, Figure]]:
    """The winner's learning curve: its metric, and its losses."""
    curve = view.winner.get("curve") or []
    metric = view.metric
    charts = [
        (
            "metric",
            figures.learning(
                curve, [(f"valid_{metric}", "validation")], f"{metric.title} on the validation data", metric
            ),
        ),
        (
            "loss",
            figures.learning(
                curve,
                [("train_loss", "training"), ("valid_loss", "validation")],
                "loss",
                Metric("loss", "lower"),
            ),
        ),
    ]
    return [(name, figure) for name, figure in charts if figure is not None]


def rungs(view: View) -> dict[str, Any] | None:
    """How well each cheap estimator told what the dearer one would say."""
    notes = (view.report.get("notes") or {}).get("rungs")
    rows = [row for row in notes if isinstance(row, Mapping)] if isinstance(notes, list) else []
    if not rows:
        return None
    full = candidates.full_epochs(view.report)
    table = []
    for row in rows:
        low, high = finite(row.get("low")), finite(row.get("high"))
        middle = finite(row.get("spearman"))
        table.append(
            {
                "below": rung_name(str(row.get("estimator")), full),
                "above": rung_name(str(row.get("against")), full),
                "spearman": f"{middle:.2f}" if middle is not None else "too few to say",
                "interval": f"{low:.2f} to {high:.2f}" if low is not None and high is not None else "–",
                "count": f"{finite(row.get('count')) or 0:,.0f}",
                "each": duration(row.get("seconds_each")),
            }
        )
    known = [row for row in rows if finite(row.get("spearman")) is not None]
    return {"rows": table, "figure": figures.agreement(known, full) if known else None}


def untrained(view: View) -> dict[str, str] | None:
    """What a search by scores before training looked at."""
    note = (view.report.get("notes") or {}).get("training_free")
    if not isinstance(note, Mapping) or not isinstance(note.get("scores"), Sequence):
        return None
    counts = note.get("undefined")
    missing = {name: finite(n) or 0 for name, n in counts.items()} if isinstance(counts, Mapping) else {}
    undefined = ", ".join(f"{name} for {n:,.0f}" for name, n in missing.items() if n)
    return {
        "count": f"{finite(note.get('architectures')) or 0:,.0f}",
        "scores": ", ".join(map(str, note["scores"])),
        "undefined": f"Undefined: {undefined}." if undefined else "All of them have a value.",
    }


def weight_sharing(view: View) -> dict[str, Any] | None:
    """How a search with shared weights went: probabilities of options, entropy and samples by step."""
    note = (view.report.get("notes") or {}).get("weight_sharing")
    history = note.get("history") if isinstance(note, Mapping) else None
    rows = [row for row in history if isinstance(row, Mapping)] if isinstance(history, list) else []
    if not isinstance(note, Mapping) or not rows:
        return None
    shares = [row.get("probabilities") or {} for row in rows]
    options = dict.fromkeys(str(name) for each in shares for name in each)
    charts = [
        ("options", "options", {name: [each.get(name) for each in shares] for name in options}, "mean probability"),
        (
            "entropy",
            "entropy",
            {"entropy": [row.get("entropy") for row in rows]},
            "entropy of the architecture, in nats",
        ),
        ("samples", "paths", {"paths": [row.get("samples") for row in rows]}, "paths a step"),
        ("loss", "loss", {"loss": [row.get("loss") for row in rows]}, "training loss"),
    ]
    figured = [(key, label, figures.over_steps(rows, lines, title), "") for key, label, lines, title in charts]
    return {
        "steps": f"{finite(note.get('steps')) or 0:,.0f}",
        "paths": f"{finite(note.get('paths')) or 0:,.0f}",
        "seconds": duration(note.get("seconds")),
        "warning": str(note["warning"]) if note.get("warning") else "",
        "figures": [part for part in figured if part[2] is not None],
    }


def time_spent(view: View) -> dict[str, Any] | None:
    """Seconds by phase, with the share that each took."""
    parts = {str(key): finite(value) for key, value in (view.report.get("seconds") or {}).items() if key != "total"}
    known = {key: value for key, value in parts.items() if value is not None and value > 0}
    total = finite((view.report.get("seconds") or {}).get("total")) or sum(known.values())
    if not known or not total:
        return None
    largest = max(known.values())
    rows = [
        {
            "name": key,
            "what": _BUSY.get(key, ""),
            "time": duration(value),
            "share": share(value / total),
            "bar": value / largest,
        }
        for key, value in sorted(known.items(), key=lambda item: -item[1])
    ]
    return {"rows": rows, "total": duration(total)}


def finalists(view: View) -> dict[str, Any] | None:
    """The networks that were trained to the end and measured again."""
    rows = candidates.final_rows(view.report) if view.report.get("finalists") else []
    if not rows:
        return None
    keys = list(dict.fromkeys([*view.limits, *(key for row in rows for key in row.get("costs") or {})]))
    won = view.winner.get("architecture")
    values = [finite(row.get("value")) for row in rows]
    best = next((value for row, value in zip(rows, values, strict=True) if row.get("architecture") == won), None)
    return {
        "tie": best is not None and values.count(best) > 1,
        "heads": [cost_name(key).title for key in keys],
        "limits": bool(view.limits),
        "rows": [
            {
                "architecture": row.get("architecture"),
                "won": row.get("architecture") == won,
                "value": metric_text(view.metric, row.get("value"), 2),
                "costs": [cost_text(key, (row.get("costs") or {}).get(key)) for key in keys],
                "meets": {True: "kept", False: "broken"}.get(row.get("meets", row.get("architecture") == won), "–"),
            }
            for row in rows
        ],
    }


def devices(view: View) -> list[dict[str, Any]]:
    """For each named device: what was predicted of the finalists, and what was measured, as far as anything was."""
    entries: list[dict[str, Any]] = []
    for key, about in (view.report.get("devices") or {}).items():
        finalists, again = [], []
        for row in view.report.get("finalists") or []:
            details = (row.get("details") or {}).get(key) or {}
            here = finite(details.get("predicted_ms")) is not None
            value = finite((row.get("costs") or {}).get(key))
            prefix = "predicted_" if here else ""
            interval = {name: finite(details.get(f"{prefix}{name}")) for name in ("low", "high")}
            interval["predicted"] = finite(details.get("predicted_ms")) if here else value
            whole = all(number is not None for number in (*interval.values(), value))
            if here and whole:
                again.append({"architecture": row.get("architecture"), "ms": value, **interval})
            finalists.append(
                {
                    "architecture": row.get("architecture"),
                    "predicted": cost_text(key, interval["predicted"]),
                    "interval": f"{cost_text(key, interval['low'])} to {cost_text(key, interval['high'])}"
                    if whole
                    else "–",
                    "measured": cost_text(key, value) if here else "–",
                }
            )
        names = ("ms", "predicted", "low", "high")
        before = [
            row for row in about.get("measured") or [] if all(finite(row.get(name)) is not None for name in names)
        ]
        kinds = {"when the device was added": before, "finalists, measured again": again}
        kinds = {kind: rows for kind, rows in kinds.items() if rows}
        figure = figures.measured_predicted(kinds, key) if kinds else None
        entries.append(
            {
                "title": cost_name(key).title,
                "name": f"{about.get('title')}: {about.get('source')}.",
                "at_hand": bool(about.get("at_hand")),
                "figure": figure,
                "id": f"device-{len(entries)}",
                "rows": finalists,
            }
        )
    return entries


def limits(view: View) -> dict[str, Any] | None:
    """What share of the space keeps the limits, and how many candidates were turned away."""
    if not view.limits:
        return None
    feasibility = view.report.get("feasibility") or {}
    sampled, meeting = finite(feasibility.get("sampled")), finite(feasibility.get("meeting"))
    text = ", ".join(
        f"{cost_name(key).title.lower()} at most {cost_text(key, limit)}" for key, limit in view.limits.items()
    )
    section: dict[str, Any] = {
        "text": text,
        "share": None,
        "sentence": "",
        "rejected": finite(view.report.get("rejected")),
    }
    if sampled and meeting is not None:
        section["share"] = meeting / sampled
        section["sentence"] = (
            f"Of {sampled:,.0f} networks drawn at random from the space before the search, {meeting:,.0f} keep "
            f"{'it' if len(view.limits) == 1 else 'all of them'} ({percent(meeting / sampled, 0)})."
        )
    return section


def failures(view: View) -> dict[str, Any]:
    """Trials that failed, by reason."""
    rows = [(str(row.get("reason")), int(finite(row.get("count")) or 0)) for row in view.report.get("failures") or []]
    total = int(finite(view.report.get("failed_trials")) or sum(count for _, count in rows))
    return {"rows": rows, "total": total, "more": max(0, total - sum(count for _, count in rows))}


def conditions(view: View) -> list[tuple[str, str]]:
    """What the figures depend on."""
    report = view.report
    rows: list[tuple[str, Any]] = [
        ("Archscout", report.get("version")),
        ("Space", report.get("space")),
        ("Task", report.get("task")),
        ("Method", report.get("method")),
        ("Estimator", report.get("estimator")),
        ("Recipe", report.get("recipe")),
        ("Budget", report.get("budget")),
        ("Objectives", ", ".join(str(o) for o in report.get("objectives") or [])),
        ("Seed", report.get("seed")),
        ("Epochs of full training", candidates.full_epochs(report)),
    ]
    names = {"cpu": "Processor", "torch": "PyTorch"}
    rows += [(names.get(k, str(k).capitalize()), v) for k, v in (report.get("conditions") or {}).items()]
    return [(name, str(value)) for name, value in rows if value not in (None, "")]
