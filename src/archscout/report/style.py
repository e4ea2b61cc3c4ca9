"""What all figures of the page are drawn with: colours, text that Plotly takes as text, axes.

Colours come from `LIGHT`, and the page's script swaps each for its twin in `DARK`, so that a figure is sent once. Every
text is escaped, for Plotly reads a little HTML in its labels. Nothing is fetched: no map, no font, no template beyond
what is written here.
"""

from __future__ import annotations

import html
from dataclasses import dataclass
from typing import Any

import plotly.graph_objects as go

from archscout.core.metric import Metric

LIGHT = {
    "paper": "#fcfcfb",
    "surface": "#f4f5f4",
    "ink": "#1a2024",
    "muted": "#57626b",
    "line": "#e0e4e6",
    "strong": "#b4bec4",
    "accent": "#0b6b60",
    "soft": "#dcebe8",
    "step1": "#a9b6bd",
    "step2": "#7fa9a8",
    "step3": "#549089",
    "step4": "#2f7d74",
}
DARK = {
    "paper": "#14181a",
    "surface": "#1c2124",
    "ink": "#e8ecee",
    "muted": "#9eaab2",
    "line": "#2c3438",
    "strong": "#55626a",
    "accent": "#56c9b6",
    "soft": "#173a36",
    "step1": "#7a8891",
    "step2": "#5f918f",
    "step3": "#4a9a90",
    "step4": "#4fb2a4",
}
SHOWN = 1500
"""The most points that one figure shows."""


@dataclass(frozen=True)
class Figure:
    """A figure with what it says in one sentence (for those who do not see it), and how much of the data it shows."""

    figure: go.Figure
    says: str
    shown: int = 0
    total: int = 0
    below: int = 0
    """How many of the shown points lie under the first view."""
    height: int = 380


def clean(text: Any, most: int = 110) -> str:
    """Text that Plotly shows as it is: shortened, and without a character that it would take for a tag or an entity."""
    text = str(text)
    return html.escape(text if len(text) <= most else text[: most - 1] + "…", quote=False)


def step(place: int, count: int) -> str:
    """The colour of one of `count` levels, from grey (little was spent) to the accent (most was)."""
    steps = [LIGHT[name] for name in ("step1", "step2", "step3", "step4", "accent")]
    return steps[-1 if count == 1 else round(place * (len(steps) - 1) / (count - 1))]


def value_axis(figure: go.Figure, metric: Metric, low: float, high: float) -> None:
    """The axis of values from `low` to `high`, of which higher is better."""
    low, high = sorted((metric.oriented(low), metric.oriented(high)))
    if metric.percentage:
        low, high = max(low, -0.06 * high), min(high, 1.0 + 0.06 * (1.0 - low))
        figure.update_yaxes(range=[low, high], tickformat=".0%" if high - low > 0.05 else ".1%")
    else:
        figure.update_yaxes(range=[low, high])


def plain_axes(figure: go.Figure, x_title: str, y_title: str) -> None:
    """The look that all figures share, with titled axes."""
    axis: dict[str, Any] = {
        "gridcolor": LIGHT["line"],
        "linecolor": LIGHT["strong"],
        "zeroline": False,
        "automargin": True,
        "tickfont": {"color": LIGHT["muted"]},
    }
    title = {"color": LIGHT["muted"], "size": 13}
    figure.update_layout(
        template="none",
        paper_bgcolor=LIGHT["paper"],
        plot_bgcolor=LIGHT["paper"],
        font={"family": "system-ui, -apple-system, 'Segoe UI', Roboto, sans-serif", "size": 13, "color": LIGHT["ink"]},
        margin={"l": 8, "r": 12, "t": 10, "b": 8},
        legend={"orientation": "h", "x": 0, "xanchor": "left", "y": 1.02, "yanchor": "bottom", "font": {"size": 13}},
        hoverlabel={
            "bgcolor": LIGHT["paper"],
            "bordercolor": LIGHT["strong"],
            "font": {"color": LIGHT["ink"]},
            "align": "left",
        },
        xaxis=axis | {"title": {"text": x_title, "font": title}},
        yaxis=axis | {"title": {"text": y_title, "font": title}},
    )
