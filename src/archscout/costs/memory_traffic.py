"""The bytes that operators read and write."""

from __future__ import annotations

from typing import ClassVar

from archscout.core.architecture import Architecture
from archscout.core.cost import Cost, Measurement
from archscout.core.estimator import Setting
from archscout.core.graph import Graph
from archscout.core.registry import register
from archscout.costs.peak_memory import BYTES, counted_form, counted_key, in_form
from archscout.networks.tracing import trace_architecture


@register("cost", "memory_traffic")
class MemoryTraffic(Cost):
    """Bytes that operators read and write for one example: activations and weights.

    Every operator reads each of its sources and its parameters once and writes its output once, in memory: what a
    runtime without fusion and a machine without caches would move. An operator in place reads and writes its tensor.

    Args:
        precision: of activations and weights: `float32`, `bfloat16` or `int8`.
    """

    units: ClassVar = BYTES

    def __init__(self, precision: str = "float32") -> None:
        self.name = "memory_traffic"
        self.form = counted_form(self.name, precision)
        self.key = counted_key(self.name, self.form)

    def measure(self, architecture: Architecture, setting: Setting) -> Measurement:
        moved = traffic_bytes(trace_architecture(setting.space, architecture, setting.task))
        return Measurement(float(in_form(moved, self.form)), details={"precision": self.form.precision})


def traffic_bytes(graph: Graph) -> int:
    """The sum over operators of the sizes of what they read and of what they write.

    >>> from archscout.core.graph import Node
    >>> nodes = Node("input", 4), Node("conv 1x1", 8, weights=2), Node("relu_"), Node("output")
    >>> traffic_bytes(Graph(nodes, ((0, 1), (1, 2), (2, 3))))
    30
    """
    size: list[int] = []
    total = 0
    for position, node in enumerate(graph.nodes):
        sources = graph.predecessors(position)
        size.append(node.size or (size[sources[0]] if sources else 0))
        if sources and node.label != "output":
            total += size[position] + node.weights + sum(size[source] for source in sources)
    return total
