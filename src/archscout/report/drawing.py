"""A network drawn: its operators folded into boxes, its boxes laid out in layers, its repeats drawn once.

A graph of operators has up to some hundreds of nodes, and nobody reads those. So runs such as convolution, normalisation,
activation become one box, a squeeze-and-excitation becomes one box, and the network is cut wherever everything flows
through one box. Each stretch between two cuts is one small drawing; the page lets them flow and wrap like words, so
that a phone shows the same picture as a wide screen. Equal stretches in a row are drawn once, with their number.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from markupsafe import Markup

from archscout.report.quantities import big, finite, share, size

MOST_NODES = 3000
"""A larger graph is not drawn."""

# Operators that change numbers one by one or scale them: a step of the operator before (or after) them.
_MINOR = {
    "batch_norm", "layer_norm", "group_norm", "instance_norm", "relu", "relu6", "leaky_relu", "prelu", "elu", "selu", "gelu",
    "silu", "mish", "sigmoid", "tanh", "softplus", "hardswish", "hardsigmoid", "hardtanh", "clamp", "dropout", "softmax",
    "log_softmax", "clone", "contiguous", "sub", "div", "neg", "pow", "sqrt", "rsqrt", "rsub", "to", "copy", "squeeze",
    "unsqueeze", "reshape", "add", "mul", "zeros_like", "scalar_tensor",
}  # fmt: skip

_SIGNS = {"add": "+", "add_": "+", "mul": "×", "mul_": "×", "cat": "‖", "sub": "−"}
"""Operators that join several inputs are drawn as a small circle with a sign."""

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


@dataclass
class Box:
    """Some operators drawn as one: `steps` are their labels in order, `picked` the options that they belong to."""

    title: str
    steps: list[str]
    picked: list[str]
    macs: int = 0
    size: int = 0

    @property
    def sign(self) -> str:
        return _SIGNS.get(self.title, "")

    @property
    def signature(self) -> tuple[str, tuple[str, ...], int, int]:
        return self.title, tuple(self.steps), self.macs, self.size


@dataclass
class Stretch:
    """The boxes from one cut to the next, the last of which is the next cut; -1 in `edges` is where it is entered."""

    boxes: list[Box]
    edges: list[tuple[int, int]]

    @property
    def signature(self) -> tuple[Any, ...]:
        return tuple(box.signature for box in self.boxes), tuple(sorted(self.edges))


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
    framed: bool = field(default=False)
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


# -- from operators to boxes ------------------------------------------------------------------------------------------


def fold(nodes: Sequence[Box], edges: Sequence[tuple[int, int]]) -> tuple[list[Box], list[tuple[int, int]]]:
    """Merge operators that belong together; returns the boxes in topological order and the edges between them."""
    sources: list[list[int]] = [[] for _ in nodes]
    targets: list[list[int]] = [[] for _ in nodes]
    for source, target in edges:
        sources[target].append(source)
        targets[source].append(target)
    home = list(range(len(nodes)))
    title: dict[int, str] = {}

    for node in range(len(nodes)):
        gate = _gate(node, nodes, sources, targets)
        if gate:
            for member in gate:
                home[member] = gate[0]
            title[gate[0]] = "squeeze-excite"

    def major(node: int) -> bool:
        return nodes[node].title not in _MINOR or len(sources[node]) > 1 or home[node] in title

    has_major = [major(node) for node in range(len(nodes))]
    for node in range(len(nodes)):
        if home[node] != node or len(sources[node]) != 1 or nodes[node].title in ("input", "output"):
            continue
        before = sources[node][0]
        box = home[before]
        if len(targets[before]) != 1 or nodes[before].title == "input" or nodes[before].title in _SIGNS and major(before):
            continue
        if not has_major[box]:
            home[node] = box
            has_major[box] = has_major[box] or major(node)
        elif not major(node) and not _opens(node, nodes, targets):
            home[node] = box
    return _merge(nodes, edges, home, title, major)


def _gate(
    node: int, nodes: Sequence[Box], sources: Sequence[Sequence[int]], targets: Sequence[Sequence[int]]
) -> list[int]:
    """The operators of a squeeze-and-excitation that ends here: x times what a chain makes of x."""
    if nodes[node].title.rstrip("_") != "mul" or len(sources[node]) != 2:
        return []
    for x, last in (tuple(sources[node]), tuple(reversed(sources[node]))):
        chain, at = [node], last
        while at != x and len(sources[at]) == 1 and len(targets[at]) == 1:
            chain.append(at)
            at = sources[at][0]
        if at == x and len(chain) > 2:
            return chain[::-1]
    return []


def _opens(node: int, nodes: Sequence[Box], targets: Sequence[Sequence[int]]) -> bool:
    """Whether a step belongs to what comes after it: both are of one picked option (activation before convolution)."""
    after = targets[node]
    return len(after) == 1 and bool(nodes[node].picked) and nodes[after[0]].picked == nodes[node].picked


def _merge(
    nodes: Sequence[Box], edges: Sequence[tuple[int, int]], home: Sequence[int], title: Mapping[int, str], major: Any
) -> tuple[list[Box], list[tuple[int, int]]]:
    members: dict[int, list[int]] = {}
    for node, box in enumerate(home):
        members.setdefault(box, []).append(node)
    # A box stands where its last operator does: all that feeds it comes before.
    order = sorted(members, key=lambda box: members[box][-1])
    place = {box: position for position, box in enumerate(order)}
    boxes = []
    for box in order:
        own = members[box]
        head = next((node for node in own if major(node)), own[0])
        picked = dict.fromkeys(option for node in own for option in nodes[node].picked)
        boxes.append(
            Box(
                title.get(box, nodes[head].title),
                [nodes[node].title for node in own],
                list(picked),
                sum(nodes[node].macs for node in own),
                max(nodes[node].size for node in own),
            )
        )
    joined = {(place[home[s]], place[home[t]]) for s, t in edges if home[s] != home[t]}
    return boxes, sorted(joined)


# -- from boxes to stretches ------------------------------------------------------------------------------------------


def stretches(boxes: Sequence[Box], edges: Sequence[tuple[int, int]]) -> list[Stretch]:
    """Cut the network at every box that no edge jumps over."""
    reach = list(range(len(boxes)))
    for source, target in edges:
        reach[source] = max(reach[source], target)
    found: list[Stretch] = []
    start, furthest = 0, 0
    for position in range(len(boxes)):
        if furthest <= position:  # nothing before this box leads beyond it
            inside = [
                (source - start if source >= start else -1, target - start)
                for source, target in edges
                if start <= target <= position
            ]
            found.append(Stretch(list(boxes[start : position + 1]), inside))
            start = position + 1
        furthest = max(furthest, reach[position])
    return found


def repeats(parts: Sequence[Stretch]) -> list[tuple[list[Stretch], int]]:
    """Group equal stretches that follow each other (also two to six that alternate): (stretches, how often)."""
    signs = [part.signature for part in parts]
    found: list[tuple[list[Stretch], int]] = []
    at = 0
    while at < len(parts):
        best = (1, 1)
        for period in range(1, 7):
            times = 1
            while signs[at + times * period : at + (times + 1) * period] == signs[at : at + period]:
                times += 1
            if (times - 1) * period > (best[1] - 1) * best[0]:
                best = (period, times)
        period, times = best
        found.append((list(parts[at : at + period]), times))
        at += period * times
    return found


# -- layout -----------------------------------------------------------------------------------------------------------


def layers(count: int, edges: Sequence[tuple[int, int]]) -> list[int]:
    """The layer of every box: one more than the highest of those that feed it (the entry, -1, is layer 0)."""
    layer = [1] * count
    for source, target in sorted(edges, key=lambda edge: edge[1]):
        layer[target] = max(layer[target], 1 + (layer[source] if source >= 0 else 0))
    return layer


def lanes(layer: Sequence[int], edges: Sequence[tuple[int, int]]) -> tuple[list[float], dict[tuple[int, int], list[float]]]:
    """Heights, in rows, of every box and of every long edge at the layers that it passes; 0 is the middle.

    Edges that span layers get a place in each of them, the places of a layer are ordered so that few edges cross (each
    by the mean of its neighbours, sweeping forth and back), and then moved towards their neighbours as far as the
    distances allow (Sugiyama, Tagawa, Toda 1981).
    """
    depth = max(layer)
    columns: list[list[Any]] = [[] for _ in range(depth + 1)]
    columns[0] = [-1]
    for box, at in enumerate(layer):
        columns[at].append(box)
    links: dict[Any, list[Any]] = {}
    passes: dict[tuple[int, int], list[Any]] = {}
    for source, target in dict.fromkeys(edges):
        chain: list[Any] = [source]
        for at in range((layer[source] if source >= 0 else 0) + 1, layer[target]):
            chain.append((source, target, at))
            columns[at].append(chain[-1])
        chain.append(target)
        passes[source, target] = chain[1:-1]
        for a, b in zip(chain, chain[1:], strict=False):
            links.setdefault(a, []).append(b)
            links.setdefault(b, []).append(a)
    column_of = {item: at for at, column in enumerate(columns) for item in column}
    y = {item: float(i - (len(column) - 1) / 2) for column in columns for i, item in enumerate(column)}

    def mean(item: Any, sides: tuple[int, ...]) -> float:
        near = [y[other] for other in links.get(item, ()) if column_of[other] - column_of[item] in sides]
        return sum(near) / len(near) if near else y[item]

    best, fewest = [list(column) for column in columns], _crossings(columns, links, column_of, y)
    for sweep in range(8):
        forth = sweep % 2 == 0
        for column in columns[1:] if forth else columns[-2::-1]:
            column.sort(key=lambda item: mean(item, (-1,) if forth else (1,)))
            for i, item in enumerate(column):
                y[item] = i - (len(column) - 1) / 2
        crossings = _crossings(columns, links, column_of, y)
        if crossings < fewest:
            best, fewest = [list(column) for column in columns], crossings
    for column in best:
        for i, item in enumerate(column):
            y[item] = i - (len(column) - 1) / 2
    # The last pass looks back only, which makes straight lines of what follows one another.
    for sides in ((-1, 1), (-1, 1), (-1, 1), (-1, 1), (-1,)):
        for column in best[1:]:
            wanted = [mean(item, sides) for item in column]
            gaps = [0.5 * (_needs(a) + _needs(b)) for a, b in zip(column, column[1:], strict=False)]
            for item, height in zip(column, _apart(wanted, gaps), strict=True):
                y[item] = height
        # What is entered and what is left lie on the middle line, so that stretches join.
        y[-1] = 0.0
        if len(best[-1]) == 1:
            y[best[-1][0]] = 0.0
    # Everything between entry and end is centred, for the page aligns stretches by their middle lines.
    inside = [item for column in best[1:-1] for item in column]
    if inside:
        shift = (min(y[item] for item in inside) + max(y[item] for item in inside)) / 2
        for item in inside:
            y[item] -= shift
    return [y[box] for box in range(len(layer))], {edge: [y[item] for item in chain] for edge, chain in passes.items()}


def _needs(item: Any) -> float:
    """The height that an item takes, in rows: an edge that passes needs little."""
    return 0.5 if isinstance(item, tuple) else 1.0


def _apart(wanted: Sequence[float], gaps: Sequence[float]) -> list[float]:
    """The heights nearest to the wanted ones (least squares) that keep the order and the gaps.

    With the gaps taken off, this is isotonic regression, solved by pooling neighbours that are out of order.
    """
    offset = [0.0]
    for gap in gaps:
        offset.append(offset[-1] + gap)
    pools: list[tuple[float, int]] = []
    for value, shift in zip(wanted, offset, strict=True):
        pools.append((value - shift, 1))
        while len(pools) > 1 and pools[-2][0] > pools[-1][0]:
            (a, m), (b, n) = pools[-2], pools[-1]
            pools[-2:] = [((a * m + b * n) / (m + n), m + n)]
    flat = [value for value, count in pools for _ in range(count)]
    return [value + shift for value, shift in zip(flat, offset, strict=True)]


def _crossings(
    columns: Sequence[Sequence[Any]], links: Mapping[Any, Sequence[Any]], column_of: Mapping[Any, int], y: Mapping[Any, float]
) -> int:
    total = 0
    for column in columns[:-1]:
        ends = [
            (y[item], y[other]) for item in column for other in links.get(item, ()) if column_of[other] > column_of[item]
        ]
        total += sum((a - c) * (b - d) < 0 for i, (a, b) in enumerate(ends) for c, d in ends[:i])
    return total


# -- drawing ----------------------------------------------------------------------------------------------------------


def _svg(stretch: Stretch, total: int, dearest: int) -> Markup:
    """One stretch from left to right: an arrow comes in at the middle of the left edge, the last box ends at the right."""
    layer = layers(len(stretch.boxes), stretch.edges)
    heights, passes = lanes(layer, stretch.edges)
    widths = [
        max((_CIRCLE if box.sign else _BOX_WIDTH for box, at in zip(stretch.boxes, layer, strict=True) if at == column), default=0)
        for column in range(1, max(layer) + 1)
    ]
    # Room for the arrow that comes in, where one does; lefts[column] is where a column of boxes begins.
    lefts, x = [0.0], float(_LEAD if stretch.edges else 1)
    for width in widths:
        lefts.append(x)
        x += width + _GAP
    wide = x - _GAP + 1
    reach = max(
        [abs(h) * _ROW + (_CIRCLE if box.sign else _BOX_HEIGHT) / 2 for h, box in zip(heights, stretch.boxes, strict=True)]
        + [abs(h) * _ROW for chain in passes.values() for h in chain]
    )
    tall = 2 * (reach + 3)

    def middle(column: int) -> float:
        return lefts[column] + widths[column - 1] / 2

    def half(box: int) -> float:
        return (_CIRCLE if stretch.boxes[box].sign else _BOX_WIDTH) / 2

    shapes: list[Markup] = []
    for source, target in dict.fromkeys(stretch.edges):
        start = (0.0, 0.0) if source < 0 else (middle(layer[source]) + half(source), heights[source])
        points = [start]
        first = (layer[source] if source >= 0 else 0) + 1
        for step, height in enumerate(passes.get((source, target), ())):
            points += [(lefts[first + step], height), (lefts[first + step] + widths[first + step - 1], height)]
        points.append((middle(layer[target]) - half(target), heights[target]))
        shapes.append(_edge([(px, py * _ROW) for px, py in points]))
    for box, at, height in zip(stretch.boxes, layer, heights, strict=True):
        x, y = middle(at), height * _ROW
        shapes.append(_circle(box, x, y) if box.sign else _box(box, x, y, total, dearest))
    return Markup(
        '<svg viewBox="0 {top:.0f} {wide:.0f} {tall:.0f}" width="{wide:.0f}" height="{tall:.0f}" aria-hidden="true">{shapes}</svg>'
    ).format(top=-tall / 2, wide=wide, tall=tall, shapes=Markup("").join(shapes))


def _edge(points: Sequence[tuple[float, float]]) -> Markup:
    path = f"M{points[0][0]:.1f} {points[0][1]:.1f}"
    for (ax, ay), (bx, by) in zip(points, points[1:], strict=False):
        bend = (bx - ax) / 2
        path += f"L{bx:.1f} {by:.1f}" if abs(ay - by) < 0.5 else (
            f"C{ax + bend:.1f} {ay:.1f} {bx - bend:.1f} {by:.1f} {bx:.1f} {by:.1f}"
        )
    x, y = points[-1]
    return Markup('<path class="edge" d="{path}"/><path class="tip" d="M{x:.1f} {y:.1f}l-6 -3.5v7z"/>').format(path=path, x=x, y=y)


def _circle(box: Box, x: float, y: float) -> Markup:
    return Markup(
        '<g class="join"><title>{tip}</title><circle cx="{x:.1f}" cy="{y:.1f}" r="{r}"/><text x="{x:.1f}" y="{ty:.1f}">{sign}</text></g>'
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
        '<text x="{x:.1f}" y="{line1:.1f}">{title}</text><text class="small" x="{x:.1f}" y="{line2:.1f}">{second}</text></g>'
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
    if not 0 < len(boxes) <= MOST_NODES or any(not (0 <= a < b < len(boxes)) for a, b in edges):
        return None
    return boxes, edges


def _single(row: Mapping[str, Any]) -> Box:
    label, group = str(row["label"]), str(row.get("group") or "")
    return Box(label, [label], [group] if group else [], int(finite(row.get("macs")) or 0), int(finite(row.get("size")) or 0))
