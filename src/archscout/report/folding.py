"""The operators of a network, folded into few boxes, and those cut into stretches.

A graph of operators has up to some hundreds of nodes, and nobody reads those. So runs such as convolution,
normalisation and activation become one box, and a squeeze-and-excitation does. The network is cut wherever everything
flows through one box, and equal stretches in a row count as one that comes several times.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

# Operators that change numbers one by one or scale them: a step of the operator before (or after) them.
_MINOR = {
    "batch_norm", "layer_norm", "group_norm", "instance_norm", "relu", "relu6", "leaky_relu", "prelu", "elu",
    "selu", "gelu", "silu", "mish", "sigmoid", "tanh", "softplus", "hardswish", "hardsigmoid", "hardtanh", "clamp",
    "dropout", "softmax", "log_softmax", "add", "mul", "sub", "div", "neg", "pow", "sqrt", "rsqrt", "rsub", "clone",
    "contiguous", "to", "copy", "squeeze", "unsqueeze", "reshape", "zeros_like", "scalar_tensor",
}  # fmt: skip

_SIGNS = {"add": "+", "add_": "+", "mul": "×", "mul_": "×", "sub": "−", "cat": "‖"}
"""Operators that join several inputs, and the sign in the circle that they are drawn as."""


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
        return _SIGNS.get(self.title, "") if len(self.steps) == 1 else ""

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
        if (
            len(targets[before]) != 1
            or nodes[before].title == "input"
            or (nodes[before].title in _SIGNS and major(before))
        ):
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
    nodes: Sequence[Box],
    edges: Sequence[tuple[int, int]],
    home: Sequence[int],
    title: dict[int, str],
    major: Callable[[int], bool],
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


def stretches(boxes: Sequence[Box], edges: Sequence[tuple[int, int]]) -> list[Stretch]:
    """Cut the network at every box that no edge jumps over."""
    reach = list(range(len(boxes)))
    for source, target in edges:
        reach[source] = max(reach[source], target)
    runs: list[Stretch] = []
    start, furthest = 0, 0
    for position in range(len(boxes)):
        if furthest <= position:  # nothing before this box leads beyond it
            inside = [
                (source - start if source >= start else -1, target - start)
                for source, target in edges
                if start <= target <= position
            ]
            runs.append(Stretch(list(boxes[start : position + 1]), inside))
            start = position + 1
        furthest = max(furthest, reach[position])
    return runs


def repeats(parts: Sequence[Stretch]) -> list[tuple[list[Stretch], int]]:
    """Group equal stretches that follow each other (also two to six that alternate): (stretches, how often)."""
    signs = [part.signature for part in parts]
    rows: list[tuple[list[Stretch], int]] = []
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
        rows.append((list(parts[at : at + period]), times))
        at += period * times
    return rows
