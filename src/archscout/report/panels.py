"""Panels of tasks and methods, as the page shows them: text made safe, figures drawn."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import plotly.graph_objects as go

from archscout.core import panel as panels
from archscout.report import figures
from archscout.report.quantities import finite, percent, significant
from archscout.report.style import LIGHT, SHOWN, Figure, clean, plain_axes

MOST_ROWS = 200
SPLIT_NAMES = 60
"""More classes than this and the confusion matrix is told by its largest entries alone."""
MIXUPS = 6


@dataclass(frozen=True)
class Shown:
    """A panel ready for the template; which of the parts are filled depends on its kind."""

    title: str
    kind: str
    paragraphs: Sequence[str] = ()
    columns: Sequence[str] = ()
    rows: Sequence[Sequence[str]] = ()
    figure: Figure | None = None
    square: bool = False
    pictures: Sequence[Mapping[str, str]] = field(default_factory=tuple)


def show(written: Any) -> list[Shown]:
    """Every panel of a list that a report holds; what is no panel, or a damaged one, is left out."""
    if not isinstance(written, list):
        return []
    shown = []
    for entry in written:
        panel = panels.read(entry)
        if panel is not None:
            try:
                shown.append(_show(panel))
            except (TypeError, ValueError, KeyError, IndexError, AttributeError):
                continue
    return shown


def of_older(report: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The panels of a report that was written before there were any: its confusion matrix and mistakes."""
    names = [str(name) for name in report.get("class_names") or []]
    written: list[dict[str, Any]] = []
    counts = report.get("confusion")
    if counts:
        written.append({"panel": "confusion", "title": "Which classes it confuses", "names": names, "counts": counts})
    pictures = []
    for row in report.get("mistakes") or []:
        sure = finite(row.get("confidence"))
        said = f"is {row.get('true')}, called {row.get('predicted')}"
        pictures.append([row.get("image") or "", said + (f", {percent(sure, 0)} sure" if sure is not None else "")])
    if pictures:
        written.append({"panel": "pictures", "title": "Mistakes, the most confident first", "pictures": pictures})
    return written


def confusion_of(written: Any) -> list[list[int]]:
    """The counts of the first confusion matrix among panels; empty where there is none that is square."""
    for entry in written if isinstance(written, list) else ():
        panel = panels.read(entry)
        if isinstance(panel, panels.Confusion):
            return _square(panel.counts)
    return []


def _show(panel: panels.Panel) -> Shown:
    title = str(panel.title)
    if isinstance(panel, panels.Text):
        return Shown(title, panel.shows, paragraphs=[str(text) for text in panel.paragraphs])
    if isinstance(panel, panels.Table):
        rows = [[_cell(cell) for cell in row] for row in panel.rows[:MOST_ROWS]]
        left = len(panel.rows) - len(rows)
        note = [f"{left:,} more rows are in report.json."] if left else []
        return Shown(title, panel.shows, note, columns=[str(name) for name in panel.columns], rows=rows)
    if isinstance(panel, panels.Lines):
        return Shown(title, panel.shows, figure=_lines(panel))
    if isinstance(panel, panels.Bars):
        return Shown(title, panel.shows, figure=_bars(panel))
    if isinstance(panel, panels.Confusion):
        counts = _square(panel.counts)
        names = [str(name) for name in panel.names]
        called = [names[i] if i < len(names) else str(i) for i in range(len(counts))]
        figure = figures.confusion(counts, called) if counts and len(counts) <= SPLIT_NAMES else None
        return Shown(title, panel.shows, _mixups(counts, called), figure=figure, square=True)
    assert isinstance(panel, panels.Pictures)
    return Shown(title, panel.shows, pictures=[_picture(image, text) for image, text in panel.pictures])


def _cell(value: Any) -> str:
    number = finite(value) if not isinstance(value, (str, bool)) else None
    return str(value) if number is None else significant(number, 4)


def _square(rows: Sequence[Sequence[Any]]) -> list[list[int]]:
    square = all(len(row) == len(rows) for row in rows)
    return [[int(finite(count) or 0) for count in row] for row in rows] if square else []


def _mixups(counts: Sequence[Sequence[int]], called: Sequence[str]) -> list[str]:
    pairs = [(count, i, j) for i, row in enumerate(counts) for j, count in enumerate(row) if i != j and count]
    worst = sorted(pairs, key=lambda pair: (-pair[0], pair[1:]))[:MIXUPS]
    return [f"{called[i]} taken for {called[j]}: {count:,}" for count, i, j in worst]


def _picture(image: Any, text: Any) -> dict[str, str]:
    safe = isinstance(image, str) and re.fullmatch(r"[A-Za-z0-9+/]+={0,2}", image)
    return {"image": f"data:image/png;base64,{image}" if safe else "", "text": str(text)}


def _lines(panel: panels.Lines) -> Figure:
    figure = go.Figure()
    colours = [LIGHT[name] for name in ("accent", "step4", "step2", "ink", "step1")]
    count = 0
    for place, (name, points) in enumerate(panel.lines.items()):
        known = [(x, y) for x, y in ((finite(x), finite(y)) for x, y in points) if x is not None and y is not None]
        known = known[:SHOWN]
        count += len(known)
        colour = colours[place % len(colours)]
        figure.add_scatter(
            x=[x for x, _ in known],
            y=[y for _, y in known],
            mode="lines" if panel.joined else "markers",
            name=clean(name, 40),
            line={"color": colour, "width": 2},
            marker={"color": colour, "size": 6, "opacity": 0.7},
            hovertemplate="%{x:.4g}, %{y:.4g}<extra></extra>",
        )
    plain_axes(figure, clean(panel.x, 60), clean(panel.y, 60))
    figure.update_layout(showlegend=len(panel.lines) > 1)
    return Figure(figure, f"{panel.title}: {count} points, {panel.y} against {panel.x}.", count, count, height=340)


def _bars(panel: panels.Bars) -> Figure:
    pairs = [(clean(label, 40), finite(value)) for label, value in zip(panel.labels, panel.values, strict=True)]
    figure = go.Figure()
    places = list(range(len(pairs)))
    figure.add_bar(
        x=places,
        y=[value for _, value in pairs],
        marker={"color": LIGHT["accent"]},
        customdata=[[label] for label, _ in pairs],
        hovertemplate="%{customdata[0]}: %{y:.4g}<extra></extra>",
    )
    plain_axes(figure, "", clean(panel.y, 60))
    if len(pairs) <= 40:
        figure.update_xaxes(tickvals=places, ticktext=[label for label, _ in pairs])
    known = [f"{label} {significant(value, 3)}" for label, value in pairs if value is not None]
    return Figure(figure, f"{panel.title}: {', '.join(known[:20])}.", len(pairs), len(pairs), height=320)
