"""The page's Plotly figures, as functions of plain data; what they are drawn with is in `style.py`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go

from archscout.core.metric import Metric
from archscout.report.candidates import Course, Network, front, rung_name, thin, view
from archscout.report.quantities import cost_name, cost_text, duration, finite, metric_text, significant, value_text
from archscout.report.style import LIGHT, SHOWN, Figure, clean, plain_axes, step, value_axis


def progress(course: Course, metric: Metric, *, by: str, value_title: str) -> Figure:
    """The best value so far (a staircase) over all values, against seconds (`by="time"`) or evaluations (`"count"`)."""
    xs = course.elapsed if by == "time" else np.arange(1, len(course.values) + 1, dtype=float)
    chosen = thin(course.record, SHOWN)
    low, high = view(course.values)
    best = np.flatnonzero(course.record)
    best = best[thin(np.ones(len(best), dtype=bool), SHOWN)]
    figure = go.Figure()
    for level, name in enumerate(course.levels):
        own = chosen[course.level[chosen] == level]
        figure.add_scatter(
            x=xs[own].tolist(),
            y=metric.oriented(course.values[own]).tolist(),
            mode="markers",
            name=clean(name),
            marker={"color": step(level, len(course.levels)), "size": 7, "opacity": 0.85},
            customdata=[[clean(course.texts[i]), value_text(metric, float(course.values[i]), 2)] for i in own],
            hovertemplate="%{customdata[1]}<br>%{customdata[0]}<extra></extra>",
        )
    figure.add_scatter(
        x=[*xs[best].tolist(), float(xs[-1])],
        y=metric.oriented(course.values[[*best, best[-1]]]).tolist(),
        mode="lines",
        name="best so far",
        line={"color": LIGHT["ink"], "width": 2, "shape": "hv"},
        hoverinfo="skip",
    )
    plain_axes(figure, "seconds since the start" if by == "time" else "evaluations", value_title)
    value_axis(figure, metric, low, high)
    end = float(xs[-1])
    if by == "time":
        figure.update_xaxes(range=[0, 1.02 * end])
        _phase_bands(figure, course, end)
    last = duration(xs[-1]) if by == "time" else f"{len(xs)} evaluations"
    top = value_text(metric, float(course.values.max()), 2)
    verb = "rose" if metric.direction == "higher" else "fell"
    says = f"The best value {verb} to {top} within {last}, in {int(course.record.sum())} steps."
    return Figure(figure, says, len(chosen), len(course.values), int((course.values[chosen] < low).sum()))


def tradeoff(
    networks: Sequence[Network], key: str, metric: Metric, *, value_title: str, limit: float | None, winner: str
) -> Figure | None:
    """Value against one cost, with the front, the limit and the winner; None where no two networks have that cost."""
    known = [n for n in networks if key in n.costs]
    if len(known) < 2:
        return None
    costs = np.asarray([n.costs[key] for n in known], dtype=float)
    values = np.asarray([n.value for n in known], dtype=float)
    best = front(costs, values)
    won = np.asarray([n.architecture == winner for n in known])
    chosen = thin(best | won, SHOWN)
    low, high = view(values)
    levels = sorted({(n.rank, n.level) for n in known})
    level_of = {level: place for place, level in enumerate(levels)}
    level = np.asarray([level_of[(n.rank, n.level)] for n in known])
    logarithmic = bool(costs.min() > 0 and costs.max() / costs.min() > 30)
    left, right = _cost_range(costs, limit, logarithmic)
    name = cost_name(key)

    figure = go.Figure()
    if limit is not None:
        figure.add_scatter(
            x=[limit, right, right, limit],
            y=metric.oriented(np.asarray([low, low, high, high])).tolist(),
            mode="none",
            fill="toself",
            fillcolor=LIGHT["surface"],
            hoverinfo="skip",
            showlegend=False,
        )
    for place, (_, level_title) in enumerate(levels):
        own = [i for i in chosen if level[i] == place and not won[i]]
        figure.add_scatter(
            x=costs[own].tolist(),
            y=metric.oriented(values[own]).tolist(),
            mode="markers",
            name=clean(level_title),
            marker={"color": step(place, len(levels)), "size": 7, "opacity": 0.85},
            customdata=[_tip(known[i], key, metric) for i in own],
            hovertemplate=_TIP,
        )
    edge = np.flatnonzero(best)
    edge = edge[np.lexsort((values[edge], costs[edge]))]
    edge = edge[thin(np.ones(len(edge), dtype=bool), SHOWN)]
    figure.add_scatter(
        x=[*costs[edge].tolist(), right],
        y=metric.oriented(values[[*edge, edge[-1]]]).tolist(),
        mode="lines",
        name="the front",
        line={"color": LIGHT["ink"], "width": 1.6, "shape": "hv"},
        hoverinfo="skip",
    )
    if limit is not None:
        figure.add_scatter(
            x=[limit, limit],
            y=metric.oriented(np.asarray([low, high])).tolist(),
            mode="lines",
            name=f"the limit, {cost_text(key, limit)}",
            line={"color": LIGHT["muted"], "width": 1.6, "dash": "dash"},
            hoverinfo="skip",
        )
    for i in np.flatnonzero(won).tolist():
        figure.add_scatter(
            x=[float(costs[i])],
            y=[metric.oriented(float(values[i]))],
            mode="markers",
            name="the winner",
            marker={
                "color": LIGHT["accent"],
                "size": 17,
                "symbol": "star",
                "line": {"color": LIGHT["paper"], "width": 1.5},
            },
            customdata=[_tip(known[i], key, metric)],
            hovertemplate=_TIP,
        )
    unit = f" ({name.unit})" if name.unit else ""
    plain_axes(figure, f"{name.title.lower()}{unit}, lower is better", value_title)
    value_axis(figure, metric, low, high)
    if logarithmic:
        figure.update_xaxes(
            type="log", range=[float(np.log10(left)), float(np.log10(right))], dtick="D2" if right / left < 1e3 else 1
        )
    else:
        figure.update_xaxes(range=[left, right])
    says = (
        f"{len(known)} networks by {name.title.lower()} and {value_title}; {int(best.sum())} of them are on the front."
    )
    if won.any():
        i = int(np.flatnonzero(won)[0])
        says += f" The winner has {value_text(metric, float(values[i]), 2)} at {cost_text(key, float(costs[i]))}"
        says += f", the limit is {cost_text(key, limit)}." if limit is not None else "."
    return Figure(figure, says, len(chosen), len(known), int((values[chosen] < low).sum()), 440)


def confusion(matrix: Sequence[Sequence[int]], names: Sequence[str]) -> Figure:
    """Rows are what the images show, columns what the network said. Right answers are pale, mistakes stand out."""
    counts = np.asarray(matrix, dtype=float)
    size = len(counts)
    labels = [clean(names[i], 18) if i < len(names) else str(i) for i in range(size)]
    right = np.eye(size, dtype=bool)
    mistakes = np.where(right | (counts == 0), np.nan, counts)
    most = float(max(1.0, np.nanmax(mistakes, initial=1.0)))
    hits = np.where(right, counts, np.nan)
    places = list(range(size))
    figure = go.Figure()
    # The numbers of the axis are class positions: two classes of one name stay two rows.
    for z, scale, top in (
        (hits, [[0, LIGHT["soft"]], [1, LIGHT["soft"]]], 1.0),
        (mistakes, [[0, LIGHT["step1"]], [1, LIGHT["accent"]]], most),
    ):
        figure.add_heatmap(
            z=[[finite(v) for v in row] for row in z.tolist()],
            x=places,
            y=places,
            zmin=0,
            zmax=top,
            colorscale=scale,
            showscale=False,
            xgap=2,
            ygap=2,
            hoverongaps=False,
            customdata=[[[labels[i], labels[j]] for j in places] for i in places],
            hovertemplate="%{customdata[0]} called %{customdata[1]}: %{z}<extra></extra>",
        )
    if size <= 20:
        for i, j in zip(*np.nonzero((counts > 0) | right), strict=True):
            figure.add_annotation(
                x=int(j),
                y=int(i),
                text=f"{int(counts[i, j])}",
                showarrow=False,
                # Dark text on right answers and rare mistakes, light text where the mistakes' colour is strong.
                font={"size": 12, "color": LIGHT["ink"] if i == j or counts[i, j] < 0.6 * most else LIGHT["paper"]},
            )
    plain_axes(figure, "what the network said", "what the image shows")
    ticks = {"tickvals": places, "ticktext": labels} if size <= 40 else {}
    figure.update_xaxes(**ticks, showgrid=False, constrain="domain", tickangle=0 if max(map(len, labels)) < 4 else -50)
    figure.update_yaxes(**ticks, showgrid=False, autorange="reversed", scaleanchor="x", constrain="domain", ticks="")
    total, correct = int(counts.sum()), int(np.trace(counts))
    says = f"Of {total} test images, {correct} are named correctly and {total - correct} are mistaken."
    return Figure(figure, says, height=460)


def learning(
    curve: Sequence[Mapping[str, Any]], columns: Sequence[tuple[str, str]], title: str, metric: Metric
) -> Figure | None:
    """One line for each of `columns` (key, name) that has two rows of a learning curve; None without any."""
    figure = go.Figure()
    ends = []
    for place, (key, name) in enumerate(columns):
        rows = [(finite(row.get("epoch")), finite(row.get(key))) for row in curve]
        points = [(epoch, value) for epoch, value in rows if epoch is not None and value is not None]
        if len(points) < 2:
            continue
        first = place == len(columns) - 1
        figure.add_scatter(
            x=[epoch for epoch, _ in points],
            y=[value for _, value in points],
            mode="lines",
            name=name,
            line={"color": LIGHT["accent" if first else "step1"], "width": 2},
            hovertemplate="epoch %{x}: %{y}<extra></extra>",
        )
        ends.append(f"{name} ends at {metric_text(metric, points[-1][1], 1)}")
    if not ends:
        return None
    plain_axes(figure, "epoch", title)
    figure.update_layout(showlegend=len(ends) > 1)
    if metric.percentage:
        values = metric.oriented(np.asarray([y for trace in figure.data for y in trace.y], dtype=float))
        value_axis(figure, metric, *view(values))
    return Figure(figure, f"{title}: " + ", ".join(ends) + ".", height=300)


def over_steps(history: Sequence[Mapping[str, Any]], lines: Mapping[str, Sequence[Any]], title: str) -> Figure | None:
    """One line for each name of what a training recorded, by its `step`; None where nothing has two points.

    The ones that end highest are drawn strongest.
    """
    steps = [finite(row.get("step")) for row in history]
    known = {
        name: [(x, y) for x, y in zip(steps, map(finite, values), strict=True) if x is not None and y is not None]
        for name, values in lines.items()
    }
    known = {name: points for name, points in known.items() if len(points) > 1}
    if not known:
        return None
    colours = [LIGHT[name] for name in ("accent", "step4", "step3", "step2", "step1", "strong")]
    dashes = ("solid", "dash", "dot", "dashdot")
    figure = go.Figure()
    ordered = sorted(known.items(), key=lambda item: -item[1][-1][1])
    for place, (name, points) in enumerate(ordered):
        figure.add_scatter(
            x=[x for x, _ in points],
            y=[y for _, y in points],
            mode="lines",
            name=clean(name, 30),
            line={
                "color": colours[min(place, len(colours) - 1)],
                "width": 3 if place == 0 else 2,
                "dash": dashes[place % len(dashes)],
            },
            hovertemplate="step %{x}: %{y:.3g}<extra>" + clean(name, 30) + "</extra>",
        )
    plain_axes(figure, "step", title)
    figure.update_layout(showlegend=len(ordered) > 1)
    figure.update_yaxes(rangemode="tozero")
    ends = ", ".join(f"{name} {significant(points[-1][1], 2)}" for name, points in ordered[:6])
    return Figure(figure, f"{title}, at the last step: {ends}.", height=320)


def agreement(rungs: Sequence[Mapping[str, Any]], full: int | None = None) -> Figure:
    """How well each cheap estimator put networks in the order of the dearer one, with intervals, one line each."""
    pairs = [tuple(rung_name(str(rung.get(key)), full) for key in ("estimator", "against")) for rung in rungs]
    middle = [finite(rung.get("spearman")) for rung in rungs]
    low, high = ([finite(rung.get(key)) for rung in rungs] for key in ("low", "high"))
    places = list(range(len(rungs)))
    figure = go.Figure()
    for place, m, lo, hi in zip(places, middle, low, high, strict=True):
        if m is not None and lo is not None and hi is not None:
            figure.add_scatter(
                x=[lo, hi], y=[place, place], mode="lines", line={"color": LIGHT["step2"], "width": 5}, hoverinfo="skip"
            )
    figure.add_scatter(
        x=middle,
        y=places,
        mode="markers",
        marker={"color": LIGHT["accent"], "size": 13, "line": {"color": LIGHT["paper"], "width": 2}},
        hovertemplate="%{x:.2f}<extra></extra>",
    )
    plain_axes(figure, "rank correlation", "")
    left = min([-0.03, *(v - 0.05 for v in [*low, *middle] if v is not None)])
    figure.update_layout(showlegend=False)
    figure.update_xaxes(range=[left, 1.05], zeroline=True, zerolinecolor=LIGHT["strong"])
    figure.update_yaxes(visible=False, range=[len(rungs) - 0.5, -0.7])
    for place, (below, above) in enumerate(pairs):
        figure.add_annotation(
            x=left,
            y=place - 0.3,
            text=f"{clean(below, 30)} → {clean(above, 30)}",
            showarrow=False,
            xanchor="left",
            bgcolor=LIGHT["paper"],
            font={"size": 13},
        )
    says = "; ".join(
        f"{below} agrees with {above} at {significant(m, 2)}"
        for (below, above), m in zip(pairs, middle, strict=True)
        if m is not None
    )
    return Figure(figure, says + "." if says else "No rank correlation could be computed.", height=60 + 64 * len(rungs))


def measured_predicted(kinds: Mapping[str, Sequence[Mapping[str, Any]]], key: str) -> Figure:
    """Predicted against measured latency, with the 90 % interval of each prediction; on the line they are equal.

    Args:
        kinds: by what the networks are, rows with `architecture`, `ms`, `predicted`, `low` and `high`.
        key: of the cost.
    """
    figure = go.Figure()
    every = [row for rows in kinds.values() for row in rows]
    ends = [float(row[name]) for row in every for name in ("ms", "low", "high")]
    ends = [min(ends) / 1.05, max(ends) * 1.05]
    figure.add_scatter(
        x=ends, y=ends, mode="lines", line={"color": LIGHT["strong"], "dash": "dot"}, hoverinfo="skip", showlegend=False
    )
    for colour, (kind, rows) in zip(("step3", "accent"), kinds.items(), strict=False):
        predicted = [float(row["predicted"]) for row in rows]
        figure.add_scatter(
            x=[float(row["ms"]) for row in rows],
            y=predicted,
            error_y={
                "type": "data",
                "symmetric": False,
                "array": [float(row["high"]) - value for row, value in zip(rows, predicted, strict=True)],
                "arrayminus": [value - float(row["low"]) for row, value in zip(rows, predicted, strict=True)],
                "color": LIGHT["step1"],
                "thickness": 1.5,
            },
            mode="markers",
            name=kind,
            marker={"color": LIGHT[colour], "size": 9, "line": {"color": LIGHT["paper"], "width": 1}},
            customdata=[[clean(row["architecture"])] for row in rows],
            hovertemplate="measured %{x:.3g}, predicted %{y:.3g}<br>%{customdata[0]}<extra></extra>",
        )
    unit = cost_name(key).unit
    plain_axes(figure, f"measured ({unit})", f"predicted ({unit})")
    figure.update_layout(showlegend=len(kinds) > 1)
    inside = sum(float(row["low"]) <= float(row["ms"]) <= float(row["high"]) for row in every)
    says = f"{inside} of {len(every)} measured networks lie in the 90 % interval of their prediction."
    return Figure(figure, says, len(every), len(every))


# -- parts ------------------------------------------------------------------------------------------------------------

_TIP = "%{customdata[2]}, %{customdata[1]}<br>%{customdata[3]}<br>%{customdata[0]}<extra></extra>"


def _tip(network: Network, key: str, metric: Metric) -> list[str]:
    return [
        clean(network.architecture),
        cost_text(key, network.costs[key]),
        value_text(metric, network.value, 2),
        clean(network.level),
    ]


def _cost_range(costs: np.ndarray, limit: float | None, logarithmic: bool) -> tuple[float, float]:
    """The range of a cost axis: all points and the limit, with some room."""
    low, high = float(costs.min()), float(costs.max())
    if limit is not None:
        low, high = min(low, limit), max(high, limit)
    if logarithmic:
        room = (high / low) ** 0.05
        return low / room, high * room
    room = 0.06 * (high - low) or abs(high) * 0.05 or 1.0
    return max(0.0, low - room) if low >= 0 else low - room, high + room


def _phase_bands(figure: go.Figure, course: Course, end: float) -> None:
    """A quiet stripe for every other phase; the name where there is room for it."""
    for place, (name, first, last) in enumerate(sorted(course.phases, key=lambda phase: phase[1])):
        first, last = max(0.0, first), min(last, end)
        if last <= first:
            continue
        if place % 2 == 0:
            figure.add_vrect(x0=first, x1=last, fillcolor=LIGHT["surface"], line_width=0, layer="below")
        if (last - first) > 0.012 * len(name) * end:
            figure.add_annotation(
                x=(first + last) / 2,
                y=0.0,
                yref="paper",
                yanchor="bottom",
                text=clean(name, 30),
                showarrow=False,
                font={"size": 12, "color": LIGHT["muted"]},
                name="phase",
            )
