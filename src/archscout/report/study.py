"""The page about a study: one HTML file that needs nothing but itself, and its winner map as a picture."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import plotly.graph_objects as go
from markupsafe import Markup, escape

from archscout.core.files import write_text
from archscout.core.written import significant
from archscout.report.page import as_json, inert
from archscout.report.style import DARK, LIGHT, Figure, clean, plain_axes
from archscout.report.template import fill
from archscout.study.metrics import LOWER

COLOURS = (
    "#0b7a6d", "#c2571a", "#5a63b8", "#b03a6f", "#6f8f1d", "#2f86c1", "#a07800", "#7a5195", "#777f85", "#c23b3b",
)  # fmt: skip
"""One a contender, readable on white and on black; they come again after ten."""

BANDS = "Bands: 95 % intervals of the mean over repeats."

Table = tuple[str, tuple[str, ...]]
"""A title, and the columns beside those that say what a row is of. No more than fit beside each other on a page."""

OF_ESTIMATORS: tuple[Table, ...] = (
    ("Rank correlation", ("kendall", "sparse_kendall", "spearman", "pearson", "p_against_best")),
    ("The best", ("precision@10", "ndcg@10", "regret@10", "rank@10")),
    ("Errors", ("mae", "rmse", "undefined", "queries")),
    ("What it takes", ("trained", "simulated_seconds", "fit_seconds", "query_seconds")),
)
OF_INTEGERS: tuple[Table, ...] = (("What integers cost", ("value", "lost", "seconds")),)
OF_SEARCHES: tuple[Table, ...] = (
    ("Regret", ("regret", "mean_regret", "p_against_best")),
    ("What it takes", ("to_optimum", "found", "evaluations", "seconds")),
)

HEADINGS = {
    "quality": "Against the networks learned from",
    "regret_after": "Regret against trainings",
    "regret_at": "Regret against simulated seconds",
}

_LETTER = 7.6
"""Pixels of a letter of the winner map, in the widest of the usual typefaces."""

Entry = Mapping[str, Any]


def write_estimators(
    folder: Path, *, about: Mapping[str, Any], entries: Sequence[Entry], winners: Sequence[Entry], version: str
) -> Path:
    """Write `report.html` and `winners.svg` of a comparison of estimators into its folder; returns the page."""
    names = list(dict.fromkeys(entry["estimator"] for entry in entries))
    colour = {name: COLOURS[place % len(COLOURS)] for place, name in enumerate(names)}
    picture = winner_map(winners, colour)
    write_text(folder / "winners.svg", picture)
    figures = [("quality", quality(entries, colour, "kendall"), BANDS)]
    return _write(
        folder,
        title=f"{len(names)} estimators on {about['table']}",
        lead=f"What each tells of networks that it has not seen: {about['metric']}, {about['repeats']} repeats.",
        figures=figures,
        picture=Markup(picture),  # noqa: S704 - made here, its texts escaped
        keys=("estimator", "train", "epochs"),
        tables=OF_ESTIMATORS,
        rows=entries,
        about=about,
        version=version,
    )


def write_strategies(folder: Path, *, about: Mapping[str, Any], entries: Sequence[Entry], version: str) -> Path:
    """Write `report.html` of a comparison of searches into its folder; each entry has its `curves`."""
    colour = {entry["estimator"]: COLOURS[place % len(COLOURS)] for place, entry in enumerate(entries)}
    figures = []
    for key, title in (("regret_after", "trainings"), ("regret_at", "simulated seconds")):
        if any(len(entry["curves"][key][0]) for entry in entries):
            figures.append((key, regret(entries, colour, key, title), BANDS))
    return _write(
        folder,
        title=f"{len(entries)} searches of {about['table']}",
        lead=f"How near they come to its best network by {about['metric']}, with {about['budget']} each, "
        f"{about['repeats']} repeats.",
        figures=figures,
        picture=None,
        keys=("estimator",),
        tables=OF_SEARCHES,
        rows=entries,
        about=about,
        version=version,
    )


def write_quantisation(folder: Path, *, about: Mapping[str, Any], entries: Sequence[Entry], version: str) -> Path:
    """Write `report.html` of a grid of quantisations into its folder; returns the page."""
    algorithms = list(dict.fromkeys(entry["algorithm"] for entry in entries))
    colour = {name: COLOURS[place % len(COLOURS)] for place, name in enumerate(algorithms)}
    architectures = list(dict.fromkeys(entry["architecture"] for entry in entries))
    names = {f"lost_{place}": architecture for place, architecture in enumerate(architectures)}
    figures = [
        (name, lost([entry for entry in entries if entry["architecture"] == one], colour, about["metric"]), BANDS)
        for name, one in names.items()
    ]
    return _write(
        folder,
        title=f"What integers cost on {about['data']}",
        lead=f"{len(architectures)} networks, quantised by {len(algorithms)} algorithms, {about['repeats']} repeats.",
        figures=figures,
        headings={name: f"What {architecture} loses" for name, architecture in names.items()},
        picture=None,
        keys=("architecture", "scheme", "bits", "algorithm"),
        tables=OF_INTEGERS,
        rows=entries,
        about=about,
        version=version,
    )


def lost(entries: Sequence[Entry], colour: Mapping[str, str], metric: str) -> Figure:
    """What integers cost one network: a place for each scheme and bits, a mark with its interval for each algorithm."""
    figure = go.Figure()
    for name, of in colour.items():
        mine = [entry for entry in entries if entry["algorithm"] == name]
        if not mine:
            continue
        values = np.array([entry["lost"] for entry in mine])
        figure.add_scatter(
            x=[[entry["scheme"] for entry in mine], [entry["bits"] for entry in mine]], y=values, name=clean(name, 44),
            mode="markers", marker={"color": of, "size": 9},
            error_y={
                "type": "data", "symmetric": False, "color": of, "thickness": 1.5,
                "array": np.array([entry["lost_high"] for entry in mine]) - values,
                "arrayminus": values - np.array([entry["lost_low"] for entry in mine]),
            },
        )  # fmt: skip
    plain_axes(figure, "scheme and bits", f"{metric} lost")
    figure.update_layout(showlegend=True)
    worst = max(entries, key=lambda entry: entry["lost"])
    says = (
        f"{len(entries)} ways to quantise one network; the most is lost, {worst['lost']:.1f}, by {worst['algorithm']} "
        f"with {worst['bits']} of scheme {worst['scheme']}."
    )
    return Figure(figure, says=says, height=420)


def quality(entries: Sequence[Entry], colour: Mapping[str, str], metric: str) -> Figure:
    """A metric against the number of networks learned from; what learns nothing is a level line."""
    figure = go.Figure()
    sizes = sorted({entry["train"] for entry in entries if entry["train"]}) or [1]
    for name, of in colour.items():
        mine = sorted((e for e in entries if e["estimator"] == name), key=lambda e: (e["train"], e["epochs"]))
        if mine[0]["train"]:
            xs = [e["train"] for e in mine]
            _band(figure, xs, [e[f"{metric}_low"] for e in mine], [e[f"{metric}_high"] for e in mine], of)
            figure.add_scatter(
                x=xs, y=[e[metric] for e in mine], name=clean(name, 44), line={"color": of, "width": 2},
                mode="lines+markers"
            )  # fmt: skip
        else:
            best = max(mine, key=lambda e: e[metric] if metric not in LOWER else -e[metric])
            after = f", {best['epochs']} epochs" if best["epochs"] else ""
            figure.add_scatter(
                x=[sizes[0], sizes[-1]], y=[best[metric]] * 2, name=clean(name + after, 44), mode="lines",
                line={"color": of, "width": 1.5, "dash": "dot"},
            )  # fmt: skip
    plain_axes(figure, "networks learned from", "Kendall's tau" if metric == "kendall" else metric)
    figure.update_xaxes(type="log", tickvals=sizes, ticktext=[str(size) for size in sizes])
    figure.update_layout(showlegend=True)
    top = max((e for e in entries if not math.isnan(e[metric])), key=lambda e: e[metric])
    says = f"{metric} of {len(colour)} estimators; the highest is {top[metric]:.3f}, of {top['estimator']}."
    return Figure(figure, says=says, height=460)


def regret(entries: Sequence[Entry], colour: Mapping[str, str], key: str, title: str) -> Figure:
    """Mean regret with its interval, against trainings or simulated seconds, on logarithmic scales."""
    figure = go.Figure()
    for entry in entries:
        xs, mean, low, high = entry["curves"][key]
        of = colour[entry["estimator"]]
        floor = 1e-6
        _band(figure, xs, np.maximum(low, floor), np.maximum(high, floor), of)
        figure.add_scatter(
            x=list(xs), y=list(np.maximum(mean, floor)), name=clean(entry["estimator"], 44), mode="lines",
            line={"color": of, "width": 2, "shape": "hv"},
        )  # fmt: skip
    plain_axes(figure, title, "regret")
    figure.update_xaxes(type="log")
    figure.update_yaxes(type="log")
    figure.update_layout(showlegend=True)
    best = min(entries, key=lambda entry: entry["regret"])
    says = f"Regret of {len(entries)} searches; the lowest at the end is {best['regret']:.4f}, of {best['estimator']}."
    return Figure(figure, says=says, height=420)


def winner_map(winners: Sequence[Entry], colour: Mapping[str, str]) -> str:
    """For each number of networks learned from (across) and epochs of a query (up), the best estimator: an SVG."""
    sizes, epochs = (sorted({entry[key] for entry in winners}) for key in ("train", "epochs"))
    wide, high, left, top = 104, 46, 118, 16
    shown = list(dict.fromkeys(entry["winner"] for entry in winners))
    note = "networks learned from; ~ the second is as good (p above 0.05)"
    longest = max(_LETTER * len(note), *(22 + _LETTER * len(name) for name in shown))
    width, bottom = left + math.ceil(max(wide * len(sizes), longest)) + 12, top + high * len(epochs)
    height = bottom + 64 + 22 * len(shown)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
        f'role="img" font-family="system-ui, sans-serif" font-size="13" style="max-width:100%;height:auto">',
        "<title>The best estimator for each budget</title>",
    ]
    text = '<text x="{}" y="{}" text-anchor="{}" fill="{}">{}</text>'
    for entry in winners:
        x, y = left + wide * sizes.index(entry["train"]), bottom - high * (epochs.index(entry["epochs"]) + 1)
        clear = entry["p"] is not None and entry["p"] < 0.05
        value = next(f"{v:.3f}" for k, v in entry.items() if k not in ("train", "epochs") and isinstance(v, float))
        p_value = "" if entry["p"] is None else f", p {entry['p']:.2g}"
        says = escape(f"{entry['winner']}; second: {entry['second'] or 'none'}{p_value}")
        box = f'x="{x}" y="{y}" width="{wide - 2}" height="{high - 2}" fill="{colour[entry["winner"]]}"'
        shown_value = text.format(x + wide / 2 - 1, y + high / 2 + 4, "middle", "#fff", value + ("" if clear else " ~"))
        parts.append(f"<g><title>{says}</title><rect {box}/>{shown_value}</g>")
    for place, size in enumerate(sizes):
        parts.append(text.format(left + wide * (place + 0.5), bottom + 18, "middle", "currentColor", size or "none"))
    for place, count in enumerate(epochs):
        label = f"{count} epochs" if count else "no training"
        parts.append(text.format(left - 8, bottom - high * (place + 0.5) + 4, "end", "currentColor", label))
    parts.append(text.format(left, bottom + 40, "start", "currentColor", note))
    for place, name in enumerate(shown):
        y = bottom + 56 + 22 * place
        parts.append(f'<rect x="{left}" y="{y}" width="14" height="14" fill="{colour[name]}"/>')
        parts.append(text.format(left + 22, y + 12, "start", "currentColor", escape(name)))
    return "\n".join([*parts, "</svg>"])


def _band(figure: go.Figure, xs: Any, low: Any, high: Any, colour: str) -> None:
    red, green, blue = (int(colour[place : place + 2], 16) for place in (1, 3, 5))
    figure.add_scatter(
        x=[*xs, *reversed(list(xs))], y=[*high, *reversed(list(low))], fill="toself", mode="lines", line={"width": 0},
        fillcolor=f"rgba({red},{green},{blue},0.16)", hoverinfo="skip", showlegend=False,
    )  # fmt: skip


def _write(
    folder: Path, *, rows: Sequence[Entry], keys: Sequence[str], tables: Sequence[Table], version: str, **page: Any
) -> Path:
    page = {"headings": HEADINGS, "tested": any("p_against_best" in row for row in rows), **page}
    text = fill(
        "study.html.jinja",
        tables=[
            (title, (*keys, *heads), [[_shown(row, head) for head in (*keys, *heads)] for row in rows])
            for title, heads in tables
        ],
        light=LIGHT,
        dark=DARK,
        colours=inert(json.dumps({LIGHT[name]: DARK[name] for name in LIGHT})),
        as_json=as_json,
        version=version,
        **page,
    )
    file = folder / "report.html"
    write_text(file, text)
    return file


def _shown(row: Entry, head: str) -> str:
    """A cell of the table: the mean, and its interval where there is one."""
    value = row.get(head)
    if isinstance(value, str):
        return value
    if value is None or math.isnan(value):
        return ""
    text = f"{value:,.0f}" if float(value).is_integer() else significant(value) if abs(value) < 10 else f"{value:,.1f}"
    low, high = row.get(f"{head}_low"), row.get(f"{head}_high")
    if low is None or high is None or low == high or head in ("trained", "queries"):
        return text
    return f"{text} [{significant(low)}, {significant(high)}]"
