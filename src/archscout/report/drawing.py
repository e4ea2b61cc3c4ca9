"""A network drawn as pictures that flow and wrap like words, so that a phone shows what a wide screen does.

Each stretch of the network between two boxes through which everything flows is one small SVG, from left to right.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from markupsafe import Markup

from archscout.report.folding import Box, Stretch, fold, repeats, stretches
from archscout.report.layout import lanes, layers, span
from archscout.report.quantities import big, finite, share, size

_MOST_NODES, _MOST_SPAN = 3000, 3000
"""A graph of more operators, or one of whose stretches has edges over more layers in sum, is not drawn."""

_NAMES = {
    "avg_pool2d": "average pool",
    "max_pool2d": "max pool",
    "adaptive_avg_pool2d": "average of all",
    "mean": "average of all",
    "batch_norm": "normalise",
    "layer_norm": "normalise",
    "relu": "ReLU",
    "gelu": "GELU",
    "silu": "SiLU",
    "hardswish": "hard-swish",
    "linear": "linear",
    "input": "input",
    "output": "output",
}

_BOX_WIDTH, _BOX_HEIGHT, _CIRCLE = 122, 46, 24
_GAP, _ROW, _LEAD = 30, 62, 26


@dataclass(frozen=True)
class Part:
    """Some drawings in a row that together come `times` times."""

    drawings: tuple[Markup, ...]
    times: int = 1


@dataclass(frozen=True)
class Drawing:
    """A drawn network: its parts in order, and its boxes as rows of a table."""

    parts: tuple[Part, ...]
    rows: tuple[dict[str, Any], ...]
    says: str
    framed: bool = False
    """Whether any box holds an option that was picked."""


def draw(graph: Mapping[str, Any] | None) -> Drawing | None:
    """Draw a graph as `report.json` has it: `nodes` (label, group, size, macs) and `edges` (pairs of positions).

    None for a graph that is missing, empty, too large, no directed acyclic graph, or written some other way.
    """
    read = _read(graph)
    if read is None:
        return None
    boxes, edges = fold(*read)
    parts = repeats(stretches(boxes, edges))
    if any(span(stretch.edges) > _MOST_SPAN for part, _ in parts for stretch in part):
        return None
    total = sum(box.macs for box in boxes)
    dearest = max((box.macs for box in boxes), default=0)
    drawn = tuple(Part(tuple(_svg(s, total, dearest) for s in part), times) for part, times in parts)
    rows = [
        {
            "steps": ", ".join(box.steps),
            "picked": ", ".join(box.picked),
            "macs": big(box.macs) if box.macs else "",
            "share": share(box.macs / total) if box.macs else "",
            "size": size(box.size) if box.size else "",
            "times": times,
        }
        for part, times in parts
        for stretch in part
        for box in stretch.boxes
        if not box.sign
    ]
    operators = len(read[0])
    says = f"The network as a drawing: {operators} operators in {len(boxes)} boxes, from the input to the output."
    return Drawing(drawn, tuple(rows), says, any(box.picked for box in boxes))


def _svg(stretch: Stretch, total: int, dearest: int) -> Markup:
    """One stretch from left to right: an arrow comes in at mid-height, the last box is at the right."""
    layer = layers(len(stretch.boxes), stretch.edges)
    heights, passes = lanes(layer, stretch.edges)
    widths = [
        max(
            (_CIRCLE if box.sign else _BOX_WIDTH for box, at in zip(stretch.boxes, layer, strict=True) if at == column),
            default=0,
        )
        for column in range(1, max(layer) + 1)
    ]
    # Room for the arrow that comes in, where one does; lefts[column] is where a column of boxes begins.
    lefts, x = [0.0], float(_LEAD if stretch.edges else 1)
    for width in widths:
        lefts.append(x)
        x += width + _GAP
    wide = x - _GAP + 1
    reach = max(
        [
            abs(h) * _ROW + (_CIRCLE if box.sign else _BOX_HEIGHT) / 2
            for h, box in zip(heights, stretch.boxes, strict=True)
        ]
        + [abs(h) * _ROW for chain in passes.values() for h in chain]
    )
    tall = 2 * (reach + 3)

    def wide_of(box: int) -> float:
        return float(_CIRCLE if stretch.boxes[box].sign else _BOX_WIDTH)

    shapes: list[Markup] = []
    for source, target in dict.fromkeys(stretch.edges):
        points = [(0.0, 0.0)]
        column = 0
        if source >= 0:
            column, height = layer[source], heights[source]
            # A circle stands at the left of its column: its edges go straight past the boxes above and below it.
            points = [(lefts[column] + wide_of(source), height), (lefts[column] + widths[column - 1], height)]
        for at, height in enumerate(passes.get((source, target), ()), start=column + 1):
            points += [(lefts[at], height), (lefts[at] + widths[at - 1], height)]
        points.append((lefts[layer[target]], heights[target]))
        shapes.append(_edge([(x, y * _ROW) for x, y in points]))
    for place, (box, at, height) in enumerate(zip(stretch.boxes, layer, heights, strict=True)):
        x, y = lefts[at] + wide_of(place) / 2, height * _ROW
        shapes.append(_circle(box, x, y) if box.sign else _box(box, x, y, total, dearest))
    return Markup(
        '<svg viewBox="0 {top:.0f} {wide:.0f} {tall:.0f}" width="{wide:.0f}" height="{tall:.0f}" aria-hidden="true">'
        "{shapes}</svg>"
    ).format(top=-tall / 2, wide=wide, tall=tall, shapes=Markup("").join(shapes))


def _edge(points: Sequence[tuple[float, float]]) -> Markup:
    path = f"M{points[0][0]:.1f} {points[0][1]:.1f}"
    for (ax, ay), (bx, by) in pairwise(points):
        bend = (bx - ax) / 2
        path += (
            f"L{bx:.1f} {by:.1f}"
            if abs(ay - by) < 0.5
            else (f"C{ax + bend:.1f} {ay:.1f} {bx - bend:.1f} {by:.1f} {bx:.1f} {by:.1f}")
        )
    x, y = points[-1]
    return Markup('<path class="edge" d="{path}"/><path class="tip" d="M{x:.1f} {y:.1f}l-6 -3.5v7z"/>').format(
        path=path, x=x, y=y
    )


def _circle(box: Box, x: float, y: float) -> Markup:
    return Markup(
        '<g class="join"><title>{tip}</title><circle cx="{x:.1f}" cy="{y:.1f}" r="{r}"/>'
        '<text x="{x:.1f}" y="{ty:.1f}">{sign}</text></g>'
    ).format(tip=_tip(box, 0), x=x, y=y, ty=y + 5, r=_CIRCLE / 2 - 1, sign=box.sign)


def _box(box: Box, x: float, y: float, total: int, dearest: int) -> Markup:
    """A rectangle; the bar along its foot is its multiply-adds against those of the dearest box."""
    left, top = x - _BOX_WIDTH / 2, y - _BOX_HEIGHT / 2
    filled = (_BOX_WIDTH - 2) * box.macs / dearest if dearest else 0.0
    second = share(box.macs / total) if total and box.macs else _others(box)
    title = _name(box.title)
    return Markup(
        '<g class="box{picked}"><title>{tip}</title>'
        '<rect class="frame" x="{left:.1f}" y="{top:.1f}" width="{width}" height="{height}" rx="5"/>'
        '<rect class="bar" x="{inner:.1f}" y="{bar:.1f}" width="{filled:.1f}" height="5"/>'
        '<text x="{x:.1f}" y="{line1:.1f}">{title}</text>'
        '<text class="small" x="{x:.1f}" y="{line2:.1f}">{second}</text></g>'
    ).format(
        picked=" picked" if box.picked else "",
        tip=_tip(box, total),
        left=left,
        top=top,
        inner=left + 1,
        bar=y + _BOX_HEIGHT / 2 - 6,
        width=_BOX_WIDTH,
        height=_BOX_HEIGHT,
        filled=filled,
        x=x,
        line1=y - 3 if second else y + 2,
        line2=y + 11,
        title=_short(title, 19),
        second=_short(second, 22),
    )


def _others(box: Box) -> str:
    """The steps beside the one that the box is named after."""
    steps = list(box.steps)
    if box.title in steps:
        steps.remove(box.title)
    return ", ".join(_name(step) for step in steps)


def _tip(box: Box, total: int) -> str:
    lines = [", ".join(box.steps)]
    if box.macs:
        lines.append(f"{big(box.macs)} multiply-adds" + (f", {share(box.macs / total)} of all" if total else ""))
    if box.size:
        lines.append(f"output: {size(box.size)} for one input")
    if box.picked:
        lines.append("picked: " + ", ".join(box.picked))
    return "\n".join(lines)


def _name(label: str) -> str:
    plain = label.replace("depthwise conv", "depthwise").replace("_", " ")
    return _NAMES.get(label, re.sub(r"(?<=\d)x(?=\d)", "×", plain))


def _short(text: str, most: int) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"


def _read(graph: Mapping[str, Any] | None) -> tuple[list[Box], list[tuple[int, int]]] | None:
    """The graph as single-operator boxes in topological order."""
    try:
        rows = [] if graph is None else graph["nodes"]
        edges = [] if graph is None else [(int(a), int(b)) for a, b in graph["edges"]]
        boxes = [_single(row) for row in rows]
    except (KeyError, TypeError, ValueError, AttributeError):
        return None
    if not 0 < len(boxes) <= _MOST_NODES or any(not (0 <= a < b < len(boxes)) for a, b in edges):
        return None
    return boxes, edges


def _single(row: Mapping[str, Any]) -> Box:
    label, group = str(row["label"]), str(row.get("group") or "")
    return Box(
        label, [label], [group] if group else [], int(finite(row.get("macs")) or 0), int(finite(row.get("size")) or 0)
    )
