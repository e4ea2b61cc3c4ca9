"""The bytes that operators read and write."""

from __future__ import annotations

from typing import ClassVar

from archscout.core.architecture import Architecture
from archscout.core.cost import Cost, Measurement
from archscout.core.estimator import Setting
from archscout.core.graph import Graph
from archscout.core.registry import register
from archscout.costs.peak_memory import BYTES
from archscout.networks.tracing import trace_architecture


@register("cost", "memory_traffic")
class MemoryTraffic(Cost):
    """Bytes that operators read and write for one example in float32: activations and weights.

    Every operator reads each of its sources and its parameters once and writes its output once, in memory: what a
    runtime without fusion and a machine without caches would move. An operator in place reads and writes its tensor.
    """

    name = "memory_traffic"
    key = "memory_traffic_bytes"
    units: ClassVar = BYTES

    def measure(self, architecture: Architecture, setting: Setting) -> Measurement:
        return Measurement(float(traffic_bytes(trace_architecture(setting.space, architecture, setting.task))))


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
